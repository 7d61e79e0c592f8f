"""Whether an image is cut out around a face or taken as it is, and around which face."""

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

__all__ = ["IN_PLACE", "Align", "Choice", "Face", "decide", "misplacement"]

Points = npt.NDArray[np.float64]
Align = bool | Literal["auto"]
Face = Literal["largest", "center", "all"] | int

IN_PLACE = 0.1
"""Most that the corners of a face's square may lie from those of a square image, on average and as a fraction of its
side, for the image to count as the crop of that face. A face 14 % too large, or tilted by 8 degrees, is just there;
the landmarks that the bundled aligner finds on aligned crops are off by 0.02 in the mean, 95 % of them by less than
0.04.
"""


@dataclass(frozen=True, eq=False)
class Choice:
    """One face of an image.

    Attributes:
        landmarks: [68,2] or [5,2] points to cut it out by; None where the image is taken as it is.
        note: what was decided, for people.
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

    Landmarks that are given decide. Without them, faces are looked for. With "auto" a square image counts as a crop
    where its face lies in place (`IN_PLACE`), where no face is found, and where none can be looked for because dlib or
    its predictor file is missing.

    Args:
        photo: upright, RGB.
        name: what messages call it.
        aligner: finds landmarks; None finds nothing.
        align: True cuts out in any case.
        face: the largest, the one nearest to the center, all, or a place in the aligner's list.
        landmarks: [68,2] or [5,2] points.

    Raises:
        NoFaceError: no face was found, and the image is not taken as it is.
        AlignmentError: faces cannot be looked for, or there is no face of this number. Errors of the aligner.
        ConfigError: another `face`.
    """
    if isinstance(face, bool) or not (isinstance(face, Integral) or face in ("largest", "center", "all")):
        raise ConfigError(f"face={face!r}: expected 'largest', 'center', 'all' or the number of a face.")
    if landmarks is not None:
        return [Choice(landmarks, "cut out by the landmarks given")]
    size = f"{photo.width}x{photo.height} px"
    may_be_crop = align == "auto" and photo.width == photo.height
    if aligner is None:
        if may_be_crop:
            return [_as_it_is("there is no aligner to look for a face")]
        raise AlignmentError(
            f"{name!r} ({size}) needs to be cut out around the face. Pass landmarks=... (68 or 5 points), an aligner "
            "that finds them, or a square image that is already cut out with align=False."
        )
    try:
        faces = aligner(photo)
    except (MissingDependencyError, MissingFileError) as error:
        if may_be_crop:
            return [_as_it_is(f"no face could be looked for ({str(error).partition('. ')[0]})")]
        raise
    if not faces:
        if may_be_crop:
            return [_as_it_is("no face was found in it")]
        raise NoFaceError(
            f"no face found in {name!r} ({size}). Faces that lie on their side are found by an aligner that turns the "
            "photo, as DlibDetector(sideways=True) and --sideways do; small ones in a closer crop. Or pass "
            "landmarks=..., or align=False if it already is an aligned crop."
        )
    chosen = _chosen(faces, face, photo, name)
    if may_be_crop and len(chosen) == 1:
        distance = misplacement(faces[chosen[0]], photo.width)
        if distance <= IN_PLACE:
            return [_as_it_is(f"its face is in place, within {distance:.1%} of the side")]
    which = face if isinstance(face, str) else f"number {face}"
    if face == "all":
        return [Choice(faces[i], f"cut out around a detected face (number {i} of {len(faces)})") for i in chosen]
    return [Choice(faces[i], f"cut out around a detected face ({which} of {len(faces)})") for i in chosen]


def misplacement(landmarks: npt.ArrayLike, side: int) -> float:
    """Mean distance between the corners of a face's square and those of a square image, as a fraction of its side.

    Raises LandmarkError where `ffhq_quad` does.
    """
    frame = np.array([(0, 0), (0, side), (side, side), (side, 0)]) - 0.5
    return float(np.linalg.norm(ffhq_quad(landmarks) - frame, axis=1).mean() / side)


def _as_it_is(reason: str) -> Choice:
    return Choice(None, f"square and taken as an aligned crop: {reason}")


def _chosen(faces: Sequence[Points], face: Face, photo: Image.Image, name: str) -> list[int]:
    """The places of the faces wanted. Raises AlignmentError for a number that is not there."""
    places = list(range(len(faces)))
    if face == "all":
        return places
    if face == "largest":
        return [max(places, key=lambda i: float(np.prod(np.ptp(faces[i], axis=0))))]
    if face == "center":
        middle = np.array([photo.width, photo.height]) / 2
        return [min(places, key=lambda i: float(np.linalg.norm(faces[i].mean(axis=0) - middle)))]
    if face not in places:
        found = f"{len(faces)} faces, numbered from 0" if len(faces) > 1 else "one face, number 0"
        raise AlignmentError(f"face={face}, but {name!r} has {found}. Give one of these, 'largest', 'center' or 'all'.")
    return [int(face)]
