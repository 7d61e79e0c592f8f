"""The place of a crop in its photo, and corrections for pasting: colors at its border, edges that an edit has moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hyperstyle.align.crop import quad_text
from hyperstyle.errors import AlignmentError

_SLACK = 1e-3  # of the side: how far the fourth corner may be from where a parallelogram has it

_CELLS = 64  # along a side of the quad, for the color offset, which has no detail
_REACH = 0.12  # of the side: standard deviation of the Gaussian over which colors are averaged
_NARROWEST, _WIDEST = 0.05, 0.25  # of the side: the band along the border in which they are compared

_FINE_CELLS = 128  # along a side of the quad, for what follows
_WINDOW = 2.0  # standard deviation, in these cells, of the Gaussian in which structure is compared
_SMOOTH = 4.0  # standard deviation, in these cells, of the Gaussian over which colors are averaged
_NOISE = 60.0  # levels squared, summed over the colors: the constant c of SSIM, for structure of little variance
_KEPT = 0.85  # similarity of structure at which the photo's edges stay
_MOVED = 0.4  # at which they are replaced
_MARGIN = 2  # cells that the weight is widened by, and then feathered over
_CONTRAST = 400.0  # levels squared: epsilon of the guided filter; weaker structure of the photo is no guide


@dataclass(frozen=True, eq=False)
class Frame:
    """Where a crop lies in its photo: the point (u, v) of the crop, 0..1 along each side, is `corner + (u, v) @ axes`.

    Coordinates (x, y) are continuous, from 0 to 1 in the first pixel of the photo; those of a quad are pixel indices,
    which are less by 0.5.

    Attributes:
        corner: [2] float64, the top left corner.
        axes: [2, 2] float64, the sides: row 0 leads from the top left corner to the top right one, row 1 to the bottom
            left one.
    """

    corner: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]

    @classmethod
    def of(cls, quad: npt.ArrayLike) -> Frame:
        """From the corners [4, 2] of `Crop.footprint`, pixel indices: top left, bottom left, bottom right, top right.

        Raises:
            AlignmentError: a wrong shape, not finite, without area, or no parallelogram.
        """
        try:
            corners = np.array(quad, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise AlignmentError(
                f"The quad is not an array of numbers ({error}). Pass the corners [4, 2] of Crop.footprint."
            ) from error
        if corners.shape != (4, 2) or not np.isfinite(corners).all():
            raise AlignmentError(
                f"The quad is {corners.tolist()}; expected four finite corners [4, 2] as (x, y) in pixels: "
                "top left, bottom left, bottom right, top right. Pass Crop.footprint."
            )
        # Index i is the center of a pixel that reaches from i to i + 1 in continuous coordinates.
        top_left, bottom_left, bottom_right, top_right = corners + 0.5
        axes = np.stack([top_right - top_left, bottom_left - top_left])
        sides = np.hypot(*axes.T)
        area = abs(np.linalg.det(axes))
        if sides.min() < 1 or area < 0.01 * sides[0] * sides[1]:
            raise AlignmentError(
                f"The quad {quad_text(corners)} has sides of {sides[0]:.3g} and {sides[1]:.3g} px and an area of "
                f"{area:.3g} px; expected one that covers pixels. Pass Crop.footprint."
            )
        gap = float(np.hypot(*(bottom_right - top_left - axes.sum(axis=0))))
        if gap > _SLACK * sides.max():
            raise AlignmentError(
                f"The quad {quad_text(corners)} is not a parallelogram: its third corner is off by {gap:.3g} px. "
                "Expected the corners in the order top left, bottom left, bottom right, top right."
            )
        return cls(top_left, axes)

    @property
    def sides(self) -> tuple[float, float]:
        """Lengths of the two axes in pixels of the photo."""
        across, down = np.hypot(*self.axes.T)
        return float(across), float(down)

    def bounds(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The pixels of a photo of this size that the crop's bounding box touches: left, top, right, bottom.

        Right and bottom are excluded. Without a common pixel, right <= left or bottom <= top.
        """
        corners = self.corner + np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) @ self.axes  # [4, 2]
        left, top = np.clip(np.floor(corners.min(axis=0)), 0, None).astype(int).tolist()
        right, bottom = np.clip(np.ceil(corners.max(axis=0)), None, (width, height)).astype(int).tolist()
        return left, top, right, bottom

    def to_photo(self, points: Tensor) -> Tensor:
        """[..., 2] points (u, v) float64 -> (x, y) in the photo."""
        return points @ torch.from_numpy(self.axes) + torch.from_numpy(self.corner)

    def cells_inside(self, cells: int, size: tuple[int, int]) -> Tensor:
        """[cells, cells] bool: which of `cell_centers` lie in a photo of (width, height)."""
        points = self.to_photo(cell_centers(cells))
        return ((points >= 0) & (points < torch.tensor(size))).all(dim=-1)

    def pixel_centers(self, left: int, top: int, right: int, bottom: int) -> Tensor:
        """[bottom - top, right - left, 2] float64: (u, v) of the centers of these pixels of the photo."""
        x = torch.arange(left, right, dtype=torch.float64) + (0.5 - self.corner[0])
        y = torch.arange(top, bottom, dtype=torch.float64) + (0.5 - self.corner[1])
        # (x, y) - corner = (u, v) @ axes, so (u, v) = ((x, y) - corner) @ axes^-1
        offsets = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # [rows, columns, 2]
        return offsets @ torch.from_numpy(np.linalg.inv(self.axes))


def cell_centers(cells: int) -> Tensor:
    """[cells, cells, 2] float64: (u, v) of the centers of cells that divide a crop evenly, rows from the top."""
    middle = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    return torch.stack(torch.meshgrid(middle, middle, indexing="xy"), dim=-1)


def color_offset(photo: Image.Image, edited: Tensor, frame: Frame, feather: float) -> Tensor:
    """The offset that gives a crop the colors of the photo along the border of the quad.

    In a band as wide as the feather, photo and crop are compared as averages over 0.12 of the side, so that fine
    structure does not count. The offset continues inwards and falls smoothly to 0 in the middle of the quad, whose
    colors do not change. Parts of the quad outside the photo are not compared.

    Args:
        photo: RGB.
        edited: [1, 3, h, w] the crop, in levels, 0 to 255.
        frame: where the crop lies in the photo.
        feather: width of the mask's ramp as a fraction of the side.

    Returns:
        [1, 3, 64, 64] float32 in levels, to be added to the crop: a value for each of 64 x 64 cells of the quad.
    """
    unit = cell_centers(_CELLS)  # [64, 64, 2] as (u, v)
    depth = torch.minimum(unit, 1 - unit).amin(dim=-1)  # [64, 64] distance from the border, 0 to 0.5
    band = min(max(feather, _NARROWEST), _WIDEST)
    is_inside = frame.cells_inside(_CELLS, photo.size)
    compared = ((depth < band) & is_inside).double()
    size = (_CELLS, _CELLS)
    crop_cells = F.interpolate(edited.double(), size=size, mode="bilinear", antialias=True, align_corners=False)
    gap = (_in_cells(photo, frame, _CELLS) - crop_cells) * compared  # [1, 3, 64, 64]

    # The mean of the gap over the cells compared, weighted by a Gaussian along each axis.
    middle = unit[0, :, 0]
    gaussian = torch.exp(-0.5 * ((middle[:, None] - middle) / _REACH) ** 2)  # [64, 64]
    mean = (gaussian @ gap @ gaussian) / (gaussian @ compared @ gaussian).clamp_min(1e-9)
    inwards = smoothstep((0.5 - depth) / (0.5 - band))
    return (mean * inwards).float()


class EditedCells(NamedTuple):
    """What pasting an edit takes from the photo: float32 maps of 128 x 128 cells of the quad.

    Attributes:
        gain: [1, 9, 128, 128] and
        offset: [1, 3, 128, 128] in levels: a pixel p of the photo, three levels, changes by `gain @ p + offset` where
            the edit has moved no edge; row i of the gain, for color i, is in channels 3i to 3i + 2.
        moved: [1, 1, 128, 128] in [0, 1]: how far the edited crop takes the place of the photo.
        color: [1, 3, 128, 128] in levels, to be added to the edited crop there: `photo - reference`, blurred.
    """

    gain: Tensor
    offset: Tensor
    moved: Tensor
    color: Tensor


def edited_cells(photo: Image.Image, edited: Tensor, reference: Tensor, frame: Frame) -> EditedCells:
    """How an edit changes the photo, and where it has moved edges.

    `photo + edited - reference` is wrong where the reconstruction misses the photo: along an outline that the crop
    shows a little beside it, or less sharp, the difference leaves a halo. So the change is made to follow the photo's
    own edges by a guided filter (He et al., "Guided Image Filtering", TPAMI 2013, with the photo's colors as guide): in
    each Gaussian window of 1/64 of the side it is the linear function of the photo's color that is nearest to the
    difference, with epsilon = 400. It is computed in cells and applied to the photo's own pixels, as in the fast
    guided filter.

    Where the edit has moved an edge, a mouth would be seen twice. Both crops show where: their local structure differs
    there. They are compared by the contrast-structure term of SSIM, `(2 cov + c) / (var + var + c)`, in the same
    window: 1 where only the color has changed or nothing has, near 0 where an edge came or went. `moved` is 0 from 0.85
    of it on and 1 from 0.4 down, widened and feathered by a few hundredths of the side.

    Args:
        photo, frame: see `color_offset`.
        edited, reference: [1, 3, h, w] the edited crop and the unedited one, in levels, 0 to 255.
    """
    size = (_FINE_CELLS, _FINE_CELLS)
    products = torch.cat([edited, reference, edited**2 + reference**2, edited * reference], dim=1)
    # The products are made before they are averaged: fine structure of a large crop counts.
    cells = F.interpolate(products, size=size, mode="bilinear", antialias=True, align_corners=False).double()
    e, r, squares, both = _blurred(cells, _WINDOW).chunk(4, dim=1)
    # E[e^2] + E[r^2] - E[e]^2 - E[r]^2 = var e + var r, and E[e r] - E[e] E[r] = cov, summed over the colors.
    variances = (squares - e**2 - r**2).sum(dim=1, keepdim=True)  # [1, 1, 128, 128]
    covariance = (both - e * r).sum(dim=1, keepdim=True)
    similarity = (2 * covariance + _NOISE) / (variances + _NOISE)
    wide = 2 * _MARGIN + 1  # cells: the margin on either side of a cell, and itself
    moved = F.max_pool2d(smoothstep((_KEPT - similarity) / (_KEPT - _MOVED)), wide, 1, _MARGIN)
    moved = F.avg_pool2d(F.pad(moved, (_MARGIN,) * 4, mode="replicate"), wide, 1)

    in_photo = _in_cells(photo, frame, _FINE_CELLS)
    inside = frame.cells_inside(_FINE_CELLS, photo.size).double()[None, None]
    color = _blurred((in_photo - cells[:, 3:6]) * inside, _SMOOTH) / _blurred(inside, _SMOOTH).clamp_min(1e-9)
    gain, offset = _guided(cells[:, :3] - cells[:, 3:6], in_photo)
    return EditedCells(gain.float(), offset.float(), moved.float(), color.float())


def _guided(change: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
    """Gain [1, 9, n, n] and offset [1, 3, n, n] of the guided filter of `change` [1, 3, n, n] by `guide`, alike."""
    n = guide.shape[-1]
    mean, mean_change = _blurred(guide, _WINDOW), _blurred(change, _WINDOW)

    def covariances(x: Tensor, mean_x: Tensor) -> Tensor:
        """[n, n, 3, 3]: of each color of x (rows) with each of the guide (columns)."""
        products = (x[0, :, None] * guide[0]).reshape(1, 9, n, n)
        means = (mean_x[0, :, None] * mean[0]).reshape(1, 9, n, n)
        return (_blurred(products, _WINDOW) - means).reshape(3, 3, n, n).permute(2, 3, 0, 1)

    variance = covariances(guide, mean) + _CONTRAST * torch.eye(3, dtype=guide.dtype)
    # gain = cov(change, guide) (var guide + epsilon)^-1, and both matrices of the solution are transposed.
    gain = torch.linalg.solve(variance, covariances(change, mean_change).mT).mT  # [n, n, 3, 3]
    offset = mean_change - (gain @ mean[0].permute(1, 2, 0)[..., None])[..., 0].permute(2, 0, 1)
    return _blurred(gain.permute(2, 3, 0, 1).reshape(1, 9, n, n), _WINDOW), _blurred(offset, _WINDOW)


def _in_cells(photo: Image.Image, frame: Frame, cells: int) -> Tensor:
    """[1, 3, cells, cells] float64: the photo in the quad, with pixels about as large as the cells, then sampled."""
    width, height = photo.size
    cell = max(max(frame.sides) / cells, 1.0)
    small = photo.resize((max(round(width / cell), 1), max(round(height / cell), 1)), Image.Resampling.BOX)
    pixels = torch.from_numpy(np.array(small, dtype=np.float64)).permute(2, 0, 1)[None]  # [1, 3, h, w]
    points = frame.to_photo(cell_centers(cells))[None]  # [1, cells, cells, 2]
    grid = 2 * points / torch.tensor([width, height], dtype=torch.float64) - 1  # -1 and 1: the edges of the photo
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _blurred(values: Tensor, sigma: float) -> Tensor:
    """[B, C, n, n] averaged by a Gaussian of `sigma` cells that is cut off at the border."""
    place = torch.arange(values.shape[-1], dtype=values.dtype)
    gaussian = torch.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)  # [n, n]
    gaussian = gaussian / gaussian.sum(dim=1, keepdim=True)
    return gaussian @ values @ gaussian.T


def smoothstep(values: Tensor) -> Tensor:
    """3 t^2 - 2 t^3 with t the values clamped to [0, 1]: rises from 0 to 1 with a slope of 0 at both ends."""
    ramp = values.clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)
