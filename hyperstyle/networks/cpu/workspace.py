"""Memory that is used again by the CPU form of synthesis."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

__all__ = ["Workspace"]


class Workspace:
    """Buffers for fused weights and feature maps that every layer of every image uses again.

    Memory that is new to a process costs more than what is computed in it.

    Args:
        keeps: whether the reordered weights are kept, for several images from one generator; 94 MB for the published
        one. Its parameters must not change meanwhile.
    """

    _idle: ClassVar[deque[dict[object, Tensor]]] = deque(maxlen=1)

    def __init__(self, *, keeps: bool = True) -> None:
        self._slots: dict[object, Tensor] = {}
        self._keeps = keeps
        self._kept: dict[Tensor, Tensor] = {}

    @classmethod
    @contextmanager
    def reuse(cls, *, keeps: bool = True) -> Iterator[Workspace]:
        """A workspace whose buffers, not their contents, go to the next caller; 0.2 GiB for the published generator.

        Only memory on a CPU is kept; whoever asks while it is in use gets new memory.
        """
        workspace = cls(keeps=keeps)
        with contextlib.suppress(IndexError):
            workspace._slots = cls._idle.pop()
        try:
            yield workspace
        finally:
            if all(slot.device.type == "cpu" for slot in workspace._slots.values()):
                cls._idle.append(workspace._slots)

    def buffer(self, slot: object, like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """A tensor of this shape, of the type (unless `dtype` says another) and device of `like`, with any values.

        The next call for the same slot returns the same memory.
        """
        size, dtype = math.prod(shape), dtype or like.dtype
        kept = self._slots.get(slot)
        if kept is None or len(kept) < size or kept.dtype != dtype or kept.device != like.device:
            with torch.inference_mode(False):  # whose tensors nobody else may write to
                self._slots[slot] = kept = torch.empty(size, dtype=dtype, device=like.device)
        return kept[:size].view(*shape)

    def packed_weight(self, weight: Tensor) -> Tensor:
        """The raw weight [1,O,I,k,k] of a layer, the parameter itself, as [I,k * k,O], in float32 or wider."""
        made = self._kept.get(weight)
        if made is None:
            _, size_out, size_in, *taps = weight.shape
            shape, wide = (size_in, math.prod(taps), size_out), torch.promote_types(weight.dtype, torch.float32)
            made = self.buffer(("kept", len(self._kept)) if self._keeps else "raw", weight, shape, wide)
            made.view(-1, size_out).copy_(weight[0].flatten(1).t())
            if self._keeps:
                self._kept[weight] = made
        return made
