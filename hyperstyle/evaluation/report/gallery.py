"""Rows of images with words above and beside them, small enough for a page that carries them itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from hyperstyle.images import to_images

__all__ = ["Gallery", "data_uri", "gallery"]

_LONGEST = 256  # pixels; more is not seen at the size shown
_QUALITY = 85


@dataclass(frozen=True)
class Gallery:
    """Images in rows.

    Attributes:
        heads: a caption for each column.
        labels: a caption for each row; "" for none.
        rows: data URIs, one for each column; "" leaves a place empty.
        caption: what is seen, a sentence or two.
    """

    heads: tuple[str, ...]
    labels: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str


def gallery(
    heads: Sequence[str], labels: Sequence[str], rows: Sequence[Sequence[Tensor | Image.Image]], caption: str
) -> Gallery:
    """Of images [3,H,W] in [-1,1], or PIL images."""
    uris = tuple(tuple(data_uri(one) for one in row) for row in rows)
    return Gallery(tuple(heads), tuple(labels), uris, caption)


def data_uri(image: Tensor | Image.Image) -> str:
    """A JPEG inside a link, at most 256 px on its longer side."""
    image = image if isinstance(image, Image.Image) else to_images(image[None])[0]
    scale = _LONGEST / max(image.size)
    if scale < 1:
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
