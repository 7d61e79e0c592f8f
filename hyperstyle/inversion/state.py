"""What a generator makes images of: codes, offset codes, style offsets and other changes, and how these combine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hyperstyle.inversion.overrides import GeneratorOverrides
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.networks.stylegan2.generator import LayerSpec

__all__ = ["InversionState"]


@dataclass(frozen=True, eq=False)
class InversionState:
    """What the images of a batch are made of.

    Attributes:
        w: [B,L,D] latent codes.
        codes: offset codes, or None.
        style_offsets: layer name -> [B,I], added after the affine layers.
        changes: residuals, tuned parameters, noise maps.
    """

    w: Tensor
    codes: OffsetCodes | None = None
    style_offsets: Mapping[str, Tensor] = field(default_factory=dict)
    changes: GeneratorOverrides = field(default_factory=GeneratorOverrides)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors."""
        changes = self.changes
        codes = [t for part in (self.codes, changes.residuals) if part is not None for t in part.tensors]
        tuned = [value for one in changes.tuned for value in one.values()]
        return (self.w, *codes, *self.style_offsets.values(), *tuned, *changes.noise)

    def apply(self, function: Callable[[Tensor], Tensor]) -> InversionState:
        """The same with `function` applied to every tensor (moving, changing the type)."""
        codes = None if self.codes is None else self.codes.apply(function)
        styles = {name: function(change) for name, change in self.style_offsets.items()}
        return InversionState(function(self.w), codes, styles, self.changes.apply(function))

    def take(self, index: Sequence[int]) -> InversionState:
        """These images, in this order; an index may come more than once."""

        def pick(t: Tensor) -> Tensor:
            return t[torch.tensor(list(index), device=t.device)]

        codes = None if self.codes is None else self.codes.apply(pick)
        styles = {name: pick(change) for name, change in self.style_offsets.items()}
        return InversionState(pick(self.w), codes, styles, self.changes.take(index))

    @staticmethod
    def cat(parts: Sequence[InversionState], generator: StyleGenerator) -> InversionState:
        """The states of all parts, which are of this generator, along the batch; absent offsets and changes are none.

        Raises:
            InversionError: offset codes for different layers.
        """
        changes = [part.changes for part in parts]
        styled = {name: change for part in parts for name, change in part.style_offsets.items()}
        none = {name: change[:1] * 0 for name, change in styled.items()}
        return InversionState(
            torch.cat([part.w for part in parts]),
            OffsetCodes.cat([p._offsets for p in parts]) if any(p.codes is not None for p in parts) else None,
            {
                name: torch.cat([p.style_offsets.get(name, zero.expand(len(p.w), -1)) for p in parts])
                for name, zero in none.items()
            },
            GeneratorOverrides.cat([p.changes.fill_missing(changes, p.w, generator) for p in parts]),
        )

    @staticmethod
    def between(a: InversionState, b: InversionState, n: int, generator: StyleGenerator) -> InversionState:
        """`n` images from single `a` to single `b`, both ends included; all that makes them moves together.

        Raises:
            InversionError: offset codes for different layers.
        """
        ticks = torch.linspace(0, 1, n).tolist()
        codes = None
        if a.codes is not None or b.codes is not None:
            codes = OffsetCodes.cat([a._offsets * (1 - t) + b._offsets * t for t in ticks])
        styles = {
            name: torch.cat([(1 - t) * a._style(name, generator) + t * b._style(name, generator) for t in ticks])
            for name in {**a.style_offsets, **b.style_offsets}
        }
        changes = GeneratorOverrides.cat([GeneratorOverrides.lerp(a.changes, b.changes, t, generator) for t in ticks])
        return InversionState(torch.cat([(1 - t) * a.w + t * b.w for t in ticks]), codes, styles, changes)

    @staticmethod
    def mixed(
        a: InversionState, b: InversionState, layers: Sequence[LayerSpec], generator: StyleGenerator
    ) -> InversionState:
        """`a` with these layers as `b` has them: their rows of w, offsets, style offsets and other changes."""
        w, names = a.w.clone(), [spec.name for spec in layers]
        for spec in layers:
            w[:, spec.row] = b.w[:, spec.row]
        styles = {n: v for n, v in a.style_offsets.items() if n not in names}
        styles |= {n: v for n, v in b.style_offsets.items() if n in names}
        codes = OffsetCodes.mixed(a.codes, b.codes, names)
        return InversionState(w, codes, styles, GeneratorOverrides.mixed(a.changes, b.changes, names, generator))

    @property
    def _offsets(self) -> OffsetCodes:
        """The offset codes, or such as make no offsets."""
        return OffsetCodes.none(self.w) if self.codes is None else self.codes

    def _style(self, name: str, generator: StyleGenerator) -> Tensor:
        """[B,I] what is added to the style of this layer, zeros where nothing is."""
        return self.style_offsets.get(name, self.w.new_zeros(len(self.w), generator.layer(name).style_width))
