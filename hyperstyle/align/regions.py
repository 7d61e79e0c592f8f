"""Masks of the regions of a face, from its landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hyperstyle.align.crop import Points

MARGIN = 0.03
"""How far a mask is 1 around the landmarks of its region, as a fraction of the image's side: edits move edges."""

RIM = 0.06
"""Width of the soft rim around that, over which the mask falls to 0, as a fraction of the image's side."""

_FOREHEAD = 0.25  # height of the forehead above the brows, as a fraction of the distance from chin to bridge of nose

# iBUG 300-W: the corners of the polygons of each region, in the order of their outlines.
_OUTLINES: dict[str, tuple[Sequence[int], ...]] = {
    "mouth": (range(48, 60),),
    "eyes": (range(36, 42), range(42, 48)),
    "brows": (range(17, 22), range(22, 27)),
    "nose": ((27, *range(31, 36)),),
    "face": ((*range(17), *range(26, 16, -1)),),
}


def region_mask(region: str, landmarks: Points, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The mask [H,W] of a region: 1 on it and within `MARGIN`, then falling smoothly to 0 over `RIM`.

    Args:
        region: one of `domain.REGIONS`. "face" reaches from the chin to the forehead.
        landmarks: [68,2] points in the iBUG order, in pixel indices of the image; they may lie outside of it.
        size: (H, W) of the image.
    """
    height, width = size
    points = landmarks.copy()
    if region == "face":
        points[17:27] += _FOREHEAD * (points[27] - points[8])
    reach = (MARGIN + RIM) * width
    mask = np.zeros(size, dtype=np.float32)
    for outline in _OUTLINES[region]:
        corners = points[list(outline)]
        left, top = np.clip(np.floor(corners.min(axis=0) - reach), 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(axis=0) + reach) + 1, 0, (width, height)).astype(int)
        x, y = np.arange(left, right)[None, :], np.arange(top, bottom)[:, None]
        ramp = np.clip((reach - _distance(x, y, corners)) / (RIM * width), 0, 1)
        part = mask[top:bottom, left:right]
        np.maximum(part, ramp * ramp * (3 - 2 * ramp), out=part, casting="same_kind")  # smoothstep
    return mask


def _distance(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], corners: Points) -> Points:
    """[h,w] distances of the pixels at columns x [1,w] and rows y [h,1] to a polygon; 0 inside of it."""
    nearest = np.full((y.size, x.size), np.inf)
    inside = np.zeros(nearest.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        length = (x1 - x0) ** 2 + (y1 - y0) ** 2
        along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / max(length, 1e-12), 0, 1)
        np.minimum(nearest, (x - x0 - along * (x1 - x0)) ** 2 + (y - y0 - along * (y1 - y0)) ** 2, out=nearest)
        if y0 != y1:  # a ray to the right crosses this side: an odd number of crossings is inside
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return np.where(inside, 0.0, np.sqrt(nearest))
