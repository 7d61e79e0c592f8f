"""Many images to their crops: each with its landmarks, and those that fail left out where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy.typing as npt

from hyperstyle.align.decision import Align, Face
from hyperstyle.align.detector import LandmarkDetector
from hyperstyle.align.prepare import Prepared, prepare
from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, HyperStyleError, LandmarkError
from hyperstyle.images import ImageSource

__all__ = ["Failures", "Images", "Landmarks", "prepare_all"]

Images = ImageSource | Prepared | Sequence[ImageSource | Prepared]
"""One image, or a list."""

Landmarks = npt.ArrayLike | Sequence[npt.ArrayLike | None]
"""[68,2] or [5,2] points of one image; for a list of images, points or None for each."""

Failures = tuple[tuple[int, str], ...]
"""(index in the list, message) of images that were left out."""


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
    """The crops of one image or of a list, and what was left out. What is a `Prepared` already stays as it is.

    Args:
        images, landmarks: see their types.
        domain, aligner, align, face: as in `prepare`.
        on_error: "skip" leaves out images that cannot be prepared.

    Raises:
        ConfigError: an empty list, an unknown option, or no image left. LandmarkError: landmarks for another number of
            images. What `prepare` raises, unless images are skipped.
    """
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error={on_error!r}: expected 'raise' or 'skip'.")
    if align not in (True, False, "auto"):
        raise ConfigError(f"align={align!r}: expected True, False or 'auto'.")
    choice: Align = "auto" if align == "auto" else bool(align)  # 0 and NumPy's values equal these but are not the same
    pairs = _pairs(images, landmarks)
    prepared: list[Prepared] = []
    failures: list[tuple[int, str]] = []
    for i, (image, points) in enumerate(pairs):
        if isinstance(image, Prepared):
            prepared.append(image)
            continue
        try:
            prepared += prepare(image, domain, aligner=aligner, align=choice, face=face, landmarks=points)
        except HyperStyleError as error:
            if on_error == "raise":
                raise
            failures.append((i, str(error)))
    if not prepared:
        raise ConfigError(f"none of the {len(pairs)} images could be used. The first failed with: {failures[0][1]}")
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
