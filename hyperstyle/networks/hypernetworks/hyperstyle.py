"""The hypernetwork: (crop, current reconstruction) -> offset codes -> relative weight offsets (Section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import TrunkConfig, TrunkNetwork
from hyperstyle.networks.encoders.w_encoder import check_pair
from hyperstyle.networks.hypernetworks import heads
from hyperstyle.networks.hypernetworks.codes import Expander, OffsetCodes
from hyperstyle.networks.hypernetworks.heads import Head, SharedExpander
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, LayerSpec, layer_table


@dataclass(frozen=True)
class HypernetworkConfig:
    """Numbers of a hypernetwork.

    Attributes:
        generator: the generator whose weights it changes.
        layers: names of the layers it changes, in the official order.
        input_size: (height, width) of crop and reconstruction in pixels.
        trunk: its ResNet trunk.
        heads: "shared", the published form (square 3x3 layers of the width of the code share one large expander, the
            others get a plain head); "plain" (no sharing); "separable" (shared, the others through a product of two
            small kernels; not affine); "compact" (for small generators: one convolution, positions kept, a short code).
        code_width: width of the offset code of each layer.
        per_tap: plain heads predict each kernel tap separately instead of one value per (out, in) pair (Table 1).
        residual_input: feed 3 * (crop - reconstruction) in place of the reconstruction.
    """

    generator: GeneratorConfig
    layers: tuple[str, ...]
    input_size: tuple[int, int] = (256, 256)
    trunk: TrunkConfig = field(default_factory=TrunkConfig.resnet34)
    heads: Literal["shared", "plain", "separable", "compact"] = "shared"
    code_width: int = 512
    per_tap: bool = False
    residual_input: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", tuple(self.input_size))
        object.__setattr__(self, "layers", tuned_layers(self.generator, self.layers))
        if len(self.input_size) != 2 or not all(16 <= side <= 4096 for side in self.input_size):
            raise ConfigError(f"hypernetwork input size {self.input_size}: expected (height, width), 16 to 4096 px.")
        if self.code_width < 1:
            raise ConfigError(f"code_width={self.code_width} of a hypernetwork: expected a positive number.")

    @classmethod
    def official(cls, size: int, *, layers: Iterable[str | int] | None = None, **options: Any) -> HypernetworkConfig:
        """The published configuration for a generator of `size` px: every convolution but toRGB is changed.

        Other published variants have other `layers` (names or official indexes) or `options`, fields of this class.
        """
        generator = GeneratorConfig.official(size)
        return cls(generator, tuned_layers(generator, layers), **options)


def tuned_layers(generator: GeneratorConfig, layers: Iterable[str | int] | None = None) -> tuple[str, ...]:
    """Layer names in the official order from names or official indexes; None means every layer but toRGB.

    Raises:
        ConfigError: a layer that the generator does not have, or none at all.
    """
    table = layer_table(generator)
    if layers is None:
        return tuple(s.name for s in table if not s.torgb)
    chosen = list(layers)
    known = {s.name for s in table} | {s.index for s in table}
    if unknown := [layer for layer in chosen if layer not in known]:
        raise ConfigError(f"no layer {unknown[0]!r} in a generator of {generator.size} px ({len(table)} layers).")
    names = tuple(s.name for s in table if s.name in chosen or s.index in chosen)
    if not names:
        raise ConfigError("a hypernetwork needs at least one layer to change.")
    return names


class Hypernetwork(TrunkNetwork, Expander):
    """Predicts, from the crop and the current reconstruction, an offset code for each tuned layer.

    Attributes:
        config: the numbers it was built from.
        layers: the tuned layers, in the official order.
    """

    kind = "hypernetwork"

    def __init__(self, config: HypernetworkConfig) -> None:
        super().__init__("resnet", 6, config.trunk)
        self.config, self.code_width = config, config.code_width
        self.layers = tuple(s for s in layer_table(config.generator) if s.name in config.layers)
        self.shared_weight_hypernet: SharedExpander | None = None
        if any(self._shares(s) for s in self.layers):
            self.shared_weight_hypernet = SharedExpander(config.code_width)
        self.refinement_blocks = nn.ModuleDict({str(s.index): self._head(s) for s in self.layers})

    def _shares(self, spec: LayerSpec) -> bool:
        # Section 3.3: the layers of 512 x 512 channels, which have most of the weights.
        square = spec.channels_in == spec.channels_out == self.config.code_width and spec.kernel == 3
        return square and self.config.heads in ("shared", "separable")

    def _head(self, spec: LayerSpec) -> Head:
        config = self.config
        features, size = config.trunk.widths[-1], config.trunk.output_size(*config.input_size)
        if self._shares(spec):
            return heads.SharedHead(spec, features, size, config.code_width)
        if config.heads == "compact":
            return heads.CompactHead(spec, features, size, config.code_width)
        if config.heads == "separable" and not spec.torgb:
            return heads.SeparableHead(spec, features, size, config.code_width)
        return heads.PlainHead(spec, features, size, config.code_width, per_tap=config.per_tap)

    def forward(self, crop: Tensor, reconstruction: Tensor) -> OffsetCodes:
        """One step (Eq. 4): crop and reconstruction [B,3,h,w] in [-1,1] -> the offset codes of this step.

        Raises:
            ConfigError: a size other than `config.input_size`.
        """
        check_pair("hypernetwork", crop, reconstruction, self.config.input_size)
        # Channels 0 to 2 are the crop's, 3 to 5 the reconstruction's or the difference's.
        second = 3.0 * (crop - reconstruction) if self.config.residual_input else reconstruction
        features = self.trunk_features(torch.cat([crop, second], 1))  # [B,F,h',w']
        codes = {spec: self.head(spec).code(features) for spec in self.layers}  # [B,C] each
        sums = {spec.name: code for spec, code in codes.items() if self.head(spec).affine}
        # The codes of a step by itself, [B,1,C].
        terms = {spec.name: code[:, None] for spec, code in codes.items() if not self.head(spec).affine}
        # One step of weight 1.
        return OffsetCodes(sums, terms, features.new_ones(len(features), 1))

    def is_affine(self, spec: LayerSpec) -> bool:
        return self.head(spec).affine

    def expand(self, spec: LayerSpec, codes: OffsetCodes) -> Tensor:
        head, shared = self.head(spec), self.shared_weight_hypernet
        if spec.name in codes.sums:
            # Eq. 6: the sum of the codes, and how many they are, give the sum of the offsets.
            return head.expand(codes.sums[spec.name], codes.count, shared)
        # Not affine: each step's offset by itself, times its weight [B,1,1,1,1], and their sum over the steps.
        once = codes.weights.new_ones(len(codes))
        steps = [  # from terms [B,K,C] and weights [B,K]
            weight[:, None, None, None, None] * head.expand(code, once, shared)
            for weight, code in zip(codes.weights.unbind(1), codes.terms[spec.name].unbind(1), strict=True)
        ]
        return torch.stack(steps).sum(0)

    def head(self, spec: LayerSpec) -> Head:
        """The head of a tuned layer."""
        return cast(Head, self.refinement_blocks[str(spec.index)])

    def parameter_count(self) -> int:
        """Number of trainable values, the shared expander counted once (paper, Table 1)."""
        return sum(p.numel() for p in self.parameters())
