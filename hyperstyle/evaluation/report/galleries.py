"""Rows of images with captions, small enough for a page that carries them itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from hyperstyle.evaluation.engine import Job, Study
from hyperstyle.evaluation.methods import EDITS
from hyperstyle.images import load_image, to_images
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.base import StyleGenerator

__all__ = [
    "Gallery",
    "adaptation",
    "data_uri",
    "edit_strips",
    "gallery",
    "interpolation",
    "reconstructions",
    "shown_edits",
]

_LONGEST = 256  # pixels; more is not seen at the size shown
_QUALITY = 85
_STEPS = 7  # of an interpolation


@dataclass(frozen=True)
class Gallery:
    """Images in rows.

    Attributes:
        heads: a caption for each column.
        labels: a caption for each row; "" for none.
        rows: data URIs, one for each column; "" leaves a place empty.
        cell: width of an image on the page in pixels, where there is room.
    """

    heads: tuple[str, ...]
    labels: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    cell: int = 128


def gallery(
    heads: Sequence[str],
    rows: Sequence[Sequence[Tensor | Image.Image]],
    labels: Sequence[str] | None = None,
    *,
    cell: int = 128,
) -> Gallery:
    """Of images [3,H,W] in [-1,1], or PIL images."""
    uris = tuple(tuple(data_uri(image) for image in row) for row in rows)
    return Gallery(tuple(heads), tuple(labels or [""] * len(rows)), uris, cell)


def data_uri(image: Tensor | Image.Image) -> str:
    """A JPEG inside a link, at most 256 px on its longer side."""
    small = image if isinstance(image, Image.Image) else to_images(image[None])[0]
    scale = _LONGEST / max(small.size)
    if scale < 1:
        size = max(1, round(small.width * scale)), max(1, round(small.height * scale))
        small = small.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY, optimize=True, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def shown_edits(model: Model, most: int = 3) -> dict[str, float]:
    """Edits that galleries show, and how far: the papers' where the model has them, three quarters up their range."""
    names = [name for name in EDITS if name in model.edits] or list(model.edits)
    return {name: round(0.75 * model.edits[name].info.high, 2) for name in names[:most]}


def reconstructions(study: Study, jobs: Sequence[Job], count: int) -> Gallery:
    """Inputs and the reconstruction by each method."""
    rows: list[list[Tensor | Image.Image]] = [
        [study.images.load(i), *(load_image(study.reconstruction(job, i)) for job in jobs)] for i in range(count)
    ]
    return gallery(["input", *(job.label for job in jobs)], rows)


def edit_strips(inversions: Sequence[Inversion], edit: str) -> Gallery:
    """An edit at five strengths, from the low to the high end of its range."""
    info = inversions[0].model.edits[edit].info
    strengths = [info.low + (info.high - info.low) * k / 4 for k in range(5)]
    rows = [[_crop(inversion), *inversion.edit(edit, strengths).tensor.cpu()] for inversion in inversions]
    return gallery(["input", *(f"{s:+.3g}" if s else "0" for s in strengths)], rows, cell=118)


def interpolation(inversions: Sequence[Inversion]) -> Gallery:
    """From each image to the next: codes and offsets together."""
    pairs = [(inversions[i], inversions[i + 1]) for i in range(0, len(inversions) - 1, 2)]
    rows = [[_crop(a), *a.interpolate(b, _STEPS).tensor.cpu(), _crop(b)] for a, b in pairs]
    return gallery(["from", *[""] * _STEPS, "to"], rows, cell=100)


def adaptation(inversions: Sequence[Inversion], tuned: StyleGenerator, edits: Mapping[str, float]) -> Gallery:
    """The same codes and offsets in a generator tuned from the model's."""
    heads = ["input", "inverted", "tuned, code only", "tuned, with offsets", *(f"{n} {s:+g}" for n, s in edits.items())]
    rows = []
    for inversion in inversions:
        moved = inversion.transfer(tuned)
        edited = [moved.edit(name, strength) for name, strength in edits.items()]
        columns = [inversion, inversion.initial.transfer(tuned), moved, *edited]
        rows.append([_crop(inversion), *(column.tensor[0].cpu() for column in columns)])
    return gallery(heads, rows)


def _crop(inversion: Inversion) -> Tensor:
    """What was inverted [3,h,w]."""
    crop = inversion.crop
    if crop is None:
        raise TypeError("inversions of a report have their crops")
    return crop[0].cpu()
