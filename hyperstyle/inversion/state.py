"""What determines the images of a generator: latent codes, offset codes, style offsets and overrides together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hyperstyle.errors import InversionError
from hyperstyle.inversion.overrides import GeneratorOverrides
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.networks.stylegan2.generator import LayerSpec

__all__ = ["InversionState"]


@dataclass(frozen=True, eq=False)
class InversionState:
    """What determines, with the generator, the images of a batch.

    Attributes:
        w: [B,L,D] latent codes.
        codes: the relative weight offsets, as codes of a hypernetwork or dense; None for no offsets.
        style_offsets: layer name -> [B,S], added to the output of the layer's affine map. S is the width of its style:
            I for StyleGAN2, 2 * O for StyleGAN1. Layers that are absent get no offset.
        overrides: residuals, tuned parameters and noise maps.
    """

    w: Tensor
    codes: OffsetCodes | None = None
    style_offsets: Mapping[str, Tensor] = field(default_factory=dict)
    overrides: GeneratorOverrides = field(default_factory=GeneratorOverrides)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the state, those of codes and overrides included."""
        codes = [t for part in (self.codes, self.overrides.residuals) if part is not None for t in part.tensors]
        tuned = [value for parameters in self.overrides.tuned for value in parameters.values()]
        return (self.w, *codes, *self.style_offsets.values(), *tuned, *self.overrides.noise)

    def apply(self, function: Callable[[Tensor], Tensor]) -> InversionState:
        """A copy with `function` applied to every tensor, to move it or to change its type.

        Tuned parameters have no batch axis, so `function` must not index images: see `take`.
        """
        codes = None if self.codes is None else self.codes.apply(function)
        styles = {name: function(offset) for name, offset in self.style_offsets.items()}
        return InversionState(function(self.w), codes, styles, self.overrides.apply(function))

    def take(self, index: Sequence[int]) -> InversionState:
        """The state of the images with these indices, in this order; an index may occur more than once."""

        def select(t: Tensor) -> Tensor:
            return t[torch.tensor(list(index), device=t.device)]

        codes = None if self.codes is None else self.codes.apply(select)
        styles = {name: select(offset) for name, offset in self.style_offsets.items()}
        return InversionState(select(self.w), codes, styles, self.overrides.take(index))

    def view(self, images: slice) -> InversionState:
        """The state of a slice of the images, whose tensors are views: nothing is copied."""
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
    def cat(parts: Sequence[InversionState], generator: StyleGenerator) -> InversionState:
        """Joins all parts along the batch axis.

        What only some parts have gets neutral values in the others: zero offsets and residuals, and the parameters and
        noise maps of `generator`, to which all states must belong.

        Raises:
            InversionError: two parts have codes, of offsets or residuals, for different layers.
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
    def between(a: InversionState, b: InversionState, n: int, generator: StyleGenerator) -> InversionState:
        """Interpolates linearly from `a` to `b`, the states of one image each.

        What only one of them has is interpolated to or from zero offsets, or the values of `generator`.

        Returns:
            The state of `n` images, the first as in `a` and the last as in `b`.

        Raises:
            InversionError: both have codes, of offsets or residuals, for different layers.
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
        a: InversionState, b: InversionState, layers: Sequence[LayerSpec], generator: StyleGenerator
    ) -> InversionState:
        """`a`, with the rows of w, offsets, style offsets and overrides of `layers` taken from `b`.

        Both are states of B images. What `b` does not change in these layers is as in `generator`.

        Raises:
            InversionError: both have codes, of offsets or residuals, and the step weights differ (see
                `OffsetCodes.mixed`).
        """
        w, names = a.w.clone(), [spec.name for spec in layers]
        for spec in layers:
            w[:, spec.row] = b.w[:, spec.row]
        styles = {n: v for n, v in a.style_offsets.items() if n not in names}
        styles |= {n: v for n, v in b.style_offsets.items() if n in names}
        codes = OffsetCodes.mixed(a.codes, b.codes, names)
        return InversionState(w, codes, styles, GeneratorOverrides.mixed(a.overrides, b.overrides, names, generator))

    def transferred(
        self, source: StyleGenerator, target: StyleGenerator, layers: Sequence[str] | None, w: Tensor | None
    ) -> InversionState:
        """The state for `target`, a generator that was fine-tuned from `source`.

        Latent codes, offset codes, style offsets, residuals and noise maps stay as they are. A tuned parameter becomes
        `target + (tuned - source)`.

        Args:
            source: the generator that this state belongs to.
            target: a generator of the same configuration.
            layers: layers whose offset codes and overrides are kept; in all others they are dropped. None keeps all.
                Style offsets are kept in any case.
            w: latent codes [B,L,D] or [B,D] to use instead of those of this state; None for these.

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
        """The offset codes; if `codes` is None, codes that stand for no offsets."""
        return OffsetCodes.none(self.w) if self.codes is None else self.codes

    def _style(self, name: str, generator: StyleGenerator) -> Tensor:
        """[B,S] the style offset of this layer; zeros if it has none."""
        return self.style_offsets.get(name, self.w.new_zeros(len(self.w), generator.layer(name).style_width))
