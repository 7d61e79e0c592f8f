"""Measures what an edit does to its own trait and to all others, on images that the generator renders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.edits import Edit
from hyperstyle.edits.statistics import Progress
from hyperstyle.errors import EditError
from hyperstyle.fitting.scores import Scorer, network_scorer, render_batches, score_images
from hyperstyle.inversion.editing import apply_edit
from hyperstyle.inversion.state import InversionState
from hyperstyle.model.parts import Model
from hyperstyle.networks.perception.attributes import AttributeNetwork

_STALLED = 0.25  # fraction of the slope around 0: where a trait changes more slowly, the usable range ends
_RECOGNIZED = 0.5  # cosine similarity of identity features below which it is another person
_REPORTED_LEAK = 0.05


@dataclass(frozen=True)
class Evaluator:
    """The networks that measure edits.

    The edits must not have been fitted to scores of the same networks: those would flatter them.

    Attributes:
        scorer: images [B,3,h,w] -> scores, see `Scorer`.
        person: an embedding for identity, images [B,3,h,w] -> features [B,E], compared by cosine similarity; None if
            identity is not measured.
    """

    scorer: Scorer
    person: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def of(cls, network: AttributeNetwork) -> Evaluator:
        """The evaluator that reads all traits of an attribute network, and its identity embedding."""
        return cls(network_scorer(network), network.embedding)


@dataclass(frozen=True)
class Measured:
    """What `measure_edits` found for one edit: means over the images.

    Changes of a trait are signed, relative to strength 0, and in standard deviations of that trait over the images of
    all codes.

    Attributes:
        trait: the trait that the edit is meant to change, its own.
        strengths: the S measured strengths, in rising order; 0 is one of them.
        change: [S] mean change of the own trait at each strength.
        identity: [S] mean cosine similarity of identity features to the image at strength 0, in [-1,1]; empty if
            identity is not measured.
        low, high: ends of the usable range of strengths, `low` <= 0 <= `high`. Each side extends from 0 as long as the
            own trait changes with more than a quarter of its slope around 0, and identity is at least 0.5. An end is 0
            if already the strength next to 0 fails.
        per_unit: slope of the own trait: its mean change per unit of strength, from a least-squares line through 0
            over the usable range. Without a usable range, over the strengths next to 0.
        leak: how the edit is entangled: for each other trait its mean change for one unit of change of the own trait
            (its slope, defined likewise, over `per_unit`), with sign. Changes in opposite directions on different
            images cancel.
        images: number of images that were edited.
    """

    trait: str
    strengths: tuple[float, ...]
    change: tuple[float, ...]
    identity: tuple[float, ...]
    low: float
    high: float
    per_unit: float
    leak: Mapping[str, float] = field(default_factory=dict)
    images: int = 0

    def faults(self, *, reach: float = 1.0, leak: float = 1 / 3) -> list[str]:
        """Reasons, a phrase each, why the edit is not clean; [] if it is.

        Args:
            reach: how much the own trait must change at the ends of the usable range, up at one and
                down at the other, in standard deviations.
            leak: the largest magnitude that is allowed for the values of `Measured.leak`.
        """
        up = 1.0 if self.per_unit >= 0 else -1.0
        low, high = (up * self.change[self.strengths.index(end)] for end in (self.low, self.high))
        faults = []
        if not (low <= -reach and high >= reach):
            faults.append(f"moves its trait by no more than {up * low:+.2f} and {up * high:+.2f}")
        worst = max(self.leak, key=lambda name: abs(self.leak[name]), default=None)
        if worst is not None and abs(self.leak[worst]) > leak:
            faults.append(f"moves {worst} by {self.leak[worst]:+.2f} of its own trait")
        return faults

    def report(self) -> dict[str, Any]:
        """The results as plain values, for `EditInfo.report`, without leaks of a magnitude below 0.05."""
        return {
            "pictures": self.images,
            "strengths": list(self.strengths),
            "change": [round(value, 4) for value in self.change],
            "identity": [round(value, 4) for value in self.identity],
            "per_unit": round(self.per_unit, 4),
            "leak": {name: round(value, 3) for name, value in self.leak.items() if abs(value) >= _REPORTED_LEAK},
            "clean": not self.faults(),
            "faults": self.faults(),
        }


_Readings = tuple[Mapping[str, Tensor], Tensor | None]
"""What an evaluator read of N images: trait -> [N]; identity features [N,E], or None if it has no network for them."""


def measure_edits(
    model: Model,
    edits: Mapping[str, Edit],
    codes: Tensor,
    evaluator: Evaluator,
    *,
    strengths: Sequence[float] | None = None,
    images: int = 16,
    on_progress: Progress | None = None,
) -> dict[str, Measured]:
    """Applies edits to the images of latent codes and compares what the evaluator reads before and after.

    Args:
        model: its generator renders the images.
        edits: name -> edit. If an edit does not name its trait, that is the trait that it changes the most.
        codes: W codes [N,D], none of which any edit was fitted to. The standard deviation of each trait is computed
            from the images of all of them; the first `images` are edited.
        evaluator: reads the images.
        strengths: strengths at which every edit is measured, some below and some above 0; 0 is added. None takes four
            equal steps from 0 to each end of the edit's own range, `EditInfo.low` and `high`.
        images: number of codes that are edited.
        on_progress: see `Progress`.

    Returns:
        Name of the edit -> its results.

    Raises:
        EditError: too few codes, strengths or a range on one side of 0 only, or a trait that the evaluator does not
            read or for which it gives all images the same score.
    """
    if not 1 <= images <= len(codes) or len(codes) < 2:
        raise EditError(
            f"measuring on {images} of {len(codes)} images: expected at most as many as there are codes, of which "
            "two or more."
        )
    steps_of = {name: _steps(name, edit.info.low, edit.info.high, strengths) for name, edit in edits.items()}
    w = model.generator.broadcast(codes.to(model.generator.latent_avg))
    before = _read_all(model, w, {}, evaluator, on_progress=on_progress)
    deviations = {name: float(values[~values.isnan()].std()) for name, values in before[0].items()}
    deviations = {name: value for name, value in deviations.items() if value > 0}  # False for NaN, too
    results = {}
    for i, (name, edit) in enumerate(edits.items()):
        trait = edit.info.trait
        if trait is not None and trait not in deviations:
            raise EditError(f"edit {name!r} moves {trait!r}, which the evaluator does not read or finds equal in all.")
        results[name] = _measure_edit(model, edit, w[:images], before, deviations, steps_of[name], evaluator)
        if on_progress is not None:
            on_progress("measuring", i + 1, len(edits))
    return results


def _measure_edit(
    model: Model,
    edit: Edit,
    w: Tensor,
    before: _Readings,
    deviations: Mapping[str, float],
    steps: Sequence[float],
    evaluator: Evaluator,
) -> Measured:
    """Measures one edit at each strength of `steps`.

    Args:
        model: its generator renders the images.
        edit: the edit. If it does not name its trait, that is the one of the K traits whose mean change has the
            steepest least-squares line through 0, rising or falling.
        w: [B,L,D] the codes that are edited.
        before: what was read of unedited images, of which the first B are those of `w`.
        deviations: trait -> its standard deviation. Traits that are absent are not measured.
        steps: S strengths, with 0.
        evaluator: reads the images. NaN, for a trait that it could not read, is left out of the means.
    """
    scores, people = before
    changes, identity = [], []
    for strength in steps:
        if strength == 0:
            changes.append(torch.zeros(len(deviations), len(w)))
            identity.append(1.0)
            continue
        edited = apply_edit(model, edit, InversionState(w), torch.full((len(w),), strength).to(w))
        scores_after, people_after = _read_all(model, edited.w, edited.style_offsets, evaluator)
        moved = [(scores_after[k] - scores[k][: len(w)]) / deviation for k, deviation in deviations.items()]
        changes.append(torch.stack(moved))  # [K,B]
        if people is not None and people_after is not None:
            identity.append(F.cosine_similarity(people[: len(w)], people_after).mean().item())
    if people is None:
        identity = []
    traits, strengths = list(deviations), torch.tensor(steps)
    mean = torch.stack(changes).nanmean(2)  # [S,K]
    trait = edit.info.trait
    if trait is None:
        steepness = (strengths[:, None] * mean).sum(0).abs()  # [K]
        trait = traits[int(steepness.nan_to_num(-1.0).argmax())]  # -1: could not be read
    column = traits.index(trait)
    change = mean[:, column].tolist()
    first, last = _usable_range(steps, change, identity)
    inner = [i for i in range(first, last + 1) if steps[i] != 0]
    if not inner:  # no usable range: measured at the smallest strengths
        zero = list(steps).index(0.0)
        inner = [zero - 1, zero + 1]
    s = strengths[inner]
    slopes = (s[:, None] * mean[inner]).sum(0) / s.square().sum()  # [K]
    leaks = dict(zip(traits, (slopes / slopes[column]).tolist(), strict=True))  # NaN: could not be read
    return Measured(
        trait,
        tuple(steps),
        tuple(change),
        tuple(identity),
        steps[first],
        steps[last],
        slopes[column].item(),
        {k: leak for k, leak in leaks.items() if k != trait and math.isfinite(leak)},
        len(w),
    )


def _steps(name: str, low: float, high: float, strengths: Sequence[float] | None) -> list[float]:
    """The strengths to measure, sorted, with 0. Raises EditError unless some are below and some above 0.

    Args:
        name: name of the edit, for the message.
        low, high: range of the edit; the default is four equal steps from 0 to each end of it.
        strengths: strengths to use instead, or None.
    """
    values = [end * i / 4 for end in (low, high) for i in range(1, 5)] if strengths is None else map(float, strengths)
    steps = sorted({*values, 0.0})
    if not steps[0] < 0 < steps[-1]:
        raise EditError(
            f"edit {name!r} at strengths from {steps[0]:g} to {steps[-1]:g}: expected some below 0 and above."
        )
    return steps


def _read_all(
    model: Model,
    w: Tensor,
    style_offsets: Mapping[str, Tensor],
    evaluator: Evaluator,
    *,
    on_progress: Progress | None = None,
) -> _Readings:
    """Renders the images of codes [N,L,D] with style offsets, layer name -> [N,I], and returns what is read of them."""
    values: dict[str, list[Tensor]] = {}
    people = []
    for image in render_batches(model, w, style_offsets, on_progress=on_progress, what="reading"):
        for name, value in score_images(evaluator.scorer, image).items():
            values.setdefault(name, []).append(value)
        if evaluator.person is not None:
            with torch.no_grad():
                people.append(evaluator.person(image).float().cpu())
    scores = {name: torch.cat(parts) for name, parts in values.items()}
    return scores, torch.cat(people) if people else None


def _usable_range(steps: Sequence[float], trait_change: Sequence[float], identity: Sequence[float]) -> tuple[int, int]:
    """The indices in `steps` of the lowest and the highest usable strength; see `Measured.low`."""
    zero = list(steps).index(0.0)
    slope = (trait_change[zero + 1] - trait_change[zero - 1]) / (steps[zero + 1] - steps[zero - 1])

    def end(direction: int) -> int:
        at = zero
        while 0 <= at + direction < len(steps):
            to = at + direction
            pace = (trait_change[to] - trait_change[at]) / (steps[to] - steps[at])
            if not pace * slope > _STALLED * slope * slope or (identity and identity[to] < _RECOGNIZED):
                break
            at = to
        return at

    return end(-1), end(1)
