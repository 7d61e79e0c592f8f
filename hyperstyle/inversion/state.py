"""What determines the images of a generator: latent codes, offset codes, style offsets and overrides together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hyperstyle.errors import InversionError
from hyperstyle.images.masks import rounded_mask
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.networks.stylegan2.generator import LayerSpec

TunedParameters = Mapping[str, Tensor]
"""Parameter name -> the value that replaces the generator's own for one image. Other parameters keep theirs."""


@dataclass(frozen=True, eq=False)
class GeneratorOverrides:
    """Changes to a generator for each of B images, apart from relative offsets. It is false where there are none.

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


@dataclass(frozen=True, eq=False)
class InversionState:
    """What determines, with the generator, the images of a batch.

    Of the mask, only `Inversion.tensor` and pasting back make use: what is rendered from a state is whole.

    Attributes:
        w: [B,L,D] latent codes.
        offset_codes: the relative weight offsets, as codes of a hypernetwork or dense; None for no offsets.
        style_offsets: layer name -> [B,S], added to the output of the layer's affine map. S is the width of its style:
            I for StyleGAN2, 2 * O for StyleGAN1. Layers that are absent get no offset.
        overrides: residuals, tuned parameters and noise maps.
        mask: [B,1,H,W] float32 in [0,1], where the images differ from the unedited ones, made by `masks.make_mask`;
            None for everywhere.
    """

    w: Tensor
    offset_codes: OffsetCodes | None = None
    style_offsets: Mapping[str, Tensor] = field(default_factory=dict)
    overrides: GeneratorOverrides = field(default_factory=GeneratorOverrides)
    mask: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the state, of codes and overrides too; those of a shared tuned mapping once for each image."""
        mask = () if self.mask is None else (self.mask,)
        codes = [t for part in (self.offset_codes, self.overrides.residuals) if part is not None for t in part.tensors]
        tuned = [value for parameters in self.overrides.tuned for value in parameters.values()]
        return (self.w, *codes, *self.style_offsets.values(), *tuned, *self.overrides.noise, *mask)

    def apply(self, function: Callable[[Tensor], Tensor]) -> InversionState:
        """A copy with `function` applied to every tensor, to move it or to change its type.

        Tuned parameters have no batch axis, so `function` must not index images: see `take`.
        """
        residuals, tuned = self.overrides.residuals, self.overrides.tuned
        # By identity: a mapping that several images share is still shared afterwards.
        applied = {id(group): {name: function(value) for name, value in group.items()} for group in tuned}
        return InversionState(
            function(self.w),
            None if self.offset_codes is None else self.offset_codes.apply(function),
            {name: function(offset) for name, offset in self.style_offsets.items()},
            GeneratorOverrides(
                None if residuals is None else residuals.apply(function),
                tuple(applied[id(group)] for group in tuned),
                tuple(function(noise) for noise in self.overrides.noise),
            ),
            None if self.mask is None else function(self.mask),
        )

    def take(self, images: slice | list[int]) -> InversionState:
        """The state of these images, in this order; an index may occur more than once.

        The tensors of a slice are views: nothing is copied.
        """
        residuals, tuned = self.overrides.residuals, self.overrides.tuned
        indexes = images if isinstance(images, list) else range(len(tuned))[images]
        return InversionState(
            self.w[images],
            None if self.offset_codes is None else self.offset_codes.select(images),
            {name: offset[images] for name, offset in self.style_offsets.items()},
            GeneratorOverrides(
                None if residuals is None else residuals.select(images),
                tuple(tuned[i] for i in indexes) if tuned else (),
                tuple(noise[images] for noise in self.overrides.noise),
            ),
            None if self.mask is None else self.mask[images],
        )

    @staticmethod
    def cat(parts: Sequence[InversionState], generator: StyleGenerator) -> InversionState:
        """Joins all parts along the batch axis.

        What only some parts have gets neutral values in the others: zero offsets and residuals, the parameters and
        noise maps of `generator`, to which all states must belong, and a mask of the whole image.

        Raises:
            InversionError: two parts have codes, of offsets or residuals, for different layers.
        """
        parts = [part._fill_missing(parts, generator) for part in parts]
        overrides, masks = [part.overrides for part in parts], [part.mask for part in parts if part.mask is not None]
        return InversionState(
            torch.cat([part.w for part in parts]),
            _joined([part.offset_codes for part in parts]),
            {name: torch.cat([part.style_offsets[name] for part in parts]) for name in parts[0].style_offsets},
            GeneratorOverrides(
                _joined([part.residuals for part in overrides]),
                tuple(parameters for part in overrides for parameters in part.tuned),
                tuple(torch.cat(maps) for maps in zip(*(part.noise for part in overrides), strict=True)),
            ),
            torch.cat(masks) if masks else None,
        )

    @staticmethod
    def between(a: InversionState, b: InversionState, n: int, generator: StyleGenerator) -> InversionState:
        """Interpolates linearly from `a` to `b`, the states of one image each.

        What only one of them has is interpolated to or from zero offsets, the values of `generator`, or a mask of the
        whole image.

        Returns:
            The state of `n` images, the first as in `a` and the last as in `b`.

        Raises:
            InversionError: both have codes, of offsets or residuals, for different layers.
        """
        a, b = a._fill_missing((a, b), generator), b._fill_missing((a, b), generator)
        ticks = torch.linspace(0, 1, n).tolist()

        def line(x: OffsetCodes | None, y: OffsetCodes | None) -> OffsetCodes | None:
            return None if x is None or y is None else OffsetCodes.cat([x * (1 - t) + y * t for t in ticks])

        def styles(name: str) -> Tensor:
            return torch.cat([(1 - t) * a.style_offsets[name] + t * b.style_offsets[name] for t in ticks])

        tuned = [
            {name: torch.lerp(x[name], y[name], t) for name in x}
            for t in ticks
            for x, y in _tuned_pairs(a, b, generator)
        ]
        pairs = zip(a.overrides.noise, b.overrides.noise, strict=True)
        noise = [torch.cat([torch.lerp(x, y, t) for t in ticks]) for x, y in pairs]
        masks = None
        if a.mask is not None and b.mask is not None:
            masks = rounded_mask(torch.cat([torch.lerp(a.mask, b.mask, t) for t in ticks]))
        return InversionState(
            torch.cat([(1 - t) * a.w + t * b.w for t in ticks]),
            line(a.offset_codes, b.offset_codes),
            {name: styles(name) for name in a.style_offsets},
            GeneratorOverrides(line(a.overrides.residuals, b.overrides.residuals), tuple(tuned), tuple(noise)),
            masks,
        )

    @staticmethod
    def mixed(
        a: InversionState, b: InversionState, layers: Sequence[LayerSpec], generator: StyleGenerator
    ) -> InversionState:
        """`a`, with the rows of w, offsets, style offsets and overrides of `layers` taken from `b`.

        Both are states of B images. What `b` does not change in these layers is as in `generator`. Other layers that
        are fed by the same row of w get its code, too: a toRGB layer and the next upsampling convolution share one.
        The result has no mask.

        Raises:
            InversionError: both have codes, of offsets or residuals, and the step weights differ (see
                `OffsetCodes.mixed`).
        """
        w, names = a.w.clone(), [spec.name for spec in layers]
        for spec in layers:
            w[:, spec.row] = b.w[:, spec.row]
        styles = {n: v for n, v in a.style_offsets.items() if n not in names}
        styles |= {n: v for n, v in b.style_offsets.items() if n in names}
        offsets = OffsetCodes.mixed(a.offset_codes, b.offset_codes, names)
        residuals = OffsetCodes.mixed(a.overrides.residuals, b.overrides.residuals, names)
        a, b = a._fill_missing((a, b), generator), b._fill_missing((a, b), generator)
        chosen = _parameter_names(names, generator)
        tuned = [{n: (y if n in chosen else x)[n] for n in x} for x, y in _tuned_pairs(a, b, generator)]
        noise = _choose_noise(names, b.overrides.noise, a.overrides.noise, generator)
        return InversionState(w, offsets, styles, GeneratorOverrides(residuals, tuple(tuned), noise))

    def transferred(
        self, source: StyleGenerator, target: StyleGenerator, layers: Sequence[str] | None, w: Tensor | None
    ) -> InversionState:
        """The state for `target`, a generator that was fine-tuned from `source`.

        Latent codes, offset codes, style offsets, residuals and noise maps stay as they are. A tuned parameter becomes
        `target + (tuned - source)`. The result has no mask.

        Args:
            source: the generator that this state belongs to.
            target: a generator of the same configuration.
            layers: layers whose offset codes and overrides are kept; in all others they are dropped. None keeps all.
                Style offsets are kept in any case.
            w: latent codes [B,L,D] or [B,D] to use instead of those of this state; None for these.

        Raises:
            InversionError: codes `w` of another shape. ConfigError: an unknown layer.
        """
        codes, residuals, noise = self.offset_codes, self.overrides.residuals, self.overrides.noise
        before, after = dict(source.named_parameters()), dict(target.named_parameters())
        tuned = [
            {name: after[name].detach() + (value - before[name].detach()) for name, value in parameters.items()}
            for parameters in self.overrides.tuned
        ]
        if layers is not None:
            names = [target.layer(name).name for name in layers]
            parameter_names = _parameter_names(names, target)
            codes = None if codes is None else codes.only(names)
            residuals = None if residuals is None else residuals.only(names)
            tuned = [{n: value for n, value in parameters.items() if n in parameter_names} for parameters in tuned]
            if noise:
                stored_maps = [stored.expand(len(self.w), -1, -1, -1) for stored in target.noises.buffers()]
                noise = _choose_noise(names, noise, stored_maps, target)
        w = self.w if w is None else target.broadcast(w.to(self.w))
        if w.shape != self.w.shape:
            raise InversionError(f"other latent codes of shape {tuple(w.shape)}: expected {tuple(self.w.shape)}.")
        return InversionState(w, codes, self.style_offsets, GeneratorOverrides(residuals, tuple(tuned), noise))

    def _fill_missing(self, parts: Sequence[InversionState], generator: StyleGenerator) -> InversionState:
        """A copy with neutral values for all that one of `parts` has and this state lacks, to be combined with them.

        The neutral values are codes that stand for no offsets, zeros for styles, mappings without parameters, the
        generator's own noise maps, and masks of ones.
        """
        count, others = len(self.w), [part.overrides for part in parts]
        codes, residuals = self.offset_codes, self.overrides.residuals
        tuned, noise = self.overrides.tuned, self.overrides.noise
        if codes is None and any(part.offset_codes is not None for part in parts):
            codes = OffsetCodes.none(self.w)
        if residuals is None and any(other.residuals is not None for other in others):
            residuals = OffsetCodes.none(self.w)
        if not tuned and any(other.tuned for other in others):
            tuned = ({},) * count
        if not noise and any(other.noise for other in others):
            noise = tuple(stored.expand(count, -1, -1, -1) for stored in generator.noises.buffers())
        zeros = {
            name: offset.new_zeros(1, offset.shape[1]).expand(count, -1)
            for part in parts
            for name, offset in part.style_offsets.items()
        }
        styles = {name: self.style_offsets.get(name, zero) for name, zero in zeros.items()}
        mask = self.mask
        if mask is None and (masks := [part.mask for part in parts if part.mask is not None]):
            mask = masks[0].new_ones(count, *masks[0].shape[1:])
        return InversionState(self.w, codes, styles, GeneratorOverrides(residuals, tuned, noise), mask)


def _joined(parts: Sequence[OffsetCodes | None]) -> OffsetCodes | None:
    """The codes of all parts as one batch; None where they are None."""
    codes = [part for part in parts if part is not None]
    return OffsetCodes.cat(codes) if codes else None


def _tuned_pairs(
    a: InversionState, b: InversionState, generator: StyleGenerator
) -> list[tuple[TunedParameters, TunedParameters]]:
    """The tuned parameters of each image in `a` and `b`, with the generator's values for what only the other has."""
    parameters = dict(generator.named_parameters())
    names = sorted({name for state in (a, b) for tuned in state.overrides.tuned for name in tuned})
    if not names:
        return []
    stored = {name: parameters[name].detach() for name in names}
    return [({**stored, **x}, {**stored, **y}) for x, y in zip(a.overrides.tuned, b.overrides.tuned, strict=True)]


def _parameter_names(layers: Sequence[str], generator: StyleGenerator) -> set[str]:
    """Names of the parameters of these layers; the constant input belongs to the first layer."""
    names = {name for layer in layers for name in generator.parameters_of(layer)}
    if generator.layers[0].name in layers:
        names |= {name for name, _ in generator.named_parameters() if name.startswith("input.")}
    return names


def _choose_noise(
    layers: Sequence[str], chosen: Sequence[Tensor], others: Sequence[Tensor], generator: StyleGenerator
) -> tuple[Tensor, ...]:
    """The noise maps of `layers` from `chosen`, all other maps from `others`; () where there are none."""
    if not chosen:
        return ()
    names = [spec.name for spec in generator.layers if not spec.torgb]  # toRGB adds no noise
    return tuple(x if name in layers else y for name, x, y in zip(names, chosen, others, strict=True))
