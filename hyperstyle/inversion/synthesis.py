"""The one way from the state of inversions to images; it chooses between the generator and the CPU form of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

from hyperstyle.inversion.overrides import GeneratorOverrides
from hyperstyle.inversion.state import InversionState
from hyperstyle.model.parts import Model
from hyperstyle.networks import cpu
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.hypernetworks.lazy import Expander, LazyOffsets
from hyperstyle.networks.stylegan1 import StyleGan1
from hyperstyle.networks.stylegan2.generator import Generator, NoiseMaps, NoiseMode, Offsets
from hyperstyle.networks.stylegan2.ops import Modulation, effective_weight
from hyperstyle.runtime.gradients import normal_tensors

__all__ = ["DEFAULT_BATCH_SIZE", "bake", "dense_offsets", "lazy_offsets", "render", "styles_of", "synthesize"]

DEFAULT_BATCH_SIZE = 8
"""Images that go through the networks at once, unless a batch size is given."""


def lazy_offsets(codes: OffsetCodes | None, network: Expander | None) -> Mapping[str, Tensor]:
    """The dense offsets of codes by layer name, each computed when it is asked for; {} without codes."""
    if codes is None:
        return {}
    if network is None:
        return codes.expanded({})
    if isinstance(network, Hypernetwork) and not torch.is_grad_enabled():
        return cpu.offsets(network, codes)
    return LazyOffsets(network, codes)


def dense_offsets(codes: OffsetCodes | None, network: Expander | None) -> dict[str, Tensor]:
    """The same, all of them at once and without gradients."""
    with normal_tensors(), torch.no_grad():
        return dict(lazy_offsets(codes, network))


def synthesize(
    generator: Generator,
    styles: Mapping[str, Tensor],
    offsets: Offsets | None = None,
    *,
    residuals: Offsets | None = None,
    noise: NoiseMode | NoiseMaps = "const",
    modulation: Modulation = "weights",
    workspace: cpu.Workspace | None = None,
) -> Tensor:
    """Styles -> images [B,3,size,size]: by `networks.cpu` on a CPU where no gradients are recorded, else the generator.

    Arguments and errors are those of `Generator.synthesize`; `workspace` is for `networks.cpu`, `modulation` for the
    generator.
    """
    is_on_cpu = styles[generator.layers[0].name].device.type == "cpu"
    if is_on_cpu and not torch.is_grad_enabled() and not isinstance(generator, StyleGan1):
        return cpu.synthesize(generator, styles, offsets, residuals=residuals, noise=noise, workspace=workspace)
    return generator.synthesize(styles, offsets, residuals=residuals, noise=noise, modulation=modulation)


def render(
    model: Model,
    state: InversionState,
    *,
    differentiable: bool = False,
    generator: Generator | None = None,
    noise: Literal["const", "none"] = "const",
) -> Tensor:
    """The generator's images [B,3,size,size], about [-1,1], not clamped; `Domain.content` gives their content rows.

    Args:
        model: its generator renders, and its networks make offsets and residuals of their codes.
        state: of B images.
        differentiable: gradients flow to whatever of the state, or of the generator, needs them. Otherwise none are
            recorded, a CPU takes its quicker form, and neighbors with equal offsets, residuals and noise maps, such as
            the edits of one image, share weights W * (1 + Δ) that are computed once for all of them.
        generator: in place of the generators of the images (the model's, with their tuned parameters).
        noise: the noise maps of the images, or of the generator where they have none ("const"); or "none".
    """
    groups = [(slice(0, len(state.w)), generator)] if generator is not None else _generators(model, state)
    if differentiable:
        return torch.cat(
            [
                _render_differentiable(model, group_generator, state.view(images), noise)
                for images, group_generator in groups
            ]
        )
    with normal_tensors(), torch.no_grad():
        parts = [
            part
            for images, group_generator in groups
            for part in _render_shared(model, group_generator, state.view(images), noise)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _render_differentiable(
    model: Model, generator: Generator, state: InversionState, noise: Literal["const", "none"]
) -> Tensor:
    """Images that have this generator, all at once."""
    return generator.synthesize(
        _styles(generator, state),
        lazy_offsets(state.codes, model.hypernetwork),
        residuals=lazy_offsets(state.overrides.residuals, model.hyperinverter),
        noise=noise if noise == "none" else state.overrides.noise or noise,
        modulation="activations",
    )


def _render_shared(
    model: Model, generator: Generator, state: InversionState, noise: Literal["const", "none"]
) -> Iterator[Tensor]:
    """Images that have this generator, in batches; runs of equal offsets share their weights."""
    styles = _styles(generator, state)
    for run, has_equal_weights in _runs(state, model.dtype):
        baked = bake(model, generator, state.view(slice(run.start, run.start + 1))) if has_equal_weights else generator
        # A CPU renders images one by one. Elsewhere what a large batch needs at once would fill the memory.
        size = len(state.w) if has_equal_weights and state.w.device.type == "cpu" else DEFAULT_BATCH_SIZE
        for first in range(run.start, run.stop, size):
            batch = slice(first, min(first + size, run.stop))
            part = state.view(batch)
            offsets, residuals = (None, None) if has_equal_weights else (part.codes, part.overrides.residuals)
            yield synthesize(
                baked,
                {name: style[batch] for name, style in styles.items()},
                lazy_offsets(offsets, model.hypernetwork),
                residuals=lazy_offsets(residuals, model.hyperinverter),
                noise=noise if noise == "none" else part.overrides.noise or noise,
                modulation="activations" if has_equal_weights else "weights",
            )


def styles_of(model: Model, w: Tensor, overrides: GeneratorOverrides) -> dict[str, Tensor]:
    """Styles that the affine layers of the images' generators give for codes [B,L,D]: layer name -> [B,I]."""
    with torch.no_grad():
        groups = _generators(model, InversionState(w, overrides=overrides))
        parts = [generator.styles(w[place]) for place, generator in groups]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def bake(model: Model, generator: Generator, state: InversionState) -> Generator:
    """The generator with the offsets and residuals of a single image in its weights (Eq. 5); all else is shared."""
    offsets = lazy_offsets(state.codes, model.hypernetwork)
    residuals = lazy_offsets(state.overrides.residuals, model.hyperinverter)
    weights = {}
    for layer in {*offsets, *residuals}:
        name = next(name for name in generator.parameters_of(layer) if name.endswith("conv.weight"))
        weight = generator.weight(layer)[None]  # [1,O,I,k,k]
        if layer in offsets:
            weight = effective_weight(weight, offset=offsets[layer])
        if layer in residuals:
            weight = effective_weight(weight, residual=residuals[layer])
        weights[name] = weight
    return generator.with_parameters(weights) if weights else generator


def _generators(model: Model, state: InversionState) -> Iterator[tuple[slice, Generator]]:
    """Neighbors that share a generator, and it: the model's, or one with their tuned parameters."""
    tuned, count = state.overrides.tuned, len(state.w)
    if not tuned:
        yield slice(0, count), model.generator
        return
    borders = [i for i in range(1, count) if tuned[i] is not tuned[i - 1]]
    for start, stop in zip([0, *borders], [*borders, count], strict=True):
        yield slice(start, stop), model.generator.with_parameters(tuned[start])


def _styles(generator: Generator, state: InversionState) -> dict[str, Tensor]:
    """Layer name -> style [B,I], the offsets of edits in StyleSpace included."""
    styles = generator.styles(state.w)
    return styles | {name: styles[name] + offset for name, offset in state.style_offsets.items()}


def _runs(state: InversionState, dtype: torch.dtype) -> Iterator[tuple[slice, bool]]:
    """Splits images into runs: neighbors with equal weights and noise maps (True), and all between such runs (False).

    In half precision no weights are shared: sharing multiplies feature maps by the styles, where they would be rounded.
    """
    count = len(state.w)
    codes = [part for part in (state.codes, state.overrides.residuals) if part is not None]
    tensors = [tensor for part in codes for tensor in part.tensors] + list(state.overrides.noise)
    if not tensors:  # the weights of the generator: nothing to compute once
        yield slice(0, count), False
        return
    is_wide = torch.finfo(dtype).bits >= 32

    def equal(a: int, b: int) -> bool:
        return is_wide and all(torch.equal(tensor[a], tensor[b]) for tensor in tensors)

    borders = [i for i in range(1, count) if not equal(i - 1, i)]
    first = 0  # of the images that are not in a run yet
    for start, stop in zip([0, *borders], [*borders, count], strict=True):
        if stop - start > 1:
            if first < start:
                yield slice(first, start), False
            yield slice(start, stop), True
            first = stop
    if first < count:
        yield slice(first, count), False
