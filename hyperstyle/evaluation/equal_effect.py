"""What is left of a person at equal effect of an edit, for several ways to invert (paper, Figure 6).

The same strength moves the images of one method more than those of another, so identities are compared at equal
measured change of the edited trait, trait(edit) - trait(inversion).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import MethodError
from hyperstyle.evaluation.editing import population_std, strengths_of
from hyperstyle.evaluation.journal import Record
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.model.parts import Model

__all__ = ["EffectCurve", "EffectPoint", "at_changes", "compared", "effect_curves", "read_edits"]

_STEP = 0.25  # from one compared change to the next, in population standard deviations of the trait


@dataclass(frozen=True)
class EffectPoint:
    """Where the edit has changed its trait by so much.

    Attributes:
        change: measured, in standard deviations of the population.
        identity: cosine similarity to the images that were inverted, the mean.
        pictures: how many images it is the mean of: those that the edit changes so far with every method.
    """

    change: float
    identity: float
    pictures: int


@dataclass(frozen=True)
class EffectCurve:
    """One edit of the inversions of one method.

    Attributes:
        edit, trait, method: their names.
        points: by rising change; the same changes and images for all methods.
        mean: identity, the mean over the points but that of no change; None where there are no others.
        strengths: rising, 0 among them.
        changes, identities: what the points are computed from, a row for each image, a figure for each strength.
    """

    edit: str
    trait: str
    method: str
    points: tuple[EffectPoint, ...]
    mean: float | None
    strengths: tuple[float, ...]
    changes: tuple[tuple[float, ...], ...]
    identities: tuple[tuple[float, ...], ...]

    @property
    def reach(self) -> tuple[float, float]:
        """(lowest, highest) mean change over the edit's range."""
        means = torch.tensor(self.changes, dtype=torch.float64).mean(0)
        return means.min().item(), means.max().item()


def read_edits(inversion: Inversion, edits: Sequence[str], *, points: int) -> dict[str, dict[str, list[float]]]:
    """What the model's evaluator reads of one inversion at strengths over the range of each edit.

    Args:
        inversion: of one image whose crop is known.
        edits: names, of edits whose traits the evaluator reads.
        points: strengths from the low to the high end of an edit's range, and 0.

    Returns:
        Edit -> "changes" of its trait, in standard deviations of the population, and "identities", the similarity to
        the crop: a figure for each strength of `strengths_of`.
    """
    readings = {}
    for name in edits:
        info = inversion.model.edits[name].info
        trait = info.trait or ""
        change, identity = _read(inversion, name, strengths_of(info.low, info.high, points), trait)
        change = change / population_std([trait])[trait]
        readings[name] = {"changes": change.tolist(), "identities": identity.tolist()}
    return readings


def _read(inversion: Inversion, edit: str, strengths: Sequence[float], trait: str) -> tuple[Tensor, Tensor]:
    """Change of the trait and identity similarity to the crop, [S] each, as the evaluator sees them."""
    evaluator, domain = inversion.model.evaluator, inversion.model.domain
    edited = inversion.edit(edit, strengths)
    if evaluator is None or edited.crop is None:
        raise MethodError("editing is measured by an evaluator, on inversions of known crops.")
    column = evaluator.config.traits.index(trait)
    with torch.no_grad():
        before = evaluator(domain.resize_to_input(inversion.tensor))[:, column]
        images = domain.resize_to_input(edited.tensor)  # [S,3,h,w]
        change = evaluator(images)[:, column] - before
        identity = metrics.identity(images, edited.crop, evaluator)
    return change.cpu(), identity.cpu()


def effect_curves(
    model: Model, rows: Mapping[str, Sequence[Record]], edits: Sequence[str], *, points: int
) -> tuple[EffectCurve, ...]:
    """Compares methods where the evaluator says that their edits did the same.

    Every image is taken at the least strength that reaches a change. Changes that fewer than a quarter of the
    images reach with all methods are left out, and so are images that do not reach them with all methods.

    Args:
        model: whose edits.
        rows: method -> rows of the engine with "edits", of the same images in the same order.
        edits: names.
        points: strengths over the range of each edit, as measured.

    Returns:
        For every edit a curve for each method.
    """
    curves: list[EffectCurve] = []
    for edit in edits:
        info = model.edits[edit].info
        strengths = strengths_of(info.low, info.high, points)
        changes, identities = (
            {m: [row["edits"][edit][key] for row in records] for m, records in rows.items()}
            for key in ("changes", "identities")
        )
        for method, (curve, mean) in compared(strengths, _tensors(changes), _tensors(identities)).items():
            read = tuple(map(tuple, changes[method])), tuple(map(tuple, identities[method]))
            curves.append(EffectCurve(edit, info.trait or "", method, curve, mean, strengths, *read))
    return tuple(curves)


def _tensors(values: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Tensor]:
    return {method: torch.tensor(table, dtype=torch.float64) for method, table in values.items()}  # [N,S]


def compared(
    strengths: Sequence[float], changes: Mapping[str, Tensor], values: Mapping[str, Tensor]
) -> dict[str, tuple[tuple[EffectPoint, ...], float | None]]:
    """Method -> its points at the changes that a quarter of the images reach with every method, and their mean.

    Args:
        strengths: S rising numbers, 0 among them.
        changes, values: method -> [N,S], of the same images.
    """
    reach = math.ceil(max(change.abs().max().item() for change in changes.values()) / _STEP)
    grid = [_STEP * k for k in range(-reach, reach + 1)]  # T changes
    at_grid = {method: at_changes(strengths, change, values[method], grid) for method, change in changes.items()}
    reached = torch.stack([at.isfinite() for at in at_grid.values()]).all(0)  # [N,T]
    frequent = [j for j in range(len(grid)) if 4 * int(reached[:, j].sum()) >= len(reached)]
    result: dict[str, tuple[tuple[EffectPoint, ...], float | None]] = {}
    for method, at in at_grid.items():
        points = tuple(
            EffectPoint(grid[j], at[reached[:, j], j].mean().item(), int(reached[:, j].sum())) for j in frequent
        )
        moved = [point.identity for point in points if point.change]
        result[method] = points, sum(moved) / len(moved) if moved else None
    return result


def at_changes(strengths: Sequence[float], changes: Tensor, values: Tensor, goals: Sequence[float]) -> Tensor:
    """Values of every image at the least strength at which the edit has changed its trait so far.

    Between two strengths both are taken as linear. Strengths above 0 are followed for changes above 0, those below 0
    for changes below 0.

    Args:
        strengths: S rising numbers, 0 among them.
        changes, values: [N,S].
        goals: T changes.

    Returns:
        [N,T] float64, NaN where the change is not reached.
    """
    zero = list(strengths).index(0.0)
    result = torch.full((len(changes), len(goals)), torch.nan, dtype=torch.float64)
    for j, goal in enumerate(goals):
        if not goal:
            result[:, j] = values[:, zero]
            continue
        sign = 1 if goal > 0 else -1
        for i, (change, value) in enumerate(zip(changes.tolist(), values.tolist(), strict=True)):
            path = [(sign * c, v) for c, v in zip(change, value, strict=True)]
            path = path[zero:] if goal > 0 else path[zero::-1]  # outwards from strength 0
            for (before, low), (after, high) in pairwise(path):
                if before < abs(goal) <= after:
                    result[i, j] = low + (high - low) * (abs(goal) - before) / (after - before)
                    break
    return result
