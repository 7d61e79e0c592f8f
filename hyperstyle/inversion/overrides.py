"""What a method changes in the generator, apart from relative offsets: residuals, tuned parameters, noise maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import InversionError
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.base import StyleGenerator

__all__ = ["GeneratorOverrides", "TunedParameters"]

TunedParameters = Mapping[str, Tensor]
"""Parameter name -> the value that replaces the generator's own for one image. Other parameters keep theirs."""


@dataclass(frozen=True, eq=False)
class GeneratorOverrides:
    """Changes to a generator for each of B images. It is false where there are none.

    There are three kinds: residuals, tuned parameters and noise maps. The generator keeps its own values for a kind
    that is absent.

    Attributes:
        residuals: absolute offsets, added to the raw weights (HyperInverter): the codes from which a `HyperInverter`
            computes them, or the residuals themselves (`OffsetCodes.dense`). None for none.
        tuned: B mappings, parameter name -> value that replaces the generator's (PTI); () for none. Several edits of
            one image refer to the same mapping object.
        noise: a noise map [B,1,r,r] for each layer that adds noise, in the order of `Generator.synthesize`; () for
            the generator's own.
    """

    residuals: OffsetCodes | None = None
    tuned: tuple[TunedParameters, ...] = ()
    noise: tuple[Tensor, ...] = ()

    def __bool__(self) -> bool:
        return self.residuals is not None or bool(self.tuned) or bool(self.noise)

    # ---- a batch of images ----

    def take(self, index: Sequence[int]) -> GeneratorOverrides:
        """The overrides of the images with these indices, in this order; an index may occur more than once."""

        def select(t: Tensor) -> Tensor:
            return t[torch.tensor(list(index), device=t.device)]

        return GeneratorOverrides(
            None if self.residuals is None else self.residuals.apply(select),
            tuple(self.tuned[i] for i in index) if self.tuned else (),
            tuple(select(noise) for noise in self.noise),
        )

    def apply(self, function: Callable[[Tensor], Tensor]) -> GeneratorOverrides:
        """A copy with `function` applied to every tensor, to move it or to change its type.

        The tensors of `tuned` have no batch axis, so `function` must not index images: see `take`.
        """
        # By identity: a mapping that several images share is still shared afterwards.
        applied = {
            id(parameters): {name: function(value) for name, value in parameters.items()} for parameters in self.tuned
        }
        return GeneratorOverrides(
            None if self.residuals is None else self.residuals.apply(function),
            tuple(applied[id(parameters)] for parameters in self.tuned),
            tuple(function(noise) for noise in self.noise),
        )

    def fill_missing(
        self, batch: Sequence[GeneratorOverrides], w: Tensor, generator: StyleGenerator
    ) -> GeneratorOverrides:
        """A copy with neutral values for the kinds that `batch` has and `self` lacks, so that `cat` accepts all of it.

        The neutral values are zero residuals, mappings without parameters, and the generator's own noise maps.

        Args:
            batch: all the overrides that will be joined, `self` among them.
            w: [B,L,D] the latent codes of the images of `self`; only B, device and type matter.
            generator: the one that all of `batch` change.
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
        """Joins all parts along the batch axis.

        Raises:
            InversionError: the parts do not have the same kinds of change (see `fill_missing`), or their residuals
                have codes for different layers.
        """
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
    def lerp(a: GeneratorOverrides, b: GeneratorOverrides, t: float, generator: StyleGenerator) -> GeneratorOverrides:
        """Interpolates linearly from `a` (t = 0) to `b` (t = 1), the overrides of one image each.

        Where only one of them changes a parameter or the noise, the other counts with the generator's value.

        Raises:
            InversionError: both have residuals with codes, for different layers.
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
        a: GeneratorOverrides, b: GeneratorOverrides, layers: Sequence[str], generator: StyleGenerator
    ) -> GeneratorOverrides:
        """`a`, with the residuals, parameters and noise maps of `layers` taken from `b`.

        What `b` does not change in these layers is as in the generator.

        Raises:
            InversionError: both have residuals with codes, and the step weights differ (see `OffsetCodes.update`).
        """
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

    def _completed(self, other: GeneratorOverrides, generator: StyleGenerator) -> GeneratorOverrides:
        """A copy with the generator's values for what only `other` changes, so that both can be combined by name."""
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

    def restricted(self, layers: Sequence[str], generator: StyleGenerator) -> GeneratorOverrides:
        """Keeps the changes to these layers only; all other layers are as in the generator."""
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

    def transferred(self, source: StyleGenerator, target: StyleGenerator) -> GeneratorOverrides:
        """The overrides for `target`, a generator that was fine-tuned from `source`.

        A tuned value becomes `target + (tuned - source)`; residuals and noise maps stay as they are.
        """
        if not self.tuned:
            return self
        before, after = dict(source.named_parameters()), dict(target.named_parameters())
        tuned = tuple(
            {name: after[name].detach() + (value - before[name].detach()) for name, value in parameters.items()}
            for parameters in self.tuned
        )
        return replace(self, tuned=tuned)


def _parameters(layers: Sequence[str], generator: StyleGenerator) -> set[str]:
    """Names of the parameters of these layers; the constant input belongs to the first layer."""
    names = {name for layer in layers for name in generator.parameters_of(layer)}
    if generator.layers[0].name in layers:
        names |= {name for name, _ in generator.named_parameters() if name.startswith("input.")}
    return names


def _convolutions(generator: StyleGenerator) -> list[str]:
    """Names of the layers that add noise, which are all but toRGB, in the order of the noise maps."""
    return [spec.name for spec in generator.layers if not spec.torgb]


def _repeated(tuned: tuple[TunedParameters, ...], count: int) -> tuple[TunedParameters, ...]:
    return tuned * count if len(tuned) == 1 else tuned
