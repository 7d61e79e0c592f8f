"""Figure 6 from the journal: what is left of a person where an edit has had the same measured effect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from hyperstyle.evaluation.editing import strengths_of
from hyperstyle.evaluation.equal_effect import at_changes
from hyperstyle.evaluation.report.journal import Record
from hyperstyle.model import Model

__all__ = ["Effect", "effects"]

_STEP = 0.25  # population standard deviations


@dataclass(frozen=True)
class Effect:
    """One edit of one method's inversions.

    Attributes:
        edit, trait, method: their names.
        points: (measured change in population standard deviations, mean identity to the input), by rising change, the
            same changes and pictures for all methods.
        mean: identity over the points but that of no change; None where there are no others.
        reach: (lowest, highest) mean change at the ends of the edit's range.
        pictures: how many there are.
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
        rows: method -> journal rows with edits, of the same pictures in the same order.
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
        most = max(change.abs().max().item() for change, _ in read.values())
        wanted = [_STEP * k for k in range(-math.ceil(most / _STEP), math.ceil(most / _STEP) + 1)]
        values = {m: at_changes(strengths, change, alike, wanted) for m, (change, alike) in read.items()}
        reached = torch.stack([one.isfinite() for one in values.values()]).all(0)  # [N,T]
        kept = [j for j in range(len(wanted)) if 4 * int(reached[:, j].sum()) >= len(reached)]
        for method, one in values.items():
            curve = tuple((wanted[j], one[reached[:, j], j].mean().item()) for j in kept)
            moved = [identity for change, identity in curve if change]
            mean = sum(moved) / len(moved) if moved else None
            ends = read[method][0].mean(0)
            reach = ends.min().item(), ends.max().item()
            found.append(Effect(edit, info.trait or "", method, curve, mean, reach, len(reached)))
    return tuple(found)
