"""Parts of large images, and pixels shared between images, so that no step needs a whole copy in between.

A photo of 200 megapixels takes 0.75 GiB as a PIL image. Pillow limits `Image.crop` to twice `Image.MAX_IMAGE_PIXELS`,
which belongs to the whole process; `cut` has no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

BAND_PIXELS = 1 << 18
"""How many pixels are converted at a time."""

_TURN = Image.Transpose  # where a band of rows goes: after these turns it is one of columns, or is counted from the end
_ROWS_TO_COLUMNS = (_TURN.TRANSPOSE, _TURN.ROTATE_270, _TURN.TRANSVERSE, _TURN.ROTATE_90)
_LAST_ROW_FIRST = (_TURN.ROTATE_180, _TURN.FLIP_TOP_BOTTOM, _TURN.ROTATE_270, _TURN.TRANSVERSE)

Box = tuple[int, int, int, int]
"""Columns and rows of pixels: left, top, and the ends right and bottom."""


def cut(image: Image.Image, box: Box) -> Image.Image:
    """A copy of a part of the image; what lies outside of it is 0."""
    image.load()
    return image._new(image.im.crop(box))


def in_mode(image: Image.Image, mode: str, *, copy: bool = True) -> Image.Image:
    """A new image in this mode. Without `copy` it may have its pixels in common with `image`: write to neither."""
    image.load()
    if copy or image.mode != mode or image.readonly:  # the memory of a read-only one is that of a file or an array
        return image.convert(mode)
    return image._new(image.im)


def bands(box: Box, pixels: int | None = None) -> Iterator[Box]:
    """The box in bands of whole rows, of about so many (`BAND_PIXELS`) pixels, from the top."""
    left, top, right, bottom = box
    rows = max((pixels or BAND_PIXELS) // max(right - left, 1), 1)
    for first in range(top, bottom, rows):
        yield left, first, right, min(first + rows, bottom)


def convert_in_bands(
    image: Image.Image,
    mode: str,
    convert: Callable[[Image.Image], Image.Image],
    turn: Image.Transpose | None = None,
) -> Image.Image:
    """A new image of this mode; `convert` is applied to some rows at a time, each pixel by itself, then the turn."""
    width, height = image.size
    result = Image.new(mode, (height, width) if turn in _ROWS_TO_COLUMNS else (width, height))
    for box in bands((0, 0, width, height)):
        part = convert(cut(image, box))
        first = height - box[3] if turn in _LAST_ROW_FIRST else box[1]
        result.paste(
            part if turn is None else part.transpose(turn), (first, 0) if turn in _ROWS_TO_COLUMNS else (0, first)
        )
    return result


def levels_of(image: Image.Image, box: Box | None = None) -> npt.NDArray[np.uint8]:
    """The levels [H,W,3] of a part of an RGB image. `np.asarray` would hold them twice while it converts them."""
    left, top, right, bottom = area = (0, 0, *image.size) if box is None else box
    levels = np.empty((bottom - top, right - left, 3), dtype=np.uint8)
    for band in bands(area):
        levels[band[1] - top : band[3] - top] = np.asarray(cut(image, band))
    return levels
