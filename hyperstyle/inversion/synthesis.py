"""Codes, style offsets, offset codes and other changes of a model -> images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from hyperstyle.inversion.overrides import GeneratorOverrides
from hyperstyle.model.parts import Model
from hyperstyle.networks import cpu
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.hypernetworks.lazy import Expander, LazyOffsets
from hyperstyle.networks.stylegan2.base import NoiseMaps, NoiseMode, Offsets, StyleGenerator
from hyperstyle.networks.stylegan2.ops import Modulation
from hyperstyle.runtime.gradients import normal_tensors

__all__ = ["DEFAULT_BATCH_SIZE", "generators", "lazy_offsets", "pictures", "styles_of", "synthesize"]

DEFAULT_BATCH_SIZE = 8
"""Images that go through the networks at once, unless a batch size is given."""


def lazy_offsets(codes: OffsetCodes | None, network: Expander | None) -> Mapping[str, Tensor]:
    """What codes stand for by layer name, each made when it is asked for; {} without codes."""
    if codes is None:
        return {}
    if network is None:
        return codes.expanded({})
    if isinstance(network, Hypernetwork) and not torch.is_grad_enabled():
        return cpu.offsets(network, codes)
    return LazyOffsets(network, codes)


def synthesize(
    generator: StyleGenerator,
    styles: Mapping[str, Tensor],
    offsets: Offsets | None = None,
    *,
    residuals: Offsets | None = None,
    noise: NoiseMode | NoiseMaps = "const",
    modulation: Modulation = "weights",
) -> Tensor:
    """Styles -> images [B,3,size,size]: by `networks.cpu` on a CPU where no gradients are recorded, else the generator.

    Arguments and errors are those of `Generator.synthesize`; `modulation` is for the generator.
    """
    if cpu.applies_to(generator, styles[generator.layers[0].name].device):
        return cpu.synthesize(generator, styles, offsets, residuals=residuals, noise=noise)
    return generator.synthesize(styles, offsets, residuals=residuals, noise=noise, modulation=modulation)


def pictures(
    model: Model,
    w: Tensor,
    style_offsets: Mapping[str, Tensor],
    codes: OffsetCodes | None,
    changes: GeneratorOverrides | None = None,
) -> Tensor:
    """The images [B,3,H,W], float32, about [-1,1], not clamped; content rows applied.

    Neighbors with equal offset codes and changes, such as the edits of one image, share their weights W * (1 + Δ),
    which are made once for all of them.

    Args:
        model: whose generator draws.
        w: [B,L,D].
        style_offsets: layer name -> [B,I], added after the affine layers.
        codes: of B images, or None.
        changes: what else is changed of the generator, of B images.
    """
    changes = changes or GeneratorOverrides()
    parts = []
    with normal_tensors(), torch.no_grad():
        styles = styles_of(model, w, changes)
        for name, change in style_offsets.items():
            styles[name] = styles[name] + change
        for group, generator in generators(model, changes, len(w)):
            for run, alike in _runs(model, codes, changes, group):
                own = _bake(model, generator, codes, changes, run.start) if alike else generator
                # A CPU draws them one by one; elsewhere what is made for many would fill the memory.
                count = len(w) if alike and w.device.type == "cpu" else DEFAULT_BATCH_SIZE
                for first in range(run.start, run.stop, count):
                    some = slice(first, min(first + count, run.stop))
                    image = synthesize(
                        own,
                        {name: style[some] for name, style in styles.items()},
                        None if alike else lazy_offsets(_of(codes, some), model.hypernetwork),
                        residuals=None if alike else lazy_offsets(_of(changes.residuals, some), model.hyperinverter),
                        noise=tuple(noise[some] for noise in changes.noise) or "const",
                        modulation="activations" if alike else "weights",
                    )
                    parts.append(model.domain.content(image).float())
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def generators(model: Model, changes: GeneratorOverrides, count: int) -> Iterator[tuple[slice, StyleGenerator]]:
    """Neighbours that share a generator, and it: the model's, or one with parameters of the images' own."""
    if not changes.tuned:
        yield slice(0, count), model.generator
        return
    borders = [i for i in range(1, count) if changes.tuned[i] is not changes.tuned[i - 1]]
    for start, stop in zip([0, *borders], [*borders, count], strict=True):
        yield slice(start, stop), model.generator.with_parameters(changes.tuned[start])


def styles_of(model: Model, w: Tensor, changes: GeneratorOverrides) -> dict[str, Tensor]:
    """What the affine layers of the images' generators make of codes [B,L,D]: layer name -> [B,I]."""
    with torch.no_grad():
        parts = [generator.styles(w[group]) for group, generator in generators(model, changes, len(w))]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _bake(
    model: Model, generator: StyleGenerator, codes: OffsetCodes | None, changes: GeneratorOverrides, picture: int
) -> StyleGenerator:
    """The generator with the offsets and residuals of this image in its weights; it shares all else."""
    chosen = slice(picture, picture + 1)
    offsets = lazy_offsets(_of(codes, chosen), model.hypernetwork)
    residuals = lazy_offsets(_of(changes.residuals, chosen), model.hyperinverter)
    weights = {}
    for layer in {*offsets, *residuals}:
        weight = generator.weight(layer)[None]  # [1,O,I,k,k]
        weight = weight * (1 + offsets[layer]) if layer in offsets else weight
        weight = weight + residuals[layer] if layer in residuals else weight
        name = next(name for name in generator.parameters_of(layer) if name.endswith("conv.weight"))
        weights[name] = weight
    return generator.with_parameters(weights) if weights else generator


def _of(codes: OffsetCodes | None, chosen: slice) -> OffsetCodes | None:
    return None if codes is None else codes.select(chosen)


def _runs(
    model: Model, codes: OffsetCodes | None, changes: GeneratorOverrides, group: slice
) -> Iterator[tuple[slice, bool]]:
    """Neighbours with equal codes, True; and the images between such runs, which share nothing, False.

    In half precision nothing is shared: the styles, which are multiplied with the maps then, would be rounded there.
    """
    wide = torch.finfo(model.dtype).bits >= 32
    tensors = [t for part in (codes, changes.residuals) if part is not None for t in part.tensors]
    tensors += changes.noise
    if not tensors:  # nothing to make once
        yield group, False
        return

    def equal(a: int, b: int) -> bool:
        return wide and all(torch.equal(t[a], t[b]) for t in tensors)

    borders = [i for i in range(group.start + 1, group.stop) if not equal(i - 1, i)]
    starts = [group.start, *borders]
    between: int | None = None
    for start, stop in zip(starts, [*borders, group.stop], strict=True):
        if stop - start > 1:
            if between is not None:
                yield slice(between, start), False
                between = None
            yield slice(start, stop), True
        elif between is None:
            between = start
    if between is not None:
        yield slice(between, group.stop), False
