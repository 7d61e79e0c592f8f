"""How well a detector finds faces and landmarks on rendered photos, and how far two detectors are apart on others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperstyle.align.crop import ffhq_quad, five_points
from hyperstyle.align.detector import LandmarkDetector
from hyperstyle.avatars.factors import sample_factors, select
from hyperstyle.avatars.render import render
from hyperstyle.avatars.snapshots import snapshots
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.figures import HELD_OUT_SEED, Progress
from hyperstyle.images import Listing, list_images, load_image, to_pil

__all__ = ["AlignmentRow", "Difference", "compare_detectors", "evaluate_alignment", "photos_of"]

Points = npt.NDArray[np.float64]

_NEAR = 0.5  # distances of the eyes: mean error of the points below which a detection is the face
_SAME = 0.25  # sides of the square: mean distance of the corners below which two detections are one face


@dataclass(frozen=True)
class AlignmentRow:
    """What a detector did on photos with one face each; errors are over the faces found, None where none was.

    Attributes:
        pictures: which.
        count: how many.
        detected: share of the photos whose face was found: points within half the distance of the eyes, on average.
        false: detections beside it, in all photos together.
        pixels: mean distance of the points from the true ones.
        relative, relative_95: the same over the distance of the eyes; mean, and 95th percentile over the photos.
        corners, corners_95: mean distance of the crop's four corners from the true ones over the crop's side.
        seconds: of a photo, the median.
    """

    pictures: str
    count: int
    detected: float
    false: int
    pixels: float | None
    relative: float | None
    relative_95: float | None
    corners: float | None
    corners_95: float | None
    seconds: float


@dataclass(frozen=True)
class Difference:
    """Two detectors on one photo.

    Attributes:
        photo: its file name.
        size: (width, height).
        faces: found by the first and by the second detector.
        corners: for each face that both found, mean distance in pixels of the corners of the two crops.
        sides: side in pixels of the second detector's crop of each.
    """

    photo: str
    size: tuple[int, int]
    faces: tuple[int, int]
    corners: tuple[float, ...]
    sides: tuple[float, ...]


def evaluate_alignment(
    detector: LandmarkDetector,
    *,
    count: int = 256,
    size: int = 256,
    crop_size: int = 128,
    seed: int = HELD_OUT_SEED,
    on_progress: Progress | None = None,
) -> tuple[AlignmentRow, ...]:
    """Figures on photos of `size` px (random position, scale, tilt and background), and on crops already cut out.

    Args:
        detector: of 68 or 5 points.
        count: pictures of each kind.
        size, crop_size: their sides in pixels.
        seed: no training set uses the default.
        on_progress: called while it goes on.

    Raises:
        ConfigError: fewer than 1 picture, or sizes that cannot be drawn.
        HyperStyleError: what the detector raises.
    """
    rows = []
    for name, pictures in (
        (f"photos {size} px", _photos(count, size, seed)),
        (f"crops {crop_size} px", _crops(count, crop_size, seed)),
    ):
        found = []
        for done, (picture, truth) in enumerate(pictures, 1):
            found.append(_measured(detector, picture, truth))
            if on_progress is not None:
                on_progress(name, done, count)
        rows.append(_row(name, found))
    return tuple(rows)


def compare_detectors(
    first: LandmarkDetector,
    second: LandmarkDetector,
    photos: Sequence[Path],
    *,
    on_progress: Progress | None = None,
) -> tuple[Difference, ...]:
    """How far the crops of two detectors are apart on each photo, in its pixels.

    Faces are paired by their crops, nearest first; a quarter of a side apart they count as two.

    Raises:
        ImageError: a photo that cannot be read.
        HyperStyleError: what a detector raises.
    """
    found = []
    for done, path in enumerate(photos, 1):
        picture = load_image(path)
        quads = [[ffhq_quad(points) for points in detector(picture)] for detector in (first, second)]
        pairs = _pairs(*quads)
        found.append(
            Difference(
                path.name,
                picture.size,
                (len(quads[0]), len(quads[1])),
                tuple(distance for distance, _ in pairs),
                tuple(side for _, side in pairs),
            )
        )
        if on_progress is not None:
            on_progress("comparing", done, len(photos))
    return tuple(found)


def photos_of(folder: Path) -> Listing:
    """The pictures of a folder, by name, and what looks like one there and cannot be read.

    Raises:
        ConfigError: no such folder, or no picture in it.
    """
    found = list_images(sorted(folder.glob("*")))
    if not found.images:
        left = "".join(f" {file.name!r} {why}" for file, why in found.left_out[:1])
        raise ConfigError(
            f"there are no pictures in {str(folder)!r}. Give a folder of photos, such as JPEG or PNG.{left}"
        )
    return found


def _photos(count: int, size: int, seed: int) -> Iterator[tuple[Image.Image, Points]]:
    for photo in snapshots(count, seed=seed, size=size, supersample=2):
        yield photo.image, photo.landmarks


def _crops(count: int, size: int, seed: int) -> Iterator[tuple[Image.Image, Points]]:
    factors = sample_factors(count, seed=seed)
    for index in range(count):
        drawn = render(select(factors, index), size)
        yield to_pil(drawn.images[0]), drawn.landmarks[0].double().numpy()


@dataclass(frozen=True)
class _Measured:
    """One photo: the errors of the face where it was found, what else was, seconds."""

    errors: tuple[float, float, float] | None  # pixels, over the distance of the eyes, corners over the side
    false: int
    seconds: float


def _measured(detector: LandmarkDetector, picture: Image.Image, truth: Points) -> _Measured:
    start = time.perf_counter()
    faces = detector(picture)
    seconds = time.perf_counter() - start
    left, right = five_points(truth)[:2]
    eyes = float(np.hypot(*(right - left)))
    distances = [
        float(np.hypot(*(points - (truth if len(points) == 68 else five_points(truth))).T).mean()) for points in faces
    ]
    if not distances or min(distances) > _NEAR * eyes:
        return _Measured(None, len(faces), seconds)
    best = int(np.argmin(distances))
    corners, side = _apart(ffhq_quad(faces[best]), ffhq_quad(truth))
    return _Measured((distances[best], distances[best] / eyes, corners / side), len(faces) - 1, seconds)


def _row(name: str, found: Sequence[_Measured]) -> AlignmentRow:
    errors = np.array([one.errors for one in found if one.errors is not None], dtype=np.float64).reshape(-1, 3)
    none = not len(errors)

    def mean(column: int) -> float | None:
        return None if none else float(errors[:, column].mean())

    def high(column: int) -> float | None:
        return None if none else float(np.percentile(errors[:, column], 95))

    return AlignmentRow(
        pictures=name,
        count=len(found),
        detected=len(errors) / len(found),
        false=sum(one.false for one in found),
        pixels=mean(0),
        relative=mean(1),
        relative_95=high(1),
        corners=mean(2),
        corners_95=high(2),
        seconds=float(np.median([one.seconds for one in found])),
    )


def _pairs(first: Sequence[Points], second: Sequence[Points]) -> list[tuple[float, float]]:
    """(distance of the corners, side of the second) of each face that is in both."""
    every = sorted((*_apart(a, b), i, j) for i, a in enumerate(first) for j, b in enumerate(second))
    left, right, pairs = set(range(len(first))), set(range(len(second))), []
    for distance, side, i, j in every:
        if i in left and j in right and distance < _SAME * side:
            left.remove(i)
            right.remove(j)
            pairs.append((distance, side))
    return pairs


def _apart(quad: Points, other: Points) -> tuple[float, float]:
    """Mean distance of the corners of two crops, and the side of the other one."""
    return float(np.hypot(*(quad - other).T).mean()), float(np.hypot(*(other[1] - other[0])))
