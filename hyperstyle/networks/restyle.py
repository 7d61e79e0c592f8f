"""The ReStyle encoder (Alaluf et al., ICCV 2021): a crop and a reconstruction -> how the latent codes should change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.backbones import IRSETrunk, ResNetTrunk, TrunkConfig
from hyperstyle.networks.ops import EqualLinear

__all__ = ["RestyleEncoder", "RestyleEncoderConfig"]


@dataclass(frozen=True)
class RestyleEncoderConfig:
    """Numbers of a ReStyle encoder.

    Attributes:
        rows: L, style rows of the generator it serves.
        latent_width: D.
        input_size: (height, width) of crop and reconstruction in pixels.
        backbone: "irse" (faces) or "resnet" (the other published domains).
        trunk: the numbers of that backbone.
        progressive: True adds rows 1, 2, ... to the first (e4e); False predicts every row by itself (pSp).
    """

    rows: int
    latent_width: int = 512
    input_size: tuple[int, int] = (256, 256)
    backbone: Literal["irse", "resnet"] = "irse"
    trunk: TrunkConfig = field(default_factory=TrunkConfig.irse50)
    progressive: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", tuple(self.input_size))
        if self.rows < 1 or self.latent_width < 1 or len(self.input_size) != 2 or min(self.input_size) < 16:
            raise ConfigError(
                f"ReStyle encoder with rows={self.rows}, latent_width={self.latent_width}, "
                f"input_size={self.input_size}: expected positive numbers and an input of at least 16x16 px."
            )

    @property
    def method(self) -> Literal["restyle-e4e", "restyle-psp"]:
        """The name of the inversion method that it makes possible."""
        return "restyle-e4e" if self.progressive else "restyle-psp"


class _MapBlock(nn.Module):
    """Features [B,F,h,w] -> one vector [B,D], through convolutions that halve until one position is left."""

    def __init__(self, features: int, width: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(halvings):
            layers += [nn.Conv2d(width if i else features, width, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.convs(x).flatten(1))
        return out


class RestyleEncoder(nn.Module):
    """Predicts the change of the latent codes from a crop and the reconstruction so far.

    Tensor names are those of the published files below `encoder.`.

    Attributes:
        config: the numbers it was built from.
        latent_avg: [L,D] codes that the first pass starts from; `forward` does not add them.

    Example:
        >>> trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2)
        >>> encoder = RestyleEncoder(RestyleEncoderConfig(rows=6, latent_width=16, input_size=(16, 16), trunk=trunk))
        >>> encoder(torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 6, 16])
    """

    latent_avg: Tensor

    def __init__(self, config: RestyleEncoderConfig) -> None:
        super().__init__()
        self.config = config
        trunk = (IRSETrunk if config.backbone == "irse" else ResNetTrunk)(6, config.trunk)
        parts = dict(trunk.named_children())  # in the order in which they are applied
        for name, part in parts.items():
            self.add_module(name, part)
        self._parts = tuple(parts)
        longest = max(config.trunk.output_size(*config.input_size))
        halvings = max(1, (longest - 1).bit_length())
        self.styles = nn.ModuleList(
            _MapBlock(config.trunk.widths[-1], config.latent_width, halvings) for _ in range(config.rows)
        )
        self.register_buffer("latent_avg", torch.zeros(config.rows, config.latent_width))

    def forward(self, crop: Tensor, reconstruction: Tensor) -> Tensor:
        """One pass: [B,3,h,w] and [B,3,h,w] in [-1,1] -> the change of the codes [B,L,D].

        Raises:
            ConfigError: a size other than `config.input_size`.
        """
        if crop.shape != reconstruction.shape or tuple(crop.shape[1:]) != (3, *self.config.input_size):
            raise ConfigError(
                f"ReStyle encoder given crop {tuple(crop.shape)} and reconstruction {tuple(reconstruction.shape)}: "
                f"expected both [B, 3, {', '.join(map(str, self.config.input_size))}]."
            )
        x = torch.cat([crop, reconstruction], 1)
        for name in self._parts:
            x = self.get_submodule(name)(x)
        rows = torch.stack([block(x) for block in self.styles], 1)  # [B,L,D]
        if self.config.progressive:
            rows = torch.cat([rows[:, :1], rows[:, :1] + rows[:, 1:]], 1)
        return rows
