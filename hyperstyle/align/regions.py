"""Masks of the regions of a face, from its landmarks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

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
    from scipy.ndimage import distance_transform_edt

    height, width = size
    points = landmarks.copy()
    if region == "face":
        points[17:27] += _FOREHEAD * (points[27] - points[8])
    reach = (MARGIN + RIM) * width
    pad = math.ceil(reach)  # outlines beyond the border count
    canvas = Image.new("L", (width + 2 * pad, height + 2 * pad), 1)
    for outline in _OUTLINES[region]:
        ImageDraw.Draw(canvas).polygon((points[list(outline)] + pad).ravel().tolist(), fill=0)
    outside = np.asarray(canvas)
    if outside.all():  # then there is nothing to be distant from
        return np.zeros(size, dtype=np.float32)
    distance = distance_transform_edt(outside)[pad : pad + height, pad : pad + width]
    ramp = np.clip((reach - distance) / (RIM * width), 0, 1)
    mask: npt.NDArray[np.float32] = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)  # smoothstep
    return mask
