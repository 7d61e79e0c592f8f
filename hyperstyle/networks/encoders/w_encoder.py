"""The W encoder, and the parts that encoders share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig, TrunkNetwork
from hyperstyle.networks.stylegan2.ops import EqualLinear


@dataclass(frozen=True)
class EncoderConfig:
    """Numbers that all encoders of a trunk have.

    Attributes:
        rows: L, style rows of the generator it serves, up to 64.
        latent_width: D.
        input_size: (height, width) of the crop in pixels, 16 to 4096 each.
        kind: what messages call the encoder.
    """

    rows: int
    latent_width: int = 512
    input_size: tuple[int, int] = (256, 256)

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", tuple(self.input_size))
        is_size = len(self.input_size) == 2 and all(16 <= side <= 4096 for side in self.input_size)
        if not 1 <= self.rows <= 64 or self.latent_width < 1 or not is_size:
            raise ConfigError(
                f"{self.kind} with rows={self.rows}, latent_width={self.latent_width}, input_size={self.input_size}: "
                "expected 1 to 64 rows, a positive width and an input of 16 to 4096 px a side."
            )


@dataclass(frozen=True)
class WEncoderConfig(EncoderConfig):
    """Numbers of a W encoder, after those of `EncoderConfig`.

    Attributes:
        trunk: the numbers of its trunk.
        pool: "average" over all positions, as published, or "flatten" (keeps positions; for small inputs).
        backbone: the kind of trunk, "irse" or "resnet" (HyperInverter's for other domains than faces).
    """

    kind = "W encoder"

    trunk: TrunkConfig = field(default_factory=TrunkConfig.irse50)
    pool: Literal["average", "flatten"] = "average"
    backbone: Backbone = "irse"


class WEncoder(TrunkNetwork):
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
        super().__init__(config.backbone, 3, config.trunk)
        self.config = config
        height, width = config.trunk.output_size(*config.input_size)
        positions = height * width if config.pool == "flatten" else 1
        self.linear = EqualLinear(config.trunk.widths[-1] * positions, config.latent_width)
        self.register_buffer("latent_avg", torch.zeros(config.rows, config.latent_width))

    def forward(self, x: Tensor) -> Tensor:
        """Crops [B,3,h,w] in [-1,1] -> codes [B,L,D], all rows but for `latent_avg` equal.

        Raises:
            ConfigError: the crop is not of `config.input_size`.
        """
        check_crop("W encoder", x, self.config.input_size)
        x = self.trunk_features(x)
        code = self.linear(x.mean((2, 3)) if self.config.pool == "average" else x.flatten(1))
        return code[:, None] + self.latent_avg  # [B,1,D] + [L,D]


def check_crop(name: str, crop: Tensor, input_size: tuple[int, int]) -> None:
    """Raises ConfigError, in which the network is called `name`, unless the crop is [B,3,*input_size]."""
    if tuple(crop.shape[1:]) != (3, *input_size):
        raise ConfigError(f"{name} given {tuple(crop.shape)}: expected [B, 3, {', '.join(map(str, input_size))}].")


def check_pair(name: str, crop: Tensor, reconstruction: Tensor, input_size: tuple[int, int]) -> None:
    """Raises ConfigError unless crop and reconstruction are both [B,3,*input_size]."""
    if crop.shape != reconstruction.shape or tuple(crop.shape[1:]) != (3, *input_size):
        raise ConfigError(
            f"{name} given crop {tuple(crop.shape)} and reconstruction {tuple(reconstruction.shape)}: expected both "
            f"[B, 3, {', '.join(map(str, input_size))}]."
        )
