"""The W encoder, and the parts that encoders share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig, add_trunk
from hyperstyle.networks.stylegan2.ops import EqualLinear

__all__ = ["MapBlock", "WEncoder", "WEncoderConfig", "check_numbers", "row_codes"]


@dataclass(frozen=True)
class WEncoderConfig:
    """Numbers of a W encoder.

    Attributes:
        rows: L, style rows of the generator it serves.
        latent_width: D.
        input_size: (height, width) of the crop in pixels.
        trunk: the numbers of its trunk.
        pool: "average" over all positions, as published, or "flatten" (keeps positions; for small inputs).
        backbone: the kind of trunk, "irse" or "resnet" (HyperInverter's for other domains than faces).
    """

    rows: int
    latent_width: int = 512
    input_size: tuple[int, int] = (256, 256)
    trunk: TrunkConfig = field(default_factory=TrunkConfig.irse50)
    pool: Literal["average", "flatten"] = "average"
    backbone: Backbone = "irse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", tuple(self.input_size))
        check_numbers("W encoder", self.rows, self.latent_width, self.input_size)


class WEncoder(nn.Module):
    """Maps a crop to one W code, the same for every layer (HyperStyle, Section 3.1: e4e trained into W).

    Attributes:
        config: the numbers it was built from.
        latent_avg: [L,D] mean code, added to what the trunk predicts.

    Example:
        >>> trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2)
        >>> encoder = WEncoder(WEncoderConfig(rows=6, latent_width=16, input_size=(16, 16), trunk=trunk))
        >>> encoder(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 6, 16])
    """

    latent_avg: Tensor

    def __init__(self, config: WEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self._parts = add_trunk(self, config.backbone, 3, config.trunk)
        height, width = config.trunk.output_size(*config.input_size)
        positions = height * width if config.pool == "flatten" else 1
        self.linear = EqualLinear(config.trunk.widths[-1] * positions, config.latent_width)
        self.register_buffer("latent_avg", torch.zeros(config.rows, config.latent_width))

    def forward(self, x: Tensor) -> Tensor:
        """Crops [B,3,h,w] in [-1,1] -> codes [B,L,D], all rows but for `latent_avg` equal.

        Raises:
            ConfigError: the crop is not of `config.input_size`.
        """
        if tuple(x.shape[1:]) != (3, *self.config.input_size):
            raise ConfigError(
                f"W encoder given {tuple(x.shape)}: expected [B, 3, {', '.join(map(str, self.config.input_size))}]."
            )
        for name in self._parts:
            x = self.get_submodule(name)(x)
        pooled = x.mean((2, 3)) if self.config.pool == "average" else x.flatten(1)
        code: Tensor = self.linear(pooled)
        return code[:, None] + self.latent_avg  # [B,1,D] + [L,D]


def check_numbers(name: str, rows: int, latent_width: int, input_size: tuple[int, ...]) -> None:
    """Raises ConfigError unless an encoder, called `name` in the message, can be built with these numbers."""
    if rows < 1 or latent_width < 1 or len(input_size) != 2 or min(input_size) < 16:
        raise ConfigError(
            f"{name} with rows={rows}, latent_width={latent_width}, input_size={input_size}: expected positive numbers "
            "and an input of at least 16x16 px."
        )


class MapBlock(nn.Module):
    """Features [B,F,h,w] -> one vector [B,D], by convolutions that halve until one position is left (pSp, Section 3).

    Args:
        features: F.
        width: D.
        size: (h, w) of the features.
    """

    def __init__(self, features: int, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(max(1, (max(size) - 1).bit_length())):
            layers += [nn.Conv2d(width if i else features, width, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.convs(x).flatten(1))
        return out


def row_codes(outputs: Sequence[Tensor], *, progressive: bool) -> Tensor:
    """Predictions of the map blocks, [B,D] for each row -> [B,L,D]; `progressive` adds the first row to the others
    (e4e, Section 4.1)."""
    rows = torch.stack(list(outputs), 1)
    return torch.cat([rows[:, :1], rows[:, :1] + rows[:, 1:]], 1) if progressive else rows
