"""Many edits of one image: a row of them, a grid of two edits, an animation."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from hyperstyle.align import paste_back as paste
from hyperstyle.align.source import photo_of
from hyperstyle.edits import Edit
from hyperstyle.errors import ConfigError, ImageError
from hyperstyle.images import ImageSource, flatten, image_grid
from hyperstyle.images.save import write_encoded
from hyperstyle.inversion.inversion import Inversion

Sweep = tuple[str | Edit, Sequence[float]]
"""An edit and its strengths, one after the other."""

_FORMATS = {".gif": "GIF", ".webp": "WEBP"}
_RATES = (1.0, 50.0)  # players show frames of less than 20 ms for 100 ms
_PALETTE_FRAMES = 8  # frames from which the colors of a GIF are chosen


def strip(
    inversion: Inversion,
    edit: str | Edit,
    strengths: Sequence[float],
    *,
    layers: Sequence[str | int] | None = None,
    other_model: bool = False,
    paste_back: bool = False,
    photo: ImageSource | None = None,
    cell: int | None = None,
) -> Image.Image:
    """A labeled image grid: a row for each image, a column for each strength.

    Args:
        inversion: one image or a batch.
        edit, strengths, layers, other_model: see `Inversion.edit`.
        paste_back: show the whole photo in one row, each time with all its inverted faces edited, instead of a row
            for each face.
        photo: the photo again, see `Inversion.paste_back`.
        cell: longer side of each image in pixels; None is that of the largest image, but at least 128.

    Raises:
        HyperStyleError: what `Inversion.edit` and `Inversion.paste_back` raise.
    """
    edited = inversion.edit(edit, strengths, layers=layers, other_model=other_model)
    if paste_back:
        rows = [list(photos(inversion, edited, photo))]
    else:
        images, count = edited.images, len(edited) // len(inversion)
        rows = [images[first : first + count] for first in range(0, len(images), count)]
    return image_grid(rows, labels=[label(edit, strength) for strength in strengths], cell=cell)


def grid(
    inversion: Inversion,
    across: Sweep,
    down: Sweep,
    *,
    layers: Sequence[str | int] | None = None,
    other_model: bool = False,
    paste_back: bool = False,
    photo: ImageSource | None = None,
    cell: int | None = None,
) -> Image.Image:
    """A labeled grid of one image: the strengths of one edit from left to right, of another from top to bottom.

    Args:
        inversion: one image; with `paste_back`, one or more faces of one photo.
        across, down: an edit and its strengths.
        layers, other_model: see `Inversion.edit`.
        paste_back, photo, cell: see `strip`.

    Raises:
        ConfigError: several images without `paste_back`.
        HyperStyleError: what `Inversion.edit` and `Inversion.paste_back` raise.
    """
    if len(inversion) != 1 and not paste_back:
        raise ConfigError(f"a grid of {len(inversion)} images: it shows one. Index the batch first.")
    edited = inversion
    for edit, strengths in (down, across):
        edited = edited.edit(edit, strengths, layers=layers, other_model=other_model)
    images = list(photos(inversion, edited, photo)) if paste_back else edited.images
    count = len(across[1])
    return image_grid(
        [images[first : first + count] for first in range(0, len(images), count)],
        labels=[label(across[0], strength) for strength in across[1]],
        row_labels=[label(down[0], strength) for strength in down[1]],
        cell=cell,
    )


def label(edit: str | Edit, strength: float) -> str:
    """`age +2`: the label of a column or row."""
    name = edit if isinstance(edit, str) else edit.info.name
    return f"{name} {strength:+.3g}" if strength else f"{name} 0"


def photos(inversion: Inversion, edited: Inversion, photo: ImageSource | None = None) -> Iterator[Image.Image]:
    """Yields the whole photo with all its inverted faces edited, once for each strength.

    What the edit changed is added to the photo's own pixels, the mode "difference" of `Inversion.paste_back`.

    Args:
        inversion: the F inverted faces of one photo.
        edited: F * S images in the order that `Inversion.edit` gives them: all S strengths of the first face, then
            those of the next.
        photo: the photo again, see `Inversion.paste_back`.

    Raises:
        InversionError: see `Inversion.paste_back`.
    """
    base, quads = photo_of(inversion.sources, len(inversion), photo)
    before = (inversion.unedited or inversion).tensor
    faces = edited.tensor.reshape(len(inversion), -1, *before.shape[1:])  # [F,S,3,H,W]
    for now in faces.unbind(1):
        pasted = base
        for quad, face, reference in zip(quads, now, before, strict=True):
            pasted = paste(pasted, face, quad, reference=reference, mode="difference")
        yield pasted


def check_animation(path: str | os.PathLike[str], rate: float, longest: int | None) -> None:
    """Raises ConfigError for a suffix, `rate` or `longest` that `animate` would refuse, before the frames are made."""
    if Path(path).suffix.lower() not in _FORMATS:
        raise ConfigError(
            f"{os.fspath(path)!r} cannot be an animation: give a name that ends in {' or '.join(_FORMATS)}."
        )
    if not _RATES[0] <= rate <= _RATES[1]:
        raise ConfigError(f"an animation of {rate:g} frames per second: expected {_RATES[0]:g} to {_RATES[1]:g}.")
    if longest is not None and longest < 1:
        raise ConfigError(f"an animation with a longer side of {longest} pixels: expected 1 or more.")


def animate(
    frames: Inversion | Iterable[Image.Image],
    path: str | os.PathLike[str],
    *,
    rate: float = 12.0,
    back: bool = True,
    longest: int | None = 512,
) -> None:
    """Writes frames as a GIF or WebP animation that repeats for ever.

    `animate(inversion.edit("age", torch.linspace(-2, 2, 24)), "age.webp")` sweeps over a strength,
    `animate(one.interpolate(other, 24), "way.gif")` goes from one image to another.

    Args:
        frames: the images of an inversion in their order, or images of one size.
        path: the file; its suffix, .gif or .webp, decides the format. It appears only once it is complete.
        rate: frames per second, 1 to 50.
        back: append the frames in reverse order, without the first and last, so that it repeats without a jump.
        longest: larger frames are reduced so that their longer side has this many pixels; None keeps them.

    Raises:
        ConfigError: another suffix or rate, fewer than 2 frames, or `longest` below 1.
        ImageError: frames of different sizes, or a file that cannot be written. Nothing is left behind then.
    """
    check_animation(path, rate, longest)
    images = [_reduced(image, longest) for image in (frames.images if isinstance(frames, Inversion) else frames)]
    if len(images) < 2:
        raise ConfigError(f"an animation of {len(images)} frame(s): expected at least 2.")
    if len(sizes := {image.size for image in images}) > 1:
        raise ImageError(f"frames of {len(sizes)} sizes, {sorted(sizes)}: an animation has frames of one size.")
    kind = _FORMATS[Path(path).suffix.lower()]
    options: dict[str, Any] = {"quality": 90} if kind == "WEBP" else {"disposal": 1}
    if kind == "GIF":
        images = _with_one_palette(images)
    if back:
        images += images[-2:0:-1]
    more = {"save_all": True, "append_images": images[1:], "duration": round(1000 / rate), "loop": 0}
    write_encoded(images[0], path, kind, **more, **options)


def _reduced(image: Image.Image, longest: int | None) -> Image.Image:
    """The image, RGB, with no side above `longest` pixels."""
    image = flatten(image)
    scale = min(1.0, (longest or math.inf) / max(image.size))
    size = tuple(max(round(side * scale), 1) for side in image.size)
    return image if size == image.size else image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def _with_one_palette(images: Sequence[Image.Image]) -> list[Image.Image]:
    """The images in 256 colors that are the same for all, so that what does not move does not flicker."""
    sampled = images[:: math.ceil(len(images) / _PALETTE_FRAMES)]
    width, height = images[0].size
    page = Image.new("RGB", (width, height * len(sampled)))
    for place, image in enumerate(sampled):
        page.paste(image, (0, place * height))
    palette = page.quantize(256, kmeans=2)  # without it, small things such as eyes lose their colors
    return [image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for image in images]
