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
    """Memory that is used again: for folded weights and for maps, by every layer of every image.

    Memory that is new to a process costs more than what is computed in it.

    Args:
        keeps: whether weights stay in the order in which they are folded, for who draws with the same ones again; as
            published, 94 MB. They must not change meanwhile.
    """

    _idle: ClassVar[deque[dict[object, Tensor]]] = deque(maxlen=1)

    def __init__(self, *, keeps: bool = True) -> None:
        self._slots: dict[object, Tensor] = {}
        self._keeps = keeps
        self._kept: dict[Tensor, Tensor] = {}

    @classmethod
    @contextmanager
    def reuse(cls, *, keeps: bool = True) -> Iterator[Workspace]:
        """One whose memory, but not what is in it, goes on to who asks next; as published, 0.2 GiB.

        One on a CPU is kept for that, and those who ask while it is reuse get new memory.
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

        It is taken away again by the next call for the same slot.
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
