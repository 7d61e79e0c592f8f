"""The encoders into W+: pSp (Richardson et al., CVPR 2021) and e4e (Tov et al., SIGGRAPH 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig, add_trunk
from hyperstyle.networks.encoders.w_encoder import MapBlock, check_numbers, row_codes

__all__ = ["FeaturePyramid", "PyramidEncoder", "PyramidEncoderConfig", "level_of"]


def level_of(row: int) -> int:
    """The level of the pyramid that a style row is read from: 0 coarse (rows 0-2), 1 middle (3-6), 2 fine (7, ...)."""
    return (row >= 3) + (row >= 7)


@dataclass(frozen=True)
class PyramidEncoderConfig:
    """Numbers of a pSp or e4e encoder.

    Attributes:
        rows: L, style rows of the generator it serves.
        latent_width: D.
        input_size: (height, width) of the crop in pixels.
        backbone: "irse" as published, or "resnet".
        trunk: the numbers of that backbone; three stages or more.
        progressive: True adds rows 1, 2, ... to the first (e4e); False predicts every row separately (pSp).
    """

    rows: int
    latent_width: int = 512
    input_size: tuple[int, int] = (256, 256)
    backbone: Backbone = "irse"
    trunk: TrunkConfig = field(default_factory=TrunkConfig.irse50)
    progressive: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", tuple(self.input_size))
        check_numbers("pSp or e4e encoder", self.rows, self.latent_width, self.input_size)
        if len(self.trunk.widths) < 3:
            raise ConfigError(f"pSp or e4e encoder on a trunk with widths {self.trunk.widths}: expected three stages.")

    @property
    def method(self) -> Literal["e4e", "psp"]:
        """The name of the inversion method that it makes possible."""
        return "e4e" if self.progressive else "psp"

    @property
    def map_sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the maps of the pyramid, coarse to fine."""
        stages = len(self.trunk.widths)
        trunks = (
            replace(self.trunk, widths=self.trunk.widths[:n], blocks=self.trunk.blocks[:n])
            for n in (stages, stages - 1, stages - 2)
        )
        return tuple(trunk.output_size(*self.input_size) for trunk in trunks)


class FeaturePyramid(nn.Module):
    """A trunk and two lateral convolutions, which add the last stage's features to those of the two stages before it.

    Args:
        channels: of the images.
        backbone, trunk: kind and numbers of the trunk; three stages or more.
    """

    body: nn.Sequential

    def __init__(self, channels: int, backbone: Backbone, trunk: TrunkConfig) -> None:
        super().__init__()
        self._stem = add_trunk(self, backbone, channels, trunk)[:-1]
        self._taps = tuple(end - 1 for end in list(accumulate(trunk.blocks))[-3:])
        fine, middle, coarse = trunk.widths[-3:]
        self.latlayer1 = nn.Conv2d(middle, coarse, 1)
        self.latlayer2 = nn.Conv2d(fine, coarse, 1)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B,channels,h,w] -> features, coarse to fine, each with as many channels as the last stage."""
        for name in self._stem:
            x = self.get_submodule(name)(x)
        tapped: list[Tensor] = []
        for index, block in enumerate(self.body):
            x = block(x)
            if index in self._taps:
                tapped.append(x)
        fine, middle, coarse = tapped
        between = _enlarged_and_added(coarse, self.latlayer1(middle))
        return coarse, between, _enlarged_and_added(between, self.latlayer2(fine))


def _enlarged_and_added(small: Tensor, large: Tensor) -> Tensor:
    return F.interpolate(small, size=large.shape[2:], mode="bilinear", align_corners=True) + large


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
        super().__init__(3, config.backbone, config.trunk)
        self.config = config
        features, width = config.trunk.widths[-1], config.latent_width
        self.styles = nn.ModuleList(
            MapBlock(features, width, config.map_sizes[level_of(row)]) for row in range(config.rows)
        )
        self.register_buffer("latent_avg", torch.zeros(config.rows, width))

    def forward(self, x: Tensor) -> Tensor:
        """Crops [B,3,h,w] in [-1,1] -> codes [B,L,D].

        Raises:
            ConfigError: the crop is not of `config.input_size`.
        """
        if tuple(x.shape[1:]) != (3, *self.config.input_size):
            raise ConfigError(
                f"{self.config.method} encoder given {tuple(x.shape)}: expected "
                f"[B, 3, {', '.join(map(str, self.config.input_size))}]."
            )
        maps = self.maps(x)
        outputs = [block(maps[level_of(row)]) for row, block in enumerate(self.styles)]
        return row_codes(outputs, progressive=self.config.progressive) + self.latent_avg
