"""The decision whether an image is cut out around a face or taken as it is, and around which face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperstyle.align.crop import ffhq_quad
from hyperstyle.align.detector import LandmarkDetector
from hyperstyle.errors import (
    AlignmentError,
    ConfigError,
    MissingDependencyError,
    MissingFileError,
    NoFaceError,
)

__all__ = ["IN_PLACE", "Align", "Choice", "Face", "choose_face", "decide", "misplacement"]

Points = npt.NDArray[np.float64]
Align = bool | Literal["auto"]
Face = Literal["largest", "center", "all"] | int

IN_PLACE = 0.1
"""The largest `misplacement` at which a square image counts as the crop of its face. A face 14 % too large, or tilted
by 8 degrees, reaches it; the landmarks that the bundled aligner finds on aligned crops have 0.02 in the mean, and 95 %
of them less than 0.04.
"""


@dataclass(frozen=True, eq=False)
class Choice:
    """One face of an image.

    Attributes:
        landmarks: [68,2] or [5,2] points to cut it out by; None where the image is taken as it is.
        note: the decision, in words.
    """

    landmarks: npt.ArrayLike | None
    note: str


def decide(
    photo: Image.Image,
    name: str,
    *,
    aligner: LandmarkDetector | None,
    align: Literal[True, "auto"] = "auto",
    face: Face = "largest",
    landmarks: npt.ArrayLike | None = None,
) -> list[Choice]:
    """The faces to take of a photo: one, or with `face="all"` as many as there are.

    Without landmarks, the aligner finds faces. With "auto" a square image is taken as a crop if its face lies in place
    (`IN_PLACE`), if no face is found, or if dlib or its predictor file is missing, so that none can be found.

    Args:
        photo: upright, RGB.
        name: of the photo, in messages.
        aligner: finds landmarks; None finds no face.
        align: True cuts out in any case.
        face: the largest, the one nearest to the center, all, or a number in the aligner's list.
        landmarks: [68,2] or [5,2] points; they are used as they are.

    Raises:
        NoFaceError: no face was found, and the image is not taken as it is.
        AlignmentError: there is no aligner, or no face of this number. Errors of the aligner.
        ConfigError: an unknown `face`.
    """
    if isinstance(face, bool) or not (isinstance(face, Integral) or face in ("largest", "center", "all")):
        raise ConfigError(f"face={face!r}: expected 'largest', 'center', 'all' or the number of a face.")
    if landmarks is not None:
        return [Choice(landmarks, "cut out by the landmarks given")]
    size = f"{photo.width}x{photo.height} px"
    may_be_crop = align == "auto" and photo.width == photo.height
    if aligner is None:
        if may_be_crop:
            return [_as_it_is("there is no aligner to find a face")]
        raise AlignmentError(
            f"{name!r} ({size}) needs to be cut out around the face. Pass landmarks=... (68 or 5 points), an aligner "
            "that finds them, or a square image that is already cut out with align=False."
        )
    try:
        faces = aligner(photo)
    except (MissingDependencyError, MissingFileError) as error:
        if may_be_crop:
            return [_as_it_is(f"no face could be detected ({str(error).partition('. ')[0]})")]
        raise
    if not faces:
        if may_be_crop:
            return [_as_it_is("no face was found in it")]
        raise NoFaceError(
            f"no face found in {name!r} ({size}). Faces that lie on their side are found by an aligner that turns the "
            "photo, as DlibDetector(sideways=True) and --sideways do; small ones in a closer crop. Or pass "
            "landmarks=..., or align=False if it already is an aligned crop."
        )
    if face == "all":
        numbers = list(range(len(faces)))
    elif (number := choose_face(faces, face, photo.size)) is not None:
        numbers = [number]
    else:
        available = f"{len(faces)} faces, numbered from 0" if len(faces) > 1 else "one face, number 0"
        raise AlignmentError(
            f"face={face}, but {name!r} has {available}. Give one of these, 'largest', 'center' or 'all'."
        )
    if may_be_crop and len(numbers) == 1:
        distance = misplacement(faces[numbers[0]], photo.width)
        if distance <= IN_PLACE:
            return [_as_it_is(f"its face is in place, within {distance:.1%} of the side")]
    choices = []
    for number in numbers:
        which = face if face in ("largest", "center") else f"number {number}"
        choices.append(Choice(faces[number], f"cut out around a detected face ({which} of {len(faces)})"))
    return choices


def choose_face(faces: Sequence[Points], face: Literal["largest", "center"] | int, size: tuple[int, int]) -> int | None:
    """The number of one face in the list of a detector; None where there is none, or none of this number.

    Args:
        faces: [68,2] or [5,2] points of each.
        face: the largest, the one nearest to the center, or a number.
        size: (width, height) of the photo.
    """
    numbers = range(len(faces))
    if face == "largest":
        return max(numbers, key=lambda i: float(np.prod(np.ptp(faces[i], axis=0))), default=None)
    if face == "center":
        center = np.array(size) / 2
        return min(numbers, key=lambda i: float(np.linalg.norm(faces[i].mean(axis=0) - center)), default=None)
    return int(face) if face in numbers else None


def misplacement(landmarks: npt.ArrayLike, side: int) -> float:
    """Mean distance between the corners of a face's square and those of a square image, as a fraction of its side.

    Raises LandmarkError where `ffhq_quad` does.
    """
    frame = np.array([(0, 0), (0, side), (side, side), (side, 0)]) - 0.5
    return float(np.linalg.norm(ffhq_quad(landmarks) - frame, axis=1).mean() / side)


def _as_it_is(reason: str) -> Choice:
    return Choice(None, f"square and taken as an aligned crop: {reason}")
