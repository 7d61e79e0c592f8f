"""Any picture to a tensor and back: orientation, colour modes, sizes. The only file that knows pixel ranges.

Inside the library a picture is a float32 tensor [B, 3, H, W] in [-1, 1], RGB; outside it is a `PIL.Image`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from torch import Tensor

from hyperstyle.errors import ConfigError, ImageError
from hyperstyle.files import atomic_write
from hyperstyle.modes import as_photo, flatten, quiet, upright

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE",
    "ImageSource",
    "flatten",
    "load_image",
    "load_photo",
    "picture_format",
    "resize",
    "save_image",
    "sheet",
    "to_images",
    "to_levels",
    "to_pil",
    "to_tensor",
    "upright",
]

ImageSource = str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor

MIN_SIDE = 16
"""Shorter side of the smallest picture that `load_image` takes, in pixels."""

MAX_PIXELS = 178_956_970
"""Pixels of the largest picture that `load_image` takes: the number from which Pillow suspects a bomb."""

_LONGEST_JPEG_EXIF = 65533  # bytes that one segment of a JPEG file holds
_OVERSHOOT = 10.0  # networks leave [-1, 1] by a little; values beyond this were never meant to be in it
Colour = tuple[int, int, int]


def load_image(source: ImageSource) -> Image.Image:
    """Read any picture as a new, plain RGB picture in its upright position, without metadata.

    Greys, palettes, CMYK and YCbCr become RGB; transparency is laid over white; greys of 16 bits are scaled
    to 8; of an animation the first frame is taken.

    Args:
        source: a path; a PIL image; a uint8 array [H, W, 3], [H, W, 4] or [H, W]; or a floating-point tensor
            [3, H, W] or [1, 3, H, W] in [-1, 1], whose values outside are clipped, since networks overshoot.

    Raises:
        ImageError: the picture cannot be read or used: no such file, not a picture, cut off, below `MIN_SIDE`
            pixels on a side, above `MAX_PIXELS`, not finite, of a wrong shape or type.
    """
    return _loaded(source, lambda image: flatten(upright(image)))


def load_photo(source: ImageSource) -> Image.Image:
    """`load_image`, with what a photo should keep when a part of it is edited: alpha, ICC profile, EXIF data.

    RGB, or RGBA where the picture is transparent in places, upright; see `modes.as_photo`. Flattened, it is what
    `load_image` gives. Arguments and errors are the same.
    """
    return _loaded(source, as_photo)


def _loaded(source: ImageSource, finish: Callable[[Image.Image], Image.Image]) -> Image.Image:
    if isinstance(source, str | os.PathLike):
        return _from_file(os.path.expanduser(os.fspath(source)), finish)
    if isinstance(source, Image.Image):
        filename = getattr(source, "filename", "")
        return _plain(source, f"The picture {filename!r}" if filename else "The given PIL image", finish)
    if isinstance(source, np.ndarray):
        return _plain(_from_array(source), "The given array", finish)
    if isinstance(source, Tensor):
        return _plain(_from_tensor(source), "The given tensor", finish)
    raise ImageError(
        f"A picture cannot be made of a value of type {type(source).__name__}. "
        "Give a path, a PIL image, a uint8 array [H, W, 3] or a float tensor [3, H, W] in [-1, 1]."
    )


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as a float32 tensor [3, H, W] in [-1, 1]; other modes are flattened as by `load_image`.

    The order of operations is that of the published networks' input, so the values agree to the last bit.
    """
    pixels = torch.from_numpy(np.array(image if image.mode == "RGB" else flatten(image)))  # [H,W,3]
    return pixels.permute(2, 0, 1).contiguous().float().div(255).sub(0.5).div(0.5)


def to_pil(tensor: Tensor) -> Image.Image:
    """A tensor [3, H, W] in [-1, 1] as an RGB picture; values outside are clipped.

    Values are rounded to the nearest of the 256 levels, which makes `to_pil(to_tensor(image))` exact. The
    official code truncates instead: its saved pictures are half a level darker on average.

    Raises:
        ImageError: a wrong shape or type, or values that are not finite.
    """
    if tensor.ndim != 3 or tensor.shape[0] != 3 or not tensor.is_floating_point():
        raise ImageError(
            f"Expected a float tensor [3, H, W] in [-1, 1], got {tensor.dtype} {list(tensor.shape)}. "
            "For a batch [B, 3, H, W] use to_images."
        )
    levels = to_levels(tensor).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


def to_levels(tensor: Tensor) -> Tensor:
    """Values in [-1, 1] (clipped to it), of any shape, as float32 on the CPU in 0..255, not rounded.

    Raises:
        ImageError: values that are not finite.
    """
    values = tensor.detach().to("cpu", torch.float32)
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        raise ImageError(
            f"{int((~finite).sum())} of the {values.numel()} values of a tensor {list(tensor.shape)} are not "
            "finite (NaN or infinite). Expected [-1, 1]: check what it was computed from."
        )
    return values.clamp(-1, 1).add(1).mul(127.5)


def to_images(tensor: Tensor) -> list[Image.Image]:
    """A batch [B, 3, H, W] in [-1, 1] as a list of B RGB pictures; see `to_pil`."""
    if tensor.ndim != 4:
        raise ImageError(
            f"Expected a batch [B, 3, H, W], got a tensor {list(tensor.shape)}. "
            "For a single picture [3, H, W] use to_pil."
        )
    return [to_pil(one) for one in tensor]


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at `size` = (height, width), bilinear with antialiasing; itself where it has that size."""
    height, width = size
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BILINEAR)


def save_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture atomically, in the format of the path's suffix (.png, .jpg, .webp, ...).

    An ICC profile and EXIF data that stand in its `info` are written with it, where the format has a place for
    them. JPEG has no transparency: it is laid over white. It has no place for EXIF data above 64 kB: they are left out.

    Raises:
        ImageError: an unknown suffix, a picture that the format cannot hold, or a file that cannot be written. Nothing
            is left behind then.
    """
    kind = picture_format(path)
    options: dict[str, Any] = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    options |= {key: image.info[key] for key in ("icc_profile", "exif") if image.info.get(key)}
    if kind == "JPEG" and len(options.get("exif", b"")) > _LONGEST_JPEG_EXIF:
        del options["exif"]
    if kind == "JPEG" and image.mode not in ("RGB", "L", "CMYK"):
        image = flatten(image)
    with atomic_write(path, error=ImageError) as temporary:
        try:
            image.save(temporary, format=kind, **options)
        except (ValueError, OverflowError) as failure:
            raise ImageError(
                f"Cannot write {os.fspath(path)!r}: {kind} does not take this {image.mode} picture of {image.width} x "
                f"{image.height} px ({failure}). Use .png, or a smaller picture."
            ) from failure


def picture_format(path: str | os.PathLike[str]) -> str:
    """Pillow's name of the format that `save_image` writes to this path. Raises ImageError for an unknown suffix."""
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    kind = Image.registered_extensions().get(suffix, "")
    if kind not in Image.SAVE:
        raise ImageError(
            f"Cannot write {os.fspath(path)!r}: no picture format belongs to the suffix {suffix!r}. "
            "Use .png, .jpg, .webp, .tiff or .bmp."
        )
    return kind


def sheet(
    rows: Sequence[Sequence[Image.Image]],
    *,
    labels: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    cell: int | None = None,
    background: Colour = (250, 250, 248),
) -> Image.Image:
    """A contact sheet: pictures in rows and columns with even gutters and captions.

    Args:
        rows: the pictures, row by row; rows may differ in length.
        labels: captions above the columns, one for each column of the longest row.
        row_labels: captions left of the rows, one for each row.
        cell: longer side of every picture on the sheet, in pixels (smaller ones are enlarged smoothly); by
            default that of the largest picture, at least 128.
        background: RGB, 0..255; captions are dark on a light background and light on a dark one.

    Raises:
        ConfigError: no pictures, or a wrong number of captions.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:  # no rows, or empty ones
        raise ConfigError("A sheet needs at least one picture, and none was given. Pass rows of PIL images.")
    for captions, count, what in ((labels, columns, "columns"), (row_labels, len(rows), "rows")):
        if captions is not None and len(captions) != count:
            raise ConfigError(
                f"The sheet has {count} {what} and {len(captions)} captions for them. Give one caption for each."
            )
    if cell is None:
        cell = max(128, *(max(image.size) for row in rows for image in row))
    if cell < 1:
        raise ConfigError(f"The side of a sheet's cells is {cell} pixels. Give a number from 1 on, such as 256.")

    fitted = [[_fitted(image, cell) for image in row] for row in rows]
    widths = [max(row[k].width for row in fitted if k < len(row)) for k in range(columns)]
    heights = [max((image.height for image in row), default=0) for row in fitted]
    gutter, largest = max(cell // 24, 4), min(max(cell // 13, 12), 40)
    font, head = _captions(labels or [], min(widths), largest)
    side_font, side = _captions(row_labels or [], max(cell, 96), largest)
    left = gutter + (int(max(side_font.getlength(text) for text in side)) + 1 + gutter if side else 0)
    top = gutter + (round(font.size * 1.3) + gutter // 2 if head else 0)

    ink = (45, 45, 48) if sum(background) > 3 * 127 else (235, 235, 235)
    page = Image.new(
        "RGB", (left + sum(widths) + gutter * columns, top + sum(heights) + gutter * len(rows)), background
    )
    draw = ImageDraw.Draw(page)
    xs = [left + sum(widths[:k]) + gutter * k for k in range(columns)]
    ys = [top + sum(heights[:k]) + gutter * k for k in range(len(rows))]
    for k, text in enumerate(head):
        draw.text((xs[k] + widths[k] / 2, (gutter + top) / 2), text, fill=ink, font=font, anchor="mm")
    for k, text in enumerate(side):
        draw.text((left - gutter, ys[k] + heights[k] / 2), text, fill=ink, font=side_font, anchor="rm")
    for row, y, height in zip(fitted, ys, heights, strict=True):
        for k, image in enumerate(row):
            page.paste(image, (xs[k] + (widths[k] - image.width) // 2, y + (height - image.height) // 2))
    return page


def _fitted(image: Image.Image, cell: int) -> Image.Image:
    """The picture, RGB, with its longer side at `cell` pixels."""
    image = image if image.mode == "RGB" else flatten(image)
    scale = cell / max(image.size)
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def _captions(texts: Sequence[str], width: int, size: int) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """One font for all the texts, smaller where they need it, and the texts, cut where still too wide."""

    def font_of(points: int) -> ImageFont.FreeTypeFont:
        font = ImageFont.load_default(size=points)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise ConfigError(
                "This Pillow was built without FreeType, which captions need. Install Pillow's own wheel."
            )
        return font

    font = font_of(size)
    smallest = max(round(size * 0.75), 10)
    while size > smallest and any(font.getlength(text) > width for text in texts):
        size -= 1
        font = font_of(size)

    def cut(text: str) -> str:
        kept = text
        while kept and font.getlength(kept if kept == text else kept + "...") > width:
            kept = kept[:-1]
        return kept if kept == text else kept + "..."

    return font, [cut(text) for text in texts]


def _from_file(path: str, finish: Callable[[Image.Image], Image.Image]) -> Image.Image:
    if not os.path.exists(path):
        here = f"Check the name; paths start from {os.getcwd()!r}."
        advice = "Download it first." if "://" in path else here
        raise ImageError(f"There is no file {path!r}; expected a picture. {advice}")
    if os.path.isdir(path):
        raise ImageError(f"{path!r} is a folder; expected a picture. Name one of the files in it.")
    name = f"The picture {path!r}"
    try:
        with quiet():
            image = Image.open(path)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} is too large: {error} Expected at most {MAX_PIXELS:,} pixels; reduce or cut it first."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path!r} is not a picture that Pillow can read, whatever its name says. "
            "Expected PNG, JPEG, WebP, TIFF, BMP or the like: convert it first."
        ) from error
    except Exception as error:  # as in _plain: of any class, where the head of the file is damaged
        raise ImageError(f"{name} cannot be opened: {error}. Check that it is whole and readable.") from error
    with image:
        return _plain(image, name, finish)


def _plain(image: Image.Image, name: str, finish: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Check the size, decode, and make it upright and plain by `finish`: `flatten` or `as_photo`."""
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name} is {width} x {height} pixels; expected at least {MIN_SIDE} on each side. Use a larger picture."
        )
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width} x {height} = {width * height:,} pixels; expected at most {MAX_PIXELS:,}. "
            "Reduce or cut it first."
        )
    try:
        with quiet():
            image.load()
    except Exception as error:  # of any class: decoders raise what they like where data are damaged
        raise ImageError(
            f"{name} is damaged or cut off and cannot be decoded ({error}). Get a whole copy of the file."
        ) from error
    try:
        return finish(image)
    except ImageError as error:
        raise ImageError(f"{name} cannot be used. {error}") from error


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    expected = "Expected uint8 [H, W, 3], [H, W, 4] or [H, W] with values 0..255."
    if array.dtype != np.uint8:
        advice = (
            "Scale it to 0..255 and round: (255 * array).round().astype('uint8') where it is in [0, 1]."
            if np.issubdtype(array.dtype, np.floating)
            else "Scale it to 0..255 and use .astype('uint8')."
        )
        raise ImageError(f"The given array is {array.dtype} {list(array.shape)}. {expected} {advice}")
    if (array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4))) or array.size == 0:
        first = array.ndim == 3 and array.shape[0] in (3, 4)
        advice = "Use .transpose(1, 2, 0): its channels come first." if first else "Give a single picture."
        raise ImageError(f"The given array has shape {list(array.shape)}. {expected} {advice}")
    return Image.fromarray(np.ascontiguousarray(array))


def _from_tensor(tensor: Tensor) -> Image.Image:
    expected = "Expected a float tensor [3, H, W] or [1, 3, H, W] with values in [-1, 1], RGB."
    tensor = tensor.detach()
    single = tensor[0] if tensor.ndim == 4 and tensor.shape[0] == 1 else tensor
    if single.ndim != 3 or single.shape[0] != 3:
        advice = "Give a batch picture by picture." if tensor.ndim == 4 else "Put the three channels first."
        raise ImageError(f"The given tensor has shape {list(tensor.shape)}. {expected} {advice}")
    if not single.is_floating_point():
        raise ImageError(f"The given tensor is {tensor.dtype}. {expected} From 0..255: x.float() / 127.5 - 1.")
    if single.numel() == 0:
        raise ImageError(f"The given tensor has shape {list(tensor.shape)}, without a value. {expected}")
    low, high = float(single.min()), float(single.max())
    if max(-low, high) > _OVERSHOOT:  # NaN is not, and to_pil reports it
        raise ImageError(f"The given tensor has values from {low:.4g} to {high:.4g}. {expected} Scale it first.")
    return to_pil(single)
