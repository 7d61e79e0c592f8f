"""One resolution of the generator without gradients: from its upsampling to its colors, a few rows at a time.

For each image style, offset and demodulation are part of the weights of its convolutions (`fuse.fuse`), and so is the
gain of the activation. What is left is a network of ordinary convolutions. A resolution is computed in bands of rows,
whose maps stay in the processor's cache; nothing as large as the maps of the last resolution is ever in memory.
`reference.synthesize` is the same function step by step.

A row of a convolution's output needs the rows around it, so a band needs rows of the bands above and below. None is
computed twice: rows below are computed with the band that needs them first, and left to the next one in a `_Seam`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.networks.cpu import winograd
from hyperstyle.networks.cpu.fuse import FusedConv
from hyperstyle.networks.cpu.workspace import Workspace
from hyperstyle.networks.stylegan2.config import GeneratorConfig

_BAND_BYTES = 1 << 23  # of a band's maps: small enough for the C library to reuse their memory
_SLOPE = 0.2


@dataclass(frozen=True)
class Block:
    """The convolutions of one resolution.

    Attributes:
        up: `conv0`, which doubles the size; None in the first block, that of 4 px.
        conv: `conv1`, which keeps the size.
        torgb: to colors.
        blur: [4,4], the low-pass filter after `up`, which sums to 4; None without `up`.
    """

    up: FusedConv | None
    conv: FusedConv
    torgb: FusedConv
    blur: Tensor | None = None


@dataclass(frozen=True)
class _Seam:
    """The rows that a band leaves to the band below.

    Attributes:
        conv: [1,I,2,W], the last two input rows of the second convolution, which are the first two of the next band.
        up: [1,I,5,W + 1], the last rows of the transposed convolution, before its filter: four that are complete, and
            one that lacks the share of the next input row; None without upsampling.
    """

    conv: Tensor
    up: Tensor | None


def upsample2x(image: Tensor, kernel: Tensor) -> Tensor:
    """`ops.upsample` of a few channels: each new pixel from the 2x2 taps of the filter that do not meet zeros.

    Args:
        image: [B,C,H,W].
        kernel: [4,4] low-pass filter that sums to 4, as it is stored (`ops.fir_kernel`).

    Returns:
        [B,C,2H,2W].
    """
    height, width = image.shape[2:]
    taps = kernel.flip(0, 1).tolist()
    padded = F.pad(image, (1, 1, 1, 1))
    upsampled = image.new_empty((*image.shape[:2], 2 * height, 2 * width))
    for row, column in product((0, 1), (0, 1)):
        # Zero insertion puts pixel (y, x) at (2y, 2x). Of the 4x4 taps around a new pixel at (2y + row, 2x + column),
        # only every second one meets a pixel: taps row, row + 2 meet pixels y - 1 + row, y + row (plus 1: padding).
        phase = torch.zeros_like(image)
        for i, j in product((0, 1), (0, 1)):
            pixels = padded[:, :, row + i : row + i + height, column + j : column + j + width]
            phase.add_(pixels, alpha=taps[row + 2 * i][column + 2 * j])
        upsampled[:, :, row::2, column::2] = phase
    return upsampled


def run_block(x: Tensor, block: Block, workspace: Workspace, *, keep: bool = True) -> tuple[Tensor, Tensor]:
    """Runs a resolution: feature maps of the one before -> feature maps, and the colors that its toRGB makes of them.

    Args:
        x: [1,I,r/2,r/2], or [1,I,4,4] for a block without `up`; channels-last.
        block: its convolutions.
        workspace: memory of the maps; this call overwrites those of the call before the last.
        keep: whether the maps are needed, as by a next resolution; else only a band of them is in memory at a time.

    Returns:
        maps: [1,O,r,r]; without `keep`, x itself.
        colors: [1,3,r,r], float32 or wider; the caller adds them to the upsampled image of the resolutions before.
    """
    height, width = (n * (1 if block.up is None else 2) for n in x.shape[2:])
    conv, torgb = block.conv, block.torgb
    if conv.transformed is None and winograd.is_faster(len(conv.bias), width, conv.weight.dtype):
        conv = replace(conv, transformed=winograd.transform_weight(conv.weight))
    rows = _band_rows(x, conv, height, width)
    if block.up is not None and block.up.style is not None:
        x = x * block.up.style[:, None, None]
    maps = _maps(workspace, _maps_slot(height), x, len(conv.bias), height if keep else rows, width)
    # torgb's weight [O,3,1,1] -> [O,3] -> [3,O]
    to_colors = torgb.weight.flatten(1).t().contiguous()
    rgb = x.new_empty((1, 3, height, width), dtype=torch.promote_types(x.dtype, torch.float32))
    seam = _Seam(
        _maps(workspace, "seam of conv", x, conv.weight.shape[0], 2, width),
        None if block.up is None else _maps(workspace, "seam of up", x, len(block.up.bias), 5, width + 1),
    )
    for top in range(0, height, rows):
        end = min(top + rows, height)
        y = maps[:, :, top:end] if keep else maps[:, :, : end - top]
        _convolve(_conv_input(x, block, top, end, seam, workspace), conv, top, end, out=y)
        # Colors row by row, which takes half as long as all pixels at once: a batch of products, one for each row,
        # [rows,3,O] @ [rows,O,W] -> [rows,3,W], and back to [3,rows,W].
        colors = torch.baddbmm(torgb.bias[:, None], to_colors.expand(end - top, -1, -1), y[0].transpose(0, 1))
        rgb[0, :, top:end] = colors.transpose(0, 1)
    return maps if keep else x, rgb


def reserve_maps(workspace: Workspace, like: Tensor, config: GeneratorConfig) -> None:
    """Allocates the maps of all resolutions but the last, of the type and device of `like`, before they are computed.

    The largest come first, since a buffer that grows is allocated again: memory that is new to the process is slow.
    """
    for size, channels in reversed(list(zip(config.resolutions, config.channels, strict=True))[:-1]):
        _maps(workspace, _maps_slot(size), like, channels, size, size)


def _maps_slot(size: int) -> tuple[str, int]:
    """The buffer of the maps of a resolution: one of two, since they are computed from those in the other."""
    return "maps", size.bit_length() % 2


def _band_rows(x: Tensor, conv: FusedConv, height: int, width: int) -> int:
    """Rows of a band: as many as `_BAND_BYTES` hold of the widest maps, a multiple of `winograd.ROWS`."""
    row_bytes = width * max(conv.weight.shape[:2]) * x.element_size()
    rows = min(height, _BAND_BYTES // row_bytes // winograd.ROWS * winograd.ROWS)
    return max(winograd.ROWS, rows)


def _maps(workspace: Workspace, slot: object, like: Tensor, channels: int, rows: int, width: int) -> Tensor:
    """A buffer as maps [1,channels,rows,width], channels-last: [1,rows,width,channels] in memory."""
    return workspace.buffer(slot, like, (1, rows, width, channels)).permute(0, 3, 1, 2)


def _conv_input(x: Tensor, block: Block, top: int, end: int, seam: _Seam, workspace: Workspace) -> Tensor:
    """The input of the second convolution for its output rows `top` to `end`, [1,I,end - top + 2,W].

    These are input rows top - 1 to end + 1: one more at either end, of zeros where the map ends. The first two, top - 1
    and top, are in the seam of the band above, so that only rows from top + 1 on are new.
    """
    height, width = (n * (1 if block.up is None else 2) for n in x.shape[2:])
    rows = end - top + 2
    y = _maps(workspace, "conv input", x, block.conv.weight.shape[0], rows, width)
    first, last = (top + 1 if top else 0), min(height, end + 1)
    # Row r of the map is row r - top + 1 of y.
    new = y[:, :, 2 if top else 1 : rows - (last == end)]
    if top:
        y[:, :, :2] = seam.conv
    else:
        y[:, :, 0] = 0
    if last == end:
        y[:, :, -1] = 0
    if block.up is None:
        new.copy_(x[:, :, first:last])
    else:
        _upsample(x, block, first, last, seam, out=new)
    if block.conv.style is not None:
        new.mul_(block.conv.style[:, None, None])
    seam.conv.copy_(y[:, :, -2:])
    return y


def _convolve(conv_input: Tensor, conv: FusedConv, top: int, end: int, *, out: Tensor) -> None:
    """The second convolution with noise and activation: input rows and their neighbors -> `out` [1,O,end - top,W]."""
    # Of (y * scale + bias) only the product is left for later: y + bias / scale.
    bias = conv.bias if conv.scale is None else conv.bias / conv.scale
    if conv.transformed is not None:
        winograd.conv3x3(conv_input, conv.transformed, bias, out)
        y = out
    else:
        # A transposed 3x3 convolution pads by 2 - padding: none for rows, which have their neighbors, 1 for columns.
        y = F.conv_transpose2d(conv_input, conv.weight, bias, padding=(2, 1))
    _activate(y, conv.noise, top, end, out=out, scale=conv.scale)


def _upsample(x: Tensor, block: Block, first: int, last: int, seam: _Seam, *, out: Tensor) -> None:
    """Rows `first` to `last` of the upsampling convolution's output, into `out` [1,O,last - first,2w].

    Bands come one after the other; `first` is 0 or odd, and all have four rows or more but for the last.

    With t the transposed convolution's output [1,O,2h + 1,2w + 1]: input row i has a share in t's rows 2i to 2i + 2
    (stride 2, three taps), and row r of the filtered output needs t's rows r - 1 to r + 2 (four taps). So rows up to
    `last` need input rows below (last + 1) // 2 + 1; those from `start` on are new. The seam has t's rows first - 1 to
    first + 2, and first + 3 without the share of input row `start`.
    """
    up, blur = block.up, block.blur
    if up is None or blur is None or seam.up is None:
        raise TypeError("a block that doubles the size has a convolution, a filter and a seam for it")
    height = x.shape[2]
    start, stop = (min(height, (row + 1) // 2 + 1) if row else 0 for row in (first, last))
    # [4,4] -> [O,1,4,4], reversed: conv2d correlates
    taps = blur.flip(0, 1).to(x.dtype).expand(len(up.bias), 1, -1, -1)
    taps = taps if up.scale is None else taps * up.scale[:, None, None, None]
    # Rows 2 * start to 2 * stop of t. Without new input rows its last row, which nothing is added to, is complete.
    t = F.conv_transpose2d(x[:, :, start:stop], up.weight, stride=2) if start < stop else seam.up[:, :, 4:]
    done = 0
    if first:
        if start < stop:
            t[:, :, 0] += seam.up[:, :, 4]
        # The four output rows that need rows of the seam: its row 0 is t's row first - 1.
        done = min(4, last - first)
        around = torch.cat((seam.up[:, :, :4], t[:, :, :3]), 2)
        y = _filter_rows(around, taps, up.bias, 0, done + 3)
        _activate(y, up.noise, first, first + done, out=out[:, :, :done])
    if first + done < last:
        # The others need t's rows first + done - 1 to last + 1, counted from 2 * start.
        y = _filter_rows(t, taps, up.bias, first + done - 1 - 2 * start, last + 2 - 2 * start)
        _activate(y, up.noise, first + done, last, out=out[:, :, done:])
    if last < 2 * height:
        seam.up.copy_(t[:, :, -5:])


def _filter_rows(x: Tensor, taps: Tensor, bias: Tensor, first: int, last: int) -> Tensor:
    """Rows `first` to `last` of x [1,C,H,W], at most one of zeros at either end, through a filter and its bias.

    [1,C,last - first - 3,W - 1]. Where a row of zeros is needed at one end only, the convolution pads both, and what
    belongs to the other end is cut off: less work than a padded copy.
    """
    height = x.shape[2]
    above, below = max(0, -first), max(0, last - height)
    pad = max(above, below)
    y = F.conv2d(x[:, :, max(0, first) : min(last, height)], taps, bias, padding=(pad, 1), groups=len(bias))
    return y[:, :, pad - above : y.shape[2] - (pad - below)]


def _activate(
    x: Tensor, noise: Tensor | None, first: int, last: int, *, out: Tensor, scale: Tensor | None = None
) -> None:
    """Scale of the channels, noise of these rows and leaky ReLU, into `out`, which may be x; the gain is in x."""
    if scale is not None:
        x = torch.mul(x, scale[:, None, None], out=out)
    if noise is not None:
        torch.add(x, noise[:, :, first:last], out=out)
    elif out is not x:
        out.copy_(x)
    F.leaky_relu_(out, _SLOPE)
