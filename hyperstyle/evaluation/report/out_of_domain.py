"""Images that no training set held anything like, before and after refinement, and edited (paper, Figure 8)."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from hyperstyle.evaluation.methods import Trial
from hyperstyle.evaluation.report.filters import FILTERS
from hyperstyle.evaluation.report.gallery import Gallery, gallery
from hyperstyle.evaluation.report.images import TestImages, digest
from hyperstyle.evaluation.report.journal import Record
from hyperstyle.evaluation.report.measures import Measures
from hyperstyle.evaluation.report.study import Study, invert_one
from hyperstyle.evaluation.report.tables import Column, Table, Value
from hyperstyle.images import load_image, save_image, to_images
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import make_folder

__all__ = ["TOLD", "out_of_domain"]

TOLD = ("l2", "lpips", "perceptual", "identity")
"""Figures of images out of the domain that the page has; the files have all."""


@dataclass(frozen=True)
class _Crop:
    """A crop [3,h,w] of a kind of images, and whether it is shown."""

    kind: str
    name: str
    crop: Tensor
    shown: bool


def out_of_domain(
    study: Study,
    inverter: HyperStyleInverter,
    count: int,
    photos: TestImages | None,
    edits: Mapping[str, float],
    caption: str,
) -> tuple[Gallery, Table]:
    """Inverts filtered images, and others, by the model's best method; the journal keeps the figures of each.

    Args:
        study: its first images are filtered, and one of each filter is shown.
        inverter: the model.
        count: how many are filtered.
        photos: others, taken as they are; all are shown.
        edits: names and strengths.
        caption: of the gallery.
    """
    heads = ["image", "before", "refined", *(f"{name} {strength:+g}" for name, strength in edits.items())]
    labels: list[str] = []
    rows: list[list[Tensor | Image.Image]] = []
    kinds: dict[str, list[Record]] = {}
    for image in _crops(study, count, photos):
        row, shown_images = _inverted(study, inverter, image, edits, heads[1:])
        kinds.setdefault(image.kind, []).append(row)
        if image.shown:
            labels.append(image.kind)
            rows.append([image.crop, *shown_images])
    return gallery(heads, labels, rows, caption), _table(kinds, study.measures, count)


def _crops(study: Study, count: int, photos: TestImages | None) -> Iterator[_Crop]:
    for kind, look in {"unfiltered": None, **FILTERS}.items():
        for i, name in enumerate(study.images.names[:count]):
            crop = study.images.load(i)
            yield _Crop(kind, name, (crop if look is None else look(crop[None])[0]).clamp(-1, 1), not i)
    if photos is not None:
        for i, name in enumerate(photos.names):
            yield _Crop(name, name, photos.load(i), True)


def _inverted(
    study: Study, inverter: HyperStyleInverter, image: _Crop, edits: Mapping[str, float], heads: Sequence[str]
) -> tuple[Record, list[Image.Image]]:
    """Its row, from the journal where it is there, and what is shown of it."""
    crop, method, model = digest(image.crop), f"out-of-domain:{image.kind}", inverter.model
    shown_images = list(heads) if image.shown else []
    files = [study.folder / "out-of-domain" / f"{crop}-{i}.png" for i in range(len(shown_images))]
    row = study.journal.get(method, image.name)
    if row is None or row["crop"] != crop or row["drawn"] != shown_images or not all(file.exists() for file in files):
        after = invert_one(inverter, image.crop, Trial(inverter.methods[0]))
        figures: dict[str, Any] = {
            when: study.measures(model, one.tensor, image.crop[None].to(model.device))
            for when, one in {"before": after.initial, "after": after}.items()
        }
        if image.shown:
            make_folder(files[0].parent)
            made = [after.initial, after, *(after.edit(name, strength) for name, strength in edits.items())]
            for one, file in zip(made, files, strict=True):
                save_image(to_images(model.domain.resize_to_input(one.tensor))[0], file)
        row = {"method": method, "picture": image.name, "kind": image.kind, "crop": crop, "drawn": shown_images}
        row["figures"] = figures
        study.journal.add(row)
    return row, [load_image(file) for file in files]


def _table(kinds: Mapping[str, Sequence[Record]], measures: Measures, count: int) -> Table:
    """Means over the images of each kind that have a figure both before and after refinement."""
    table: list[dict[str, Value]] = []
    for kind, rows in kinds.items():
        line: dict[str, Value] = {"kind": kind, "images": len(rows)}
        for one in measures.chosen:
            pairs = [(row["figures"]["before"][one.key], row["figures"]["after"][one.key]) for row in rows]
            pairs = [pair for pair in pairs if None not in pair]
            for i, when in enumerate(("before", "after")):
                line[f"{one.key}_{when}"] = statistics.fmean(pair[i] for pair in pairs) if pairs else None
            if len(pairs) < len(rows):
                line[f"{one.key}_left_out"] = len(rows) - len(pairs)
        table.append(line)
    columns = [Column("kind", "images")]
    for one in measures.chosen:
        if one.key in TOLD:
            columns += [Column(f"{one.key}_{when}", f"{one.title} {when}", one.digits) for when in ("before", "after")]
            if any(f"{one.key}_left_out" in line for line in table):
                columns.append(Column(f"{one.key}_left_out", "left out"))
    about = f"Means over {count} images of each filter, before and after refinement."
    return Table("out_of_domain", "By kind of image", about, tuple(columns), table)
