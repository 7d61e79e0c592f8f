"""What methods change of a generator besides relative offsets: residuals, tuned parameters, noise maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import InversionError
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.base import StyleGenerator

__all__ = ["GeneratorOverrides", "Tuned"]

Tuned = Mapping[str, Tensor]
"""Parameter name -> the value of one image's own generator."""


@dataclass(frozen=True, eq=False)
class GeneratorOverrides:
    """Changes of a generator for each of B images; absent ones leave it as it is.

    Attributes:
        residuals: codes from which `HyperInverter` makes what is added to raw weights, or the sums themselves (dense).
        tuned: B mappings of parameters, by name, that take the place of the generator's own (PTI); () for none. The
            images of a strip share one.
        noise: noise maps [B,1,r,r] in the order of `Generator.synthesize`; () for the generator's own.
    """

    residuals: OffsetCodes | None = None
    tuned: tuple[Tuned, ...] = ()
    noise: tuple[Tensor, ...] = ()

    def __bool__(self) -> bool:
        return self.residuals is not None or bool(self.tuned) or bool(self.noise)

    def take(self, index: Sequence[int]) -> GeneratorOverrides:
        """These images, in this order."""

        def pick(t: Tensor) -> Tensor:
            return t[torch.tensor(list(index), device=t.device)]

        return GeneratorOverrides(
            None if self.residuals is None else self.residuals.apply(pick),
            tuple(self.tuned[i] for i in index) if self.tuned else (),
            tuple(pick(t) for t in self.noise),
        )

    def apply(self, function: Callable[[Tensor], Tensor]) -> GeneratorOverrides:
        """The same with `function` applied to every tensor (moving, changing the type)."""
        applied = {id(one): {name: function(value) for name, value in one.items()} for one in self.tuned}
        return GeneratorOverrides(
            None if self.residuals is None else self.residuals.apply(function),
            tuple(applied[id(one)] for one in self.tuned),  # one that several images share stays one
            tuple(function(t) for t in self.noise),
        )

    def fill_missing(
        self, others: Sequence[GeneratorOverrides], w: Tensor, generator: StyleGenerator
    ) -> GeneratorOverrides:
        """The same, with neutral values for the kinds of change that only `others` have, so that `cat` can join them.

        Neutral are no residuals, no tuned parameters, and the generator's own noise maps.

        Args:
            others: changes of other images.
            w: [B,L,D], the codes of these images.
            generator: of all of them.
        """
        residuals, tuned, noise = self.residuals, self.tuned, self.noise
        if residuals is None and any(other.residuals is not None for other in others):
            residuals = OffsetCodes.none(w)
        if not tuned and any(other.tuned for other in others):
            tuned = ({},) * len(w)
        if not noise and any(other.noise for other in others):
            noise = tuple(own.expand(len(w), -1, -1, -1) for own in generator.noises.buffers())
        return GeneratorOverrides(residuals, tuned, noise)

    @staticmethod
    def cat(parts: Sequence[GeneratorOverrides]) -> GeneratorOverrides:
        """The overrides of all parts along the batch. Raises InversionError where their kinds differ."""
        first = parts[0]
        kinds = {(p.residuals is None, bool(p.tuned), len(p.noise)) for p in parts}
        if len(kinds) > 1:
            raise InversionError("inversions whose methods changed different things cannot be one batch.")
        return GeneratorOverrides(
            None if first.residuals is None else OffsetCodes.cat([p.residuals for p in parts if p.residuals]),
            tuple(one for p in parts for one in p.tuned),
            tuple(torch.cat(maps) for maps in zip(*(p.noise for p in parts), strict=True)),
        )

    @staticmethod
    def lerp(a: GeneratorOverrides, b: GeneratorOverrides, t: float, generator: StyleGenerator) -> GeneratorOverrides:
        """The way from single `a` (t = 0) to single `b` (t = 1); what one side lacks is the generator's own there.

        Raises:
            InversionError: residuals of different layers.
        """
        if t in (0.0, 1.0):
            return (a, b)[int(t)]._filled(a, b, generator)
        first, second = a._filled(a, b, generator), b._filled(a, b, generator)
        residuals = None
        if first.residuals is not None and second.residuals is not None:
            residuals = first.residuals * (1 - t) + second.residuals * t
        tuned = tuple(
            {name: torch.lerp(x[name], y[name], t) for name in x}
            for x, y in zip(first.tuned, second.tuned, strict=True)
        )
        noise = tuple(torch.lerp(x, y, t) for x, y in zip(first.noise, second.noise, strict=True))
        return GeneratorOverrides(residuals, tuned, noise)

    def _filled(self, a: GeneratorOverrides, b: GeneratorOverrides, generator: StyleGenerator) -> GeneratorOverrides:
        """With the generator's own values where `a` or `b` has one and this has none, so that all have the same."""
        own = dict(generator.named_parameters())
        names = {name for side in (a, b) for one in side.tuned for name in one}
        tuned: tuple[Tuned, ...] = ()
        if names:
            have = self.tuned or ({},)
            tuned = tuple({name: one.get(name, own[name].detach()) for name in sorted(names)} for one in have)
        noise = self.noise
        if not noise and (a.noise or b.noise):
            noise = tuple(generator.noises.buffers())
        residuals = self.residuals
        if residuals is None and (other := a.residuals or b.residuals) is not None:
            residuals = other * 0.0
        return GeneratorOverrides(residuals, tuned, noise)

    @staticmethod
    def mixed(
        first: GeneratorOverrides, second: GeneratorOverrides, layers: Sequence[str], generator: StyleGenerator
    ) -> GeneratorOverrides:
        """`first` with these layers as `second` has them: residuals, parameters and noise map."""
        residuals = OffsetCodes.mixed(first.residuals, second.residuals, layers)
        x, y = first._filled(first, second, generator), second._filled(first, second, generator)
        taken = _parameters(layers, generator)
        count = max(len(x.tuned), len(y.tuned))
        tuned = tuple(
            {name: (b if name in taken else a)[name] for name in a}
            for a, b in zip(_repeated(x.tuned, count), _repeated(y.tuned, count), strict=True)
        )
        convs = [spec.name for spec in generator.layers if not spec.torgb]
        maps = zip(convs, x.noise, y.noise, strict=True) if x.noise else ()
        chosen = [b if name in layers else a for name, a, b in maps]
        pictures = max((len(m) for m in (*x.noise, *y.noise)), default=0)  # the generator's own are one map for all
        noise = tuple(m.expand(pictures, -1, -1, -1) for m in chosen)
        return GeneratorOverrides(residuals, tuned, noise)

    def only(self, layers: Sequence[str], generator: StyleGenerator) -> GeneratorOverrides:
        """The changes of these layers; all other layers are the generator's own."""
        kept = _parameters(layers, generator)
        noise = self.noise
        if noise:
            convs = [spec.name for spec in generator.layers if not spec.torgb]
            own = list(generator.noises.buffers())
            noise = tuple(a if name in layers else b.expand_as(a) for name, a, b in zip(convs, noise, own, strict=True))
        return GeneratorOverrides(
            None if self.residuals is None else self.residuals.only(layers),
            tuple({name: value for name, value in one.items() if name in kept} for one in self.tuned),
            noise,
        )

    def moved(self, old: StyleGenerator, new: StyleGenerator) -> GeneratorOverrides:
        """For transfer to `new`, fine-tuned from `old`: the difference of tuned values from `old` is added to `new`."""
        if not self.tuned:
            return self
        before, now = dict(old.named_parameters()), dict(new.named_parameters())
        tuned = tuple({n: now[n].detach() + (v - before[n].detach()) for n, v in one.items()} for one in self.tuned)
        return replace(self, tuned=tuned)


def _parameters(layers: Sequence[str], generator: StyleGenerator) -> set[str]:
    """Names of the parameters of these layers; the constant input is the first layer's."""
    names = {name for layer in layers for name in generator.parameters_of(layer)}
    first = generator.layers[0].name in layers
    return names | {name for name, _ in generator.named_parameters() if first and name.startswith("input.")}


def _repeated(tuned: tuple[Tuned, ...], count: int) -> tuple[Tuned, ...]:
    return tuned * count if len(tuned) == 1 else tuned
