"""Aligners by name: what `aligner=` and `--aligner` take, and the detector that takes what this machine has."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any, cast

from PIL import Image

from hyperstyle.align.crop import Points
from hyperstyle.align.decision import LandmarkDetector
from hyperstyle.align.dlib_detector import DlibDetector, can_import_dlib
from hyperstyle.align.mtcnn import MtcnnDetector
from hyperstyle.errors import ConfigError, MissingFileError, did_you_mean, shown, with_article
from hyperstyle.io.published import predictor_here
from hyperstyle.networks.perception.mtcnn import find_mtcnn
from hyperstyle.runtime.threads import once_property

_DETECTORS: dict[str, Callable[..., DlibDetector | MtcnnDetector]] = {"dlib": DlibDetector, "mtcnn": MtcnnDetector}
"""Those that take a file or folder after a colon."""

_NAMES = ("auto", *_DETECTORS, "none")


@dataclass(eq=False)
class AutoDetector:
    """Finds faces with what this machine has; a `LandmarkDetector`. Nothing is downloaded.

    dlib does where it can be imported and a predictor is here (`io.published.predictor_here`), else MTCNN where its
    weights are (`find_mtcnn`). Which one is decided at the first call, and anew by copies, pickled ones too.

    Args:
        sideways: see `DlibDetector` and `MtcnnDetector`.
    """

    sideways: bool = False

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_detector"}

    def __call__(self, photo: Image.Image) -> list[Points]:
        """Upright photo -> for each face [68,2] or [5,2] float64 points (x, y) in its pixels.

        Raises:
            MissingFileError: this machine has neither.
            CheckpointError: HYPERSTYLE_LANDMARKS or HYPERSTYLE_MTCNN names what cannot be used.
            HyperStyleError: what the detector raises.
        """
        return self._detector(photo)

    @once_property
    def _detector(self) -> LandmarkDetector:
        if can_import_dlib() and (predictor := predictor_here()) is not None:
            return DlibDetector(predictor, sideways=self.sideways)
        try:
            weights = find_mtcnn()
        except MissingFileError as error:
            raise MissingFileError(
                "No face detector on this machine: neither dlib's published predictor nor MTCNN's weights are here. "
                'Install the latter with `pip install "hyperstyle-inversion[mtcnn]"` (2 MB, MIT); or use '
                "aligner='dlib', which downloads dlib's predictor (100 MB, not for commercial use)."
            ) from error
        detector = MtcnnDetector(weights)
        return _turning(detector) if self.sideways else detector


def check_aligner(aligner: LandmarkDetector | str | None) -> None:
    """Raises ConfigError for what is neither a name that `find_aligner` takes, nor a function, nor None."""
    if isinstance(aligner, str):
        name, colon, place = aligner.partition(":")
        if name not in _NAMES:
            hint = did_you_mean(name, _NAMES)
            raise ConfigError(f"there is no aligner {shown(aligner)}. {hint} dlib:FILE and mtcnn:FOLDER name files.")
        if colon and (name not in _DETECTORS or not place):
            reason = "nothing follows the colon" if name in _DETECTORS else f"{name!r} takes no file"
            raise ConfigError(f"there is no aligner {shown(aligner)}: {reason}. Give dlib:FILE or mtcnn:FOLDER.")
    elif aligner is not None and not callable(aligner):
        raise ConfigError(
            f"the aligner is {with_article(type(aligner))}: expected one of the names {', '.join(_NAMES)}, dlib:FILE "
            "or mtcnn:FOLDER, or a function from a photo to the landmarks of its faces."
        )


def find_aligner(
    aligner: LandmarkDetector | str | None, default: LandmarkDetector | None, *, sideways: bool = False
) -> LandmarkDetector | None:
    """The detector that is meant by a name; a detector is returned as it is.

    Args:
        aligner: "auto" or None; "dlib", or "dlib:FILE" with a predictor of 68 points; "mtcnn", or "mtcnn:FOLDER" with
            its weights (`load_mtcnn`); "none"; or any `LandmarkDetector`.
        default: what "auto" and None stand for: the model's own detector, or an `AutoDetector`; None where images of
            the model's domain are not aligned.
        sideways: True for a copy of the detector that also searches photos in which it finds no face, or no sure one,
            turned by 90, 180 and 270 degrees; False leaves the detector as it is.

    Returns:
        The detector, which reads its files at the first call; None for "none", and for "auto" where `default` is None.

    Raises:
        ConfigError: see `check_aligner`; or `sideways` for no detector, or one that cannot turn photos.
    """
    check_aligner(aligner)
    detector: LandmarkDetector | None
    if isinstance(aligner, str) and aligner not in ("auto", "none"):
        name, _, place = aligner.partition(":")
        detector = _DETECTORS[name](place or None)
    elif isinstance(aligner, str) or aligner is None:
        detector = None if aligner == "none" else default
    else:
        detector = aligner
    return _turning(detector) if sideways else detector


def _turning(detector: LandmarkDetector | None) -> LandmarkDetector:
    """A copy of a detector with its attribute `sideways` set. Raises ConfigError for None, and where it has none."""
    if not hasattr(detector, "sideways"):
        what = "there is no detector" if detector is None else f"{type(detector).__name__} does not turn photos"
        raise ConfigError(f"sideways=True is for detectors that turn photos, as DlibDetector does, and {what}.")
    turning: Any = copy(detector)
    turning.sideways = True
    return cast("LandmarkDetector", turning)
