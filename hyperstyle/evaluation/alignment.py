"""How far the crops of two detectors are apart on photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperstyle.align.crop import ffhq_quad
from hyperstyle.align.decision import LandmarkDetector
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.figures import Progress
from hyperstyle.evaluation.journal import Record
from hyperstyle.images import Listing, list_images, load_image

Points = npt.NDArray[np.float64]

_SAME = 0.25  # sides of the square: mean distance of the corners below which two detections are one face


def compare_detectors(
    first: LandmarkDetector, second: LandmarkDetector, photos: Sequence[Path], on_progress: Progress
) -> list[Record]:
    """How far the crops of two detectors are apart on each photo, in its pixels.

    Faces are paired by their crops, nearest first; a quarter of a side apart they count as two.

    Returns:
        For each photo:

        "photo", "size": its file name, and (width, height).
        "faces": found by the first and by the second detector.
        "corners": for each face that both found, mean distance in pixels of the corners of the two crops.
        "sides": side in pixels of the second detector's crop of each.

    Raises:
        ImageError: a photo that cannot be read.
        HyperStyleError: what a detector raises.
    """
    differences: list[Record] = []
    for done, path in enumerate(photos, 1):
        image = load_image(path)
        quads = [[ffhq_quad(points) for points in detector(image)] for detector in (first, second)]
        pairs = _pairs(*quads)
        difference = {"photo": path.name, "size": image.size, "faces": tuple(map(len, quads))}
        difference["corners"] = [distance for distance, _ in pairs]
        differences.append(difference | {"sides": [side for _, side in pairs]})
        on_progress("comparing", done, len(photos))
    return differences


def photos_of(folder: Path) -> Listing:
    """The images of a folder, by name, and what looks like one there and cannot be read.

    Raises:
        ConfigError: no such folder, or no image in it.
    """
    listing = list_images(sorted(folder.glob("*")))
    if not listing.images:
        left = "".join(f" {file.name!r} {why}" for file, why in listing.left_out[:1])
        raise ConfigError(
            f"there are no images in {str(folder)!r}. Give a folder of photos, such as JPEG or PNG.{left}"
        )
    return listing


def _pairs(first: Sequence[Points], second: Sequence[Points]) -> list[tuple[float, float]]:
    """(distance of the corners, side of the second) of each face that is in both."""
    every = sorted((*distance_of_quads(a, b), i, j) for i, a in enumerate(first) for j, b in enumerate(second))
    left, right, pairs = set(range(len(first))), set(range(len(second))), []
    for distance, side, i, j in every:
        if i in left and j in right and distance < _SAME * side:
            left.remove(i)
            right.remove(j)
            pairs.append((distance, side))
    return pairs


def distance_of_quads(quad: Points, other: Points) -> tuple[float, float]:
    """Mean distance of the corners [4,2] of two crops, and the side of the other one."""
    return float(np.hypot(*(quad - other).T).mean()), float(np.hypot(*(other[1] - other[0])))
