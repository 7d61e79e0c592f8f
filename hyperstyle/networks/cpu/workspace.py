"""Memory of the CPU form of synthesis, and the context in which one synthesis leaves it to the next."""

from __future__ import annotations

import math
import weakref
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor


class Workspace:
    """Buffers for fused weights and feature maps, which every layer of every image uses again.

    A page that is new to a process costs more than the arithmetic on it, so the maps of a layer are written over those
    of the layer before the last.

    Args:
        keep_weights: whether the packed weights of all layers are kept (94 MB for the published generator), for
            several images from one generator; otherwise only those of the last layer.
    """

    def __init__(self, *, keep_weights: bool) -> None:
        self._keep_weights = keep_weights
        self._buffers: dict[Hashable, Tensor] = {}
        # layer name -> the parameter that was packed, and its state at that time
        self._packed: dict[str, tuple[weakref.ref[Tensor], tuple[int, int]]] = {}

    def buffer(self, slot: Hashable, like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """A tensor of this shape, of the type (unless `dtype` is another) and device of `like`, with any values.

        The next call for the same slot returns the same memory.
        """
        size, dtype = math.prod(shape), dtype or like.dtype
        memory = self._buffers.get(slot)
        if memory is None or len(memory) < size or memory.dtype != dtype or memory.device != like.device:
            with torch.inference_mode(False):  # an inference tensor could not be written to outside of that mode
                self._buffers[slot] = memory = torch.empty(size, dtype=dtype, device=like.device)
        return memory[:size].view(*shape)

    def packed_weight(self, layer: str, weight: Tensor) -> Tensor:
        """The raw weight [1,O,I,k,k] of a layer as [I,k*k,O], in float32 or wider.

        A kept one is used again while its parameter is the same object in the same memory and its version counter has
        not moved, as it does for operations in place (but not on `.data`). Inference tensors have no such counter and
        are packed every time.
        """
        _, size_out, size_in, *taps = weight.shape
        shape, wide = (size_in, math.prod(taps), size_out), torch.promote_types(weight.dtype, torch.float32)
        slot = ("packed", layer) if self._keep_weights else "packed"
        packed = self.buffer(slot, weight, shape, wide)
        state = None if weight.is_inference() else (weight.data_ptr(), weight._version)
        source, kept_state = self._packed.get(layer, (None, None))
        if source is None or source() is not weight or state is None or kept_state != state:
            # [O,I,k,k] -> [O,I*k*k] -> [I*k*k,O], whose rows are those of [I,k*k,O]
            packed.view(-1, size_out).copy_(weight[0].flatten(1).t())
            if self._keep_weights and state is not None:
                self._packed[layer] = weakref.ref(weight), state
        return packed


_REUSED: ContextVar[Workspace | None] = ContextVar("_REUSED", default=None)


@contextmanager
def reuse_memory() -> Iterator[None]:
    """Within it, images that this thread synthesizes on a CPU share one workspace, which is freed at its end.

    It serves loops that synthesize again and again from one generator: a few percent of the time for 0.3 GiB (published
    generator). Inside of another such context it does nothing.
    """
    token = _REUSED.set(current_workspace(keep_weights=True))
    try:
        yield
    finally:
        _REUSED.reset(token)


def current_workspace(*, keep_weights: bool) -> Workspace:
    """The workspace of the surrounding `reuse_memory`, or a new one with `keep_weights`."""
    return _REUSED.get() or Workspace(keep_weights=keep_weights)
