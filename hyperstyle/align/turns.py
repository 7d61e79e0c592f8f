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
    """The faces in a photo or, where none has the score `sure`, perhaps in a turned copy of it.

    Copies are turned by 90, 180 and 270 degrees; all faces of the one with the best face count. Where the photo as it
    is shows faces, though no sure one, only a copy with a sure face takes their place.

    Args:
        find: searches a photo, for points in pixel indices of what it is given. It is called once or four times.
        photo: upright.
        sure: the lowest score of a sure face: with one, no copies are searched.

    Returns:
        [N,2] points (x, y) of each face in pixel indices of the upright photo. [] where no turn shows a face.
    """
    score, faces = find(photo)
    if score >= sure:
        return faces
    turned = [(*find(photo.transpose(turn)), turn) for turn in _TURNS]
    best_score, best_faces, turn = max(turned, key=lambda result: result[0])
    if faces and best_score < sure:
        return faces
    return [_turned_back(points, turn, photo.size) for points in best_faces]


def _turned_back(points: Points, turn: Image.Transpose, size: tuple[int, int]) -> Points:
    """Points [N,2] of the photo turned like this, as points of the upright photo of (width, height)."""
    x, y = points.T
    right, bottom = size[0] - 1, size[1] - 1
    if turn is Image.Transpose.ROTATE_90:
        return np.stack([right - y, x], axis=1)
    if turn is Image.Transpose.ROTATE_180:
        return np.stack([right - x, bottom - y], axis=1)
    return np.stack([y, bottom - x], axis=1)
