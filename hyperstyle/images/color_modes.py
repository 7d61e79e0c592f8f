"""Conversion of images of any color mode and orientation to upright RGB or RGBA images."""

from __future__ import annotations

import struct
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
from PIL import Image

from hyperstyle.errors import ImageError
from hyperstyle.images.bands import bands, convert_in_bands, cut, in_mode
from hyperstyle.runtime.threads import ignored_warnings

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
_BROKEN_METADATA = (SyntaxError, struct.error, ValueError, TypeError, KeyError, EOFError)  # raised by Pillow on it
_NON_RGB_PROFILES = (b"GRAY", b"CMYK")  # color spaces of ICC profiles that do not apply to RGB


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation asks; the image itself where it has none.

    A turned image loses the metadata that hold its orientation. EXIF data that cannot be read are ignored.
    """
    turn = turn_of(image)
    if turn is None:
        return image
    turned = image.transpose(turn)
    for key in _METADATA_WITH_ORIENTATION:
        turned.info.pop(key, None)
    return turned


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """The turn that the EXIF orientation of an image asks for; None for none, also where it cannot be read."""
    with quiet():
        try:
            return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        except _BROKEN_METADATA:
            return None  # broken metadata; the pixels are good


def as_photo(image: Image.Image, *, copy: bool = True) -> Image.Image:
    """A new upright image with its `metadata` in `info`: RGBA where it has an alpha channel, else RGB.

    Colors become RGB as in `flatten`, but transparency stays (of images with 8 bits per channel). `copy` is as there.
    """
    is_deep = image.mode in ("I", "F") or image.mode.startswith("I;16")
    convert = to_rgba if has_alpha(image) and not is_deep else flatten
    photo = convert(image, copy=copy, turn=turn_of(image))
    photo.info.clear()
    photo.info.update(metadata(image))
    return photo


def metadata(image: Image.Image) -> dict[str, bytes]:
    """The metadata that an upright RGB copy of the image keeps: the entries "icc_profile" and "exif" of `info`.

    The EXIF orientation becomes 1. Left out are XMP and the preview image in the EXIF data, which describe the file as
    it was; the profile of a gray or CMYK image; EXIF data that cannot be read; and the tags of a TIFF file, which
    describe how it is stored.
    """
    entries = {}
    profile = image.info.get("icc_profile")
    if profile and profile[16:20] not in _NON_RGB_PROFILES:
        entries["icc_profile"] = profile
    if image.format == "TIFF":
        return entries
    with quiet():
        try:
            if source_exif := image.getexif():
                exif = Image.Exif()
                exif.load(source_exif.tobytes())
                exif[_ORIENTATION] = 1
                entries["exif"] = exif.tobytes()
        except _BROKEN_METADATA:
            pass
    return entries


def flatten(image: Image.Image, *, copy: bool = True, turn: Image.Transpose | None = None) -> Image.Image:
    """A new RGB image without metadata; transparency is laid over white, 16 bits are scaled to 8.

    Args:
        image: of any mode.
        copy: False lets the result have its pixels in common with an image that is RGB already: write to neither.
        turn: how it is turned (`turn_of`), in the same step: a turned copy in between would need as much memory again.

    Raises:
        ImageError: a gray of 32 bits or in floating point whose range is unclear.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_gray_as_rgb(image, turn)
    if has_alpha(image):
        flat = convert_in_bands(image, "RGB", _on_white, turn)
    elif turn is not None:
        flat = convert_in_bands(image, "RGB", partial(in_mode, mode="RGB", copy=False), turn)
    else:
        flat = in_mode(image, "RGB", copy=copy)
    flat.info.clear()
    return flat


def has_alpha(image: Image.Image) -> bool:
    """Whether the image has an alpha channel, or a palette entry or color that stands for transparency."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def to_rgba(image: Image.Image, *, copy: bool = True, turn: Image.Transpose | None = None) -> Image.Image:
    """A new RGBA image; colors are no longer multiplied by alpha where they were (modes RGBa and La).

    `copy` and `turn` are as in `flatten`.
    """
    if turn is None and image.mode != "La":
        return in_mode(image, "RGBA", copy=copy)
    return convert_in_bands(image, "RGBA", _with_alpha, turn)


def quiet() -> AbstractContextManager[None]:
    """Silences Pillow's warnings about unreadable metadata and large images (`MAX_PIXELS` is the limit here)."""
    return ignored_warnings("PIL")


def _with_alpha(image: Image.Image) -> Image.Image:
    return in_mode(image.convert("LA") if image.mode == "La" else image, "RGBA", copy=False)


def _on_white(image: Image.Image) -> Image.Image:
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(to_rgba(image))
    return opaque.convert("RGB")


def _deep_gray_as_rgb(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """A gray of 16 or 32 bits or in floating point as an RGB image, scaled by its bit depth.

    Mode I;16 has 16 bits. Modes I and F do not say: values up to 255 are taken as 8 bits (for F, values up
    to 1 as fractions), values up to 65535 as 16 bits; anything else is refused.
    """
    parts = (np.asarray(cut(image, box)) for box in bands((0, 0, *image.size)))
    limits = np.array([(part.min(), part.max()) for part in parts], dtype=np.float64)
    low, high = float(limits[:, 0].min()), float(limits[:, 1].max())  # NaN where any value is
    if not (low >= 0 and high <= 65535):
        raise ImageError(
            f"The gray values of mode {image.mode} run from {low:.6g} to {high:.6g}; expected 0..255, "
            "0..65535 or, in floating point, 0..1. Scale them to 0..255 and save them with 8 bits."
        )
    top = 1 if image.mode == "F" and high <= 1 else 65535 if image.mode.startswith("I;16") or high > 255 else 255

    def scaled(part: Image.Image) -> Image.Image:
        values = np.asarray(part).astype(np.float64)
        return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8)).convert("RGB")

    return convert_in_bands(image, "RGB", scaled, turn)
