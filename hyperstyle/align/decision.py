"""The decision whether an image is cut out around a face or taken as it is, and around which face of a detector's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperstyle.align.crop import Points, ffhq_quad
from hyperstyle.errors import (
    AlignmentError,
    ConfigError,
    MissingDependencyError,
    MissingFileError,
    NoFaceError,
    QualityWarning,
    warn,
)

Align = bool | Literal["auto"]
Face = Literal["largest", "center", "all"] | int

MAX_MISPLACEMENT = 0.1
"""The largest `misplacement` at which a square image counts as an aligned crop of its face. A face that is 14 % too
large, or tilted by 8 degrees, has this value. For comparison: the landmarks that the bundled aligner finds on aligned
crops have 0.02 on average, and 95 % of them have less than 0.04.
"""

_AS_IT_IS = "square and taken as an aligned crop"
_MOST_NAMES = 100  # images that one warning names


@runtime_checkable
class LandmarkDetector(Protocol):
    """Finds faces in a photo. Any callable of this form can be passed as `aligner`.

    An inverter that is used from several threads calls it from all of them; so does training, which reads images in
    threads.
    """

    def __call__(self, photo: Image.Image) -> list[Points]:
        """Upright RGB photo -> for each face [68,2] (iBUG order) or [5,2] points (x, y) in pixels; [] for no face."""
        ...


@dataclass(frozen=True, eq=False)
class Choice:
    """What to do with one face of an image.

    Attributes:
        landmarks: [68,2] or [5,2] points that the crop is cut out by; None if the whole image is used as it is.
        note: what was decided and why, in words.
        unaligned: where the image is taken as a crop although no face was seen in it: why none was, as a clause;
            otherwise "".
    """

    landmarks: npt.ArrayLike | None
    note: str
    unaligned: str = ""


def decide(
    photo: Image.Image,
    name: str,
    *,
    aligner: LandmarkDetector | None,
    align: Literal[True, "auto"] = "auto",
    face: Face = "largest",
    landmarks: npt.ArrayLike | None = None,
) -> list[Choice]:
    """Decides which faces of a photo are cut out, or that the photo is used as it is.

    Landmarks that are passed are always used, without a search for faces. Otherwise the aligner finds the faces. With
    align="auto", a square photo is used as it is, as an aligned crop, in these cases: one face is chosen and it is in
    place (`MAX_MISPLACEMENT`); no face is found; there is no aligner; or dlib or its predictor file is missing. In all
    but the first, the choice says so in `unaligned`, which the caller passes on to the user (`warn_of_unaligned`).

    Args:
        photo: upright, RGB.
        name: what to call the photo in messages.
        aligner: finds the landmarks of all faces; None if there is none.
        align: "auto", or True to never use the photo as it is.
        face: the largest face, the one nearest to the center, all, or the index of a face in the aligner's list,
            from 0.
        landmarks: [68,2] or [5,2] points of the face, as in `crop`; `face` is ignored then.

    Returns:
        One choice, or with face="all" one for each face.

    Raises:
        NoFaceError: no face was found, and the photo is not used as it is.
        AlignmentError: there is no aligner, or no face with this index. Errors of the aligner.
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
            return [_unaligned("there is no aligner to find a face")]
        raise AlignmentError(
            f"{name!r} ({size}) needs to be cut out around the face. Pass landmarks=... (68 or 5 points), an aligner "
            "that finds them, or a square image that is already cut out with align=False."
        )
    try:
        faces = aligner(photo)
    except (MissingDependencyError, MissingFileError) as error:
        if may_be_crop:
            return [_unaligned(f"no face could be detected ({str(error).partition('. ')[0]})")]
        raise
    if not faces:
        if may_be_crop:
            return [_unaligned("no face was found in it")]
        if_cropped = ", or align=False if it already is an aligned crop" if align == "auto" else ""
        raise NoFaceError(
            f"no face found in {name!r} ({size}). Faces that lie on their side are found by an aligner that turns the "
            f"photo, with sideways=True; small ones in a closer crop. Or pass landmarks=...{if_cropped}."
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
        if distance <= MAX_MISPLACEMENT:
            return [Choice(None, f"{_AS_IT_IS}: its face is in place, within {distance:.1%} of the side")]
    choices = []
    for number in numbers:
        which = face if face in ("largest", "center") else f"number {number}"
        choices.append(Choice(faces[number], f"cut out around a detected face ({which} of {len(faces)})"))
    return choices


def choose_face(faces: Sequence[Points], face: Literal["largest", "center"] | int, size: tuple[int, int]) -> int | None:
    """The index, from 0, of one of the faces that a detector found; None if there are none, or none with this index.

    Args:
        faces: [68,2] or [5,2] landmarks of each face.
        face: the one whose landmarks have the largest bounding box, the one whose mean landmark is nearest to the
            center of the photo, or an index.
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
    """How far a square image is from an aligned crop of its face; 0 if it is exactly that crop.

    It is the mean distance between the corners of the face's FFHQ square and those of the image, as a fraction of
    `side`, the side of the image in pixels. Raises LandmarkError for the same landmarks as `ffhq_quad`.
    """
    # Corners in the order of `ffhq_quad`. In pixel indices an image reaches from -0.5 to side - 0.5.
    frame = np.array([(0, 0), (0, side), (side, side), (side, 0)]) - 0.5  # [4,2]
    return float(np.linalg.norm(ffhq_quad(landmarks) - frame, axis=1).mean() / side)


def warn_of_unaligned(
    images: Iterable[tuple[str, str]], *, remedy: str = "pass landmarks=... or an aligner that finds it"
) -> None:
    """Warns of images that were taken as crops although no face was seen in them: once for each reason, with the list.

    Args:
        images: what to call each image in the message, and `Choice.unaligned`; those for which that is "" are passed
            over.
        remedy: what to do where an image does show a face.

    Warns:
        QualityWarning: see above.
    """
    names: dict[str, list[str]] = {}
    for name, reason in images:
        if reason:
            names.setdefault(reason, []).append(name)
    for reason, those in names.items():
        more = f" and {len(those) - _MOST_NAMES:,} more" if len(those) > _MOST_NAMES else ""
        warn(
            f"{', '.join(those[:_MOST_NAMES])}{more}: {_AS_IT_IS}, since {reason}. If it shows a face, {remedy}; if it "
            "already is an aligned crop, align=False says so.",
            QualityWarning,
        )


def _unaligned(reason: str) -> Choice:
    return Choice(None, f"{_AS_IT_IS}: {reason}", reason)
