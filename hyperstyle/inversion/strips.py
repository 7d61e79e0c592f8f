"""Many edits of one image: a row of them, a grid of two edits, an animation."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence

from PIL import Image

from hyperstyle.align.paste import paste_all
from hyperstyle.align.source import photo_of
from hyperstyle.edits import Edit
from hyperstyle.errors import ConfigError
from hyperstyle.images import ImageSource, flatten, image_grid
from hyperstyle.images.clips.write import check_animation, write_animation
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.masks import pasted_faces

Sweep = tuple[str | Edit, Sequence[float]]
"""An edit and its strengths, one after the other."""


def strip(
    inversion: Inversion,
    edit: str | Edit,
    strengths: Sequence[float],
    *,
    layers: Sequence[str | int] | None = None,
    mask: ImageSource | None = None,
    other_model: bool = False,
    paste_back: bool = False,
    photo: ImageSource | None = None,
    cell: int | None = None,
) -> Image.Image:
    """A labeled image grid: a row for each image, a column for each strength.

    Args:
        inversion: one image or a batch.
        edit, strengths, layers, mask, other_model: see `Inversion.edit`.
        paste_back: show the whole photo in one row, each time with all its inverted faces edited, instead of a row
            for each face.
        photo: the photo again, see `Inversion.paste_back`.
        cell: longer side of each image in pixels; None is that of the largest image, but at least 128.

    Raises:
        HyperStyleError: what `Inversion.edit` and `Inversion.paste_back` raise.
    """
    edited = inversion.edit(edit, strengths, layers=layers, mask=mask, other_model=other_model)
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
    mask: ImageSource | None = None,
    other_model: bool = False,
    paste_back: bool = False,
    photo: ImageSource | None = None,
    cell: int | None = None,
) -> Image.Image:
    """A labeled grid of one image: the strengths of one edit from left to right, of another from top to bottom.

    Args:
        inversion: one image; with `paste_back`, one or more faces of one photo.
        across, down: an edit and its strengths.
        layers, mask, other_model: see `Inversion.edit`.
        paste_back, photo, cell: see `strip`.

    Raises:
        ConfigError: several images without `paste_back`.
        HyperStyleError: what `Inversion.edit` and `Inversion.paste_back` raise.
    """
    if len(inversion) != 1 and not paste_back:
        raise ConfigError(f"a grid of {len(inversion)} images: it shows one. Index the batch first.")
    edited = inversion
    for edit, strengths in (down, across):
        edited = edited.edit(edit, strengths, layers=layers, mask=mask, other_model=other_model)
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
    count = len(edited) // len(inversion)  # S
    places = [i for i in range(len(inversion)) for _ in range(count)]
    pasted = pasted_faces(edited, [quads[i] for i in places], [before[i] for i in places], None)
    for strength in range(count):
        yield paste_all(base, pasted[strength::count])


def animate(
    frames: Inversion | Iterable[Image.Image],
    path: str | os.PathLike[str],
    *,
    rate: float = 12.0,
    back: bool = True,
    longest: int | None = 512,
) -> None:
    """Writes frames as a GIF or WebP animation that repeats for ever, or as an MP4 clip.

    `animate(inversion.edit("age", torch.linspace(-2, 2, 24)), "age.webp")` sweeps over a strength,
    `animate(one.interpolate(other, 24), "way.gif")` goes from one image to another.

    Args:
        frames: the images of an inversion in their order, or images of one size.
        path: the file; its suffix, .gif, .webp or .mp4, decides the format. It appears only once it is complete.
        rate: frames per second, 1 to 50.
        back: append the frames in reverse order, without the first and last, so that it repeats without a jump.
        longest: larger frames are reduced so that their longer side has this many pixels; None keeps them.

    Raises:
        ConfigError: another suffix or rate, fewer than 2 frames, or `longest` below 1.
        ImageError: frames of different sizes, or a file that cannot be written. Nothing is left behind then.
        MissingDependencyError: .mp4 without PyAV, the extra "video".
    """
    check_animation(path, rate, longest)
    images = frames.images if isinstance(frames, Inversion) else frames
    write_animation([_reduced(image, longest) for image in images], path, rate, back=back)


def _reduced(image: Image.Image, longest: int | None) -> Image.Image:
    """The image, RGB, with no side above `longest` pixels."""
    image = flatten(image)
    scale = min(1.0, (longest or math.inf) / max(image.size))
    size = tuple(max(round(side * scale), 1) for side in image.size)
    return image if size == image.size else image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
