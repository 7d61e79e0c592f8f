"""The hypernetwork: (crop, current reconstruction) -> offset codes -> relative weight offsets (Section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import ResNetTrunk, TrunkConfig
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.heads import (
    CompactHead,
    Head,
    PlainHead,
    SeparableHead,
    SharedExpander,
    SharedHead,
)
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, LayerSpec, layer_table

__all__ = ["Hypernetwork", "HypernetworkConfig", "tuned_layers"]


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
        if len(self.input_size) != 2 or min(self.input_size) < 16:
            raise ConfigError(f"hypernetwork input size {self.input_size}: expected (height, width), 16 px or more.")

    @classmethod
    def official(
        cls,
        size: int,
        *,
        layers: Iterable[str | int] | None = None,
        heads: Literal["shared", "plain", "separable"] = "shared",
        per_tap: bool = False,
        input_size: tuple[int, int] = (256, 256),
    ) -> HypernetworkConfig:
        """The published configuration for a generator of `size` px: every convolution but toRGB is changed."""
        generator = GeneratorConfig.official(size)
        names = tuned_layers(generator, layers)
        return cls(generator, names, heads=heads, per_tap=per_tap, input_size=input_size)


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


class Hypernetwork(nn.Module):
    """Predicts, from the crop and the current reconstruction, an offset code for each tuned layer.

    Attributes:
        config: the numbers it was built from.
        layers: the tuned layers, in the official order.
    """

    def __init__(self, config: HypernetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.layers: tuple[LayerSpec, ...] = tuple(s for s in layer_table(config.generator) if s.name in config.layers)
        trunk = ResNetTrunk(6, config.trunk)
        self.conv1, self.bn1, self.relu, self.body = trunk.conv1, trunk.bn1, trunk.relu, trunk.body
        self.shared_weight_hypernet: SharedExpander | None = None
        if any(self._shares(s) for s in self.layers):
            self.shared_weight_hypernet = SharedExpander(config.code_width)
        self.refinement_blocks = nn.ModuleDict({str(s.index): self._head(s) for s in self.layers})

    def _shares(self, spec: LayerSpec) -> bool:
        square = spec.channels_in == spec.channels_out == self.config.code_width and spec.kernel == 3
        return square and self.config.heads in ("shared", "separable")

    def _head(self, spec: LayerSpec) -> Head:
        config = self.config
        features, size = config.trunk.widths[-1], config.trunk.output_size(*config.input_size)
        if self._shares(spec):
            return SharedHead(spec, features, size, config.code_width)
        if config.heads == "compact":
            return CompactHead(spec, features, size, config.code_width)
        if config.heads == "separable" and not spec.torgb:
            return SeparableHead(spec, features, size, config.code_width)
        return PlainHead(spec, features, size, config.code_width, per_tap=config.per_tap)

    def forward(self, crop: Tensor, reconstruction: Tensor) -> OffsetCodes:
        """One step (Eq. 4): crop and reconstruction [B,3,h,w] in [-1,1] -> the offset codes of this step.

        Raises:
            ConfigError: a size other than `config.input_size`.
        """
        return self.codes(self.features(self.joined(crop, reconstruction)))

    def joined(self, crop: Tensor, reconstruction: Tensor) -> Tensor:
        """The input of the trunk [B,6,h,w]. Raises ConfigError for a size other than `config.input_size`."""
        if crop.shape != reconstruction.shape or tuple(crop.shape[1:]) != (3, *self.config.input_size):
            raise ConfigError(
                f"hypernetwork given crop {tuple(crop.shape)} and reconstruction {tuple(reconstruction.shape)}: "
                f"expected both [B, 3, {', '.join(map(str, self.config.input_size))}]."
            )
        second = 3.0 * (crop - reconstruction) if self.config.residual_input else reconstruction
        return torch.cat([crop, second], 1)

    def features(self, x: Tensor) -> Tensor:
        """The trunk: [B,6,h,w] -> [B,F,h',w']."""
        out: Tensor = self.body(self.relu(self.bn1(self.conv1(x))))
        return out

    def codes(self, features: Tensor) -> OffsetCodes:
        """Features of the trunk -> the offset codes of this step."""
        sums: dict[str, Tensor] = {}
        terms: dict[str, Tensor] = {}
        for spec in self.layers:
            head = self.head(spec)
            code = head.code(features)  # [B,C]
            if head.affine:
                sums[spec.name] = code
            else:
                terms[spec.name] = code[:, None]
        return OffsetCodes(sums, terms, features.new_ones(len(features), 1))

    def offsets(self, codes: OffsetCodes, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Offset codes -> dense offsets Δ, layer name -> [B,O,I,k,k] (or [B,O,I,1,1] where all taps are equal).

        Args:
            codes: what `forward` returned, or a weighted sum of such; dense offsets among them are added.
            layers: only these layers; those without a code are left out.

        Raises:
            ConfigError: codes for a layer that this hypernetwork does not change.
        """
        changed = {s.name for s in self.layers}
        if unknown := sorted(set(codes.coded) - changed):
            raise ConfigError(f"offset codes for layer {unknown[0]!r}, which this hypernetwork does not change.")
        if layers is not None:
            codes = codes.only(list(layers))
        result: dict[str, Tensor] = {}
        for spec in self.layers:
            head = self.head(spec)
            if spec.name in codes.sums:
                result[spec.name] = head.expand(codes.sums[spec.name], codes.count, self.shared_weight_hypernet)
            elif spec.name in codes.terms:
                terms = codes.terms[spec.name]
                count = terms.new_ones(terms.shape[0])
                result[spec.name] = torch.stack(
                    [
                        codes.weights[:, k, None, None, None, None]
                        * head.expand(terms[:, k], count, self.shared_weight_hypernet)
                        for k in range(terms.shape[1])
                    ]
                ).sum(0)
        return codes.expanded(result)

    def head(self, spec: LayerSpec) -> Head:
        """The head of a tuned layer."""
        head = self.refinement_blocks[str(spec.index)]
        if not isinstance(head, Head):
            raise TypeError("a refinement block is a Head")
        return head

    def parameter_count(self) -> int:
        """Number of trainable values, the shared expander counted once (paper, Table 1)."""
        return sum(p.numel() for p in self.parameters())
