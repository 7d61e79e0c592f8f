"""Feature maps that a generator takes in place of its own, or adds to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks.stylegan2.config import LayerSpec


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """What the next convolution reads instead of a layer's output x: blend[:, 0] * x + blend[:, 1] * maps.

    Only that convolution: the toRGB of the same resolution reads x (StyleFeatureEditor). So the colors up to this
    resolution are made of the styles alone, and all above of the result.

    Attributes:
        layer: `b64.conv1`, the last convolution of a resolution below the generator's size.
        maps: [B,C,r,r], with the channels and the resolution of that layer's output.
        blend: [B,2]: (0, 1) puts the maps in place of the generator's own, (1, 1) adds them, (1, 0) changes nothing.
    """

    layer: str
    maps: Tensor
    blend: Tensor

    def blended(self, x: Tensor) -> Tensor:
        """The layer's output [B,C,r,r] -> what the next convolution reads, in the type and layout of x."""
        first, second = self.blend.to(x)[:, :, None, None, None].unbind(1)  # [B,1,1,1] each
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return (first * x + second * self.maps.to(x)).contiguous(memory_format=layout)

    def select(self, i: int) -> FeatureMaps:
        """Those of one image, [1,C,r,r]."""
        return FeatureMaps(self.layer, self.maps[i : i + 1], self.blend[i : i + 1])

    def check(self, layers: Sequence[LayerSpec], batch: int) -> None:
        """Raises ConfigError unless a generator of these layers can take them for a batch of this size."""
        spec = feature_layer(layers, self.layer)
        expected = (batch, spec.channels_out, spec.resolution, spec.resolution), (batch, 2)
        if (shapes := (tuple(self.maps.shape), tuple(self.blend.shape))) != expected:
            raise ConfigError(
                f"features of {self.layer} with maps {shapes[0]} and blend {shapes[1]}: expected {expected[0]} and "
                f"{expected[1]}."
            )


def feature_layer(layers: Sequence[LayerSpec], name: str) -> LayerSpec:
    """The layer of this name. Raises ConfigError unless its output is what a next resolution reads."""
    below = [spec for spec in layers if spec.resolution < layers[-1].resolution]
    fitting = {spec.name: spec for spec in below if spec.name == f"b{spec.resolution}.conv1"}
    if name not in fitting:
        raise ConfigError(f"features of layer {name!r}: expected one of {', '.join(fitting)}.")
    return fitting[name]
