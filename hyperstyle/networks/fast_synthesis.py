"""Synthesis without gradients, faster than its plain form: one picture after the other, a few rows at a time.

For each picture style, offset and demodulation go into the weights of its convolutions, and so does the gain of the
activation: leaky ReLU is homogeneous, the gain can go before it. What is left is a network like any other. A resolution
runs from its upsampling to its colours on a few rows while they are in the processor's cache; nothing as large as the
maps of the last one is ever made. `plain.synthesize` is the same function step by step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Block", "Folded", "draw_block", "fold"]

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

    Returns:
        In the type of `weight`; computed in float32 or wider.
    """
    wide = torch.promote_types(weight.dtype, torch.float32)
    made = _ordered(weight, up).to(wide, copy=True)
    if offset is not None:
        made = torch.addcmul(made, made, _ordered(_spread(offset, weight), up).to(wide))
    if residual is not None:
        made += _ordered(_spread(residual, weight), up)
    inputs = 0 if up else 2  # their axis
    made *= style.to(wide).view((-1, 1, 1) if up else (1, 1, -1)) / math.sqrt(weight[0].numel())
    gain = 1.0 if torgb else _GAIN
    if not torgb:
        made *= gain * torch.rsqrt(made.square().sum((1, inputs), keepdim=True) + 1e-8)
    made = made.to(weight.dtype).view(len(made), *weight.shape[2:], -1).permute(0, 3, 1, 2)
    return Folded(made, bias * gain, None if noise is None else noise * gain)


def _spread(change: Tensor, weight: Tensor) -> Tensor:
    """A change that broadcasts to a weight, with four axes, and taps that are one or all."""
    change = change[(None,) * (4 - change.ndim)]
    if change.shape[2:] == (1, 1) and change.shape[:2] == weight.shape[:2]:
        return change
    return change.expand_as(weight)


def _ordered(weight: Tensor, up: bool) -> Tensor:
    """[O,I,k,k] -> [O,k * k,I], the order of channels-last weights; where `up`, [I,k * k,O].

    Transposing a matrix is what PyTorch does fast: a fourth of the time that `contiguous(channels_last)` takes.
    """
    size_out, size_in = weight.shape[:2]
    if up:
        return weight.flatten(1).t().contiguous().view(size_in, -1, size_out)
    return weight.flatten(2).transpose(1, 2).contiguous()


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
    channels = len(block.conv.bias)
    widest = max(channels, len(block.conv.weight[0]))
    rows = max(2, min(height, _VALUES // (width * widest) // 2 * 2))
    maps = x.new_empty((1, height, width, channels)).permute(0, 3, 1, 2) if keep else None
    rgb = x.new_empty((1, 3, height, width), dtype=torch.promote_types(x.dtype, torch.float32))
    for top in range(0, height, rows):
        end = min(top + rows, height)
        first, last = max(0, top - 2), min(height, end + 2)  # the rows of the second convolution's input, and even
        y = x[:, :, first:last] if block.up is None else _upsampled(x, block, first, last)
        y = _window(y, top - 1 - first, end + 1 - first)
        y = F.conv2d(y, block.conv.weight, block.conv.bias, padding=(0, 1))
        y = _activated(y, block.conv.noise, top, end, out=None if maps is None else maps[:, :, top:end])
        rgb[:, :, top:end] = F.conv2d(y, block.torgb.weight, block.torgb.bias)
    return x if maps is None else maps, rgb


def _upsampled(x: Tensor, block: Block, first: int, last: int) -> Tensor:
    """Rows `first` to `last`, both even, of the upsampling convolution's output [1,O,last - first,2W]."""
    up, blur = block.up, block.blur
    if up is None or blur is None:
        raise TypeError("a block that doubles the size has a convolution and a filter for it")
    top = max(0, first // 2 - 1)
    # Row j of the transposed convolution has its share of rows (j - 2) / 2 to j / 2 of x, and the filter sees j - 1 to
    # j + 2: so that its rows `first - 1` to `last + 1` are whole, x has one row more at either end.
    y = F.conv_transpose2d(x[:, :, top : last // 2 + 1], up.weight, stride=2)
    y = _window(y, first - 1 - 2 * top, last + 2 - 2 * top)
    taps = blur.flip(0, 1).to(y.dtype).expand(len(up.bias), 1, -1, -1)
    return _activated(F.conv2d(y, taps, up.bias, padding=(0, 1), groups=len(up.bias)), up.noise, first, last)


def _window(x: Tensor, first: int, last: int) -> Tensor:
    """Rows `first` to `last` of x [1,C,H,W], zeros where it has none."""
    height = x.shape[2]
    above, below = max(0, -first), max(0, last - height)
    rows = x[:, :, max(0, first) : min(last, height)]
    return F.pad(rows, (0, 0, above, below)) if above or below else rows


def _activated(x: Tensor, noise: Tensor | None, first: int, last: int, *, out: Tensor | None = None) -> Tensor:
    """Noise and leaky ReLU, in place or into `out`; the gain is in the weights."""
    out = x if out is None else out
    if noise is not None:
        torch.add(x, noise[:, :, first:last], out=out)
    elif out is not x:
        out.copy_(x)
    return F.leaky_relu_(out, _SLOPE)
