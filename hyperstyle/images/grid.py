"""Labeled grids of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from PIL import Image, ImageDraw, ImageFont

from hyperstyle.errors import ConfigError, ImageError, warn, with_article
from hyperstyle.images.color_modes import flatten

_LARGEST_CELL = 8192  # pixels
_PAPER, _INK = (250, 250, 248), (45, 45, 48)


def image_grid(
    rows: Sequence[Sequence[Image.Image]],
    *,
    labels: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    cell: int | None = None,
) -> Image.Image:
    """Images in rows and columns of one image, with even gutters and captions.

    Args:
        rows: the images, row by row; rows may differ in length.
        labels: captions above the columns, one for each column of the longest row.
        row_labels: captions left of the rows, one for each row.
        cell: longer side of every image in the grid, in pixels (smaller ones are enlarged smoothly); by
            default that of the largest image, at least 128.

    Raises:
        ConfigError: no images, a wrong number of captions, or a `cell` that is not 1 to 8192.
        ImageError: something else than an image, such as a tensor.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:  # no rows, or empty ones
        raise ConfigError("An image grid needs at least one image, and none was given. Pass rows of PIL images.")
    if odd := [image for row in rows for image in row if not isinstance(image, Image.Image)]:
        raise ImageError(
            f"An image grid was given {with_article(type(odd[0]))}. Pass PIL images: to_pil() makes one of a tensor."
        )
    for captions, count, what in ((labels, columns, "columns"), (row_labels, len(rows), "rows")):
        if captions is not None and len(captions) != count:
            raise ConfigError(
                f"The image grid has {count} {what} and {len(captions)} captions for them. Give one caption for each."
            )
    if cell is None:
        cell = max(128, *(max(image.size) for row in rows for image in row))
    elif not 1 <= cell <= _LARGEST_CELL:
        raise ConfigError(
            f"The side of the cells of an image grid is {cell} pixels. Give a number from 1 to {_LARGEST_CELL}, such "
            "as 256."
        )

    fitted = [[_fitted(image, cell) for image in row] for row in rows]
    widths = [max(row[k].width for row in fitted if k < len(row)) for k in range(columns)]
    heights = [max((image.height for image in row), default=0) for row in fitted]
    gutter, largest = max(cell // 24, 4), min(max(cell // 13, 12), 40)
    font, head = _captions(labels or [], min(widths), largest)
    side_font, side = _captions(row_labels or [], max(cell, 96), largest)
    left = gutter + (int(max(side_font.getlength(text) for text in side)) + 1 + gutter if side else 0)
    top = gutter + (round(font.size * 1.3) + gutter // 2 if head else 0)

    size = left + sum(widths) + gutter * columns, top + sum(heights) + gutter * len(rows)
    page = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(page)
    xs = [left + sum(widths[:k]) + gutter * k for k in range(columns)]
    ys = [top + sum(heights[:k]) + gutter * k for k in range(len(rows))]
    for k, text in enumerate(head):
        draw.text((xs[k] + widths[k] / 2, (gutter + top) / 2), text, fill=_INK, font=font, anchor="mm")
    for k, text in enumerate(side):
        draw.text((left - gutter, ys[k] + heights[k] / 2), text, fill=_INK, font=side_font, anchor="rm")
    for row, y, height in zip(fitted, ys, heights, strict=True):
        for k, image in enumerate(row):
            page.paste(image, (xs[k] + (widths[k] - image.width) // 2, y + (height - image.height) // 2))
    return page


def _fitted(image: Image.Image, cell: int) -> Image.Image:
    """The image as RGB with its longer side at `cell` pixels."""
    image = image if image.mode == "RGB" else flatten(image)
    scale = cell / max(image.size)
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def _captions(texts: Sequence[str], width: int, size: int) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """One font for all texts, reduced to fit them into `width`, and the texts, shortened where still too wide."""
    smallest = max(round(size * 0.75), 10)
    while True:
        font = cast("ImageFont.FreeTypeFont", ImageFont.load_default(size=size))  # of a size, it always is one
        if size <= smallest or all(font.getlength(text) <= width for text in texts):
            break
        size -= 1

    def cut(text: str) -> str:
        if font.getlength(text) <= width:
            return text
        while text and font.getlength(text + "...") > width:
            text = text[:-1]
        return text + "..."

    return font, [cut(text) for text in texts]


def sheet(*arguments: Any, **options: Any) -> Image.Image:
    """Deprecated: `image_grid`."""
    warn("images.sheet is images.image_grid now; the old name goes with version 0.3.", DeprecationWarning)
    return image_grid(*arguments, **options)
