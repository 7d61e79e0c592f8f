"""The weights of modulated convolutions without gradients: of one picture, with everything in them, or of several."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hyperstyle.networks.cpu import winograd

__all__ = ["Common", "Folded", "Room", "fold"]

_GAIN = math.sqrt(2.0)  # of the activation


@dataclass(frozen=True)
class Folded:
    """The convolution of one picture, and what is added to its output.

    All are written as transposed convolutions, whose weights have output channels innermost, as the fastest way to make
    offsets leaves them; those that keep the size have their taps in reverse for it.

    Attributes:
        weight: [I,O,k,k] of a transposed convolution, in channels-last order.
        bias: [O].
        noise: [1,1,r,r], or None.
        style: [I], what the input is multiplied with; None where it is in the weight.
        scale: [O], what the output is multiplied with before bias and noise; None where it is in the weight.
        spread: what `winograd.spread` makes of the weight, where that is at hand.
    """

    weight: Tensor
    bias: Tensor
    noise: Tensor | None = None
    style: Tensor | None = None
    scale: Tensor | None = None
    spread: list[Tensor] | None = None


@dataclass(frozen=True)
class Common:
    """A convolution whose weight W / sqrt(I * k * k) several pictures share.

    Style and demodulation stay on the maps, which pays where these are smaller than the weight.

    Attributes:
        weight: as in `Folded`.
        power: [I,O], sums of its squares over the taps.
        spread: as in `Folded`.
    """

    weight: Tensor
    power: Tensor
    spread: list[Tensor] | None

    @classmethod
    def of(cls, weight: Tensor, width: int, *, up: bool) -> Common:
        """Of the raw weight [O,I,k,k] of a layer whose output has this width."""
        made = _ordered(weight) / math.sqrt(weight[0].numel())
        whole = _whole(made if up else made.flip(1), weight)
        quick = not up and winograd.pays(len(weight), width, weight.dtype)
        return cls(whole, made.square().sum(1), winograd.spread(whole) if quick else None)

    @staticmethod
    def pays(channels: int, width: int, dtype: torch.dtype) -> bool:
        """Whether maps are smaller than the weight, and styles are not rounded to half precision with them."""
        return width**2 <= 9 * channels and dtype in (torch.float32, torch.float64)

    def folded(self, style: Tensor, bias: Tensor, noise: Tensor | None) -> Folded:
        """Of one picture: style [I], bias [O], noise [1,1,r,r] times its strength."""
        scale = _GAIN * torch.rsqrt(style.square() @ self.power + 1e-8)
        noise = None if noise is None else noise * _GAIN
        return Folded(self.weight, bias * _GAIN, noise, style, scale, self.spread)


class Room:
    """Memory that is used again: for folded weights and for maps, by every layer of every picture.

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
    def lent(cls, *, keeps: bool = True) -> Iterator[Room]:
        """One whose memory, but not what is in it, goes on to who asks next; as published, 0.2 GiB.

        One on a CPU is kept for that, and those who ask while it is lent get new memory.
        """
        room = cls(keeps=keeps)
        with contextlib.suppress(IndexError):
            room._slots = cls._idle.pop()
        try:
            yield room
        finally:
            if all(slot.device.type == "cpu" for slot in room._slots.values()):
                cls._idle.append(room._slots)

    def take(self, slot: object, like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """A tensor of this shape, of the type (unless `dtype` says another) and device of `like`, with any values.

        It is taken away again by the next call for the same slot.
        """
        size, dtype = math.prod(shape), dtype or like.dtype
        kept = self._slots.get(slot)
        if kept is None or len(kept) < size or kept.dtype != dtype or kept.device != like.device:
            with torch.inference_mode(False):  # whose tensors nobody else may write to
                self._slots[slot] = kept = torch.empty(size, dtype=dtype, device=like.device)
        return kept[:size].view(*shape)

    def ordered(self, weight: Tensor) -> Tensor:
        """The raw weight [1,O,I,k,k] of a layer, the parameter itself, as [I,k * k,O], in float32 or wider."""
        made = self._kept.get(weight)
        if made is None:
            _, size_out, size_in, *taps = weight.shape
            shape, wide = (size_in, math.prod(taps), size_out), torch.promote_types(weight.dtype, torch.float32)
            made = self.take(("kept", len(self._kept)) if self._keeps else "raw", weight, shape, wide)
            made.view(-1, size_out).copy_(weight[0].flatten(1).t())
            if self._keeps:
                self._kept[weight] = made
        return made


def fold(
    weight: Tensor,
    style: Tensor,
    bias: Tensor,
    *,
    offset: Tensor | None = None,
    residual: Tensor | None = None,
    noise: Tensor | None = None,
    torgb: bool = False,
    up: bool = False,
    room: Room | None = None,
) -> Folded:
    """Weight, style and offset of one picture -> one convolution.

    W' = (W * (1 + offset) + residual) * style / sqrt(I * k * k); unless `torgb`, its filters are scaled to unit norm
    and, with bias and noise, by the gain sqrt(2) of the activation.

    Args:
        weight: [1,O,I,k,k], the parameter itself, by which `room` knows it.
        style: [I].
        bias: [O].
        offset, residual: broadcastable to [O,I,k,k], or None.
        noise: [1,1,r,r], already times its strength.
        torgb: no demodulation, no activation.
        up: of the convolution that doubles the size.
        room: where the weight is made; not for `torgb`.

    Returns:
        In the type of `weight`; computed in float32 or wider.
    """
    room = room if room is not None and not torgb else Room(keeps=False)
    raw = room.ordered(weight)
    made = room.take("up" if up else "work", raw, raw.shape)
    offset, residual = (None if t is None else _ordered(_spread(t, weight[0])).to(raw) for t in (offset, residual))
    changed = raw if offset is None else torch.addcmul(raw, raw, offset, out=made)
    if residual is not None:
        changed = torch.add(changed, residual, out=made)
    scale = style.to(made) / math.sqrt(weight[0, 0].numel())
    torch.mul(changed, scale[:, None, None], out=made)
    gain = 1.0 if torgb else _GAIN
    if not torgb:
        other = room.take("work" if up else "same", raw, raw.shape)
        norms = torch.rsqrt(torch.mul(made, made, out=other).sum((0, 1)) + 1e-8)
        if up:
            made *= gain * norms
        else:
            for tap, opposite in zip(made.unbind(1), reversed(other.unbind(1)), strict=True):
                torch.mul(tap, gain * norms, out=opposite)
            made = other
    return Folded(_whole(made.to(weight.dtype), weight[0]), bias * gain, None if noise is None else noise * gain)


def _ordered(weight: Tensor) -> Tensor:
    """[O,I,k,k] -> [I,k * k,O], which is a view of what `SharedExpander.turned` helped to make."""
    return weight.flatten(1).t().contiguous().view(weight.shape[1], -1, len(weight))


def _whole(ordered: Tensor, weight: Tensor) -> Tensor:
    """[I,k * k,O] as the weight [I,O,k,k] of a transposed convolution, in channels-last order."""
    return ordered.view(len(ordered), *weight.shape[2:], -1).permute(0, 3, 1, 2)


def _spread(change: Tensor, weight: Tensor) -> Tensor:
    """A change that broadcasts to a weight, with four axes, and taps that are one or all."""
    change = change[(None,) * (4 - change.ndim)]
    if change.shape[2:] == (1, 1) and change.shape[:2] == weight.shape[:2]:
        return change
    return change.expand_as(weight)
