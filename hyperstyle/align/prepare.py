"""From images to inputs of the encoder: cropped around the face or taken whole, and resized for the domain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from hyperstyle.align.crop import Crop, crop_rgb, five_points
from hyperstyle.align.decision import Align, Choice, Face, LandmarkDetector, decide, warn_of_unaligned
from hyperstyle.align.seam import Frame
from hyperstyle.align.source import Placement, Provenance
from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, HyperStyleError, LandmarkError
from hyperstyle.images import ImageSource, flatten, load_photo, resize, to_tensor

MOST_OUTSIDE = 0.3
"""The largest fraction of the square around a face that may lie outside its photo. A crop with more is doubtful."""

SMALLEST_SIDE = 0.5
"""The smallest side, in photo pixels, of the square around a face (or of an image taken whole), as a fraction of the
shorter side of the encoder's input. A smaller crop is doubtful.
"""

_LEAST_AGREEMENT = 0.5  # smallest cosine between two estimates of where the face's right is: 60 degrees apart
_PLAIN = 8  # of 256 levels; an image is blank if each color channel has a smaller range
_SMALLEST_CROP = 256  # pixels; a face is cropped at this side at least, then resized to the encoder's input


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image, ready to be inverted.

    Attributes:
        crop: [3,h,w] in [-1,1], the input of the encoder.
        source: the image that it came from, and where in it the crop lies; without a place if it was taken whole.
        doubt: what looks wrong about the crop, as a clause; "" if nothing does.
        unaligned: see `decision.Choice`.
    """

    crop: Tensor
    source: Provenance
    doubt: str = ""
    unaligned: str = ""

    def pinned(self) -> Prepared:
        """The same with its crop in memory from which it is copied to a GPU while the next images are prepared."""
        return replace(self, crop=self.crop.pin_memory())


Images = ImageSource | Prepared | Sequence[ImageSource | Prepared]
"""One image, or a list."""

Landmarks = npt.ArrayLike | Sequence[npt.ArrayLike | None]
"""[68,2] or [5,2] points of one image; for a list of images, points or None for each."""

Failures = tuple[tuple[int, str], ...]
"""(index in the list, message) of images that were left out."""


def prepare(
    image: ImageSource,
    domain: Domain,
    *,
    aligner: LandmarkDetector | None,
    align: Align = "auto",
    face: Face = "largest",
    landmarks: npt.ArrayLike | None = None,
    name: str | None = None,
) -> list[Prepared]:
    """Makes the input of the encoder from an image: one `Prepared`, or with `face="all"` one for each face.

    Args:
        image: whatever `load_photo` reads, such as a path, a PIL image or an array.
        domain: gives the sizes. Only domains with `aligner="face"` crop faces; others take the whole image.
        aligner, face, landmarks: as in `decision.decide`.
        align: as in `decision.decide`; False takes the whole image.
        name: of the image; None is its path, or its type where it has none.

    Raises:
        ImageError: the image cannot be read.
        AlignmentError: see `decision.decide`.
        LandmarkError: see `crop`.
        ConfigError: arguments that contradict each other or the domain.
    """
    photo = load_photo(image)  # what a face is pasted back into, alpha channel included
    rgb = photo if photo.mode == "RGB" else flatten(photo)  # what detector and encoder see
    if name is None:
        name = os.fspath(image) if isinstance(image, str | os.PathLike) else type(image).__name__
    is_aligned_domain = domain.aligner == "face"
    if landmarks is not None and align is False:
        raise ConfigError(f"landmarks were given for {name!r} with align=False, which takes an image as it is.")
    if landmarks is not None and not is_aligned_domain:
        raise ConfigError(f"landmarks were given for {name!r}, but {domain.name!r} images are not aligned by them.")
    if align is True and not is_aligned_domain:
        raise ConfigError(f"{domain.name!r} images are not aligned; use align='auto' or align=False.")
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
        prepared.append(Prepared(network_input, provenance, doubt, choice.unaligned))
    return prepared


def prepare_all(
    images: Images,
    domain: Domain,
    *,
    aligner: LandmarkDetector | None,
    align: Align = "auto",
    face: Face = "largest",
    landmarks: Landmarks | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> tuple[list[Prepared], Failures]:
    """Prepares one image or a list of images. What is a `Prepared` already stays as it is.

    Args:
        images: one image, or a list.
        domain, aligner, align, face: as in `prepare`.
        landmarks: points of the one image; for a list of images, a list of points or None for each.
        on_error: "skip" leaves out images that cannot be prepared.

    Returns:
        prepared: in the order of the images; with face="all", an image may have several.
        failures: (index in the list, message) of each image that was left out.

    Raises:
        ConfigError: an empty list, an unknown option, or no image left. LandmarkError: landmarks for another number of
            images. What `prepare` raises, unless images are skipped; of a list, an image without a path is called by
            its place, as in "image 2 of 3: ...".

    Warns:
        QualityWarning: images that were taken as crops although no face was seen in them, see `warn_of_unaligned`.
    """
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error={on_error!r}: expected 'raise' or 'skip'.")
    if align not in (True, False, "auto"):
        raise ConfigError(f"align={align!r}: expected True, False or 'auto'.")
    choice: Align = "auto" if align == "auto" else bool(align)  # 0 and NumPy's values equal these but are not the same
    pairs = _pairs(images, landmarks)
    prepared: list[Prepared] = []
    failures: list[tuple[int, str]] = []
    unaligned: list[tuple[str, str]] = []
    for i, (image, points) in enumerate(pairs):
        has_name = len(pairs) == 1 or isinstance(image, Prepared | str | os.PathLike)
        try:
            if isinstance(image, Prepared):
                faces = [image]
            else:
                faces = prepare(image, domain, aligner=aligner, align=choice, face=face, landmarks=points)
        except HyperStyleError as error:
            if not has_name:
                error.args = (f"image {i + 1} of {len(pairs)}: {error}",)
            if on_error == "raise":
                raise
            failures.append((i, str(error)))
            continue
        prepared += faces
        unaligned += [(repr(each.source.name) if has_name else f"image {i + 1}", each.unaligned) for each in faces]
    if not prepared:
        raise ConfigError(f"none of the {len(pairs)} images could be used. The first failed with: {failures[0][1]}")
    warn_of_unaligned(unaligned)
    return prepared, tuple(failures)


def _pairs(images: Images, landmarks: Landmarks | None) -> list[tuple[ImageSource | Prepared, npt.ArrayLike | None]]:
    """Each image with its landmarks, or None."""
    if not isinstance(images, Sequence) or isinstance(images, str | bytes | bytearray | memoryview):
        return [(images, cast("npt.ArrayLike | None", landmarks))]
    if not images:
        raise ConfigError("an empty list of images was given: expected at least one.")
    points = [None] * len(images) if landmarks is None else list(cast("Sequence[npt.ArrayLike | None]", landmarks))
    if len(points) != len(images):
        raise LandmarkError(
            f"{len(points)} sets of landmarks for {len(images)} images: expected one for each, or None."
        )
    return list(zip(images, points, strict=True))


def _doubt_of_whole_image(image: Image.Image, domain: Domain) -> str:
    """`Prepared.doubt` for an image that is taken whole."""
    if all(high - low < _PLAIN for low, high in np.reshape(image.getextrema(), (3, 2))):
        return "it is of one color all over"
    if min(image.size) < SMALLEST_SIDE * min(domain.input_size):
        return f"it has only {image.width} x {image.height} px; {min(domain.input_size)} are looked at"
    return ""


def _doubt(cut: Crop, domain: Domain, *, is_detected: bool) -> str:
    """`Prepared.doubt` for a crop around a face.

    A face that is upside down is doubtful only if the user gave its landmarks, which may be in reversed order; those
    that a detector found (`is_detected`) are trusted.
    """
    if not _landmarks_agree(cut.landmarks):
        return "its landmarks contradict each other, as where they are mirrored or in another order"
    quad = cut.quad  # [4, 2]: top left, bottom left, bottom right, top right
    down = quad[1] - quad[0]
    if not is_detected and down[1] < -0.5 * np.hypot(*down):  # turned by more than 120 degrees from upright
        return "its landmarks put the face on its head: right where the photo shows it so, else they are reversed"
    share = 1 - float(Frame.of(quad).cells_inside(64, cut.source_size).double().mean())
    side = float(np.linalg.norm(quad[3] - quad[0]))
    if share > MOST_OUTSIDE:
        return f"{share:.0%} of the square around the face lie outside the photo and are filled in"
    if side < SMALLEST_SIDE * min(domain.input_size):
        return f"the square around the face has only {side:.0f} px in the photo; {min(domain.input_size)} are looked at"
    return ""


def _landmarks_agree(points: npt.NDArray[np.float64]) -> bool:
    """Whether landmarks [68,2] or [5,2] are consistent: neither mirrored nor in another order.

    Three vectors show where the right of the face is in the image: left to right eye, left to right corner of the
    mouth, and eyes to mouth after a quarter turn. The third must be within 60 degrees of the first, the second within
    90.
    """
    left_eye, right_eye, _, left_mouth, right_mouth = five_points(points)
    across, mouth = right_eye - left_eye, right_mouth - left_mouth
    x, y = (left_mouth + right_mouth - left_eye - right_eye) / 2
    turned = np.array([y, -x])  # from eyes to mouth, after a quarter turn
    least = _LEAST_AGREEMENT * np.hypot(*across) * np.hypot(*turned)
    return bool(across @ turned >= least and across @ mouth >= 0)
