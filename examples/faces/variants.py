"""Photographs made hard: turned, shrunk, darkened, partly covered, side by side; with the points of the faces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Points = npt.NDArray[np.float64]

ANGLES = (15, 30, 45, 60, 90, 180)  # degrees, counterclockwise
SIDES = (80, 40, 30, 20, 15)  # pixels, of the face's box
LEVELS = (0.5, 0.25, 0.1)
HALVES = ("lower", "upper", "left")
_GRAY = (128, 128, 128)
_ROW_HEIGHT = 512  # of photos side by side


@dataclass(frozen=True, eq=False)
class Face:
    """Where a face is in an image.

    Attributes:
        points: [5,2] (x, y) of the eyes, the nose and the corners of the mouth, in pixel indices.
        box: left, top, right and bottom in pixels.
    """

    points: Points
    box: tuple[float, float, float, float]

    @property
    def eye_distance(self) -> float:
        """Distance between the eyes in pixels."""
        return float(np.hypot(*(self.points[1] - self.points[0])))

    @property
    def side(self) -> float:
        """The longer side of the box in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)


@dataclass(frozen=True, eq=False)
class Variant:
    """One image to search.

    Attributes:
        kind: what was done, such as "turned".
        amount: how much of it, such as "15 degrees".
        image: the result.
        points: [5,2] of each face in it.
    """

    kind: str
    amount: str
    image: Image.Image
    points: list[Points]


def variants(photo: Image.Image, faces: Sequence[Face]) -> Iterator[Variant]:
    """The photo as it is, and everything that is done to a single photo. Sides are those of its largest face."""
    points = [face.points for face in faces]
    yield Variant("unchanged", "", photo, points)
    for degrees in ANGLES:
        turned, moved = turn(photo, points, degrees)
        yield Variant("turned", f"{degrees} degrees", turned, moved)
    largest = max(face.side for face in faces)
    for side in SIDES:
        if side < largest:
            small, moved = shrink(photo, points, side / largest)
            yield Variant("shrunk", f"face of {side} px", small, moved)
    for level in LEVELS:
        yield Variant("darkened", f"x {level:g}", darken(photo, level), points)
    for half in HALVES:
        yield Variant("covered", f"{half} half", cover(photo, faces, half), points)


def turn(photo: Image.Image, points: Sequence[Points], degrees: float) -> tuple[Image.Image, list[Points]]:
    """The photo turned counterclockwise about its middle, on a gray canvas that holds all of it."""
    angle = np.deg2rad(degrees)
    # In an image y points down: turning counterclockwise brings (1, 0) to (cos, -sin).
    rotation = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    size = np.array(photo.size)
    canvas = np.ceil(np.abs(rotation) @ size - 1e-6).astype(int)
    back = rotation.T  # from the canvas to the photo, in coordinates whose origin is the first pixel's corner
    start = size / 2 - back @ (canvas / 2)
    matrix = (*map(float, (*back[0], start[0])), *map(float, (*back[1], start[1])))
    turned = photo.transform(
        (int(canvas[0]), int(canvas[1])), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=_GRAY
    )
    middle, new_middle = (size - 1) / 2, (canvas - 1) / 2  # as pixel indices
    return turned, [(each - middle) @ rotation.T + new_middle for each in points]


def shrink(photo: Image.Image, points: Sequence[Points], scale: float) -> tuple[Image.Image, list[Points]]:
    """The photo resized by a factor, to whole pixels."""
    width, height = (max(round(side * scale), 1) for side in photo.size)
    factors = np.divide((width, height), photo.size)
    return photo.resize((width, height), Image.Resampling.LANCZOS), [(each + 0.5) * factors - 0.5 for each in points]


def darken(photo: Image.Image, level: float) -> Image.Image:
    """The photo with all its levels multiplied by a number below 1, as levels of 8 bits."""
    return photo.point([round(value * level) for value in range(256)] * 3)


def cover(photo: Image.Image, faces: Sequence[Face], half: str) -> Image.Image:
    """The photo with a gray box over the "lower", "upper" or "left" half of each face's box."""
    covered = photo.copy()
    for face in faces:
        left, top, right, bottom = face.box
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        box = {
            "lower": (left, middle_y, right, bottom),
            "upper": (left, top, right, middle_y),
            "left": (left, top, middle_x, bottom),
        }[half]
        left_edge, top_edge, right_edge, bottom_edge = (round(edge) for edge in box)
        covered.paste(_GRAY, (max(left_edge, 0), max(top_edge, 0), right_edge, bottom_edge))
    return covered


def side_by_side(photos: Sequence[tuple[Image.Image, Sequence[Face]]]) -> Variant:
    """All photos in one row, each scaled to the same height."""
    images, points, x = [], [], 0
    for photo, faces in photos:
        scaled, moved = shrink(photo, [face.points for face in faces], _ROW_HEIGHT / photo.height)
        images.append((scaled, x))
        points += [each + np.array([x, 0.0]) for each in moved]
        x += scaled.width
    row = Image.new("RGB", (x, _ROW_HEIGHT), _GRAY)
    for scaled, start in images:
        row.paste(scaled, (start, 0))
    return Variant("side by side", f"{len(photos)} photos", row, points)
