"""Image grids of what was measured, enlarged without smoothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image
from torch import Tensor

from hyperstyle.evaluation.editing import Editing
from hyperstyle.images import image_grid, to_images

_SMALLEST_TILE = 128  # pixels


def reconstruction_grid(images: Mapping[str, Tensor]) -> Image.Image:
    """Title -> images [N,3,H,W]: a column for each, a row for each image; later columns may have fewer."""
    columns = [to_images(batch) for batch in images.values()]
    rows = [[column[i] for column in columns if i < len(column)] for i in range(len(columns[0]))]
    return image_grid(_enlarged(rows), labels=list(images))


def editing_grid(editing: Editing) -> Image.Image:
    """For each image and edit, a row with offsets and one without: the crop, then the edits by rising strength."""
    crops = to_images(editing.crops)
    rows, labels = [], []
    for i, crop in enumerate(crops):
        for curve in editing.curves:
            strip = editing.shown[curve.edit, curve.offsets][:, i]  # [S,3,H,W]
            rows.append([crop, *to_images(strip)])
            labels.append(f"{curve.edit}, {'offsets' if curve.offsets else 'W only'}")
    ranges = {tuple(point.strength for point in curve.points) for curve in editing.curves}
    titles = None  # edits of different ranges share no titles
    if len(ranges) == 1:
        titles = ["input", *(f"{strength:+.3g}" if strength else "0" for strength in next(iter(ranges)))]
    return image_grid(_enlarged(rows), labels=titles, row_labels=labels)


def _enlarged(rows: Sequence[Sequence[Image.Image]]) -> list[list[Image.Image]]:
    """All images with the same longer side, a multiple of the largest image's."""
    largest = max(max(image.size) for row in rows for image in row)
    tile = largest * math.ceil(_SMALLEST_TILE / min(largest, min(min(image.size) for row in rows for image in row)))

    def enlarge(image: Image.Image) -> Image.Image:
        scale = tile / max(image.size)
        return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.NEAREST)

    return [[enlarge(image) for image in row] for row in rows]
