"""Faces that lie on their side or are upside down: detectors look for them on turned copies of a photo."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from hyperstyle.align.crop import Points

ScoredFaces = tuple[float, list[Points]]
"""The highest score of a face (minus infinity where there is none), and the points [N,2] of each face."""

_TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def find_sideways(find: Callable[[Image.Image], ScoredFaces], photo: Image.Image, *, sure: float) -> list[Points]:
    """The faces in a photo, or, where none has the score `sure`, in it or a turned copy, whichever has the best face.

    Copies are turned by 90, 180 and 270 degrees.

    Args:
        find: searches a photo.
        photo: upright.
        sure: the score of a face from which on the photo is not turned.

    Returns:
        [N,2] points (x, y) of each face in pixel indices of the upright photo. [] where no turn shows a face.
    """
    score, faces = find(photo)
    if score >= sure:
        return faces
    for turn in _TURNS:
        turned_score, turned_faces = find(photo.transpose(turn))
        if turned_score > score:
            score, faces = turned_score, [_turned_back(points, turn, photo.size) for points in turned_faces]
    return faces


def _turned_back(points: Points, turn: Image.Transpose, size: tuple[int, int]) -> Points:
    """Points of the photo turned like this, as points of the upright photo of (width, height)."""
    x, y = points.T
    right, bottom = size[0] - 1, size[1] - 1
    if turn is Image.Transpose.ROTATE_90:
        return np.stack([right - y, x], axis=1)
    if turn is Image.Transpose.ROTATE_180:
        return np.stack([right - x, bottom - y], axis=1)
    return np.stack([y, bottom - x], axis=1)
