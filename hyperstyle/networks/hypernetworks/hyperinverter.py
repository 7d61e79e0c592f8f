"""HyperInverter (Dinh et al., CVPR 2022): (crop, its W reconstruction) -> residuals of the generator's weights."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig, strided_convs
from hyperstyle.networks.encoders.pyramid import FeaturePyramid, level_of
from hyperstyle.networks.hypernetworks.codes import Expander, OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import tuned_layers
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, LayerSpec, layer_table
from hyperstyle.networks.stylegan2.ops import normal


def appearance_row(spec: LayerSpec) -> int:
    """The row of appearance features that a layer is predicted from, which is not always its row of w.

    At 4 px these are 0 and 1 in both; then 2, 3, 3; 4, 5, 5; ... here, and 1, 2, 3; 3, 4, 5; ... in w.
    """
    # Above 4 px a convolution is one row further than in w, and toRGB layers are not.
    return spec.row if spec.torgb or spec.resolution == 4 else spec.row + 1


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """[B,3,H,W] -> [B,3,*size], bilinear and without antialiasing, as in the training of the published networks."""
    if tuple(image.shape[2:]) == size:
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class HyperInverterConfig:
    """Numbers of a HyperInverter.

    Attributes:
        generator: the generator whose weights it changes.
        layers: names of the layers it changes, in the official order.
        input_size: (height, width) in pixels to which images are resized.
        backbone: of the appearance encoder: "irse" (faces) or "resnet" (the other published domains).
        trunk: the numbers of that backbone; three stages or more.
        hidden: D, width of the code of each layer.
        channels: of the convolutions that read the features of a layer.
    """

    generator: GeneratorConfig
    layers: tuple[str, ...]
    input_size: tuple[int, int] = (256, 256)
    backbone: Backbone = "irse"
    trunk: TrunkConfig = field(default_factory=TrunkConfig.irse50)
    hidden: int = 128
    channels: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", tuple(self.input_size))
        object.__setattr__(self, "layers", tuned_layers(self.generator, self.layers))
        if self.hidden < 1 or self.channels < 1 or len(self.trunk.widths) < 3:
            raise ConfigError(
                f"HyperInverter with hidden={self.hidden}, channels={self.channels}, trunk widths {self.trunk.widths}: "
                "expected positive numbers and three stages or more."
            )
        is_size = len(self.input_size) == 2 and all(1 <= side <= 4096 for side in self.input_size)
        if not is_size or (side := self.map_side) < 2 or side & (side - 1):
            raise ConfigError(
                f"HyperInverter input size {self.input_size}: expected a square whose features, half the size of the "
                "trunk's last stage, are 2, 4, 8, ... positions wide (256 px as published)."
            )

    @classmethod
    def official(cls, size: int, *, backbone: Backbone = "irse", hidden: int = 128) -> HyperInverterConfig:
        """The published configuration for a generator of `size` px: every convolution is changed, toRGB included."""
        generator = GeneratorConfig.official(size)
        trunk = TrunkConfig.irse50() if backbone == "irse" else TrunkConfig.resnet34()
        layers = tuple(spec.name for spec in layer_table(generator))
        return cls(generator, layers, backbone=backbone, trunk=trunk, hidden=hidden)

    @property
    def map_side(self) -> int:
        """Positions along a side of the appearance features; 0 where they are not square."""
        height, width = self.trunk.output_size(*self.input_size)
        return (height + 1) // 2 if height == width else 0


class AppearanceEncoder(FeaturePyramid):
    """Appearance features of an image, a map for every style row (Section 3.2): pSp's trunk and feature pyramid,
    whose maps are halved to one size instead of being turned into codes.

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
        super().__init__(backbone, trunk)
        # Coarse, middle, fine maps are 1, 2, 4 times as wide as the last stage: 1, 2, 3 halvings make them the same.
        width = trunk.widths[-1]
        convs = (strided_convs(*[width] * (2 + level_of(row))) for row in range(rows))
        self.styles = nn.ModuleList(nn.Sequential(OrderedDict(convs=layers)) for layers in convs)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B,3,h,w] in [-1,1] -> features [B,L,F,s,t]: of half the size of the trunk's last stage."""
        maps = self.maps(x)  # three of [B,F,h',w'], coarse to fine
        # A map [B,F,s,t] for each row -> [B,L,F,s,t].
        return torch.stack([block(maps[level_of(row)]) for row, block in enumerate(self.styles)], 1)


class _Regressor(nn.Module):
    """Appearance features of both images -> the code f of one layer -> the residual of its weight.

    The residual is affine in f: A = f @ w1 + b1, viewed as [I,D]; A @ w2 + b2, viewed as [O,I,k,k]. The second view
    takes the I x (O * k * k) values in their order and transposes nothing.
    """

    def __init__(self, spec: LayerSpec, config: HyperInverterConfig) -> None:
        super().__init__()
        self.spec = spec
        features, inner, hidden = config.trunk.widths[-1], config.channels, config.hidden
        rows, values = spec.channels_in * hidden, spec.channels_out * spec.kernel**2
        self.fusion = nn.Sequential(nn.Conv2d(2 * features, features, 1), nn.InstanceNorm2d(features), nn.ReLU())
        # A convolution with stride 2 for each halving of the map to a single position.
        widths = [*[inner] * (config.map_side.bit_length() - 1), hidden]
        layers: list[nn.Module] = [nn.Conv2d(features, inner, 3, 1, 1), nn.ReLU()]
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
        self.feature_extractor = nn.Sequential(*layers)
        # He initialization by the number of outputs.
        self.w1 = nn.Parameter(normal(hidden, rows, scale=math.sqrt(2 / rows)))
        self.b1 = nn.Parameter(torch.zeros(rows))
        self.w2 = nn.Parameter(normal(hidden, values, scale=math.sqrt(2 / values)))
        self.b2 = nn.Parameter(torch.zeros(values))

    def code(self, fused: Tensor) -> Tensor:
        """[B,2F,s,s] -> f [B,D]."""
        return self.feature_extractor(self.fusion(fused)).flatten(1)

    def expand(self, code: Tensor, count: Tensor) -> Tensor:
        """Sum [B,D] of `count` [B] codes -> the sum of their residuals [B,O,I,k,k]; both biases count once for each."""
        spec = self.spec
        # Both maps are affine: the residuals of T codes are summed by mapping the codes' sum, with T times each bias.
        rows = code @ self.w1 + count[:, None] * self.b1  # [B,D] @ [D,I*D] -> [B,I*D]
        rows = rows.view(-1, spec.channels_in, code.shape[1])  # [B,I,D]
        residual = rows @ self.w2 + count[:, None, None] * self.b2  # [B,I,O*k*k]
        # The published view: [B,I,O*k*k] is read as [B,O,I,k,k] in the order of memory, not transposed.
        return residual.reshape(-1, spec.channels_out, spec.channels_in, spec.kernel, spec.kernel)


class HyperInverter(nn.Module, Expander):
    """Predicts, from a crop and its reconstruction G(w), a code for each layer, which stands for a weight residual.

    Tensor names are those of the published files, without `hypernet.`.

    Attributes:
        config: the numbers it was built from.
        layers: the layers it changes, in the official order.

    Example:
        >>> generator = GeneratorConfig(16, (8, 8, 8), latent_width=16, mapping_layers=2)
        >>> trunk = TrunkConfig((4, 8, 16), (1, 1, 1), stem_kernel=3, stem_stride=1, first_stride=2)
        >>> config = HyperInverterConfig(generator, ("b8.conv0",), (32, 32), trunk=trunk, hidden=4, channels=8)
        >>> network = HyperInverter(config)
        >>> codes = network(torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 16, 16))
        >>> network.offsets(codes)["b8.conv0"].shape
        torch.Size([2, 8, 8, 3, 3])
    """

    kind = "HyperInverter"

    def __init__(self, config: HyperInverterConfig) -> None:
        super().__init__()
        self.config, self.code_width = config, config.hidden
        self.layers = tuple(s for s in layer_table(config.generator) if s.name in config.layers)
        self.weight_regressors = nn.ModuleDict({_key(s): _Regressor(s, config) for s in self.layers})
        self.w_bar_encoder = AppearanceEncoder(config.generator.rows, config.backbone, config.trunk)

    def forward(self, crop: Tensor, reconstruction: Tensor) -> OffsetCodes:
        """[B,3,h,w] and [B,3,h',w'] in [-1,1], the second without residuals -> the codes.

        Both are brought to `config.input_size` by `resized`, so they may be of any square size: published networks were
        trained on images of the generator's size.

        Raises:
            ConfigError: images of another shape.
        """
        height, width = self.config.input_size
        for x in (crop, reconstruction):
            if x.ndim != 4 or len(x) != len(crop) or x.shape[1] != 3 or x.shape[2] * width != x.shape[3] * height:
                raise ConfigError(
                    f"HyperInverter given images {tuple(crop.shape)} and {tuple(reconstruction.shape)}: expected "
                    "both square and as many of each, [B, 3, h, h]."
                )
        # Section 3.2: features of both images, the reconstruction's first, [B,L,F,s,s] twice -> [B,L,2F,s,s].
        fused = torch.cat([self.appearance(reconstruction), self.appearance(crop)], 2)
        # Each layer reads the features of one row, [B,2F,s,s].
        sums = {s.name: self._regressor(s).code(fused[:, appearance_row(s)]) for s in self.layers}
        return OffsetCodes(sums, {}, crop.new_ones(len(crop), 1))

    def appearance(self, image: Tensor) -> Tensor:
        """[B,3,h,w] -> the features [B,L,F,s,s] that are compared."""
        return self.w_bar_encoder(resized(image, self.config.input_size))

    def expand(self, spec: LayerSpec, codes: OffsetCodes) -> Tensor:
        # added to the raw weight, before style and demodulation
        return self._regressor(spec).expand(codes.sums[spec.name], codes.count)

    def _regressor(self, spec: LayerSpec) -> _Regressor:
        return cast(_Regressor, self.weight_regressors[_key(spec)])


def _key(spec: LayerSpec) -> str:
    """The name that published files have for the weight of a layer."""
    return spec.name.replace(".", "_") + "_weight"
