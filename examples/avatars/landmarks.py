"""The recipe of the bundled aligner: dlib's face detector and 68-point predictor, trained on rendered photos.

    python -m examples.avatars.landmarks --out runs/landmarks

Renders photos (kept in the folder, and read from there the next time), trains with dlib's own trainers on one
thread, and writes `detector.svm` and `predictor.dat`. The renderer's landmarks are the truth.
"""

from __future__ import annotations

import argparse
import logging
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from examples.avatars.renderer.snapshots import FACE_SHARES, Snapshot, face_box, snapshots
from hyperstyle.align.crop import ffhq_quad
from hyperstyle.errors import ConfigError, MissingDependencyError
from hyperstyle.io.components import load_tensors, save_tensors
from hyperstyle.io.files import atomic_write, make_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Recipe", "cached_photos", "main", "train_detector", "train_predictor"]

LOG = logging.getLogger("hyperstyle.training")

_REPORT = 100
_OVERLAP = 0.5  # of a detection with the true box, over their union, from which on it is the face


@dataclass(frozen=True)
class Recipe:
    """Sizes and lengths. The defaults made the bundled files; `tiny` takes seconds, for tests.

    Attributes:
        photos: rendered, of `size` px, at least 256; every fourth is blurred, as a small image enlarged is.
        window: side in pixels of the smallest face that the detector looks for; no larger than faces in the photos.
        tilts: ranges of degrees, clockwise; the detector has a filter for each, trained on the faces tilted so.
        detector_c: the detector's penalty of mistakes.
        cascades, trees, depth, nu, splits: of the predictor: steps, trees in each, levels of a tree, weight of a
            tree, random tests tried for a split. The file's size goes with cascades x trees x 2^depth: 6 bytes
            for each coordinate of each leaf.
        oversampling, jitter: random starts from each photo, and how far each box is moved, in sides.
        seed: of the photos and of the predictor.
    """

    photos: int = 1000
    size: int = 256
    window: int = 64
    tilts: tuple[tuple[float, float], ...] = ((-10, 10), (-45, -6), (6, 45))
    detector_c: float = 5.0
    cascades: int = 14
    trees: int = 29
    depth: int = 2
    nu: float = 0.6
    splits: int = 40
    oversampling: int = 12
    jitter: float = 0.05
    seed: int = 11

    @classmethod
    def tiny(cls) -> Recipe:
        """Good enough to find an easy face, and no more."""
        return cls(photos=24, tilts=((-45, 45),), cascades=4, trees=20, splits=10, oversampling=5)


def cached_photos(recipe: Recipe, folder: Path) -> list[Snapshot]:
    """The photos of the recipe, rendered and written to this folder if they are not there.

    Raises:
        ConfigError: photos so small that their faces are smaller than the detector's window.
        WeightsError: the file in the folder cannot be read.
    """
    if recipe.size * FACE_SHARES[0] < recipe.window:
        raise ConfigError(
            f"Photos of {recipe.size} px have faces from {recipe.size * FACE_SHARES[0]:.0f} px on, and the detector's "
            f"window is {recipe.window} px. Use photos of {recipe.window / FACE_SHARES[0]:.0f} px or more."
        )
    path = folder / f"photos-{recipe.seed}-{recipe.size}-{recipe.photos}.safetensors"
    if not path.exists():
        pixels, points = [], []
        for count, photo in enumerate(snapshots(recipe.photos, seed=recipe.seed, size=recipe.size), 1):
            pixels.append(torch.from_numpy(np.array(photo.image)))
            points.append(torch.from_numpy(photo.landmarks))
            if count % _REPORT == 0 or count == recipe.photos:
                LOG.info("%d of %d photos rendered", count, recipe.photos)
        save_tensors(path, {"pixels": torch.stack(pixels), "landmarks": torch.stack(points)})
    tensors, _ = load_tensors(path)
    photos = zip(tensors["pixels"].numpy(), tensors["landmarks"].numpy(), strict=True)
    return [
        Snapshot(_blurred(Image.fromarray(pixels)) if i % 4 == 3 else Image.fromarray(pixels), landmarks)
        for i, (pixels, landmarks) in enumerate(photos)
    ]


def train_detector(recipe: Recipe, photos: Sequence[Snapshot]) -> Any:
    """A `dlib.simple_object_detector` of the box of `face_box`, which is upright however the face is tilted."""
    dlib = _dlib()
    options = dlib.simple_object_detector_training_options()
    options.detection_window_size = recipe.window**2
    options.C = recipe.detector_c
    options.upsample_limit = 0
    options.num_threads = 1
    options.be_verbose = LOG.isEnabledFor(logging.DEBUG)
    filters = []
    for low, high in recipe.tilts:
        chosen = [photo for photo in photos if low <= _tilt(photo) <= high]
        LOG.info("a filter for tilts of %g to %g degrees learns from %d photos", low, high, len(chosen))
        images, faces = [np.array(photo.image) for photo in chosen], [[_rectangle(photo)] for photo in chosen]
        filters.append(dlib.train_simple_object_detector(images, faces, options))
    return dlib.simple_object_detector(filters)


def train_predictor(recipe: Recipe, photos: Sequence[Snapshot], detector: Any) -> Any:
    """A `dlib.shape_predictor` of 68 points, started from the boxes that this detector finds.

    Where the detector misses a face, the true box takes its place.
    """
    dlib = _dlib()
    options = dlib.shape_predictor_training_options()
    options.cascade_depth = recipe.cascades
    options.num_trees_per_cascade_level = recipe.trees
    options.tree_depth = recipe.depth
    options.nu = recipe.nu
    options.num_test_splits = recipe.splits
    options.oversampling_amount = recipe.oversampling
    options.oversampling_translation_jitter = recipe.jitter
    options.random_seed = str(recipe.seed)
    options.num_threads = 1
    options.be_verbose = LOG.isEnabledFor(logging.DEBUG)
    images, faces, missed = [], [], 0
    for photo in photos:
        image, true = np.array(photo.image), _rectangle(photo)
        box = max(detector(image), key=partial(_overlap, true), default=None)
        if box is None or _overlap(box, true) < _OVERLAP:
            box, missed = true, missed + 1
        points = [dlib.point(*(int(value) for value in point)) for point in np.rint(photo.landmarks)]
        images.append(image)
        faces.append([dlib.full_object_detection(box, points)])
    LOG.info("the detector missed %d of the %d faces to learn points from", missed, len(photos))
    return dlib.train_shape_predictor(images, faces, options)


def main(argv: list[str] | None = None) -> None:
    """Trains both and writes them."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.avatars.landmarks",
        description="Trains the face detector and the landmark predictor of the bundled model.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for photos, detector.svm and predictor.dat")
    parser.add_argument("--tiny", action="store_true", help="the recipe of the tests, in seconds")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    recipe = Recipe.tiny() if arguments.tiny else Recipe()
    _dlib()
    folder = make_folder(arguments.out)
    photos = cached_photos(recipe, folder)
    detector = train_detector(recipe, photos)
    _save(detector, folder / "detector.svm")
    _save(train_predictor(recipe, photos, detector), folder / "predictor.dat")


def _save(trained: Any, path: Path) -> None:
    with atomic_write(path) as temporary:
        trained.save(str(temporary))
        try:
            type(trained)(str(temporary))  # its writer does not say that the disk is full
        except RuntimeError as error:
            raise OSError(f"what was written cannot be read ({error})") from error
    LOG.info("%s written: %d bytes", path, path.stat().st_size)


def _blurred(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.resize((width // 2, height // 2), Image.Resampling.BOX).resize(
        (width, height), Image.Resampling.BILINEAR
    )


def _tilt(photo: Snapshot) -> float:
    """Of the face, in degrees, clockwise."""
    quad = ffhq_quad(photo.landmarks)
    across = quad[3] - quad[0]
    return math.degrees(math.atan2(across[1], across[0]))


def _rectangle(photo: Snapshot) -> Any:
    """The face's box as dlib has it, within the image, in whole pixels."""
    x, y, side = face_box(photo.landmarks)
    left, top = round(x - side / 2), round(y - side / 2)
    return _dlib().rectangle(left, top, left + round(side) - 1, top + round(side) - 1)


def _overlap(a: Any, b: Any) -> float:
    """Intersection over union of two `dlib.rectangle`s."""
    common = a.intersect(b).area()
    return float(common / (a.area() + b.area() - common))


def _dlib() -> Any:
    try:
        import dlib
    except ImportError as error:
        raise MissingDependencyError("training landmarks needs dlib. Run: pip install dlib-bin") from error
    return dlib


if __name__ == "__main__":
    main()
