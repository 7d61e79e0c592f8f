"""All that decides the images of a generator: codes, offset codes, style offsets, overrides, and how these combine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hyperstyle.errors import InversionError
from hyperstyle.inversion.overrides import GeneratorOverrides
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.generator import Generator, LayerSpec

__all__ = ["InversionState"]


@dataclass(frozen=True, eq=False)
class InversionState:
    """All that decides the images of a batch.

    Attributes:
        w: [B,L,D] latent codes.
        codes: offset codes, or None.
        style_offsets: layer name -> [B,I], added after the affine layers.
        overrides: residuals, tuned parameters, noise maps.
    """

    w: Tensor
    codes: OffsetCodes | None = None
    style_offsets: Mapping[str, Tensor] = field(default_factory=dict)
    overrides: GeneratorOverrides = field(default_factory=GeneratorOverrides)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors."""
        codes = [t for part in (self.codes, self.overrides.residuals) if part is not None for t in part.tensors]
        tuned = [value for parameters in self.overrides.tuned for value in parameters.values()]
        return (self.w, *codes, *self.style_offsets.values(), *tuned, *self.overrides.noise)

    def apply(self, function: Callable[[Tensor], Tensor]) -> InversionState:
        """The same with `function` applied to every tensor (moving, changing the type)."""
        codes = None if self.codes is None else self.codes.apply(function)
        styles = {name: function(offset) for name, offset in self.style_offsets.items()}
        return InversionState(function(self.w), codes, styles, self.overrides.apply(function))

    def take(self, index: Sequence[int]) -> InversionState:
        """These images, in this order; an index may come more than once."""

        def select(t: Tensor) -> Tensor:
            return t[torch.tensor(list(index), device=t.device)]

        codes = None if self.codes is None else self.codes.apply(select)
        styles = {name: select(offset) for name, offset in self.style_offsets.items()}
        return InversionState(select(self.w), codes, styles, self.overrides.take(index))

    def view(self, images: slice) -> InversionState:
        """Neighboring images, without copying a tensor."""
        residuals = self.overrides.residuals
        return InversionState(
            self.w[images],
            None if self.codes is None else self.codes.select(images),
            {name: offset[images] for name, offset in self.style_offsets.items()},
            GeneratorOverrides(
                None if residuals is None else residuals.select(images),
                self.overrides.tuned[images],
                tuple(noise[images] for noise in self.overrides.noise),
            ),
        )

    @staticmethod
    def cat(parts: Sequence[InversionState], generator: Generator) -> InversionState:
        """The states of all parts, for this generator, along the batch; absent offsets and overrides count as none.

        Raises:
            InversionError: offset codes for different layers.
        """
        overrides = [part.overrides for part in parts]
        styled = {name: offset for part in parts for name, offset in part.style_offsets.items()}
        zeros = {name: offset[:1] * 0 for name, offset in styled.items()}
        return InversionState(
            torch.cat([part.w for part in parts]),
            OffsetCodes.cat([p._offsets for p in parts]) if any(p.codes is not None for p in parts) else None,
            {
                name: torch.cat([p.style_offsets.get(name, zero.expand(len(p.w), -1)) for p in parts])
                for name, zero in zeros.items()
            },
            GeneratorOverrides.cat([p.overrides.fill_missing(overrides, p.w, generator) for p in parts]),
        )

    @staticmethod
    def between(a: InversionState, b: InversionState, n: int, generator: Generator) -> InversionState:
        """`n` images from single `a` to single `b`, both ends included; all parts of the state move together.

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
        overrides = GeneratorOverrides.cat(
            [GeneratorOverrides.lerp(a.overrides, b.overrides, t, generator) for t in ticks]
        )
        return InversionState(torch.cat([(1 - t) * a.w + t * b.w for t in ticks]), codes, styles, overrides)

    @staticmethod
    def mixed(
        a: InversionState, b: InversionState, layers: Sequence[LayerSpec], generator: Generator
    ) -> InversionState:
        """`a` with these layers as `b` has them: their rows of w, offsets, style offsets and overrides."""
        w, names = a.w.clone(), [spec.name for spec in layers]
        for spec in layers:
            w[:, spec.row] = b.w[:, spec.row]
        styles = {n: v for n, v in a.style_offsets.items() if n not in names}
        styles |= {n: v for n, v in b.style_offsets.items() if n in names}
        codes = OffsetCodes.mixed(a.codes, b.codes, names)
        return InversionState(w, codes, styles, GeneratorOverrides.mixed(a.overrides, b.overrides, names, generator))

    def transferred(
        self, source: Generator, target: Generator, layers: Sequence[str] | None, w: Tensor | None
    ) -> InversionState:
        """For `target`, fine-tuned from `source`; its own codes and styles stay.

        Args:
            source, target: generators of one configuration.
            layers: whose offsets and overrides are kept; None keeps all.
            w: other latent codes [B,L,D] or [B,D], or None.

        Raises:
            InversionError: codes `w` of another shape. ConfigError: an unknown layer.
        """
        codes, overrides = self.codes, self.overrides.transferred(source, target)
        if layers is not None:
            names = [target.layer(name).name for name in layers]
            codes = None if codes is None else codes.only(names)
            overrides = overrides.restricted(names, target)
        w = self.w if w is None else target.broadcast(w.to(self.w))
        if w.shape != self.w.shape:
            raise InversionError(f"other latent codes of shape {tuple(w.shape)}: expected {tuple(self.w.shape)}.")
        return InversionState(w, codes, self.style_offsets, overrides)

    @property
    def _offsets(self) -> OffsetCodes:
        """The offset codes; where there are none, codes of no offsets."""
        return OffsetCodes.none(self.w) if self.codes is None else self.codes

    def _style(self, name: str, generator: Generator) -> Tensor:
        """[B,I] the offset of the style of this layer; zeros where it has none."""
        return self.style_offsets.get(name, self.w.new_zeros(len(self.w), generator.layer(name).style_width))
