"""Images of any color mode and orientation to plain, upright RGB ones."""

from __future__ import annotations

import struct
from contextlib import AbstractContextManager

import numpy as np
from PIL import Image

from hyperstyle.errors import ImageError
from hyperstyle.runtime.threads import ignored_warnings

__all__ = ["as_photo", "flatten", "has_alpha", "metadata", "quiet", "to_rgba", "upright"]

_ORIENTATION = 0x0112  # EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_METADATA_WITH_ORIENTATION = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_BROKEN_METADATA = (SyntaxError, struct.error, ValueError, TypeError, KeyError, EOFError)  # what Pillow raises on it
_PROFILES_OF_OTHERS = (b"GRAY", b"CMYK")  # color spaces of profiles that mean nothing for RGB


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation asks; the image itself where it has none.

    A turned image loses the metadata that would have it turned again. EXIF data that cannot be read count
    as none.
    """
    with quiet():
        try:
            orientation = image.getexif().get(_ORIENTATION, 1)
        except _BROKEN_METADATA:
            return image  # broken metadata; the pixels are good
    if orientation not in _TURNS:
        return image
    turned = image.transpose(_TURNS[orientation])
    for key in _METADATA_WITH_ORIENTATION:
        turned.info.pop(key, None)
    return turned


def as_photo(image: Image.Image) -> Image.Image:
    """A new upright image with its `metadata` in `info`: RGBA where it has an alpha channel, else RGB.

    Colors become RGB as by `flatten`, but transparency stays. Grays of more than 8 bits have none.
    """
    turned = upright(image)
    deep = turned.mode in ("I", "F") or turned.mode.startswith("I;16")
    photo = to_rgba(turned) if has_alpha(turned) and not deep else flatten(turned)
    photo.info.clear()
    photo.info.update(metadata(image))
    return photo


def metadata(image: Image.Image) -> dict[str, bytes]:
    """What an upright RGB copy of the image keeps besides its pixels: entries of `info`, "icc_profile" and "exif".

    The EXIF orientation becomes 1; the preview image in the EXIF data and XMP, which speak of the file as it was,
    are left out. So are the profile of a gray or CMYK image, EXIF data that cannot be read, and the tags of a TIFF
    file, which describe how it is stored.
    """
    kept = {}
    profile = image.info.get("icc_profile")
    if profile and profile[16:20] not in _PROFILES_OF_OTHERS:
        kept["icc_profile"] = profile
    if image.format == "TIFF":
        return kept
    with quiet():
        try:
            if own := image.getexif():
                exif = Image.Exif()
                exif.load(own.tobytes())
                exif[_ORIENTATION] = 1
                kept["exif"] = exif.tobytes()
        except _BROKEN_METADATA:
            pass
    return kept


def flatten(image: Image.Image) -> Image.Image:
    """A new RGB image without metadata; transparency is laid over white, 16 bits are scaled to 8.

    Raises:
        ImageError: a gray of 32 bits or in floating point whose range is unclear.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _gray_of_8_bits(image)
    if has_alpha(image):
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(to_rgba(image))
        image = opaque
    flat = image.convert("RGB")  # a copy, also where the mode was RGB
    flat.info.clear()
    return flat


def has_alpha(image: Image.Image) -> bool:
    """Whether the image has an alpha channel, or a palette entry or color that stands for transparency."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def to_rgba(image: Image.Image) -> Image.Image:
    """A new RGBA image; colors are no longer multiplied by alpha where they were (modes RGBa and La)."""
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def quiet() -> AbstractContextManager[None]:
    """No warnings from Pillow, about metadata it cannot read or large images: the limit here is our own."""
    return ignored_warnings("PIL")


def _gray_of_8_bits(image: Image.Image) -> Image.Image:
    """A gray of 16 or 32 bits or in floating point as an 8-bit one, scaled by its bit depth.

    Mode I;16 has 16 bits. Modes I and F do not say: values up to 255 are taken as 8 bits (for F, values up
    to 1 as fractions), values up to 65535 as 16 bits; anything else is refused.
    """
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())  # NaN where any value is
    if not (low >= 0 and high <= 65535):
        raise ImageError(
            f"The gray values of mode {image.mode} run from {low:.6g} to {high:.6g}; expected 0..255, "
            "0..65535 or, in floating point, 0..1. Scale them to 0..255 and save them with 8 bits."
        )
    top = 1 if image.mode == "F" and high <= 1 else 65535 if image.mode.startswith("I;16") or high > 255 else 255
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))
