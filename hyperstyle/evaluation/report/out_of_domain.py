"""Images that no training set held anything like, before and after refinement, and edited (paper, Figure 8)."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from hyperstyle.evaluation.engine import Study, Trial, invert_one
from hyperstyle.evaluation.images import EvaluationImages, digest
from hyperstyle.evaluation.journal import Record
from hyperstyle.evaluation.measures import Measures
from hyperstyle.evaluation.report.filters import FILTERS
from hyperstyle.evaluation.report.galleries import Gallery, gallery
from hyperstyle.evaluation.tables import Column, Table, Value
from hyperstyle.images import load_image, save_image, to_images
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import make_folder

__all__ = ["ON_THE_PAGE", "out_of_domain"]

ON_THE_PAGE = ("l2", "lpips", "perceptual", "identity")
"""Figures of images out of the domain that the page has; the files have all."""


@dataclass(frozen=True)
class _Crop:
    """A crop [3,h,w] of a kind of images, and whether the gallery shows it."""

    kind: str
    name: str
    crop: Tensor
    is_shown: bool


def out_of_domain(
    study: Study, inverter: HyperStyleInverter, count: int, photos: EvaluationImages | None, edits: Mapping[str, float]
) -> tuple[Gallery, Table]:
    """Inverts filtered images, and others, by the model's best method; the journal keeps the figures of each.

    Args:
        study: its first images are filtered, and one of each filter is shown.
        inverter: the model.
        count: how many are filtered.
        photos: others, taken as they are; all are shown.
        edits: names and strengths.
    """
    columns = ["before", "refined", *(f"{name} {strength:+g}" for name, strength in edits.items())]
    labels: list[str] = []
    rows: list[list[Tensor | Image.Image]] = []
    kinds: dict[str, list[Record]] = {}
    for image in _crops(study, count, photos):
        record, rendered = _inverted(study, inverter, image, edits, columns)
        kinds.setdefault(image.kind, []).append(record)
        if image.is_shown:
            labels.append(image.kind)
            rows.append([image.crop, *rendered])
    return gallery(["image", *columns], rows, labels), _table(kinds, study.measures, count)


def _crops(study: Study, count: int, photos: EvaluationImages | None) -> Iterator[_Crop]:
    for kind, look in {"unfiltered": None, **FILTERS}.items():
        for i, name in enumerate(study.images.names[:count]):
            crop = study.images.load(i)
            filtered = crop if look is None else look(crop[None])[0]
            yield _Crop(kind, name, filtered.clamp(-1, 1), i == 0)
    if photos is not None:
        for i, name in enumerate(photos.names):
            yield _Crop(name, name, photos.load(i), True)


def _inverted(
    study: Study, inverter: HyperStyleInverter, image: _Crop, edits: Mapping[str, float], columns: Sequence[str]
) -> tuple[Record, list[Image.Image]]:
    """Its row, from the journal where it is there, and what the gallery shows of it."""
    if study.folder is None:
        raise TypeError("images out of the domain are kept in the folder of the study")
    crop, method, model = digest(image.crop), f"out-of-domain:{image.kind}", inverter.model
    titles = list(columns) if image.is_shown else []
    files = [study.folder / "out-of-domain" / f"{crop}-{i}.png" for i in range(len(titles))]
    row = study.journal.get(method, image.name)
    if row is None or row["crop"] != crop or row["drawn"] != titles or not all(file.exists() for file in files):
        after = invert_one(inverter, image.crop, Trial(inverter.methods[0]))
        figures: dict[str, Any] = {
            when: study.measures(model, inversion.tensor, image.crop[None].to(model.device))
            for when, inversion in {"before": after.initial, "after": after}.items()
        }
        if image.is_shown:
            make_folder(files[0].parent)
            inversions = [after.initial, after, *(after.edit(name, strength) for name, strength in edits.items())]
            for inversion, file in zip(inversions, files, strict=True):
                save_image(to_images(model.domain.resize_to_input(inversion.tensor))[0], file)
        row = {"method": method, "picture": image.name, "kind": image.kind, "crop": crop, "drawn": titles}
        row["figures"] = figures
        study.journal.add(row)
    return row, [load_image(file) for file in files]


def _table(kinds: Mapping[str, Sequence[Record]], measures: Measures, count: int) -> Table:
    """Means over the images of each kind that have a figure both before and after refinement."""
    rows: list[dict[str, Value]] = []
    marks: dict[tuple[int, str], bool] = {}
    for kind, records in kinds.items():
        row: dict[str, Value] = {"kind": kind, "images": len(records)}
        for measure in measures.chosen:
            key = measure.key
            pairs = [(record["figures"]["before"][key], record["figures"]["after"][key]) for record in records]
            pairs = [pair for pair in pairs if None not in pair]
            before, after = (statistics.fmean(pair[i] for pair in pairs) if pairs else None for i in (0, 1))
            row |= {f"{key}_before": before, f"{key}_after": after}
            if before is not None and after is not None:
                marks[len(rows), f"{key}_after"] = (after < before) == (measure.better == "low")
            if len(pairs) < len(records):
                row[f"{key}_left_out"] = len(records) - len(pairs)
        rows.append(row)
    columns = [Column("kind", "images")]
    for measure in measures.chosen:
        key, title, form = measure.key, measure.title, f".{measure.digits}f"
        if key in ON_THE_PAGE:
            columns += [Column(f"{key}_{when}", f"{title} {when}", form) for when in ("before", "after")]
            if any(f"{key}_left_out" in row for row in rows):
                columns.append(Column(f"{key}_left_out", "left out"))
    about = f"Means over {count} images of each filter; green where refinement improves the figure."
    return Table("out_of_domain", "By kind of image", about, tuple(columns), rows, marks)
