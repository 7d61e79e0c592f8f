"""Synthesis without gradients, faster than its plain form: one image after the other, a few rows at a time.

For each image style, offset and demodulation go into the weights of its convolutions (`fuse.fuse`), and so does
the gain of the activation: leaky ReLU is homogeneous, the gain can go before it. What is left is a network like any
other. A resolution runs from its upsampling to its colors on a few rows while they are in the processor's cache;
nothing as large as the maps of the last one is ever made. `reference.synthesize` is the same function step by step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.networks.cpu import winograd
from hyperstyle.networks.cpu.fuse import FusedConv
from hyperstyle.networks.cpu.workspace import Workspace

__all__ = ["Block", "run_block", "upsample2x"]

_BYTES = 1 << 23  # of the maps of a strip, little enough for a process to keep them where they would be taken again
_SLOPE = 0.2


@dataclass(frozen=True)
class Block:
    """The convolutions of one resolution.

    Attributes:
        up: doubles the size; None in the first block.
        conv: the second convolution.
        torgb: to colors.
        blur: [4,4], the low-pass filter after `up`.
    """

    up: FusedConv | None
    conv: FusedConv
    torgb: FusedConv
    blur: Tensor | None = None


def upsample2x(image: Tensor, kernel: Tensor) -> Tensor:
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


def run_block(x: Tensor, block: Block, workspace: Workspace, *, keep: bool = True) -> tuple[Tensor, Tensor]:
    """One resolution: maps -> maps and their colors.

    Args:
        x: [1,I,r/2,r/2], or [1,I,4,4] for a block without `up`; channels-last.
        block: its convolutions.
        workspace: memory for the maps; those that were made in the call before the last are gone.
        keep: whether the maps are needed.

    Returns:
        [1,O,r,r] (x itself unless `keep`) and [1,3,r,r], float32 or wider.
    """
    height, width = (n * (1 if block.up is None else 2) for n in x.shape[2:])
    channels, widest = len(block.conv.bias), max(block.conv.weight.shape[:2])
    rows = max(
        winograd.ROWS, min(height, _BYTES // (width * widest * x.element_size()) // winograd.ROWS * winograd.ROWS)
    )
    conv, quick = block.conv, block.conv.transformed
    if quick is None and winograd.is_faster(channels, width, x.dtype):
        quick = winograd.transform_weight(conv.weight)
    bias = conv.bias if conv.scale is None else conv.bias / conv.scale
    if block.up is not None and block.up.style is not None:
        x = x * block.up.style[:, None, None]
    place = workspace.buffer(("maps", height.bit_length() % 2), x, (1, height if keep else rows, width, channels))
    maps = place.permute(0, 3, 1, 2)
    torgb = block.torgb.weight.flatten(1).t().contiguous()
    rgb = x.new_empty((1, 3, height, width), dtype=torch.promote_types(x.dtype, torch.float32))
    for top in range(0, height, rows):
        end = min(top + rows, height)
        y = maps[:, :, top:end] if keep else maps[:, :, : end - top]
        around = _input(x, block, top, end, workspace)
        if quick is None:
            made = F.conv_transpose2d(around, conv.weight, bias, padding=(2, 1))  # rows have their neighbors
        else:
            made = y
            winograd.conv3x3(around, quick, bias, made)
        _activated(made, conv.noise, top, end, scale=conv.scale, out=y)
        colors = torch.baddbmm(block.torgb.bias[:, None], torgb.expand(end - top, -1, -1), y[0].transpose(0, 1))
        rgb[0, :, top:end] = colors.transpose(0, 1)  # row by row, which takes half as long as all pixels at once
    return maps if keep else x, rgb


def _input(x: Tensor, block: Block, top: int, end: int, workspace: Workspace) -> Tensor:
    """What the second convolution sees of rows `top` to `end`: they, and one more, or one of zeros, on either end.

    Strips come one after the other: the first two rows are the last two of the strip before.
    """
    height, width = (n * (1 if block.up is None else 2) for n in x.shape[2:])
    rows = end - top + 2
    y = workspace.buffer("input", x, (1, rows, width, block.conv.weight.shape[1])).permute(0, 3, 1, 2)
    first, last = (top + 1 if top else 0), min(height, end + 1)
    new = y[:, :, 2 if top else 1 : rows - (last == end)]
    border = workspace.buffer("border", x, (1, 2, width, y.shape[1])).permute(0, 3, 1, 2)
    if top:
        y[:, :, :2] = border
    else:
        y[:, :, 0] = 0
    if last == end:
        y[:, :, -1] = 0
    if block.up is None:
        new.copy_(x[:, :, first:last])
    else:
        _upsample(x, block, first, last, new, workspace)
    if block.conv.style is not None:
        new.mul_(block.conv.style[:, None, None])
    border.copy_(y[:, :, -2:])
    return y


def _upsample(x: Tensor, block: Block, first: int, last: int, out: Tensor, workspace: Workspace) -> None:
    """Rows `first` to `last` of the upsampling convolution's output, into `out` [1,O,last - first,2W].

    Strips come one after the other, of four rows or more but for the last. Row j of the transposed convolution has its
    share of rows (j - 2) / 2 to j / 2 of x, and the filter sees j - 1 to j + 2: each strip takes as many new rows of x
    as it needs and passes on the last four rows that are whole, and one that lacks the share of the next row.
    """
    up, blur = block.up, block.blur
    if up is None or blur is None:
        raise TypeError("a block that doubles the size has a convolution and a filter for it")
    height, width = x.shape[2:]
    start, stop = (min(height, (row + 1) // 2 + 1) if row else 0 for row in (first, last))
    passed = workspace.buffer("passed", x, (1, 5, 2 * width + 1, len(up.bias))).permute(0, 3, 1, 2)
    taps = blur.flip(0, 1).to(x.dtype).expand(len(up.bias), 1, -1, -1)
    taps = taps if up.scale is None else taps * up.scale[:, None, None, None]
    y = passed[:, :, 4:]
    if start < stop:
        y = F.conv_transpose2d(x[:, :, start:stop], up.weight, stride=2)
    done = 0
    if first:
        if start < stop:
            y[:, :, 0] += passed[:, :, 4]
        done = min(4, last - first)
        seam = torch.cat((passed[:, :, :4], y[:, :, :3]), 2)
        _activated(_filtered(seam, taps, up.bias, 0, done + 3), up.noise, first, first + done, out=out[:, :, :done])
    if first + done < last:
        new = _filtered(y, taps, up.bias, first + done - 1 - 2 * start, last + 2 - 2 * start)
        _activated(new, up.noise, first + done, last, out=out[:, :, done:])
    if last < 2 * height:
        passed.copy_(y[:, :, -5:])


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


def _activated(
    x: Tensor, noise: Tensor | None, first: int, last: int, *, out: Tensor, scale: Tensor | None = None
) -> None:
    """Scale of the channels, noise and leaky ReLU, into `out`, which may be x; the gain is in the weights."""
    if scale is not None:
        x = torch.mul(x, scale[:, None, None], out=out)
    if noise is not None:
        torch.add(x, noise[:, :, first:last], out=out)
    elif out is not x:
        out.copy_(x)
    F.leaky_relu_(out, _SLOPE)
