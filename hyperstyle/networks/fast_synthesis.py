"""Synthesis without gradients, faster than its plain form: one picture after the other, a few rows at a time.

For each picture style, offset and demodulation go into the weights of its convolutions, and so does the gain of the
activation: leaky ReLU is homogeneous, the gain can go before it. What is left is a network like any other. A resolution
runs from its upsampling to its colours on a few rows while they are in the processor's cache; nothing as large as the
maps of the last one is ever made. `plain.synthesize` is the same function step by step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.networks import winograd

__all__ = ["Block", "Folded", "Room", "doubled", "draw_block", "fold"]

_VALUES = 1 << 22
_GAIN = math.sqrt(2.0)  # of the activation
_SLOPE = 0.2


@dataclass(frozen=True)
class Folded:
    """A convolution with everything in its weights, and what is added to its output.

    Attributes:
        weight: [O,I,k,k], or [I,O,k,k] of a transposed convolution, in channels-last order.
        bias: [O].
        noise: [1,1,r,r], or None.
    """

    weight: Tensor
    bias: Tensor
    noise: Tensor | None = None


@dataclass(frozen=True)
class Block:
    """The convolutions of one resolution.

    Attributes:
        up: doubles the size; None in the first block.
        conv: the second convolution.
        torgb: to colours.
        blur: [4,4], the low-pass filter after `up`.
    """

    up: Folded | None
    conv: Folded
    torgb: Folded
    blur: Tensor | None = None


class Room:
    """Memory for the folded weights of one block, which every block of every picture uses again.

    Memory that is new to a process costs more than what is computed in it.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        """Enough for any of these weights."""
        largest = max(weights, key=Tensor.numel)
        wide = torch.promote_types(largest.dtype, torch.float32)
        self._all = [torch.empty(largest.numel(), dtype=wide, device=largest.device) for _ in range(3)]

    def product(self, weight: Tensor) -> Tensor:
        """Of the shape of `weight`; free again once its weight is folded."""
        return self._all[0][: weight.numel()].view(weight.shape)

    def folded(self, weight: Tensor, *, up: bool) -> Tensor:
        """[O,k * k,I], or [I,k * k,O] where `up`; free again at the next block."""
        size_out, size_in = weight.shape[:2]
        shape = (size_in, -1, size_out) if up else (size_out, -1, size_in)
        return self._all[1 + up][: weight.numel()].view(shape)


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
    room = room if room is not None and not torgb else Room([weight])
    taps = [None if change is None else _spread(change, weight) for change in (offset, residual)]
    made = room.folded(weight, up=up)
    if any(change is not None and change.shape == weight.shape for change in taps):
        whole = room.product(weight).copy_(weight)
        _change(whole, *taps)
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
    made = made.to(weight.dtype).view(len(made), *weight.shape[2:], -1).permute(0, 3, 1, 2)
    return Folded(made, bias * gain, None if noise is None else noise * gain)


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


def doubled(image: Tensor, kernel: Tensor) -> Tensor:
    """`ops.upsample` of a few channels: each new pixel from the 2x2 taps of the filter that do not meet zeros.

    Args:
        image: [B,C,H,W].
        kernel: [4,4].

    Returns:
        [B,C,2H,2W].
    """
    height, width = image.shape[2:]
    taps = kernel.flip(0, 1).tolist()
    around = F.pad(image, (1, 1, 1, 1))
    made = image.new_empty((*image.shape[:2], 2 * height, 2 * width))
    for row, column in product((0, 1), (0, 1)):
        part = torch.zeros_like(image)
        for i, j in product((0, 1), (0, 1)):
            seen = around[:, :, row + i : row + i + height, column + j : column + j + width]
            part.add_(seen, alpha=taps[row + 2 * i][column + 2 * j])
        made[:, :, row::2, column::2] = part
    return made


def draw_block(x: Tensor, block: Block, *, keep: bool = True) -> tuple[Tensor, Tensor]:
    """One resolution: maps -> maps and their colours.

    Args:
        x: [1,I,r/2,r/2], or [1,I,4,4] for a block without `up`; channels-last.
        block: its convolutions.
        keep: whether the maps are needed.

    Returns:
        [1,O,r,r] (x itself unless `keep`) and [1,3,r,r], float32 or wider.
    """
    height, width = (n * (1 if block.up is None else 2) for n in x.shape[2:])
    channels, widest = len(block.conv.bias), max(block.conv.weight.shape[:2])
    rows = max(winograd.ROWS, min(height, _VALUES // (width * widest) // winograd.ROWS * winograd.ROWS))
    quick = winograd.spread(block.conv.weight) if winograd.pays(channels, width, x.dtype) else None
    maps = _maps(x, channels, height if keep else rows, width)
    torgb = block.torgb.weight.flatten(1)
    rgb = x.new_empty((1, 3, height, width), dtype=torch.promote_types(x.dtype, torch.float32))
    for top in range(0, height, rows):
        end = min(top + rows, height)
        y = maps[:, :, top:end] if keep else maps[:, :, : end - top]
        around = _input(x, block, top, end)
        if quick is None:
            made = F.conv2d(around, block.conv.weight, block.conv.bias, padding=(0, 1))
            _activated(made, block.conv.noise, top, end, out=y)
        else:
            winograd.convolved(around, quick, block.conv.bias, y)
            _activated(y, block.conv.noise, top, end, out=y)
        colours = torch.baddbmm(block.torgb.bias[:, None], torgb.expand(end - top, -1, -1), y[0].transpose(0, 1))
        rgb[0, :, top:end] = colours.transpose(0, 1)  # row by row, which takes half as long as all pixels at once
    return maps if keep else x, rgb


def _maps(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Memory for maps [1,C,H,W], channels-last."""
    return x.new_empty((1, height, width, channels)).permute(0, 3, 1, 2)


def _input(x: Tensor, block: Block, top: int, end: int) -> Tensor:
    """What the second convolution sees of rows `top` to `end`: they, and one more, or one of zeros, on either end."""
    height = x.shape[2] * (1 if block.up is None else 2)
    first, last = max(0, top - 1), min(height, end + 1)
    y = _maps(x, block.conv.weight.shape[1], end - top + 2, x.shape[3] * height // x.shape[2])
    inner = y[:, :, first - top + 1 : last - top + 1]
    if first == top:
        y[:, :, 0] = 0
    if last == end:
        y[:, :, -1] = 0
    if block.up is None:
        inner.copy_(x[:, :, first:last])
    else:
        _upsample(x, block, first, last, inner)
    return y


def _upsample(x: Tensor, block: Block, first: int, last: int, out: Tensor) -> None:
    """Rows `first` to `last` of the upsampling convolution's output, into `out` [1,O,last - first,2W]."""
    up, blur = block.up, block.blur
    if up is None or blur is None:
        raise TypeError("a block that doubles the size has a convolution and a filter for it")
    top = max(0, first // 2 - 1)
    # Row j of the transposed convolution has its share of rows (j - 2) / 2 to j / 2 of x, and the filter sees j - 1 to
    # j + 2: so that its rows `first - 1` to `last + 1` are whole, x has a row more at either end.
    y = F.conv_transpose2d(x[:, :, top : (last + 1) // 2 + 1], up.weight, stride=2)
    taps = blur.flip(0, 1).to(y.dtype).expand(len(up.bias), 1, -1, -1)
    y = _filtered(y, taps, up.bias, first - 1 - 2 * top, last + 2 - 2 * top)
    _activated(y, up.noise, first, last, out=out)


def _filtered(x: Tensor, taps: Tensor, bias: Tensor, first: int, last: int) -> Tensor:
    """Rows `first` to `last` of x [1,C,H,W], at most one of zeros at either end, through a filter and its bias.

    A row that is missing at one end only is added at both, and what it makes at the other end is not returned: that is
    less than a copy of all rows.
    """
    height = x.shape[2]
    above, below = max(0, -first), max(0, last - height)
    pad = max(above, below)
    y = F.conv2d(x[:, :, max(0, first) : min(last, height)], taps, bias, padding=(pad, 1), groups=len(bias))
    return y[:, :, pad - above : y.shape[2] - (pad - below)]


def _activated(x: Tensor, noise: Tensor | None, first: int, last: int, *, out: Tensor) -> None:
    """Noise and leaky ReLU, into `out`, which may be x; the gain is in the weights."""
    if noise is not None:
        torch.add(x, noise[:, :, first:last], out=out)
    elif out is not x:
        out.copy_(x)
    F.leaky_relu_(out, _SLOPE)
