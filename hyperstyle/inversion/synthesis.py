"""Renders the state of inversions: the one place that makes their images, by the generator or by `networks.cpu`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.inversion.state import InversionState
from hyperstyle.model.parts import Model
from hyperstyle.networks import cpu
from hyperstyle.networks.hypernetworks.codes import Expander, LazyOffsets, OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.stylegan2.base import NoiseMaps, NoiseMode, Offsets, StyleGenerator
from hyperstyle.networks.stylegan2.ops import Modulation, effective_weight
from hyperstyle.runtime.gradients import normal_tensors

DEFAULT_BATCH_SIZE = 8
"""Images that go through the networks at once, unless a batch size is given."""


def lazy_offsets(codes: OffsetCodes | None, network: Expander | None) -> Mapping[str, Tensor]:
    """Layer name -> dense offset (or residual) of the codes, computed on access; {} without codes.

    Args:
        codes: offset codes of B images, or None.
        network: the hypernetwork (or HyperInverter) that predicted the codes. None for codes that hold only dense
            tensors, which are returned as they are.

    Returns:
        Tensors that broadcast to [B,O,I,k,k]. `LazyOffsets` compute them anew at every access.

    Raises:
        ConfigError: there are codes for layers, but no network, or one that does not change these layers.
    """
    if codes is None:
        return {}
    if network is None:
        if codes.coded:
            raise ConfigError(
                f"codes of weight offsets for {len(codes.coded)} layers, first {codes.coded[0]!r}, and the model lacks "
                "the network that computes offsets from them. Use the model that the inversion was made with."
            )
        return codes.expanded({})
    if isinstance(network, Hypernetwork) and not torch.is_grad_enabled():
        return cpu.offsets(network, codes)
    return LazyOffsets(network, codes)


def dense_offsets(codes: OffsetCodes | None, network: Expander | None) -> dict[str, Tensor]:
    """As `lazy_offsets`, but all tensors are computed at once, without gradients."""
    with normal_tensors(), torch.no_grad():
        return dict(lazy_offsets(codes, network))


def synthesize(
    generator: StyleGenerator,
    styles: Mapping[str, Tensor],
    offsets: Offsets | None = None,
    *,
    residuals: Offsets | None = None,
    noise: NoiseMode | NoiseMaps = "const",
    modulation: Modulation = "weights",
    until: str | None = None,
) -> Tensor:
    """Styles -> images [B,3,size,size].

    Computed by `networks.cpu` for a StyleGAN2 on a CPU without gradients, else by the generator. Arguments and errors
    are those of `Generator.synthesize`; `networks.cpu` ignores `modulation` and has no `until`.
    """
    if until is None and cpu.applies_to(generator, styles[generator.layers[0].name].device):
        return cpu.synthesize(generator, styles, offsets, residuals=residuals, noise=noise)
    return generator.synthesize(styles, offsets, residuals=residuals, noise=noise, modulation=modulation, until=until)


def render(
    model: Model,
    state: InversionState,
    *,
    differentiable: bool = False,
    generator: StyleGenerator | None = None,
    noise: Literal["const", "none"] = "const",
    until: str | None = None,
) -> Tensor:
    """Renders B images [B,3,size,size], about [-1,1], not clamped, with padding (`Domain.content` removes it).

    Args:
        model: its generator renders the images; its hypernetwork and HyperInverter expand codes to offsets and
            residuals.
        state: of B images.
        differentiable: record gradients for those tensors of the state or the generator that require them. If False,
            no gradients are recorded, `networks.cpu` renders on a CPU, and consecutive images with equal offsets,
            residuals and noise maps (such as the edits of one image) share the changed weights, computed once.
        generator: used for all images, instead of the model's generator with the parameters tuned for each image.
        noise: "const" uses the noise maps of the images, or the generator's where they have none; "none" adds no noise.
        until: a layer whose feature maps [B,C,r,r] are returned in place of images, see `StyleGenerator.synthesize`.
    """
    groups = [(slice(0, len(state.w)), generator)] if generator is not None else _generators(model, state)

    def render_all() -> list[Tensor]:
        return [
            part for images, g in groups for part in _render(model, g, state.take(images), noise, differentiable, until)
        ]

    if differentiable:
        return torch.cat(render_all())
    with normal_tensors(), torch.no_grad():
        parts = render_all()
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _render(
    model: Model,
    generator: StyleGenerator,
    state: InversionState,
    noise: Literal["const", "none"],
    differentiable: bool,
    until: str | None,
) -> Iterator[Tensor]:
    """Batches [B,3,size,size] of the images of a state, in order, all from this generator.

    With gradients it is one batch. Without, runs of images with equal offsets share one set of weights (see `_runs`).
    """
    styles, count = _styles(generator, state), len(state.w)
    for run, has_equal_weights in [(slice(0, count), False)] if differentiable else _runs(state, model.dtype):
        baked = bake(model, generator, state.take(slice(run.start, run.start + 1))) if has_equal_weights else generator
        # A CPU renders images one by one. Elsewhere what a large batch needs at once would fill the memory.
        is_whole = differentiable or (has_equal_weights and state.w.device.type == "cpu")
        size = count if is_whole else DEFAULT_BATCH_SIZE
        for first in range(run.start, run.stop, size):
            batch = slice(first, min(first + size, run.stop))
            part = state.take(batch)
            offsets, residuals = ({}, {}) if has_equal_weights else _changes(model, part)
            render_batch = baked.synthesize if differentiable else partial(synthesize, baked)
            yield render_batch(
                {name: style[batch] for name, style in styles.items()},
                offsets,
                residuals=residuals,
                noise=noise if noise == "none" else part.overrides.noise or noise,
                modulation="activations" if differentiable or has_equal_weights else "weights",
                until=until,
            )


def styles_of(model: Model, state: InversionState) -> dict[str, Tensor]:
    """Layer name -> styles [B,S]: the outputs of the affine layers, plus the style offsets of the state.

    Where parameters were tuned for an image, the affine layers are those of its own generator. Records no gradients.
    """
    with torch.no_grad():
        parts = [_styles(generator, state.take(images)) for images, generator in _generators(model, state)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def bake(model: Model, generator: StyleGenerator, state: InversionState) -> StyleGenerator:
    """A copy of the generator with W * (1 + Δ) + R in place of the raw weights W (HyperStyle, Eq. 5; HyperInverter).

    All other tensors are shared with `generator`; without offsets and residuals it is `generator` itself.

    Args:
        model: its networks compute offsets Δ and residuals R from the codes of the state.
        generator: the model's; if parameters were tuned for the image, a generator that has them already.
        state: of one image. Only its offsets and residuals are used: no style offsets, tuned parameters or noise maps.
    """
    offsets, residuals = _changes(model, state)
    weights = {}
    for layer in {*offsets, *residuals}:
        # "conv.weight", since the layer's noise strength and affine map are called "weight" as well.
        name = next(name for name in generator.parameters_of(layer) if name.endswith("conv.weight"))
        weight = generator.weight(layer)[None]  # [1,O,I,k,k], as it is stored in the files
        if layer in offsets:
            weight = effective_weight(weight, offset=offsets[layer])
        if layer in residuals:
            weight = effective_weight(weight, residual=residuals[layer])
        weights[name] = weight
    return generator.with_parameters(weights) if weights else generator


def baked(model: Model, state: InversionState) -> tuple[StyleGenerator, InversionState]:
    """A generator for one image, with its tuned parameters, offsets and residuals in the weights (`bake`).

    Args:
        model: whose generator it is made from.
        state: of one image.

    Returns:
        The generator, and the rest of the state: latent codes, style offsets and noise maps. `render` with both gives
        the image of the whole state.
    """
    (_, generator), *_ = _generators(model, state)
    with normal_tensors(), torch.no_grad():
        generator = bake(model, generator, state)
    return generator, replace(state, offset_codes=None, overrides=replace(state.overrides, residuals=None, tuned=()))


def _generators(model: Model, state: InversionState) -> Iterator[tuple[slice, StyleGenerator]]:
    """Splits the batch into runs of consecutive images with the same generator: (images, generator) of each run.

    The generator is the model's, or a copy of it with the tuned parameters of the run. Tuned parameters count as the
    same if they are the same object.
    """
    tuned, count = state.overrides.tuned, len(state.w)
    if not tuned:
        yield slice(0, count), model.generator
        return
    for images in _stretches(count, lambda a, b: tuned[a] is tuned[b]):
        yield images, model.generator.with_parameters(tuned[images.start])


def _stretches(count: int, are_equal: Callable[[int, int], bool]) -> list[slice]:
    """Splits `count` images into runs of consecutive images that are equal by this comparison of neighbors."""
    borders = [i for i in range(1, count) if not are_equal(i - 1, i)]
    return [slice(start, stop) for start, stop in zip([0, *borders], [*borders, count], strict=True)]


def _changes(model: Model, state: InversionState) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """The dense offsets and the residuals of a state, by layer, computed on access."""
    offsets = lazy_offsets(state.offset_codes, model.hypernetwork)
    return offsets, lazy_offsets(state.overrides.residuals, model.hyperinverter)


def _styles(generator: StyleGenerator, state: InversionState) -> dict[str, Tensor]:
    """Layer name -> style [B,S], with the style offsets of edits added."""
    styles = generator.styles(state.w)
    return styles | {name: styles[name] + offset for name, offset in state.style_offsets.items()}


def _runs(state: InversionState, dtype: torch.dtype) -> Iterator[tuple[slice, bool]]:
    """Splits the batch into (images, has_equal_weights).

    True for two or more consecutive images with equal offsets, residuals and noise maps, so that they can share
    weights; False for the images between such runs, and for all images without any of these. In half precision it is
    always False: sharing multiplies the feature maps by the styles, which would round the products.
    """
    count = len(state.w)
    codes = [part for part in (state.offset_codes, state.overrides.residuals) if part is not None]
    tensors = [tensor for part in codes for tensor in part.tensors] + list(state.overrides.noise)
    if not tensors:  # the weights of the generator: nothing to compute once
        yield slice(0, count), False
        return
    is_wide = torch.finfo(dtype).bits >= 32

    def equal(a: int, b: int) -> bool:
        return is_wide and all(torch.equal(tensor[a], tensor[b]) for tensor in tensors)

    first = 0  # of the images that are not in a run yet
    for images in _stretches(count, equal):
        if images.stop - images.start > 1:
            if first < images.start:
                yield slice(first, images.start), False
            yield images, True
            first = images.stop
    if first < count:
        yield slice(first, count), False
