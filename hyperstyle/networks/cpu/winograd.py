"""3x3 convolutions with half the multiplications: four rows at a time from six (F(4,3), Lavin and Gray, CVPR 2016).

Along the rows a convolution is a product of polynomials: known at six points, it is known. At 0, ±2/3, ±3/2 and
infinity its rounding is 1.3 times that of the convolution itself; with the usual ±1 and ±2 it is 1.9 times. Along the
columns it stays a convolution: six of them, of one row of taps, are left, on a quarter of the rows each.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ROWS", "conv3x3", "is_faster", "transform_weight"]

ROWS = 4
"""The number of rows of a convolution is a multiple of this."""

_NEAR, _FAR = 2 / 3, 3 / 2  # the points; their product is 1
_SQUARES = _NEAR**2 + _FAR**2
_VALUES = 1 << 21  # of a strip that stays in the cache


def is_faster(channels: int, width: int, dtype: torch.dtype) -> bool:
    """Whether it is faster than the convolution itself, and as exact.

    Sums of rows take as long as few channels save, small maps are too little work, weights of the smallest take as long
    as those save, and numbers of half precision lose too much in sums.
    """
    worth = channels >= 64 and width >= 32 and channels * width >= 1 << 13
    return worth and dtype in (torch.float32, torch.float64)


def transform_weight(weight: Tensor) -> list[Tensor]:
    """The weight at the six points.

    Args:
        weight: [I,O,3,3], of a transposed convolution, as `FusedConv` has it; channels-last.

    Returns:
        Weights [I,O,1,3] of six transposed convolutions.
    """
    bottom, middle, top = (weight[:, :, i : i + 1] for i in range(3))
    made = [top]
    for point, other in ((_NEAR, _FAR), (_FAR, _NEAR)):
        scale = 1 / (2 * point**2 * (point**2 - other**2))
        even = torch.add(top, bottom, alpha=point**2).mul_(scale)
        odd = middle * (point * scale)
        made += [even + odd, even.sub_(odd)]
    return [*made, bottom]


def conv3x3(x: Tensor, weights: list[Tensor], bias: Tensor, out: Tensor) -> None:
    """The convolution of rows that have their neighbors.

    Args:
        x: [1,I,H + 2,W], channels-last; zeros are seen on the left and on the right of it only.
        weights: what `transform_weight` made.
        bias: [O].
        out: [1,O,H,W], where the result goes; H is a multiple of `ROWS`.
    """
    height, width = out.shape[2:]
    rows = max(ROWS, _VALUES // (width * x.shape[1]) // ROWS * ROWS)
    for top in range(0, height, rows):
        end = min(top + rows, height)
        _strip(x[:, :, top : end + 2], weights, bias, out[:, :, top:end])


def _strip(x: Tensor, weights: list[Tensor], bias: Tensor, out: Tensor) -> None:
    count = out.shape[2] // ROWS
    rows = [x[:, :, i::ROWS][:, :, :count] for i in range(6)]
    seen = [torch.sub(rows[4], rows[2], alpha=_SQUARES).add_(rows[0])]
    for point, other in ((_NEAR, _FAR), (_FAR, _NEAR)):
        even = torch.sub(rows[4], rows[2], alpha=other**2)
        odd = torch.sub(rows[3], rows[1], alpha=other**2)
        seen += [torch.add(even, odd, alpha=point), even.sub_(odd, alpha=point)]
    seen.append(torch.sub(rows[5], rows[3], alpha=_SQUARES).add_(rows[1]))
    # What the biases of these three and the last make of themselves is one bias in each row.
    half, skew = 1 / (2 * _NEAR**2), 1 / (2 * _NEAR)
    parts = (1 - 2 * half, half + skew, half - skew, None, None, 1 - _NEAR**2)
    biases = [None if part is None else bias * part for part in parts]
    made = [F.conv_transpose2d(s, w, b, padding=(0, 1)) for s, w, b in zip(seen, weights, biases, strict=True)]
    near, near_odd = made[1] + made[2], made[1].sub_(made[2])
    far, far_odd = made[3] + made[4], made[3].sub_(made[4])
    to = [out[:, :, i::ROWS] for i in range(ROWS)]
    torch.add(made[0].add_(near), far, out=to[0])
    torch.add(made[5].add_(near_odd, alpha=_NEAR**3), far_odd, alpha=_FAR**3, out=to[3])
    torch.add(near_odd.mul_(_NEAR), far_odd, alpha=_FAR, out=to[1])
    torch.add(near.mul_(_NEAR**2), far, alpha=_FAR**2, out=to[2])
