"""The parallelogram of a crop in its photo, checked, as an affine frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperstyle.align.crop import quad_text
from hyperstyle.errors import AlignmentError

__all__ = ["Frame", "cell_centers"]

_SLACK = 1e-3  # of the side: how far the fourth corner may be from where a parallelogram has it


@dataclass(frozen=True, eq=False)
class Frame:
    """Where a crop lies in its photo: the point (u, v) of the crop, 0..1 along each side, is `corner + (u, v) @ axes`.

    Coordinates (x, y) are continuous: the first pixel of the photo reaches from 0 to 1.

    Attributes:
        corner: [2] float64, the top left corner.
        axes: [2, 2] float64, the sides: row 0 leads from the top left corner to the top right one, row 1 to the bottom
            left one.
    """

    corner: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]

    @classmethod
    def of(cls, quad: npt.ArrayLike) -> Frame:
        """From the corners [4, 2] of `Crop.footprint`, in pixel indices.

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
        """The bounding box within a photo of this size, in whole pixels: left, top, and the ends right and bottom."""
        corners = self.corner + np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) @ self.axes  # [4, 2]
        left, top = np.clip(np.floor(corners.min(axis=0)), 0, None).astype(int).tolist()
        right, bottom = np.clip(np.ceil(corners.max(axis=0)), None, (width, height)).astype(int).tolist()
        return left, top, right, bottom

    def to_photo(self, points: Tensor) -> Tensor:
        """[..., 2] points (u, v) float64 -> (x, y) in the photo."""
        return points @ torch.from_numpy(self.axes) + torch.from_numpy(self.corner)

    def pixel_centers(self, left: int, top: int, right: int, bottom: int) -> Tensor:
        """[bottom - top, right - left, 2] float64: (u, v) of the centers of these pixels of the photo."""
        x = torch.arange(left, right, dtype=torch.float64) + (0.5 - self.corner[0])
        y = torch.arange(top, bottom, dtype=torch.float64) + (0.5 - self.corner[1])
        offsets = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        return offsets @ torch.from_numpy(np.linalg.inv(self.axes))


def cell_centers(cells: int) -> Tensor:
    """[cells, cells, 2] float64: (u, v) of the centers of cells that divide a crop evenly, rows from the top."""
    middle = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    return torch.stack(torch.meshgrid(middle, middle, indexing="xy"), dim=-1)
