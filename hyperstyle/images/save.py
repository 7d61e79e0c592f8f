"""Image files out: encoded in memory, then written as a whole or not at all."""

from __future__ import annotations

import io
import os
import struct
from typing import Any

from PIL import Image

from hyperstyle.errors import ImageError
from hyperstyle.images.color_modes import flatten
from hyperstyle.io.files import write_bytes

QUALITY = 95
"""Of JPEG and WebP files, of 100."""

_LONGEST_JPEG_EXIF = 65533  # bytes that one segment of a JPEG file holds


class _Encoded(io.BytesIO):
    """A file in memory with a name, whose suffix some encoders read (.j2k, .jp2)."""

    name: str


def save_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write an image atomically, in the format of the path's suffix (.png, .jpg, .webp, ...).

    The ICC profile and the EXIF data in its `info` are written with it, where the format has a place for them; JPEG has
    none for EXIF data above 64 kB, which are left out. JPEG has no transparency: it is laid over white.

    Raises:
        ImageError: an unknown suffix, an image that the format cannot hold, or a file that cannot be written. Nothing
            is left behind then.
    """
    kind = image_format(path)
    options: dict[str, Any] = {"quality": QUALITY} if kind in ("JPEG", "WEBP") else {}
    options |= {key: image.info[key] for key in ("icc_profile", "exif") if image.info.get(key)}
    if kind == "JPEG" and len(options.get("exif", b"")) > _LONGEST_JPEG_EXIF:
        del options["exif"]
    if kind == "JPEG" and image.mode not in ("RGB", "L", "CMYK"):
        image = flatten(image)
    write_encoded(image, path, kind, **options)


def write_encoded(image: Image.Image, path: str | os.PathLike[str], kind: str, **options: Any) -> None:
    """Write an image in Pillow's format `kind`, with the options of its encoder, by `files.write_bytes`.

    It is encoded in memory, since several of Pillow's encoders do not notice a full disk, and that of JPEG 2000 then
    never ends.

    Raises:
        ImageError: the format cannot hold the image, or the file cannot be written. Nothing is left behind then.
    """
    write_bytes(path, encode(image, path, kind, **options), error=ImageError)


def encode(image: Image.Image, path: str | os.PathLike[str], kind: str, **options: Any) -> memoryview:
    """The content of an image file in Pillow's format `kind`; `path` is its name, for messages and some encoders.

    Raises:
        ImageError: the format cannot hold the image.
    """
    encoded = _Encoded()
    encoded.name = os.fspath(path)
    try:
        image.save(encoded, format=kind, **options)
    except (ValueError, OverflowError, OSError, struct.error) as failure:
        raise ImageError(
            f"Cannot write {os.fspath(path)!r}: {kind} does not take this {image.mode} image of {image.width} x "
            f"{image.height} px ({failure}). Use .png, or a smaller image."
        ) from failure
    return encoded.getbuffer()


def image_format(path: str | os.PathLike[str]) -> str:
    """Pillow's name of the format that `save_image` writes to this path. Raises ImageError for an unknown suffix."""
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    kind = Image.registered_extensions().get(suffix, "")
    if kind not in Image.SAVE:
        raise ImageError(
            f"Cannot write {os.fspath(path)!r}: no image format belongs to the suffix {suffix!r}. "
            "Use .png, .jpg, .webp, .tiff or .bmp."
        )
    return kind
