"""From any image to the input of the encoder: cut out around the face or as it is, at the size of the domain."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from hyperstyle.align.crop import Crop, crop_rgb, five_points
from hyperstyle.align.decision import Align, Choice, Face, decide
from hyperstyle.align.detector import LandmarkDetector
from hyperstyle.align.source import Placement, Provenance
from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError
from hyperstyle.images import ImageSource, flatten, load_photo, resize, to_tensor

__all__ = ["MOST_OUTSIDE", "SMALLEST_SIDE", "Prepared", "prepare", "share_outside"]

MOST_OUTSIDE = 0.3
"""The largest share of a face's square that may lie outside its photo; a crop with more counts as doubtful."""

SMALLEST_SIDE = 0.5
"""The smallest side of a face's square in its photo, or of an image taken as it is, as a fraction of the side of the
encoder's input; a smaller crop counts as doubtful.
"""

_LEAST_AGREEMENT = 0.5  # cosine between the two directions that say where a face's right is: 60 degrees apart
_PLAIN = 8  # levels; an image whose colors differ by less is of one color
_SMALLEST_CROP = 256  # faces are cut out at least this large, then averaged down


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image, ready to be inverted.

    Attributes:
        crop: [3,h,w] in [-1,1], as the encoder sees it.
        source: where it came from.
        doubt: what looks wrong about the crop, as a clause; "" where nothing does.
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
    photo = load_photo(image)  # what a face is pasted back into, alpha channel included
    rgb = photo if photo.mode == "RGB" else flatten(photo)  # what detector and encoder see
    name = os.fspath(image) if isinstance(image, str | os.PathLike) else type(image).__name__
    is_aligned_domain = domain.aligner == "face"
    if landmarks is not None and align is False:
        raise ConfigError(f"landmarks were given for {name!r} with align=False, which takes an image as it is.")
    if landmarks is not None and not is_aligned_domain:
        raise ConfigError(f"landmarks were given for {name!r}, but {domain.name!r} images are not aligned by them.")
    if align is True and not is_aligned_domain:
        raise ConfigError(f"{domain.name!r} images are not aligned; use align='auto' or False.")
    if align is False or not is_aligned_domain:
        choices = [Choice(None, "used as it is")]
    else:
        choices = decide(rgb, name, aligner=aligner, align=align, face=face, landmarks=landmarks)

    prepared = []
    for choice in choices:
        if choice.landmarks is None:
            crop, placement = rgb, None
            doubt = _doubt_of_whole_image(rgb, domain)
        else:
            side = max(_SMALLEST_CROP, domain.size)
            cut = crop_rgb(rgb, choice.landmarks, side, side)
            crop, placement = cut.image, Placement(cut.footprint, cut.landmarks, cut.source_size)
            doubt = _doubt(cut, domain, is_detected=landmarks is None)
        provenance = Provenance(name, choice.note, photo, placement)
        size = domain.content_size if domain.sampling == "point" else domain.input_size
        network_input = domain.resize_to_input(to_tensor(resize(crop, size))[None])[0]
        prepared.append(Prepared(network_input, provenance, doubt))
    return prepared


def share_outside(quad: npt.ArrayLike, size: tuple[int, int]) -> float:
    """Share of a parallelogram [4,2] that lies outside an image of (width, height), to about one percent."""
    top_left, bottom_left, _, top_right = np.asarray(quad, dtype=np.float64)
    ticks = (np.arange(64) + 0.5) / 64
    across, down = np.meshgrid(ticks, ticks)
    points = top_left + across[..., None] * (top_right - top_left) + down[..., None] * (bottom_left - top_left)
    inside = ((points >= -0.5) & (points <= np.array(size) - 0.5)).all(axis=-1)
    return 1.0 - float(inside.mean())


def _doubt_of_whole_image(image: Image.Image, domain: Domain) -> str:
    """What looks wrong about an image that is not cut out; "" where nothing does."""
    if all(high - low < _PLAIN for low, high in np.reshape(image.getextrema(), (3, 2))):
        return "it is of one color all over"
    if min(image.size) < SMALLEST_SIDE * min(domain.input_size):
        return f"it has only {image.width} x {image.height} px; {min(domain.input_size)} are looked at"
    return ""


def _doubt(cut: Crop, domain: Domain, *, is_detected: bool) -> str:
    """What looks wrong about a crop; "" where nothing does.

    Landmarks of a face on its head may be in reversed order, unless a detector found them (`is_detected`).
    """
    if not _landmarks_agree(cut.landmarks):
        return "its landmarks contradict each other, as where they are mirrored or in another order"
    quad = cut.quad  # [4, 2]: top left, bottom left, bottom right, top right
    if not is_detected and _on_its_head(quad):
        return "its landmarks put the face on its head: right where the photo shows it so, else they are reversed"
    share, side = share_outside(quad, cut.source_size), float(np.linalg.norm(quad[3] - quad[0]))
    if share > MOST_OUTSIDE:
        return f"{share:.0%} of the square around the face lie outside the photo and are filled in"
    if side < SMALLEST_SIDE * min(domain.input_size):
        return f"the square around the face has only {side:.0f} px in the photo; {min(domain.input_size)} are looked at"
    return ""


def _on_its_head(quad: npt.NDArray[np.float64]) -> bool:
    """Whether the square is turned by more than 120 degrees."""
    down = quad[1] - quad[0]
    return bool(down[1] < -0.5 * np.hypot(*down))


def _landmarks_agree(points: npt.NDArray[np.float64]) -> bool:
    """Whether the eyes, the corners of the mouth, and the way from eyes to mouth agree on where the face's right is."""
    left_eye, right_eye, _, left_mouth, right_mouth = five_points(points)
    across, mouth = right_eye - left_eye, right_mouth - left_mouth
    x, y = (left_mouth + right_mouth - left_eye - right_eye) / 2
    turned = np.array([y, -x])  # from eyes to mouth, after a quarter turn
    least = _LEAST_AGREEMENT * np.hypot(*across) * np.hypot(*turned)
    return bool(across @ turned >= least and across @ mouth >= 0)
