"""Codes, style offsets and offset codes of a model -> pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from hyperstyle.model import Model
from hyperstyle.networks.codes import OffsetCodes
from hyperstyle.networks.lazy import LazyOffsets

__all__ = ["TOGETHER", "lazy_offsets", "pictures"]

TOGETHER = 8
"""Pictures that go through the networks at once, unless a batch size is given."""


def lazy_offsets(model: Model, codes: OffsetCodes | None) -> Mapping[str, Tensor]:
    """Dense offsets by layer name, each made when it is asked for; {} without codes."""
    if codes is None:
        return {}
    return codes.expanded({}) if model.hypernetwork is None else LazyOffsets(model.hypernetwork, codes)


def pictures(model: Model, w: Tensor, style_offsets: Mapping[str, Tensor], codes: OffsetCodes | None) -> Tensor:
    """The pictures [B,3,H,W], float32, about [-1,1], not clamped; content rows applied.

    Neighbours with equal offset codes, such as the edits of one picture, share their weights W * (1 + Δ): Δ is made
    once for all of them, and every convolution runs for several of them at once.

    Args:
        model: whose generator draws.
        w: [B,L,D].
        style_offsets: layer name -> [B,I], added after the affine layers.
        codes: of B pictures, or None.
    """
    parts = []
    with torch.no_grad():
        styles = model.generator.styles(w)
        for name, change in style_offsets.items():
            styles[name] = styles[name] + change
        for run, alike in _runs(model, codes, len(w)):
            shared = lazy_offsets(model, _of(codes, slice(run.start, run.start + 1))) if alike else {}
            if run.stop - run.start > TOGETHER:
                shared = dict(shared)
            for first in range(run.start, run.stop, TOGETHER):  # maps and offsets of many would fill the memory
                some = slice(first, min(first + TOGETHER, run.stop))
                image = model.generator.synthesize(
                    {name: style[some] for name, style in styles.items()},
                    shared if alike else lazy_offsets(model, _of(codes, some)),
                    modulation="activations" if alike else "weights",
                )
                parts.append(model.domain.content(image).float())
    return torch.cat(parts)


def _of(codes: OffsetCodes | None, chosen: slice) -> OffsetCodes | None:
    return None if codes is None else codes.apply(lambda t: t[chosen])


def _runs(model: Model, codes: OffsetCodes | None, count: int) -> Iterator[tuple[slice, bool]]:
    """Neighbours with equal codes, True; and the pictures between such runs, which share nothing, False.

    In half precision nothing is shared: the styles, which are multiplied with the maps then, would be rounded there.
    """
    wide = torch.finfo(model.dtype).bits >= 32
    borders = [i for i in range(1, count) if not (wide and _equal(codes, i - 1, i))]
    starts = [0, *borders]
    between: int | None = None
    for start, stop in zip(starts, [*borders, count], strict=True):
        if stop - start > 1:
            if between is not None:
                yield slice(between, start), False
                between = None
            yield slice(start, stop), True
        elif between is None:
            between = start
    if between is not None:
        yield slice(between, count), False


def _equal(codes: OffsetCodes | None, a: int, b: int) -> bool:
    if codes is None:
        return True
    tensors = (*codes.sums.values(), *codes.terms.values(), codes.weights, *codes.dense.values())
    return all(torch.equal(t[a], t[b]) for t in tensors)
