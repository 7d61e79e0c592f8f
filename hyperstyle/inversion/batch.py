"""An inversion as a batch of images: indexing, iteration, joining."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch

from hyperstyle.errors import InversionError
from hyperstyle.inversion.masks import with_masks
from hyperstyle.inversion.pickling import Portable
from hyperstyle.inversion.state import InversionState

T = TypeVar("T", bound="Batch")


class Batch(Portable):
    """The base of `Inversion`: the images of a batch, one by one and together."""

    stored_metrics: Mapping[str, tuple[float, ...]]
    unedited: Any

    def __getitem__(self: T, index: int | slice) -> T:
        if isinstance(index, slice):
            places = list(range(len(self)))[index]
            if not places:
                raise InversionError(f"no image is in {index} of an inversion of {len(self)}.")
            return self._take(places)
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"image {place} of an inversion of {len(self)}.")
        return self._take([place % len(self)])

    def __iter__(self: T) -> Iterator[T]:
        return (self[i] for i in range(len(self)))

    def _take(self: T, index: list[int]) -> T:
        """These images, in this order; an index may come more than once."""
        result: T = replace(  # type: ignore[type-var]
            self._with(self.state.take(index)),
            crop=None if self.crop is None else self.crop[index],
            sources=tuple(self.sources[i] for i in index) if self.sources else (),
            stored_metrics={k: tuple(v[i] for i in index) for k, v in self.stored_metrics.items()},
            unedited=None if self.unedited is None else self.unedited._take(index),
            intermediates=tuple(image[index] for image in self.intermediates),
            failures=(),
        )
        return result

    @classmethod
    def cat(cls: type[T], parts: Sequence[T]) -> T:
        """Inversions of one model as one batch; offsets and overrides that only some have are none in the others.

        Where some have a mask, that of other edited images is 1 everywhere, and that of unedited ones 0.

        Raises:
            InversionError: none, of different models, types or devices, or with offset codes for different layers.
        """
        if not parts:
            raise InversionError("no inversions to join: expected at least one.")
        first = parts[0]
        for part in parts[1:]:
            first._check_same_model(part)
        crops = [p.crop for p in parts if p.crop is not None]
        before = [p.unedited or p for p in parts]
        measured = [k for k in first.stored_metrics if all(k in p.stored_metrics for p in parts)]
        steps = [p.intermediates for p in parts] if len({len(p.intermediates) for p in parts}) == 1 else []
        result: T = replace(  # type: ignore[type-var]
            first._with(InversionState.cat(with_masks(parts), first.model.generator)),
            crop=torch.cat(crops) if len(crops) == len(parts) else None,
            sources=tuple(s for p in parts for s in p.sources) if all(p.sources for p in parts) else (),
            stored_metrics={k: tuple(v for p in parts for v in p.stored_metrics[k]) for k in measured},
            unedited=cls.cat(before) if any(p.unedited for p in parts) else None,
            intermediates=tuple(torch.cat(list(step)) for step in zip(*steps, strict=True)),
            failures=(),
        )
        return result
