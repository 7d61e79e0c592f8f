"""The weights of modulated convolutions without gradients: of one picture, with everything in them, or of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperstyle.networks import winograd

__all__ = ["Common", "Folded", "Room", "fold"]

_GAIN = math.sqrt(2.0)  # of the activation


@dataclass(frozen=True)
class Folded:
    """The convolution of one picture, and what is added to its output.

    Attributes:
        weight: [O,I,k,k], or [I,O,k,k] of a transposed convolution, in channels-last order.
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
        power: [O,I], sums of its squares over the taps.
        spread: as in `Folded`.
    """

    weight: Tensor
    power: Tensor
    spread: list[Tensor] | None

    @classmethod
    def of(cls, weight: Tensor, width: int, *, up: bool) -> Common:
        """Of the raw weight [O,I,k,k] of a layer whose output has this width."""
        made = _order(weight, up, Room().folded(weight, up=up)).mul_(1 / math.sqrt(weight[0].numel()))
        squares = made.square().sum(1)
        whole = _whole(made, weight)
        quick = not up and winograd.pays(len(weight), width, weight.dtype)
        return cls(whole, squares.t() if up else squares, winograd.spread(whole) if quick else None)

    @staticmethod
    def pays(channels: int, width: int, dtype: torch.dtype) -> bool:
        """Whether maps are smaller than the weight, and styles are not rounded to half precision with them."""
        return width**2 <= 9 * channels and dtype in (torch.float32, torch.float64)

    def folded(self, style: Tensor, bias: Tensor, noise: Tensor | None) -> Folded:
        """Of one picture: style [I], bias [O], noise [1,1,r,r] times its strength."""
        scale = _GAIN * torch.rsqrt(self.power @ style.square() + 1e-8)
        noise = None if noise is None else noise * _GAIN
        return Folded(self.weight, bias * _GAIN, noise, style, scale, self.spread)


class Room:
    """Memory that is used again: for folded weights and for maps, by every layer of every picture.

    Memory that is new to a process costs more than what is computed in it.
    """

    def __init__(self) -> None:
        self._slots: dict[object, Tensor] = {}

    def take(self, slot: object, like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """A tensor of this shape, of the type (unless `dtype` says another) and device of `like`, with any values.

        It is taken away again by the next call for the same slot.
        """
        size, dtype = math.prod(shape), dtype or like.dtype
        kept = self._slots.get(slot)
        if kept is None or len(kept) < size or kept.dtype != dtype or kept.device != like.device:
            self._slots[slot] = kept = like.new_empty(size, dtype=dtype)
        return kept[:size].view(*shape)

    def product(self, weight: Tensor) -> Tensor:
        """For products of `weight` [O,I,k,k] with something, in float32 or wider."""
        return self.take("product", weight, weight.shape, _wide(weight))

    def folded(self, weight: Tensor, *, up: bool) -> Tensor:
        """For `weight` in the order of a convolution [O,k * k,I], or [I,k * k,O] where `up`, in float32 or wider."""
        size_out, size_in = weight.shape[:2]
        shape = (size_in, weight[0, 0].numel(), size_out) if up else (size_out, weight[0, 0].numel(), size_in)
        return self.take(("folded", up), weight, shape, _wide(weight))


def _wide(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


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
        weight: [O,I,k,k].
        style: [I].
        bias: [O].
        offset, residual: broadcastable to [O,I,k,k], or None.
        noise: [1,1,r,r], already times its strength.
        torgb: no demodulation, no activation.
        up: the weight of the transposed convolution.
        room: where the weight is made; not for `torgb`.

    Returns:
        In the type of `weight`; computed in float32 or wider.
    """
    room = room if room is not None and not torgb else Room()
    taps = [None if change is None else _spread(change, weight) for change in (offset, residual)]
    made = room.folded(weight, up=up)
    if any(change is not None and change.shape == weight.shape for change in taps):
        whole = room.product(weight)
        if taps[0] is not None and whole.dtype == weight.dtype:
            torch.addcmul(weight, weight, taps[0], out=whole)
            _change(whole, None, taps[1])
        else:
            _change(whole.copy_(weight), *taps)
        _order(whole, up, made)
    else:  # changes of pairs of channels: taps are outermost in `made`, where they cost less
        _order(weight, up, made)
        _change(made, *(None if c is None else _order(c, up, c.new_empty(_pairs(c, up))) for c in taps))
    inputs = 0 if up else 2  # their axis
    made *= style.to(made.dtype).view((-1, 1, 1) if up else (1, 1, -1)) / math.sqrt(weight[0].numel())
    gain = 1.0 if torgb else _GAIN
    if not torgb:
        squares = torch.mul(made, made, out=room.product(weight).view(made.shape))
        made *= gain * torch.rsqrt(squares.sum((1, inputs), keepdim=True) + 1e-8)
    return Folded(_whole(made.to(weight.dtype), weight), bias * gain, None if noise is None else noise * gain)


def _whole(ordered: Tensor, weight: Tensor) -> Tensor:
    """What `_order` made, as a weight of four axes in channels-last order."""
    return ordered.view(len(ordered), *weight.shape[2:], -1).permute(0, 3, 1, 2)


def _change(weight: Tensor, offset: Tensor | None, residual: Tensor | None) -> None:
    """W * (1 + offset) + residual, in place and in the type of `weight`."""
    if offset is not None:
        weight.addcmul_(weight, offset)
    if residual is not None:
        weight += residual


def _spread(change: Tensor, weight: Tensor) -> Tensor:
    """A change that broadcasts to a weight, with four axes, and taps that are one or all."""
    change = change[(None,) * (4 - change.ndim)]
    if change.shape[2:] == (1, 1) and change.shape[:2] == weight.shape[:2]:
        return change
    return change.expand_as(weight)


def _pairs(change: Tensor, up: bool) -> tuple[int, int, int]:
    size_out, size_in = change.shape[:2]
    return (size_in, 1, size_out) if up else (size_out, 1, size_in)


def _order(weight: Tensor, up: bool, out: Tensor) -> Tensor:
    """[O,I,k,k] -> [O,k * k,I], the order of channels-last weights; where `up`, [I,k * k,O]."""
    if up:
        out.view(-1, len(weight)).copy_(weight.flatten(1).t())
        return out
    return out.copy_(weight.flatten(2).transpose(1, 2))
