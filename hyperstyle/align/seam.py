"""Corrections for pasting: the colors of a crop at its border, and the edges that an edit has moved."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hyperstyle.align.quad import Frame, cell_centers

__all__ = ["color_offset", "moved_edges", "smoothstep"]

_CELLS = 64  # along a side of the quad, for the color offset, which has no detail
_REACH = 0.12  # of the side: standard deviation of the Gaussian over which colors are averaged
_NARROWEST, _WIDEST = 0.05, 0.25  # of the side: the band along the border in which they are compared

_FINE_CELLS = 128  # along a side of the quad, for the weight of moved edges
_WINDOW = 2.0  # standard deviation, in these cells, of the Gaussian in which structure is compared
_SMOOTH = 4.0  # standard deviation, in these cells, of the Gaussian over which colors are averaged
_NOISE = 60.0  # levels squared, summed over the colors: the constant c of SSIM, for structure of little variance
_KEPT, _MOVED = (
    0.85,
    0.4,
)  # similarity of structure at which the photo's edges stay, and at which they are replaced
_MARGIN = 2  # cells that the weight is widened by, and then feathered over


def color_offset(photo: npt.NDArray[np.uint8], edited: Tensor, frame: Frame, feather: float) -> Tensor:
    """The offset that gives a crop the colors of the photo along the border of the quad.

    In a band as wide as the feather, photo and crop are compared as averages over 0.12 of the side, so that fine
    structure does not count. The offset continues inwards and falls smoothly to 0 in the middle of the quad, whose
    colors do not change. Parts of the quad outside the photo are not compared.

    Args:
        photo: [H, W, 3].
        edited: [1, 3, h, w] the crop, in 256 levels.
        frame: where the crop lies in the photo.
        feather: width of the mask's ramp as a fraction of the side.

    Returns:
        [1, 3, 64, 64] float32 in levels, spread evenly over the quad.
    """
    unit = cell_centers(_CELLS)  # [64, 64, 2] as (u, v)
    depth = torch.minimum(unit, 1 - unit).amin(dim=-1)
    band = min(max(feather, _NARROWEST), _WIDEST)
    photo_cells, is_inside = _in_cells(photo, frame, _CELLS)
    compared = ((depth < band) & is_inside).double()
    size = (_CELLS, _CELLS)
    crop_cells = F.interpolate(edited.double(), size=size, mode="bilinear", antialias=True, align_corners=False)
    gap = (photo_cells - crop_cells) * compared

    # The mean of the gap over the cells compared, weighted by a Gaussian along each axis.
    middle = unit[0, :, 0]
    gaussian = torch.exp(-0.5 * ((middle[:, None] - middle) / _REACH) ** 2)  # [64, 64]
    mean = (gaussian @ gap @ gaussian) / (gaussian @ compared @ gaussian).clamp_min(1e-9)
    inwards = smoothstep((0.5 - depth) / (0.5 - band))
    return (mean * inwards).float()


def moved_edges(photo: npt.NDArray[np.uint8], edited: Tensor, reference: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
    """Where an edit has moved edges, and the offset that gives the edited crop the photo's colors there.

    `photo + edited - reference` keeps every edge of the photo that the reconstruction does not have exactly, so a mouth
    that has moved is seen twice. Both crops show where: their local structure differs there. They are compared
    by the contrast-structure term of SSIM, `(2 cov + c) / (var + var + c)`, in a Gaussian window of 1/64 of the side: 1
    where only the color has changed or nothing has, near 0 where an edge came or went. The weight is 0 from 0.85 of it
    on and 1 from 0.4 down, widened and feathered by a few hundredths of the side.

    Args:
        photo, frame: see `color_offset`.
        edited, reference: [1, 3, h, w] crops, in 256 levels.

    Returns:
        The weight [1, 1, 128, 128] in [0, 1], and [1, 3, 128, 128] in levels, the photo minus the reference without
        detail; float32, spread evenly over the quad.
    """
    size = (_FINE_CELLS, _FINE_CELLS)
    products = torch.cat([edited, reference, edited**2 + reference**2, edited * reference], dim=1)
    # The products are made before they are averaged: fine structure of a large crop counts.
    cells = F.interpolate(products, size=size, mode="bilinear", antialias=True, align_corners=False)
    e, r, squares, both = _blurred(cells.double(), _WINDOW).chunk(4, dim=1)
    variances = (squares - e**2 - r**2).sum(dim=1, keepdim=True)
    covariance = (both - e * r).sum(dim=1, keepdim=True)
    similarity = (2 * covariance + _NOISE) / (variances + _NOISE)
    wide = 2 * _MARGIN + 1
    weight = F.max_pool2d(smoothstep((_KEPT - similarity) / (_KEPT - _MOVED)), wide, 1, _MARGIN)
    weight = F.avg_pool2d(F.pad(weight, (_MARGIN,) * 4, mode="replicate"), wide, 1)

    photo_cells, is_inside = _in_cells(photo, frame, _FINE_CELLS)
    inside = is_inside.double()[None, None]
    gap = _blurred((photo_cells - cells[:, 3:6]) * inside, _SMOOTH) / _blurred(inside, _SMOOTH).clamp_min(1e-9)
    return weight.float(), gap.float()


def _in_cells(photo: npt.NDArray[np.uint8], frame: Frame, cells: int) -> tuple[Tensor, Tensor]:
    """The photo within the quad, [1, 3, cells, cells] float64, and which cells lie in the photo, [cells, cells]."""
    height, width = photo.shape[:2]
    points = frame.to_photo(cell_centers(cells))  # [cells, cells, 2]
    extent = torch.tensor([width, height], dtype=torch.float64)
    is_inside = ((points >= 0) & (points < extent)).all(dim=-1)

    # The photo with pixels about as large as the cells, then sampled.
    cell = max(max(frame.sides) / cells, 1.0)
    small = Image.fromarray(photo).resize(
        (max(round(width / cell), 1), max(round(height / cell), 1)), Image.Resampling.BOX
    )
    pixels = torch.from_numpy(np.array(small, dtype=np.float64)).permute(2, 0, 1)[None]  # [1, 3, h, w]
    grid = (2 * points / extent - 1)[None]  # -1 and 1 are the edges of the photo
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False), is_inside


def _blurred(values: Tensor, sigma: float) -> Tensor:
    """[B, C, n, n] averaged by a Gaussian of `sigma` cells that is cut off at the border."""
    place = torch.arange(values.shape[-1], dtype=values.dtype)
    gaussian = torch.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)  # [n, n]
    gaussian = gaussian / gaussian.sum(dim=1, keepdim=True)
    return gaussian @ values @ gaussian.T


def smoothstep(values: Tensor) -> Tensor:
    """0 up to 0, 1 from 1 on, and smooth between."""
    ramp = values.clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)
