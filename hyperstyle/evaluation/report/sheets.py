"""The picture sheets of a report: reconstructions, edits, interpolation, domain adaptation, out-of-domain pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from hyperstyle.evaluation.methods import EDITS, Trial
from hyperstyle.evaluation.report.filters import FILTERS
from hyperstyle.evaluation.report.gallery import Gallery, gallery
from hyperstyle.evaluation.report.measures import Measures
from hyperstyle.evaluation.report.study import Study, invert_one
from hyperstyle.evaluation.report.tables import Column, Table
from hyperstyle.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model import Model
from hyperstyle.networks.generator import Generator

__all__ = ["TOLD", "adaptation", "editing", "interpolation", "out_of_domain", "reconstructions", "shown_edits"]

TOLD = ("l2", "lpips", "perceptual", "identity")
"""Figures of pictures out of the domain."""

_STEPS = 7  # of an interpolation


def shown_edits(model: Model, most: int = 3) -> dict[str, float]:
    """Edits that sheets show, and how far: the papers' where the model has them, three quarters up their range."""
    names = [name for name in EDITS if name in model.edits] or list(model.edits)
    return {name: round(0.75 * model.edits[name].info.high, 2) for name in names[:most]}


def reconstructions(study: Study, labels: Sequence[str], count: int, caption: str) -> Gallery:
    """Inputs and what each method made of them."""
    rows: list[list[Tensor | Image.Image]] = []
    for i in range(count):
        row: list[Tensor | Image.Image] = [study.pictures.load(i)]
        for label in labels:
            with Image.open(study.reconstruction(label, i)) as image:
                row.append(image.convert("RGB"))
        rows.append(row)
    return gallery(["input", *labels], [""] * count, rows, caption)


def editing(inversions: Sequence[Inversion], edit: str, caption: str) -> Gallery:
    """An edit at five strengths, from the low to the high end of its range."""
    info = inversions[0].model.edits[edit].info
    strengths = [info.low + (info.high - info.low) * k / 4 for k in range(5)]
    rows = [[_crop(one), *one.edit(edit, strengths).tensor.cpu()] for one in inversions]
    return gallery(["input", *(f"{s:+.3g}" if s else "0" for s in strengths)], [""] * len(rows), rows, caption)


def interpolation(inversions: Sequence[Inversion], caption: str) -> Gallery:
    """From each picture to the next: codes and offsets together."""
    pairs = [(inversions[i], inversions[i + 1]) for i in range(0, len(inversions) - 1, 2)]
    rows = [[_crop(a), *a.interpolate(b, _STEPS).tensor.cpu(), _crop(b)] for a, b in pairs]
    return gallery(["from", *[""] * _STEPS, "to"], [""] * len(rows), rows, caption)


def adaptation(inversions: Sequence[Inversion], tuned: Generator, edits: Mapping[str, float], caption: str) -> Gallery:
    """The same codes and offsets in a generator tuned from the model's."""
    heads = ["input", "inverted", "tuned, code only", "tuned, with offsets", *(f"{n} {s:+g}" for n, s in edits.items())]
    rows = []
    for one in inversions:
        there = one.transfer(tuned)
        drawn = [one, one.initial.transfer(tuned), there, *(there.edit(name, s) for name, s in edits.items())]
        rows.append([_crop(one), *(each.tensor[0].cpu() for each in drawn)])
    return gallery(heads, [""] * len(rows), rows, caption)


def out_of_domain(
    inverter: HyperStyleInverter,
    measures: Measures,
    crops: Tensor,
    own: Mapping[str, Tensor],
    edits: Mapping[str, float],
    caption: str,
) -> tuple[Gallery, Table]:
    """Filtered pictures, and others, before and after refinement, and edited (Figure 8).

    Args:
        inverter: the model.
        measures: figures of the table, means over the pictures of each kind.
        crops: [N,3,h,w], to be filtered; the first one is shown.
        own: other crops [N,3,h,w] by name, as they are; all are shown.
        edits: names and strengths.
        caption: of the gallery.
    """
    model = inverter.model
    kinds = {"unfiltered": crops} | {name: look(crops) for name, look in FILTERS.items()} | dict(own)
    heads = ["picture", "before", "refined", *(f"{n} {s:+g}" for n, s in edits.items())]
    labels, rows, table = [], [], []
    for name, pictures in kinds.items():
        found: dict[str, list[float]] = {}
        for i, crop in enumerate(pictures.clamp(-1, 1)):
            after = invert_one(inverter, crop, Trial(_best(inverter)))
            for when, one in {"before": after.initial, "after": after}.items():
                for key, value in measures(model, one.tensor, crop[None].to(model.device)).items():
                    found.setdefault(f"{key}_{when}", []).append(math.nan if value is None else value)
            if not i or name in own:
                drawn = [after.initial, after, *(after.edit(edit, s) for edit, s in edits.items())]
                rows.append([crop, *(each.tensor[0].cpu() for each in drawn)])
                labels.append(name)
        means = {key: torch.tensor(values).nanmean().item() for key, values in found.items()}
        table.append({"kind": name, **{key: None if math.isnan(m) else m for key, m in means.items()}})
    columns = [Column("kind", "pictures")]
    for each in measures.chosen:
        if each.key in TOLD:
            columns += [
                Column(f"{each.key}_{when}", f"{each.title} {when}", each.digits) for when in ("before", "after")
            ]
    about = f"Means over {len(crops)} pictures of each filter, before and after refinement."
    return gallery(heads, labels, rows, caption), Table(
        "out_of_domain", "By kind of picture", about, tuple(columns), table
    )


def _best(inverter: HyperStyleInverter) -> str:
    return inverter.methods[0]


def _crop(inversion: Inversion) -> Tensor:
    """What was inverted [3,h,w]."""
    crop = inversion.crop
    if crop is None:
        raise TypeError("inversions of a report have their crops")
    return crop[0].cpu()
