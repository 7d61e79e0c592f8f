"""Figure 6 from the journal: what is left of a person where an edit has had the same measured effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from hyperstyle.evaluation.editing import strengths_of
from hyperstyle.evaluation.equal_effect import compared
from hyperstyle.evaluation.report.journal import Record
from hyperstyle.evaluation.report.tables import Column, Table, Value
from hyperstyle.model.parts import Model

__all__ = ["Effect", "effect_tables", "effects"]


@dataclass(frozen=True)
class Effect:
    """One edit of one method's inversions.

    Attributes:
        edit, trait, method: their names.
        points: (measured change in population standard deviations, mean identity to the input), by rising change, the
            same changes and images for all methods.
        mean: identity over the points but that of no change; None where there are no others.
        reach: (lowest, highest) mean change at the ends of the edit's range.
        images: how many there are.
    """

    edit: str
    trait: str
    method: str
    points: tuple[tuple[float, float], ...]
    mean: float | None
    reach: tuple[float, float]
    pictures: int


def effects(
    model: Model, rows: Mapping[str, Sequence[Record]], edits: Sequence[str], *, points: int
) -> tuple[Effect, ...]:
    """Compares methods at equal measured change, as `equal_effect.compare` does.

    Args:
        model: whose edits.
        rows: method -> journal rows with edits, of the same images in the same order.
        edits: names.
        points: strengths over the range of each edit, as measured.
    """
    found: list[Effect] = []
    for edit in edits:
        info = model.edits[edit].info
        strengths = strengths_of(info.low, info.high, points)
        read = {
            method: tuple(
                torch.tensor([row["edits"][edit][key] for row in those], dtype=torch.float64)
                for key in ("changes", "identities")
            )
            for method, those in rows.items()
        }
        changes = {method: change for method, (change, _) in read.items()}
        alike = {method: identity for method, (_, identity) in read.items()}
        for method, (means, mean) in compared(strengths, changes, alike).items():
            curve = tuple((point.change, point.identity) for point in means)
            ends = read[method][0].mean(0)
            reach = ends.min().item(), ends.max().item()
            found.append(Effect(edit, info.trait or "", method, curve, mean, reach, len(changes[method])))
    return tuple(found)


def effect_tables(found: Mapping[str, Sequence[Effect]]) -> list[Table]:
    """Figure 6 as numbers: a table of its points, and one of its means; none where nothing was edited.

    Args:
        found: effects by the group of methods that are compared.
    """
    points: list[dict[str, Value]] = []
    means: list[dict[str, Value]] = []
    for group, every in found.items():
        for one in every:
            about: dict[str, Value] = {"group": group, "edit": one.edit, "trait": one.trait, "method": one.method}
            points += [{**about, "change": change, "identity": identity} for change, identity in one.points]
            low, high = one.reach
            means.append({**about, "identity": one.mean, "low": low, "high": high, "pictures": one.pictures})
    tables = {"figure6": points, "figure6_means": means} if means else {}
    return [
        Table(key, "Figure 6", "", tuple(Column(k, k) for k in rows[0]), rows) for key, rows in tables.items() if rows
    ]
