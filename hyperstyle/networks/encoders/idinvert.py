"""The encoder of IDInvert (Zhu et al., ECCV 2020): images -> codes in which its StyleGAN stays in its domain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.w_encoder import check_crop
from hyperstyle.networks.stylegan2.ops import normal


@dataclass(frozen=True)
class IdInvertEncoderConfig:
    """Numbers that define an encoder.

    Attributes:
        rows, latent_width: L and D of the codes.
        input_size: (height, width) of the crop in pixels; divisible by 2 for each width but the first.
        widths: channels of the first convolution and of each residual block.
    """

    rows: int = 14
    latent_width: int = 512
    input_size: tuple[int, int] = (256, 256)
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 1024, 1024)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", tuple(self.input_size))
        object.__setattr__(self, "widths", tuple(self.widths))
        if not 1 <= len(self.widths) <= 16 or min(*self.widths, self.rows, self.latent_width) < 1 or self.rows > 64:
            raise ConfigError(
                f"IDInvert encoder with widths {self.widths} for [{self.rows}, {self.latent_width}] codes: expected "
                "1 to 16 widths, 1 to 64 rows, and positive numbers."
            )
        if any(not 1 <= side <= 4096 or side % self.reduction for side in self.input_size):
            raise ConfigError(
                f"IDInvert encoder for {self.input_size} px: expected sides up to 4096, divisible by {self.reduction}: "
                f"they are halved {len(self.widths) - 1} times."
            )

    @property
    def reduction(self) -> int:
        """How many times smaller the last features are than the crop."""
        return 1 << (len(self.widths) - 1)


class _ConvNorm(nn.Module):
    """Convolution, batch normalization and leaky ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=bias)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


class _Residual(nn.Module):
    """Two convolutions and a shortcut, which is a 1x1 convolution where the number of channels changes."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        inner = min(channels_in, channels_out)
        self.first = _ConvNorm(channels_in, inner, 3, bias=True)
        self.second = _ConvNorm(inner, channels_out, 3, bias=True)
        self.shortcut = _ConvNorm(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.shortcut(x)


class IdInvertEncoder(nn.Module):
    """Maps a crop to a code for every row; no mean code is added.

    Example:
        >>> import torch
        >>> config = IdInvertEncoderConfig(rows=6, latent_width=8, input_size=(16, 16), widths=(4, 8, 8))
        >>> IdInvertEncoder(config).eval()(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 6, 8])
    """

    def __init__(self, config: IdInvertEncoderConfig) -> None:
        super().__init__()
        self.config = config
        outputs, (height, width) = config.rows * config.latent_width, config.input_size
        features = config.widths[-1] * (height // config.reduction) * (width // config.reduction)
        self.stem = _ConvNorm(3, config.widths[0], 3)
        self.blocks = nn.ModuleList(_Residual(before, after) for before, after in pairwise(config.widths))
        self.weight = nn.Parameter(normal(outputs, features))
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Crops [B,3,h,w] in [-1,1] -> codes [B,L,D].

        Raises:
            ConfigError: the crop is not of `config.input_size`.
        """
        check_crop("IDInvert encoder", x, self.config.input_size)
        x = self.stem(x)
        for block in self.blocks:
            x = block(F.avg_pool2d(x, 2))
        # The features are scaled, not the weights, of which there are a hundred million.
        codes = self.norm(F.linear(x.flatten(1) / math.sqrt(self.weight.shape[1]), self.weight))
        return codes.reshape(len(x), self.config.rows, -1)
