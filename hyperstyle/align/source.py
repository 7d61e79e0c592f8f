"""Where the images of an inversion came from, and what pasting them back into their photos needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperstyle.align.seam import Frame
from hyperstyle.errors import InversionError, warn
from hyperstyle.images import ImageSource, load_photo


@dataclass(frozen=True, eq=False)
class Placement:
    """The place of a crop in its photo.

    Attributes:
        footprint: [4,2] corners (top left, bottom left, bottom right, top right) in pixels of the upright photo.
        landmarks: [68,2] or [5,2] points that the corners follow from.
        source_size: (width, height) of the upright photo.
    """

    footprint: npt.NDArray[np.float64]
    landmarks: npt.NDArray[np.float64]
    source_size: tuple[int, int]

    def to_crop(self, points: npt.ArrayLike, size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Points [N,2] in pixels of the photo, as pixels of the crop at `size` = (height, width)."""
        frame = Frame.of(self.footprint)
        unit = (np.asarray(points, dtype=np.float64) + 0.5 - frame.corner) @ np.linalg.inv(frame.axes)  # (u, v)
        pixels: npt.NDArray[np.float64] = unit * size[::-1] - 0.5
        return pixels


@dataclass(frozen=True, eq=False)
class Provenance:
    """Where one image of an inversion came from.

    Attributes:
        name: a path, or the type of the object.
        note: the decision about alignment, in words.
        photo: the upright image with its alpha channel, ICC profile and EXIF data, as `load_photo` gives it; absent
            after `load`. The faces of one photo share it.
        placement: where the face was cut out of it; None where the image was used as it is.
        photo_number: after `load`, the number of its photo in the batch, which the faces of one photo share. None where
            the file has none.
    """

    name: str
    note: str = ""
    photo: Image.Image | None = None
    placement: Placement | None = None
    photo_number: int | None = None


def photo_of(
    sources: Sequence[Provenance], count: int, photo: ImageSource | None = None
) -> tuple[Image.Image, list[npt.NDArray[np.float64]]]:
    """The one photo that the images of an inversion were cut out of, and the quad [4,2] of each in it.

    Args:
        sources: of each image; empty where they are unknown.
        count: the number of images.
        photo: the photo, where the sources do not hold it.

    Raises:
        InversionError: an image that was not cut out, images of several photos, one face twice, no photo, or one of
            another size.
        ImageError: a photo that cannot be read.
    """
    placements = [source.placement for source in sources or [Provenance("")] * count]
    cut_out = [placement for placement in placements if placement is not None]
    if len(cut_out) < count:
        which = "this image" if count == 1 else f"image {placements.index(None)} of this batch of {count}"
        raise InversionError(
            f"{which} was not cut out of a photo, so there is nothing to paste it back into: its image is all there is."
        )
    first, quads = sources[0], [placement.footprint for placement in cut_out]
    if any(s.photo is not first.photo or (s.photo_number, s.name) != (first.photo_number, first.name) for s in sources):
        raise InversionError(f"the images of this batch of {count} come from several photos: index the batch first.")
    if len({quad.tobytes() for quad in quads}) < count:
        raise InversionError(f"this batch of {count} shows one face more than once: index the batch first.")
    base = first.photo if photo is None else load_photo(photo)
    if base is None:
        raise InversionError("files and pickles do not keep the photo: pass it, as in paste_back('me.jpg').")
    for placement in cut_out:
        if base.size != tuple(placement.source_size):
            raise InversionError(f"a photo of {base.size}; the face was cut out of one of {placement.source_size}.")
    return base, quads


def __getattr__(name: str) -> Any:
    if name == "Source":
        warn("align.source.Source is Provenance now; the old name goes with version 0.3.", DeprecationWarning)
        return Provenance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
