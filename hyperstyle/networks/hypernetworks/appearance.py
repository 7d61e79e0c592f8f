"""Appearance features of an image, a map for every style row (HyperInverter, Section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig
from hyperstyle.networks.encoders.pyramid import FeaturePyramid, level_of

__all__ = ["AppearanceEncoder"]


class _Halving(nn.Module):
    """Convolutions that halve a map a number of times, each followed by leaky ReLU 0.01."""

    def __init__(self, features: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(halvings):
            layers += [nn.Conv2d(features, features, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.convs(x)
        return out


class AppearanceEncoder(FeaturePyramid):
    """pSp's trunk and feature pyramid, whose maps are halved to one size instead of being turned into codes.

    Tensor names are those of the published files below `w_bar_encoder.`.

    Args:
        rows: L, style rows of the generator.
        backbone, trunk: kind and numbers of the trunk; three stages or more.

    Example:
        >>> trunk = TrunkConfig((4, 8, 16), (1, 1, 1), stem_kernel=3, stem_stride=1, first_stride=2)
        >>> AppearanceEncoder(6, "irse", trunk)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 6, 16, 2, 2])
    """

    def __init__(self, rows: int, backbone: Backbone, trunk: TrunkConfig) -> None:
        super().__init__(3, backbone, trunk)
        self.styles = nn.ModuleList(_Halving(trunk.widths[-1], 1 + level_of(row)) for row in range(rows))

    def forward(self, x: Tensor) -> Tensor:
        """Images [B,3,h,w] in [-1,1] -> features [B,L,F,s,t]: of half the size of the trunk's last stage."""
        maps = self.maps(x)
        return torch.stack([block(maps[level_of(row)]) for row, block in enumerate(self.styles)], 1)
