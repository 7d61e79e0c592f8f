"""The encoders into W+: pSp (Richardson et al., CVPR 2021), e4e (Tov et al., SIGGRAPH 2021) and ReStyle.

ReStyle (Alaluf et al., ICCV 2021) predicts a change of the latent codes from a crop and a reconstruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig, TrunkNetwork, strided_convs
from hyperstyle.networks.encoders.w_encoder import EncoderConfig, check_crop, check_pair
from hyperstyle.networks.stylegan2.ops import EqualLinear


def level_of(row: int) -> int:
    """The level of the pyramid that a style row is read from: 0 coarse (rows 0-2), 1 middle (3-6), 2 fine (7, ...)."""
    return (row >= 3) + (row >= 7)


@dataclass(frozen=True)
class WPlusEncoderConfig(EncoderConfig):
    """Numbers of an encoder with a map block for every style row, after those of `EncoderConfig`.

    Attributes:
        backbone: "irse" or "resnet".
        trunk: the numbers of that backbone.
        progressive: True adds rows 1, 2, ... to the first (e4e); False predicts every row separately (pSp).
    """

    backbone: Backbone = "irse"
    trunk: TrunkConfig = field(default_factory=TrunkConfig.irse50)
    progressive: bool = True


@dataclass(frozen=True)
class PyramidEncoderConfig(WPlusEncoderConfig):
    """Numbers of a pSp or e4e encoder, as of `WPlusEncoderConfig`; its trunk has three stages or more."""

    kind = "pSp or e4e encoder"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.trunk.widths) < 3:
            raise ConfigError(f"pSp or e4e encoder on a trunk with widths {self.trunk.widths}: expected three stages.")

    @property
    def method(self) -> Literal["e4e", "psp"]:
        """The name of the inversion method that it makes possible."""
        return "e4e" if self.progressive else "psp"

    @property
    def map_sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the maps of the pyramid, coarse to fine."""
        return tuple(self.trunk.stage_sizes(*self.input_size)[:-4:-1])


class FeaturePyramid(TrunkNetwork):
    """A trunk and two lateral convolutions, which add the last stage's features to those of the two stages before it.

    Args:
        backbone, trunk: kind and numbers of the trunk; three stages or more.
    """

    def __init__(self, backbone: Backbone, trunk: TrunkConfig) -> None:
        super().__init__(backbone, 3, trunk)
        fine, middle, coarse = trunk.widths[-3:]
        self.latlayer1 = nn.Conv2d(middle, coarse, 1)
        self.latlayer2 = nn.Conv2d(fine, coarse, 1)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B,3,h,w] -> features, coarse to fine, each with as many channels as the last stage."""
        fine, middle, coarse = self.stage_features(x)[-3:]
        between = _enlarged_and_added(coarse, self.latlayer1(middle))
        return coarse, between, _enlarged_and_added(between, self.latlayer2(fine))


def _enlarged_and_added(small: Tensor, large: Tensor) -> Tensor:
    return F.interpolate(small, size=large.shape[2:], mode="bilinear", align_corners=True) + large


class MapBlock(nn.Module):
    """Features [B,F,h,w] -> one vector [B,D], by convolutions that halve until one position is left (pSp, Section 3).

    Args:
        features: F.
        width: D.
        size: (h, w) of the features.
    """

    def __init__(self, features: int, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.convs = strided_convs(features, *[width] * max(1, (max(size) - 1).bit_length()))
        self.linear = EqualLinear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


def row_codes(outputs: Sequence[Tensor], *, progressive: bool) -> Tensor:
    """Predictions of the map blocks, [B,D] for each row -> [B,L,D]; `progressive` adds the first row to the others
    (e4e, Section 4.1)."""
    rows = torch.stack(list(outputs), 1)
    return torch.cat([rows[:, :1], rows[:, :1] + rows[:, 1:]], 1) if progressive else rows


class PyramidEncoder(FeaturePyramid):
    """Maps a crop to a code for every style row, from features of three sizes.

    Tensor names are those of the published files below `encoder.`.

    Attributes:
        config: the numbers it was built from.
        latent_avg: [L,D] mean code, added to what the map blocks predict.

    Example:
        >>> trunk = TrunkConfig((4, 8, 16), (1, 1, 1), stem_kernel=3, stem_stride=1, first_stride=2)
        >>> config = PyramidEncoderConfig(rows=6, latent_width=16, input_size=(16, 16), trunk=trunk)
        >>> PyramidEncoder(config)(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 6, 16])
    """

    latent_avg: Tensor

    def __init__(self, config: PyramidEncoderConfig) -> None:
        super().__init__(config.backbone, config.trunk)
        self.config = config
        features, width = config.trunk.widths[-1], config.latent_width
        self.styles = nn.ModuleList(
            MapBlock(features, width, config.map_sizes[level_of(row)]) for row in range(config.rows)
        )
        self.register_buffer("latent_avg", torch.zeros(config.rows, width))

    def forward(self, x: Tensor) -> Tensor:
        """Crops [B,3,h,w] in [-1,1] -> codes [B,L,D]. Raises as `predict` does."""
        return self.predict(x) + self.latent_avg

    def predict(self, x: Tensor) -> Tensor:
        """Crops [B,3,h,w] in [-1,1] -> codes [B,L,D] without the mean code.

        Raises:
            ConfigError: the crop is not of `config.input_size`.
        """
        check_crop(f"{self.config.method} encoder", x, self.config.input_size)
        maps = self.maps(x)  # three of [B,F,h',w'], coarse to fine
        outputs = [block(maps[level_of(row)]) for row, block in enumerate(self.styles)]
        return row_codes(outputs, progressive=self.config.progressive)


@dataclass(frozen=True)
class RestyleEncoderConfig(WPlusEncoderConfig):
    """Numbers of a ReStyle encoder; published ones have the backbone "irse" (faces) or "resnet" (other domains)."""

    kind = "ReStyle encoder"

    @property
    def method(self) -> Literal["restyle-e4e", "restyle-psp"]:
        """The name of the inversion method that it makes possible."""
        return "restyle-e4e" if self.progressive else "restyle-psp"


class RestyleEncoder(TrunkNetwork):
    """Predicts the change of the latent codes from a crop and the reconstruction so far.

    Tensor names are those of the published files below `encoder.`.

    Attributes:
        config: the numbers it was built from.
        latent_avg: [L,D] codes that the first step starts from; `forward` does not add them.

    Example:
        >>> trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2)
        >>> encoder = RestyleEncoder(RestyleEncoderConfig(rows=6, latent_width=16, input_size=(16, 16), trunk=trunk))
        >>> encoder(torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 6, 16])
    """

    latent_avg: Tensor

    def __init__(self, config: RestyleEncoderConfig) -> None:
        super().__init__(config.backbone, 6, config.trunk)
        self.config = config
        size = config.trunk.output_size(*config.input_size)
        self.styles = nn.ModuleList(
            MapBlock(config.trunk.widths[-1], config.latent_width, size) for _ in range(config.rows)
        )
        self.register_buffer("latent_avg", torch.zeros(config.rows, config.latent_width))

    def forward(self, crop: Tensor, reconstruction: Tensor) -> Tensor:
        """One step: [B,3,h,w] and [B,3,h,w] in [-1,1] -> the change of the codes [B,L,D].

        Raises:
            ConfigError: a size other than `config.input_size`.
        """
        check_pair("ReStyle encoder", crop, reconstruction, self.config.input_size)
        x = self.trunk_features(torch.cat([crop, reconstruction], 1))
        return row_codes([block(x) for block in self.styles], progressive=self.config.progressive)
