"""3x3 convolutions with half the multiplications: four rows at a time from six (F(4,3), Lavin and Gray, CVPR 2016).

Along the rows a convolution is the transpose of a product of two polynomials, of degrees 3 and 2. Their product, of
degree 5, is known where its values at six points are: six multiplications in place of twelve. So the rows of input
and weight are transformed to values at these points, multiplied, and transformed back. Along the columns it stays a
convolution: six of them, of one row of taps, are left, on a quarter of the rows each.

The points are 0, ±2/3, ±3/2 and infinity, at which rounding is 1.3 times that of the convolution itself; with the usual
±1 and ±2 it is 1.9 times.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 4
"""The number of rows of a convolution is a multiple of this."""

_NEAR, _FAR = 2 / 3, 3 / 2  # the points n and f; n * f = 1, which the transforms below make use of
_SQUARES = _NEAR**2 + _FAR**2
_VALUES = 1 << 21  # of a band that stays in the cache


def is_faster(channels: int, width: int, dtype: torch.dtype) -> bool:
    """Whether it is faster than the convolution itself, and as exact.

    With few channels the sums of rows take as long as they save, small maps are too little work, transforming the
    weights of the smallest takes as long as it saves, and half precision loses too much in sums.
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
    # Rows of taps of the transposed convolution are in reverse: top, middle, bottom are those of the convolution.
    bottom, middle, top = (weight[:, :, i : i + 1] for i in range(3))  # [I,O,1,3] each
    values = [top]  # at 0
    for point, other in ((_NEAR, _FAR), (_FAR, _NEAR)):
        # (top ± point * middle + point^2 * bottom) / N with N the product of differences to all other points,
        # 2 * point^2 * (point^2 - other^2): the division of Lagrange's interpolation is in the weight.
        scale = 1 / (2 * point**2 * (point**2 - other**2))
        even = torch.add(top, bottom, alpha=point**2).mul_(scale)
        odd = middle * (point * scale)
        values += [even + odd, even.sub_(odd)]  # at +point, -point
    return [*values, bottom]  # at infinity: the highest coefficient


def conv3x3(x: Tensor, weights: list[Tensor], bias: Tensor, out: Tensor) -> None:
    """The convolution of rows that have their neighbors.

    Args:
        x: [1,I,H + 2,W], channels-last; padded with zeros on the left and on the right only.
        weights: from `transform_weight`.
        bias: [O].
        out: [1,O,H,W], where the result goes; H is a multiple of `ROWS`.
    """
    height, width = out.shape[2:]
    rows = max(ROWS, _VALUES // (width * x.shape[1]) // ROWS * ROWS)
    for top in range(0, height, rows):
        end = min(top + rows, height)
        _convolve_band(x[:, :, top : end + 2], weights, bias, out[:, :, top:end])


def _convolve_band(x: Tensor, weights: list[Tensor], bias: Tensor, out: Tensor) -> None:
    """`conv3x3` for as many rows as stay in the cache."""
    tiles = out.shape[2] // ROWS
    # Tile j is made of input rows 4j to 4j + 5: rows[i] has row i of every tile, [1,I,tiles,W].
    rows = [x[:, :, i::ROWS][:, :, :tiles] for i in range(6)]
    # At 0: all other points' product (1 - r^2/n^2)(1 - r^2/f^2) with n * f = 1, r^4 - (n^2 + f^2) r^2 + 1, of the
    # rows as powers of r; at ±point: r (r ± point)(r^2 - other^2), and at infinity r times that at 0.
    inputs = [torch.sub(rows[4], rows[2], alpha=_SQUARES).add_(rows[0])]
    for point, other in ((_NEAR, _FAR), (_FAR, _NEAR)):
        even = torch.sub(rows[4], rows[2], alpha=other**2)
        odd = torch.sub(rows[3], rows[1], alpha=other**2)
        inputs += [torch.add(even, odd, alpha=point), even.sub_(odd, alpha=point)]
    inputs.append(torch.sub(rows[5], rows[3], alpha=_SQUARES).add_(rows[1]))
    # The bias is added by the convolutions: these parts at 0, ±near and infinity come to one bias in each output row.
    half, skew = 1 / (2 * _NEAR**2), 1 / (2 * _NEAR)
    parts = (1 - 2 * half, half + skew, half - skew, None, None, 1 - _NEAR**2)
    biases = [None if part is None else bias * part for part in parts]
    # Six convolutions along the columns, [1,I,tiles,W] -> [1,O,tiles,W].
    products = [F.conv_transpose2d(t, w, b, padding=(0, 1)) for t, w, b in zip(inputs, weights, biases, strict=True)]
    near, near_odd = products[1] + products[2], products[1].sub_(products[2])
    far, far_odd = products[3] + products[4], products[3].sub_(products[4])
    # Output row i of each tile is the sum over the points of point^i times the product there; 0 has a share in row 0
    # only (0^0 = 1), infinity in row 3 only. Even powers add the products at +point and -point, odd ones subtract.
    to = [out[:, :, i::ROWS] for i in range(ROWS)]
    torch.add(products[0].add_(near), far, out=to[0])
    torch.add(products[5].add_(near_odd, alpha=_NEAR**3), far_odd, alpha=_FAR**3, out=to[3])
    torch.add(near_odd.mul_(_NEAR), far_odd, alpha=_FAR, out=to[1])
    torch.add(near.mul_(_NEAR**2), far, alpha=_FAR**2, out=to[2])
