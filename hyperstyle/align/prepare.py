"""From any image to what the encoder sees: cut out or as it is, at the size of the domain."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from hyperstyle.align.crop import Crop, crop, five_points
from hyperstyle.align.decision import Align, Choice, Face, decide
from hyperstyle.align.detector import LandmarkDetector
from hyperstyle.align.source import Placement, Provenance
from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError
from hyperstyle.images import ImageSource, flatten, load_photo, resize, to_tensor

__all__ = ["MOST_OUTSIDE", "SMALLEST_SIDE", "Prepared", "outside", "prepare"]

MOST_OUTSIDE = 0.3
"""Share of a face's square that may lie outside its photo before the crop counts as doubtful."""

SMALLEST_SIDE = 0.5
"""Side of a face in its photo, or of an image taken as it is, as a fraction of what the encoder sees, below which the
crop counts as doubtful.
"""

_LEAST_AGREEMENT = 0.5  # cosine between the two directions that say where a face's right is: 60 degrees apart
_PLAIN = 8  # levels; an image whose colors differ by less shows nothing
_SMALLEST_CROP = 256  # faces are cut out at least this large, then averaged down


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image, ready to be inverted.

    Attributes:
        crop: [3,h,w] in [-1,1], as the encoder sees it.
        source: where it came from.
        doubt: what looks wrong about the crop; "" where nothing does.
    """

    crop: Tensor
    source: Provenance
    doubt: str = ""


def prepare(
    image: ImageSource,
    domain: Domain,
    *,
    aligner: LandmarkDetector | None,
    align: Align = "auto",
    face: Face = "largest",
    landmarks: npt.ArrayLike | None = None,
) -> list[Prepared]:
    """One image, or one for each of its faces with `face="all"`. Arguments as in `decision.decide`.

    Raises:
        ImageError: it cannot be read. AlignmentError: see `decide`. LandmarkError: see `crop`.
        ConfigError: arguments that contradict each other or the domain.
    """
    photo = load_photo(image)
    name = os.fspath(image) if isinstance(image, str | os.PathLike) else type(image).__name__
    rgb = photo if photo.mode == "RGB" else flatten(photo)
    if landmarks is not None and align is False:
        raise ConfigError(f"landmarks were given for {name!r} with align=False, which takes an image as it is.")
    if domain.aligner != "face" and landmarks is not None:
        raise ConfigError(f"landmarks were given for {name!r}, but {domain.name!r} images are not aligned by them.")
    if domain.aligner != "face" and align is True:
        raise ConfigError(f"{domain.name!r} images are not aligned; use align='auto' or False.")
    if domain.aligner != "face" or align is False:
        choices = [Choice(None, "used as it is")]
    else:
        choices = decide(rgb, name, aligner=aligner, align=align, face=face, landmarks=landmarks)

    prepared = []
    for choice in choices:
        placement, shown = None, rgb
        if choice.landmarks is None:
            doubt = _doubt_as_it_is(rgb, domain)
        else:
            side = max(_SMALLEST_CROP, domain.size)
            cut = crop(rgb, choice.landmarks, side, side)
            shown, placement = cut.image, Placement(cut.footprint, cut.landmarks, cut.source_size)
            doubt = _doubt(cut, rgb, domain, given=landmarks is not None)
        source = Provenance(name, choice.note, photo, placement)
        at = domain.content_size if domain.sampling == "point" else domain.input_size
        prepared.append(Prepared(domain.resize_to_input(to_tensor(resize(shown, at))[None])[0], source, doubt))
    return prepared


def outside(quad: npt.ArrayLike, size: tuple[int, int]) -> float:
    """Share of a parallelogram [4,2] that lies outside an image of (width, height), to about one percent."""
    top_left, bottom_left, _, top_right = np.asarray(quad, dtype=np.float64)
    ticks = (np.arange(64) + 0.5) / 64
    across, down = np.meshgrid(ticks, ticks)
    points = top_left + across[..., None] * (top_right - top_left) + down[..., None] * (bottom_left - top_left)
    inside = ((points >= -0.5) & (points <= np.array(size) - 0.5)).all(axis=-1)
    return 1.0 - float(inside.mean())


def _doubt_as_it_is(rgb: Image.Image, domain: Domain) -> str:
    if all(high - low < _PLAIN for low, high in np.reshape(rgb.getextrema(), (3, 2))):
        return "it is of one color all over"
    if min(rgb.size) < SMALLEST_SIDE * min(domain.input_size):
        width, height = rgb.size
        return f"it has only {width} x {height} px; {min(domain.input_size)} are looked at"
    return ""


def _doubt(cut: Crop, photo: Image.Image, domain: Domain, *, given: bool) -> str:
    """What looks wrong. `given` points may be in reversed order; a detector that finds a face on its head means it."""
    if not _agree(cut.landmarks):
        return "its landmarks contradict each other, as where they are mirrored or in another order"
    quad = cut.quad
    if given and _on_its_head(quad):
        return "its landmarks put the face on its head: right where the photo shows it so, else they are reversed"
    share, side = outside(quad, photo.size), float(np.linalg.norm(quad[3] - quad[0]))
    if share > MOST_OUTSIDE:
        return f"{share:.0%} of the square around the face lie outside the photo and had to be made up"
    if side < SMALLEST_SIDE * min(domain.input_size):
        return f"the square around the face has only {side:.0f} px in the photo; {min(domain.input_size)} are looked at"
    return ""


def _on_its_head(quad: npt.NDArray[np.float64]) -> bool:
    """Whether the square is turned by more than 120 degrees."""
    down = quad[1] - quad[0]
    return bool(down[1] < -0.5 * np.hypot(*down))


def _agree(points: npt.NDArray[np.float64]) -> bool:
    """Whether eyes, mouth, and the way from the eyes to the mouth agree on where the right of the face is."""
    left_eye, right_eye, _, left_mouth, right_mouth = five_points(points)
    across, mouth = right_eye - left_eye, right_mouth - left_mouth
    x, y = (left_mouth + right_mouth - left_eye - right_eye) / 2
    turned = np.array([y, -x])  # from eyes to mouth, after a quarter turn
    least = _LEAST_AGREEMENT * np.hypot(*across) * np.hypot(*turned)
    return bool(across @ turned >= least and across @ mouth >= 0)
