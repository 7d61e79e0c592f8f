"""What a method changes of the generator, apart from relative offsets: residuals, tuned parameters, noise maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import InversionError
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.generator import Generator

__all__ = ["GeneratorOverrides", "TunedParameters"]

TunedParameters = Mapping[str, Tensor]
"""Parameter name -> its value in the generator of one image."""


@dataclass(frozen=True, eq=False)
class GeneratorOverrides:
    """Changes of a generator for each of B images. A kind of change that is absent leaves the generator as it is.

    Attributes:
        residuals: codes from which a `HyperInverter` makes what is added to raw weights, or these sums (dense).
        tuned: B mappings of parameters, by name, that replace those of the generator (PTI); () for none. Edits of one
            image share one mapping.
        noise: noise maps [B,1,r,r] in the order of `Generator.synthesize`; () for those of the generator.
    """

    residuals: OffsetCodes | None = None
    tuned: tuple[TunedParameters, ...] = ()
    noise: tuple[Tensor, ...] = ()

    def __bool__(self) -> bool:
        return self.residuals is not None or bool(self.tuned) or bool(self.noise)

    # ---- a batch of images ----

    def take(self, index: Sequence[int]) -> GeneratorOverrides:
        """These images, in this order."""

        def select(t: Tensor) -> Tensor:
            return t[torch.tensor(list(index), device=t.device)]

        return GeneratorOverrides(
            None if self.residuals is None else self.residuals.apply(select),
            tuple(self.tuned[i] for i in index) if self.tuned else (),
            tuple(select(noise) for noise in self.noise),
        )

    def apply(self, function: Callable[[Tensor], Tensor]) -> GeneratorOverrides:
        """The same with `function` applied to every tensor (moving, changing the type)."""
        # By identity: a mapping that several images share is still shared afterwards.
        applied = {
            id(parameters): {name: function(value) for name, value in parameters.items()} for parameters in self.tuned
        }
        return GeneratorOverrides(
            None if self.residuals is None else self.residuals.apply(function),
            tuple(applied[id(parameters)] for parameters in self.tuned),
            tuple(function(noise) for noise in self.noise),
        )

    def fill_missing(self, batch: Sequence[GeneratorOverrides], w: Tensor, generator: Generator) -> GeneratorOverrides:
        """The same, with neutral values for the kinds of change that only other images have, so that `cat` joins them.

        Neutral are no residuals, no tuned parameters, and the noise maps of the generator.

        Args:
            batch: overrides of all images that will be joined.
            w: [B,L,D], the codes of the images of `self`.
            generator: of all of them.
        """
        residuals, tuned, noise = self.residuals, self.tuned, self.noise
        if residuals is None and any(overrides.residuals is not None for overrides in batch):
            residuals = OffsetCodes.none(w)
        if not tuned and any(overrides.tuned for overrides in batch):
            tuned = ({},) * len(w)
        if not noise and any(overrides.noise for overrides in batch):
            noise = tuple(stored.expand(len(w), -1, -1, -1) for stored in generator.noises.buffers())
        return GeneratorOverrides(residuals, tuned, noise)

    @staticmethod
    def cat(parts: Sequence[GeneratorOverrides]) -> GeneratorOverrides:
        """The overrides of all parts along the batch. Raises InversionError where their kinds differ."""
        first = parts[0]
        kinds = {(part.residuals is None, bool(part.tuned), len(part.noise)) for part in parts}
        if len(kinds) > 1:
            raise InversionError("inversions whose methods changed different things cannot be one batch.")
        return GeneratorOverrides(
            None if first.residuals is None else OffsetCodes.cat([p.residuals for p in parts if p.residuals]),
            tuple(parameters for part in parts for parameters in part.tuned),
            tuple(torch.cat(maps) for maps in zip(*(part.noise for part in parts), strict=True)),
        )

    # ---- two inversions ----

    @staticmethod
    def lerp(a: GeneratorOverrides, b: GeneratorOverrides, t: float, generator: Generator) -> GeneratorOverrides:
        """Between single `a` (t = 0) and single `b` (t = 1); where one has no value, that of the generator counts.

        Raises:
            InversionError: residuals of different layers.
        """
        a, b = a._completed(b, generator), b._completed(a, generator)
        if t in (0.0, 1.0):
            return (a, b)[int(t)]
        residuals = None
        if a.residuals is not None and b.residuals is not None:
            residuals = a.residuals * (1 - t) + b.residuals * t
        tuned = tuple(
            {name: torch.lerp(x[name], y[name], t) for name in x} for x, y in zip(a.tuned, b.tuned, strict=True)
        )
        noise = tuple(torch.lerp(x, y, t) for x, y in zip(a.noise, b.noise, strict=True))
        return GeneratorOverrides(residuals, tuned, noise)

    @staticmethod
    def mixed(
        a: GeneratorOverrides, b: GeneratorOverrides, layers: Sequence[str], generator: Generator
    ) -> GeneratorOverrides:
        """`a`, but these layers as `b` has them: residuals, parameters and noise maps."""
        residuals = OffsetCodes.mixed(a.residuals, b.residuals, layers)
        a, b = a._completed(b, generator), b._completed(a, generator)
        names = _parameters(layers, generator)
        count = max(len(a.tuned), len(b.tuned))
        tuned = tuple(
            {name: (y if name in names else x)[name] for name in x}
            for x, y in zip(_repeated(a.tuned, count), _repeated(b.tuned, count), strict=True)
        )
        # The maps of the generator are [1,1,r,r], for all images at once; those of an inversion [B,1,r,r].
        batch = max((len(maps) for maps in (*a.noise, *b.noise)), default=0)
        pairs = zip(_convolutions(generator), a.noise, b.noise, strict=True) if a.noise else ()
        noise = tuple((y if name in layers else x).expand(batch, -1, -1, -1) for name, x, y in pairs)
        return GeneratorOverrides(residuals, tuned, noise)

    def _completed(self, other: GeneratorOverrides, generator: Generator) -> GeneratorOverrides:
        """With the values of the generator where only `other` has some, so that both can be combined by name."""
        parameters = dict(generator.named_parameters())
        names = sorted({name for side in (self, other) for tuned in side.tuned for name in tuned})
        tuned: tuple[TunedParameters, ...] = ()
        if names:
            tuned = tuple(
                {name: values.get(name, parameters[name].detach()) for name in names} for values in self.tuned or ({},)
            )
        noise = self.noise
        if not noise and other.noise:
            noise = tuple(generator.noises.buffers())
        residuals = self.residuals
        if residuals is None and other.residuals is not None:
            residuals = other.residuals * 0.0
        return GeneratorOverrides(residuals, tuned, noise)

    # ---- another generator ----

    def restricted(self, layers: Sequence[str], generator: Generator) -> GeneratorOverrides:
        """The overrides of these layers; all other layers are as the generator has them."""
        names = _parameters(layers, generator)
        noise = self.noise
        if noise:
            maps = zip(_convolutions(generator), noise, generator.noises.buffers(), strict=True)
            noise = tuple(fitted if name in layers else stored.expand_as(fitted) for name, fitted, stored in maps)
        return GeneratorOverrides(
            None if self.residuals is None else self.residuals.only(layers),
            tuple({n: value for n, value in parameters.items() if n in names} for parameters in self.tuned),
            noise,
        )

    def transferred(self, source: Generator, target: Generator) -> GeneratorOverrides:
        """For `target`, fine-tuned from `source`: what tuning changed of `source` is added to its parameters."""
        if not self.tuned:
            return self
        before, after = dict(source.named_parameters()), dict(target.named_parameters())
        tuned = tuple(
            {name: after[name].detach() + (value - before[name].detach()) for name, value in parameters.items()}
            for parameters in self.tuned
        )
        return replace(self, tuned=tuned)


def _parameters(layers: Sequence[str], generator: Generator) -> set[str]:
    """Names of the parameters of these layers; the constant input belongs to the first layer."""
    names = {name for layer in layers for name in generator.parameters_of(layer)}
    if generator.layers[0].name in layers:
        names |= {name for name, _ in generator.named_parameters() if name.startswith("input.")}
    return names


def _convolutions(generator: Generator) -> list[str]:
    """Names of the layers that add noise, in the order of the noise maps."""
    return [spec.name for spec in generator.layers if not spec.torgb]


def _repeated(tuned: tuple[TunedParameters, ...], count: int) -> tuple[TunedParameters, ...]:
    return tuned * count if len(tuned) == 1 else tuned
