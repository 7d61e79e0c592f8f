"""Rows of images with captions, small enough for a page that carries them itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from hyperstyle.evaluation.engine import Job, Study, invert_one
from hyperstyle.evaluation.images import EvaluationImages
from hyperstyle.evaluation.methods import EDITS
from hyperstyle.evaluation.tables import Column, Table, Value
from hyperstyle.evaluation.trials import Trial
from hyperstyle.images import load_image, to_images
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model.parts import Model

_LONGEST = 256  # pixels; more is not seen at the size shown
_QUALITY = 85
_STEPS = 7  # of an interpolation
_ON_THE_PAGE = ("l2", "lpips", "perceptual", "identity")  # of images out of the domain; the files have all figures


@dataclass(frozen=True)
class Gallery:
    """Images in rows.

    Attributes:
        heads: a caption for each column.
        rows: data URIs, one for each column.
        labels: a caption for each row, or none at all.
        cell: width of an image on the page in pixels, where there is room.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: Sequence[str] = ()
    cell: int = 128


def uris(*images: Tensor | Image.Image) -> list[str]:
    """Images [3,H,W] in [-1,1], or PIL images, as JPEG files inside links, at most 256 px on their longer side."""
    texts = []
    for image in images:
        small = image.copy() if isinstance(image, Image.Image) else to_images(image[None])[0]
        small.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=_QUALITY, optimize=True, subsampling=0)
        texts.append("data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"))
    return texts


def shown_edits(model: Model, most: int = 3) -> dict[str, float]:
    """Edits that galleries show, and how far: the papers' where the model has them, three quarters up their range."""
    names = [name for name in EDITS if name in model.edits] or list(model.edits)
    return {name: round(0.75 * model.edits[name].info.high, 2) for name in names[:most]}


def reconstructions(study: Study, jobs: Sequence[Job], count: int) -> Gallery:
    """Inputs and the reconstruction by each method."""
    rows = [
        uris(study.images.load(i), *(load_image(study.reconstruction_path(job, i)) for job in jobs))
        for i in range(count)
    ]
    return Gallery(["input", *(job.label for job in jobs)], rows)


def edit_strips(crops: Sequence[Tensor], inversions: Sequence[Inversion], edit: str) -> Gallery:
    """An edit at five strengths, from the low to the high end of its range; crops [3,h,w] are what was inverted."""
    info = inversions[0].model.edits[edit].info
    strengths = [info.low + (info.high - info.low) * k / 4 for k in range(5)]
    rows = [
        uris(crop, *inversion.edit(edit, strengths).tensor.cpu())
        for crop, inversion in zip(crops, inversions, strict=True)
    ]
    return Gallery(["input", *(f"{s:+.3g}" if s else "0" for s in strengths)], rows, cell=118)


def interpolation(crops: Sequence[Tensor], inversions: Sequence[Inversion]) -> Gallery:
    """From each image to the next: codes and offsets together."""
    rows = [
        uris(crops[i], *inversions[i].interpolate(inversions[i + 1], _STEPS).tensor.cpu(), crops[i + 1])
        for i in range(0, len(inversions) - 1, 2)
    ]
    return Gallery(["from", *[""] * _STEPS, "to"], rows, cell=100)


def out_of_domain(
    study: Study, inverter: HyperStyleInverter, photos: EvaluationImages, edits: Mapping[str, float]
) -> tuple[Gallery, Table]:
    """Images unlike the training data, inverted by the model's best method: before and after refinement, and edited.

    Args:
        study: says which figures are measured.
        inverter: the model.
        photos: the images.
        edits: names and strengths.
    """
    model, measures = inverter.model, study.measures
    images: list[list[str]] = []
    rows: list[dict[str, Value]] = []
    for i, name in enumerate(photos.names):
        crop, row = photos.load(i), dict[str, Value](kind=name)
        refined = invert_one(inverter, crop, Trial(inverter.methods[0]))
        for when, inversion in {"before": refined.initial, "after": refined}.items():
            figures = measures(model, inversion.tensor, crop[None].to(model.device))
            row |= {f"{key}_{when}": value for key, value in figures.items()}
        rows.append(row)
        shown = [refined.initial, refined, *(refined.edit(edit, strength) for edit, strength in edits.items())]
        images.append(uris(crop, *(inversion.tensor[0].cpu() for inversion in shown)))
    columns = [Column("kind", "image")] + [
        Column(f"{measure.key}_{when}", f"{measure.title} {when}", measure.form)
        for measure in measures.chosen
        for when in ("before", "after")
        if measure.key in _ON_THE_PAGE
    ]
    heads = ["image", "before", "refined", *(f"{name} {strength:+g}" for name, strength in edits.items())]
    return Gallery(heads, images, photos.names), Table(columns, rows)
