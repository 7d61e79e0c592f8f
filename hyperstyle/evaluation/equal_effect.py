"""What is left of a person at equal effect of an edit, for several ways to invert (paper, Figure 6)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.evaluation.editing import measurable_edits, population_std, strengths_of
from hyperstyle.evaluation.figures import Progress, checked
from hyperstyle.evaluation.optimized import Optimization, perceptual_network
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.registry import Steps, by_networks
from hyperstyle.model.parts import Model

__all__ = ["EffectCurve", "EffectPoint", "EqualEffect", "at_changes", "compare", "evaluate_equal_effect"]

_STEP = 0.25  # from one compared change to the next, in population standard deviations of the trait


@dataclass(frozen=True)
class EffectPoint:
    """Where the edit has changed its trait by so much.

    Attributes:
        change: measured, in standard deviations of the population.
        identity: cosine similarity to the images that were inverted, the mean.
        images: how many it is the mean of: those that the edit changes so far with every method.
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
        changes, identities: what the points are made of, a row for each image, a figure for each strength.
    """

    edit: str
    trait: str
    method: str
    points: tuple[EffectPoint, ...]
    mean: float | None
    strengths: tuple[float, ...]
    changes: tuple[tuple[float, ...], ...]
    identities: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class EqualEffect:
    """What `evaluate_equal_effect` found: for every edit a curve for each method, all on the same images."""

    curves: tuple[EffectCurve, ...]
    images: int


def evaluate_equal_effect(
    inverter: HyperStyleInverter,
    crops: Tensor,
    edits: Sequence[str] | None = None,
    *,
    points: int = 9,
    optimized: Optimization | None = None,
    on_progress: Progress | None = None,
) -> EqualEffect:
    """Edits inversions of every method and compares them where the evaluator says that the edits did the same.

    The same strength moves the images of one method more than those of another, so identities are compared at equal
    measured change of the trait, trait(edit) - trait(inversion), as `compare` says. The methods are those of the model
    and, with `optimized`, two that fit each image by the model's perceptual network; the evaluator only measures:

    - `pti`: a generator tuned to the image at the code of W optimization. The edit moves that code.
    - `optimize-w+`: the projector with a row of its own for every layer. The edit moves all rows alike.

    Args:
        inverter: a model with an evaluator.
        crops: [N,3,h,w] in [-1,1] at the domain's input size.
        edits: names; None is every edit of the model.
        points: strengths from the low to the high end of an edit's range; 0 comes on top where it is not one of them.
        optimized: how many images, the first ones, and steps: `projection` for both codes, `tuning` for PTI. Every
            method then inverts these images only. None: the methods of the model, on all images.
        on_progress: called while it goes on.

    Raises:
        MethodError: the model has no evaluator, or no perceptual network where one is needed.
        EditError: an unknown edit, or some that do not name a trait that the evaluator reads.
        ConfigError: no images, or of another size; fewer than 2 points.
    """
    model = inverter.model
    names = measurable_edits(model, edits)
    if points < 2:
        raise ConfigError(f"points={points}: expected 2 strengths or more.")
    crops = checked(model, crops if optimized is None else crops[: optimized.images])
    methods: dict[str, Steps | None] = dict.fromkeys(by_networks(model))
    if optimized is not None:
        perceptual_network(model)
        methods["pti"] = {"optimize-w": optimized.projection, "pti": optimized.tuning}
        methods["optimize-w+"] = optimized.projection
    ways = {method: _by_name(inverter, crops, method, steps, on_progress) for method, steps in methods.items()}
    return EqualEffect(compare(model, ways, names, points=points), len(crops))


def compare(
    model: Model, ways: Mapping[str, Iterable[Inversion]], edits: Sequence[str], *, points: int
) -> tuple[EffectCurve, ...]:
    """Edits the inversions of every method, and compares them where the evaluator says that the edits did the same.

    Every image is taken at the least strength that reaches a change. Changes that fewer than a quarter of the
    images reach with all methods are left out, and so are images that do not reach them with all methods.

    Args:
        model: with an evaluator.
        ways: for each method inversions of the same images; each is needed only until the next is asked for.
        edits: names, of edits whose traits the evaluator reads.
        points: strengths from the low to the high end of an edit's range, and 0.

    Returns:
        For every edit a curve for each method.
    """
    infos = {name: model.edits[name].info for name in edits}
    traits = {name: info.trait or "" for name, info in infos.items()}
    spread = population_std(list(traits.values()))
    strengths = {name: strengths_of(info.low, info.high, points) for name, info in infos.items()}
    read: dict[tuple[str, str], list[tuple[Tensor, Tensor]]] = {(n, m): [] for n in edits for m in ways}
    for method, inversions in ways.items():
        for inversion in inversions:
            for name in edits:
                read[name, method].append(_read(inversion, name, strengths[name], traits[name]))
    curves: list[EffectCurve] = []
    for name in edits:
        joined = {m: tuple(torch.cat(part) for part in zip(*read[name, m], strict=True)) for m in ways}
        changes = {m: change / spread[traits[name]] for m, (change, _) in joined.items()}
        alike = {method: identities for method, (_, identities) in joined.items()}
        for method, (curve, mean) in compared(strengths[name], changes, alike).items():
            rows = _rows(changes[method]), _rows(alike[method])
            curves.append(EffectCurve(name, traits[name], method, curve, mean, tuple(strengths[name]), *rows))
    return tuple(curves)


def at_changes(strengths: Sequence[float], changes: Tensor, values: Tensor, wanted: Sequence[float]) -> Tensor:
    """Values of every image at the least strength at which the edit has changed its trait so far.

    Between two strengths both are taken as linear. Strengths above 0 are followed for changes above 0, those below 0
    for changes below 0.

    Args:
        strengths: S rising numbers, 0 among them.
        changes, values: [N,S].
        wanted: T changes.

    Returns:
        [N,T] float64, NaN where the change is not reached.
    """
    zero = list(strengths).index(0.0)
    found = torch.full((len(changes), len(wanted)), torch.nan, dtype=torch.float64)
    for j, goal in enumerate(wanted):
        if not goal:
            found[:, j] = values[:, zero]
            continue
        sign = 1 if goal > 0 else -1
        for i, (change, value) in enumerate(zip(changes.tolist(), values.tolist(), strict=True)):
            way = [(sign * c, v) for c, v in zip(change, value, strict=True)]
            way = way[zero:] if goal > 0 else way[zero::-1]  # outwards from strength 0
            for (before, low), (after, high) in pairwise(way):
                if before < abs(goal) <= after:
                    found[i, j] = low + (high - low) * (abs(goal) - before) / (after - before)
                    break
    return found


def compared(
    strengths: Sequence[float], changes: Mapping[str, Tensor], values: Mapping[str, Tensor]
) -> dict[str, tuple[tuple[EffectPoint, ...], float | None]]:
    """Method -> its points at the changes that a quarter of the images reach with every method, and their mean.

    Args:
        strengths: S rising numbers, 0 among them.
        changes, values: method -> [N,S], of the same images.
    """
    reach = math.ceil(max(change.abs().max().item() for change in changes.values()) / _STEP)
    wanted = [_STEP * k for k in range(-reach, reach + 1)]
    found = {m: at_changes(strengths, change, values[m], wanted) for m, change in changes.items()}  # [N,T]
    reached = torch.stack([one.isfinite() for one in found.values()]).all(0)
    kept = [j for j in range(len(wanted)) if 4 * int(reached[:, j].sum()) >= len(reached)]
    result: dict[str, tuple[tuple[EffectPoint, ...], float | None]] = {}
    for method, one in found.items():
        points = tuple(
            EffectPoint(wanted[j], one[reached[:, j], j].mean().item(), int(reached[:, j].sum())) for j in kept
        )
        moved = [point.identity for point in points if point.change]
        result[method] = points, sum(moved) / len(moved) if moved else None
    return result


def _rows(table: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())


def _read(inversion: Inversion, edit: str, strengths: Sequence[float], trait: str) -> tuple[Tensor, Tensor]:
    """Change of the trait and identity similarity to the crop, [B,S] each, as the evaluator sees them."""
    evaluator, domain = inversion.model.evaluator, inversion.model.domain
    edited = inversion.edit(edit, strengths)  # every image at every strength
    if evaluator is None or edited.crop is None:
        raise MethodError("editing is measured by an evaluator, on inversions of known crops.")
    column, shape = evaluator.config.traits.index(trait), (len(inversion), len(strengths))
    with torch.no_grad():
        before = evaluator(domain.resize_to_input(inversion.tensor))[:, column]
        images = domain.resize_to_input(edited.tensor)
        change = evaluator(images)[:, column].view(shape) - before[:, None]
        alike = metrics.identity(images, edited.crop, evaluator).view(shape)
    return change.cpu(), alike.cpu()


def _by_name(
    inverter: HyperStyleInverter, crops: Tensor, method: str, steps: Steps | None, on_progress: Progress | None
) -> Iterator[Inversion]:
    for first in range(0, len(crops), DEFAULT_BATCH_SIZE):
        batch = list(crops[first : first + DEFAULT_BATCH_SIZE])
        yield inverter.invert(batch, method=method, steps=steps, align=False, batch_size=DEFAULT_BATCH_SIZE)
        if on_progress is not None:
            on_progress(method, first + len(batch), len(crops))
