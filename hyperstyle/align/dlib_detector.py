"""Landmarks by dlib: a HOG face detector, then a 68-point shape predictor."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from hyperstyle.align.crop import Points
from hyperstyle.align.turns import ScoredFaces, find_sideways
from hyperstyle.errors import CheckpointError, ConfigError, MissingDependencyError, MissingFileError
from hyperstyle.images import reduce_to, view_image
from hyperstyle.images.bands import levels_of
from hyperstyle.io.opening import check_file
from hyperstyle.io.published import find_predictor
from hyperstyle.runtime.threads import once_property

_POINTS = 68
_LOWEST_SCORE = 0.0  # of a face; dlib's own threshold
_MOST_DOUBLINGS = 4  # 256 times the pixels


@dataclass(eq=False)
class DlibDetector:
    """Finds faces with dlib; a `LandmarkDetector`.

    Faces are detected on a copy of the photo that is reduced to `longest`; the points are then predicted on the photo
    itself, in whole pixels. On photos that need not be reduced, both are as in the reference scripts.

    dlib is imported and files are read at the first call, not when it is constructed. Threads may share a detector;
    they wait for each other, since dlib's objects have state. Copies, pickled ones too, read their files anew.

    Args:
        predictor: a 68-point predictor file of dlib's; None looks for the published one, see `find_predictor`.
        detector: a HOG detector as dlib's `train_simple_object_detector` writes it (.svm); None is dlib's own for
            frontal faces, which finds faces of 80 px and more.
        longest: largest longer side, in pixels, at which faces are detected; larger photos are reduced to it. A larger
            number finds smaller faces in these, in a time that grows with its square.
        upsample: how often that copy is doubled first (0..4), for small faces: once, dlib's own detector finds them
            from 40 px on.
        sideways: if no face is found, search the photo turned by 90, 180 and 270 degrees as well, which takes four
            times as long, and take the turn with the highest score of a face.

    Raises:
        ConfigError: `longest` or `upsample` out of range.
    """

    predictor: str | os.PathLike[str] | None = None
    _: KW_ONLY
    detector: str | os.PathLike[str] | None = None
    longest: int = 1280
    upsample: int = 1
    sideways: bool = False
    _missing: MissingFileError | None = field(default=None, init=False, repr=False)
    _one_at_a_time: Lock = field(default_factory=Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.longest < 1 or not 0 <= self.upsample <= _MOST_DOUBLINGS:
            raise ConfigError(
                f"Faces cannot be detected with longest={self.longest} and upsample={self.upsample}: expected a side "
                f"in pixels from 1 on, such as 1280, and 0 to {_MOST_DOUBLINGS} doublings, such as 1."
            )

    def __getstate__(self) -> dict[str, Any]:
        """Without dlib's objects and the lock, which cannot be copied."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_loaded", "_one_at_a_time")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._one_at_a_time = Lock()

    def __call__(self, photo: Image.Image) -> list[Points]:
        """Upright photo -> for each face [68, 2] float64 points (x, y) in its pixels, the highest score first.

        Points may lie outside the photo where a face is cut off by its border. [] where no face is found.

        Raises:
            MissingDependencyError: dlib is not installed.
            CheckpointError: a file cannot be used: see `find_predictor`; or it is no detector or predictor of dlib's,
                or predicts another number of points.
            MissingFileError: the published predictor cannot be found or fetched. Later calls raise it at once.
            ImageError: an image that `load_image` refuses.
        """
        upright = view_image(photo)
        if self.sideways:
            return find_sideways(self._faces, upright, sure=_LOWEST_SCORE)
        return self._faces(upright)[1]

    def _faces(self, photo: Image.Image) -> ScoredFaces:
        """The faces of a photo as it is."""
        find, predict = self._loaded
        dlib = _dlib()
        reduced = reduce_to(photo, self.longest)
        small = np.asarray(reduced)
        across, down = photo.width / reduced.width, photo.height / reduced.height
        faces = []
        with self._one_at_a_time:  # dlib releases the GIL while it works
            boxes, scores, _ = dlib.fhog_object_detector.run(find, small, self.upsample, _LOWEST_SCORE)
            for box in boxes:
                # Both ends of dlib's boxes are part of them: they reach from `left` to `right + 1`.
                left, right = round(box.left() * across), round((box.right() + 1) * across) - 1
                top, bottom = round(box.top() * down), round((box.bottom() + 1) * down) - 1
                # The predictor sees the box and as much again on each side, never pixels further away. Shifting both by
                # whole numbers changes no point: dlib scales the box's corners, which double precision holds exactly.
                x, y = max(left - (right - left), 0), max(top - (bottom - top), 0)
                ends = min(2 * right - left, photo.width), min(2 * bottom - top, photo.height)
                pixels = levels_of(photo, (x, y, *ends))
                parts = predict(pixels, dlib.rectangle(left - x, top - y, right - x, bottom - y)).parts()
                faces.append(np.array([(part.x + x, part.y + y) for part in parts], dtype=np.float64))
        return max(scores, default=-np.inf), faces

    @once_property
    def _loaded(self) -> tuple[Any, Any]:
        """dlib's detector and predictor."""
        dlib = _dlib()
        predictor = self._predictor_file()
        predict = _read(dlib.shape_predictor, predictor, "landmark predictor", "train_shape_predictor")
        # Only a prediction has the number of points.
        count = predict(np.zeros((32, 32, 3), dtype=np.uint8), dlib.rectangle(0, 0, 31, 31)).num_parts
        if count != _POINTS:
            raise CheckpointError(
                f"{predictor} predicts {count} points; expected {_POINTS}, of which the crop needs the eyes and the "
                "corners of the mouth (dlib's 5-point file has no mouth). Give shape_predictor_68_face_landmarks.dat, "
                "or one trained on the same points."
            )
        if self.detector is None:
            find = dlib.get_frontal_face_detector()
        else:
            find = _read(dlib.fhog_object_detector, self.detector, "face detector", "train_simple_object_detector")
        return find, predict

    def _predictor_file(self) -> Path:
        """See `find_predictor`, which may ask the Hub: where that failed, it is not asked again for every photo."""
        if self._missing is None:
            try:
                return find_predictor(self.predictor)
            except MissingFileError as error:
                self._missing = error
        raise self._missing.with_traceback(None)


def can_import_dlib() -> bool:
    """Whether dlib is installed, and its library can be loaded."""
    try:
        _dlib()
    except MissingDependencyError:
        return False
    return True


def _dlib() -> Any:
    try:
        import dlib
    except ImportError as error:
        raise MissingDependencyError(
            f"Finding faces needs dlib, which cannot be imported ({error}). Install it prebuilt, `pip install "
            "dlib-bin`, or from source, `pip install dlib` (needs CMake and a C++ compiler); or pass "
            "aligner='mtcnn', or landmarks=..., or images that are already cut out with align=False."
        ) from error
    return dlib


def _read(kind: Any, path: str | os.PathLike[str], what: str, trainer: str) -> Any:
    """One of dlib's objects from its file."""
    place = os.path.expanduser(os.fspath(path))
    check_file(place, f"{what} of dlib's")
    try:
        return kind(place)
    except (RuntimeError, ValueError, MemoryError) as error:  # raised by dlib on files of other kinds
        reason = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(
            f"{place} cannot be read as a {what} of dlib's ({reason}). Expected a file that `dlib.{trainer}` wrote, "
            "whole and unpacked (bunzip2 for .bz2)."
        ) from error
