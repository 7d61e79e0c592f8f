"""Encoders: a crop -> a latent code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.backbones import IRSETrunk, TrunkConfig
from hyperstyle.networks.ops import EqualLinear

__all__ = ["WEncoder", "WEncoderConfig"]


@dataclass(frozen=True)
class WEncoderConfig:
    """Numbers of a W encoder.

    Attributes:
        rows: L, style rows of the generator it serves.
        latent_width: D.
        input_size: (height, width) of the crop in pixels.
        trunk: its IR-SE trunk.
        pool: "average" over all positions, as published, or "flatten" (keeps positions; for small inputs).
    """

    rows: int
    latent_width: int = 512
    input_size: tuple[int, int] = (256, 256)
    trunk: TrunkConfig = field(default_factory=TrunkConfig.irse50)
    pool: Literal["average", "flatten"] = "average"

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", tuple(self.input_size))
        if self.rows < 1 or self.latent_width < 1 or len(self.input_size) != 2 or min(self.input_size) < 16:
            raise ConfigError(
                f"W encoder with rows={self.rows}, latent_width={self.latent_width}, input_size={self.input_size}: "
                "expected positive numbers and an input of at least 16x16 px."
            )


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
        trunk = IRSETrunk(3, config.trunk)
        self.input_layer, self.body = trunk.input_layer, trunk.body
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
        features = self.body(self.input_layer(x))
        pooled = features.mean((2, 3)) if self.config.pool == "average" else features.flatten(1)
        code: Tensor = self.linear(pooled)
        return code[:, None] + self.latent_avg  # [B,1,D] + [L,D]
