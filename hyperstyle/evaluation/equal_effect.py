"""Compares how well inversion methods preserve identity under edits of equal measured effect (paper, Figure 6).

The same edit strength changes the images of one method more than those of another. So identity similarities are
compared where the measured change of the edited trait, trait(edited image) - trait(unedited inversion), is the same.
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
from hyperstyle.evaluation.editing import strengths_of
from hyperstyle.evaluation.held_out import attribute_deviations
from hyperstyle.evaluation.journal import Record
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.model.parts import Model

_STEP = 0.25  # from one compared change to the next, in population standard deviations of the trait


@dataclass(frozen=True)
class EffectPoint:
    """The identity that a method preserves where the edit has changed its trait by a given amount.

    Attributes:
        change: of the trait, in standard deviations of the population: a multiple of 0.25, negative, 0 or positive.
        identity: mean cosine similarity of the edited images to the crops that were inverted.
        pictures: number of images that the mean is over: those that reach this change with every method.
    """

    change: float
    identity: float
    pictures: int


@dataclass(frozen=True)
class EffectCurve:
    """The points of one edit and one method.

    Attributes:
        edit, trait, method: names of the edit, of the trait that it changes, and of the inversion method.
        points: in ascending order of change; all methods have the same changes and use the same images at each.
        mean: mean identity over the points, except the point of change 0; None if there is no other.
        strengths: S edit strengths in ascending order, 0 among them.
        changes, identities: N x S, per image and strength: what the points are computed from.
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
    def change_range(self) -> tuple[float, float]:
        """(lowest, highest) change of the trait: the mean over the images at each strength, of all strengths."""
        means = torch.tensor(self.changes, dtype=torch.float64).mean(0)
        return means.min().item(), means.max().item()


def measure_effects(inversion: Inversion, edits: Sequence[str], *, points: int) -> dict[str, dict[str, list[float]]]:
    """Applies each edit to one inversion at strengths over its range; measures change of its trait, and identity.

    Args:
        inversion: of one image; it must hold the crop that was inverted.
        edits: names of edits whose traits the model's evaluator measures.
        points: number of strengths, spread evenly over the range of each edit; 0 is added if it is not among them.

    Returns:
        Edit -> {"changes": ..., "identities": ...}, with one number for each of the `strengths_of` the edit: the
        change of its trait against the unedited inversion, in standard deviations of the population, and the cosine
        similarity of the identity to that of the crop.

    Raises:
        MethodError: the model has no evaluator, or the inversion no crop.
    """
    model, domain = inversion.model, inversion.model.domain
    if model.evaluator is None or inversion.crop is None:
        raise MethodError("editing is measured by an evaluator, on inversions of known crops.")
    readings = {}
    for name in edits:
        info = model.edits[name].info
        trait = info.trait or ""
        column = model.evaluator.config.traits.index(trait)
        edited = inversion.edit(name, strengths_of(info.low, info.high, points))
        with torch.no_grad():
            before = model.evaluator(domain.resize_to_input(inversion.tensor))[:, column]
            images = domain.resize_to_input(edited.tensor)  # [S,3,h,w]
            change = (model.evaluator(images)[:, column] - before).cpu() / attribute_deviations()[trait]
            identity = metrics.identity(images, inversion.crop.repeat(len(images), 1, 1, 1), model.evaluator).cpu()
        readings[name] = {"changes": change.tolist(), "identities": identity.tolist()}
    return readings


def effect_curves(
    model: Model, rows: Mapping[str, Sequence[Record]], edits: Sequence[str], *, points: int
) -> tuple[EffectCurve, ...]:
    """Compares the identity that methods preserve at equal changes of the trait, as the evaluator measures them.

    At each change, an image is taken at the smallest strength that reaches it (`at_changes`), and only images that
    reach it with every method count. A change that fewer than a quarter of the images reach with every method has no
    point.

    Args:
        model: holds the edits.
        rows: method -> one record per image, whose "edits" are what `measure_effects` returned; all methods have the
            same images in the same order.
        edits: names of the edits to compare.
        points: as it was passed to `measure_effects`.

    Returns:
        One curve for each edit and method; the methods of one edit follow each other.
    """
    curves: list[EffectCurve] = []
    for edit in edits:
        info = model.edits[edit].info
        strengths = strengths_of(info.low, info.high, points)
        changes, identities = (
            {
                method: torch.tensor([row["edits"][edit][key] for row in records], dtype=torch.float64)
                for method, records in rows.items()
            }
            for key in ("changes", "identities")
        )  # [N,S] each
        limit = math.ceil(max(change.abs().max().item() for change in changes.values()) / _STEP)
        grid = [_STEP * k for k in range(-limit, limit + 1)]  # T changes
        at_grid = {method: at_changes(strengths, changes[method], identities[method], grid) for method in rows}
        reached = torch.stack([at.isfinite() for at in at_grid.values()]).all(0)  # [N,T]
        frequent = [j for j in range(len(grid)) if 4 * int(reached[:, j].sum()) >= len(reached)]
        for method, at in at_grid.items():
            curve = tuple(
                EffectPoint(grid[j], at[reached[:, j], j].mean().item(), int(reached[:, j].sum())) for j in frequent
            )
            moved = [point.identity for point in curve if point.change]
            mean = sum(moved) / len(moved) if moved else None
            read = (tuple(map(tuple, values[method].tolist())) for values in (changes, identities))
            curves.append(EffectCurve(edit, info.trait or "", method, curve, mean, strengths, *read))
    return tuple(curves)


def at_changes(strengths: Sequence[float], changes: Tensor, values: Tensor, goals: Sequence[float]) -> Tensor:
    """The value of every image at the strength nearest to 0 at which the change of its trait reaches each goal.

    Changes and values are interpolated linearly between neighboring strengths. A goal above 0 is searched for from
    strength 0 upwards, one below 0 from strength 0 downwards; for a goal of 0 it is the value at strength 0.

    Args:
        strengths: S numbers in ascending order, 0 among them.
        changes: [N,S] change of the trait of each image at each strength.
        values: [N,S] what is asked for, such as the identity similarity.
        goals: T changes.

    Returns:
        [N,T] float64, NaN where an image does not reach the goal.
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
