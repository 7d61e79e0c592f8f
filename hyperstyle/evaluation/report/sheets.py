"""The image sheets of a report: reconstructions, edits, interpolation, domain adaptation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image
from torch import Tensor

from hyperstyle.evaluation.methods import EDITS
from hyperstyle.evaluation.report.gallery import Gallery, gallery
from hyperstyle.evaluation.report.study import Job, Study
from hyperstyle.images import load_image
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.base import StyleGenerator

__all__ = ["adaptation", "editing", "interpolation", "reconstructions", "shown_edits"]

_STEPS = 7  # of an interpolation


def shown_edits(model: Model, most: int = 3) -> dict[str, float]:
    """Edits that sheets show, and how far: the papers' where the model has them, three quarters up their range."""
    names = [name for name in EDITS if name in model.edits] or list(model.edits)
    return {name: round(0.75 * model.edits[name].info.high, 2) for name in names[:most]}


def reconstructions(study: Study, jobs: Sequence[Job], count: int, caption: str) -> Gallery:
    """Inputs and what each method made of them."""
    rows: list[list[Tensor | Image.Image]] = []
    for i in range(count):
        row: list[Tensor | Image.Image] = [study.images.load(i)]
        for job in jobs:
            row.append(load_image(study.reconstruction(job, i)))
        rows.append(row)
    return gallery(["input", *(job.label for job in jobs)], [""] * count, rows, caption)


def editing(inversions: Sequence[Inversion], edit: str, caption: str) -> Gallery:
    """An edit at five strengths, from the low to the high end of its range."""
    info = inversions[0].model.edits[edit].info
    strengths = [info.low + (info.high - info.low) * k / 4 for k in range(5)]
    rows = [[_crop(one), *one.edit(edit, strengths).tensor.cpu()] for one in inversions]
    return gallery(["input", *(f"{s:+.3g}" if s else "0" for s in strengths)], [""] * len(rows), rows, caption)


def interpolation(inversions: Sequence[Inversion], caption: str) -> Gallery:
    """From each image to the next: codes and offsets together."""
    pairs = [(inversions[i], inversions[i + 1]) for i in range(0, len(inversions) - 1, 2)]
    rows = [[_crop(a), *a.interpolate(b, _STEPS).tensor.cpu(), _crop(b)] for a, b in pairs]
    return gallery(["from", *[""] * _STEPS, "to"], [""] * len(rows), rows, caption)


def adaptation(
    inversions: Sequence[Inversion], tuned: StyleGenerator, edits: Mapping[str, float], caption: str
) -> Gallery:
    """The same codes and offsets in a generator tuned from the model's."""
    heads = ["input", "inverted", "tuned, code only", "tuned, with offsets", *(f"{n} {s:+g}" for n, s in edits.items())]
    rows = []
    for one in inversions:
        there = one.transfer(tuned)
        drawn = [one, one.initial.transfer(tuned), there, *(there.edit(name, s) for name, s in edits.items())]
        rows.append([_crop(one), *(each.tensor[0].cpu() for each in drawn)])
    return gallery(heads, [""] * len(rows), rows, caption)


def _crop(inversion: Inversion) -> Tensor:
    """What was inverted [3,h,w]."""
    crop = inversion.crop
    if crop is None:
        raise TypeError("inversions of a report have their crops")
    return crop[0].cpu()
