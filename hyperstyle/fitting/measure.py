"""What an edit does to its trait and to the others, measured through the generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.edits import Edit
from hyperstyle.errors import EditError
from hyperstyle.fitting.scores import Progress, Scorer, network_scorer, read, render_batches
from hyperstyle.inversion.editing import apply_edit
from hyperstyle.model.parts import Model
from hyperstyle.networks.perception.attributes import AttributeNetwork

__all__ = ["Evaluator", "Measured", "leading_trait", "measure_edits"]

_STALLED = 0.25  # of the step around 0: a trait that moves less than that no longer follows
_RECOGNIZED = 0.5  # identity similarity below which it is another person
_REPORTED_LEAK = 0.05


@dataclass(frozen=True)
class Evaluator:
    """The networks that measure edits. No edit may have been fitted to what they read.

    Attributes:
        scorer: images -> trait -> values.
        person: images [B,3,h,w] -> features [B,E] that are alike for images of the same person; None where
            identity is not measured.
    """

    scorer: Scorer
    person: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def of(cls, network: AttributeNetwork) -> Evaluator:
        """An attribute network as the evaluator."""
        return cls(network_scorer(network), network.embedding)


@dataclass(frozen=True)
class Measured:
    """Means over the images. Changes are in standard deviations of the trait over random codes.

    Attributes:
        trait: the edit's own.
        strengths: rising, with 0.
        change: of the own trait at each strength.
        identity: cosine similarity to the image at strength 0, at each strength; empty where it is not measured.
        low, high: the usable range, from 0 outward: the own trait still moves by a quarter of its step around 0
            and the identity stays above 0.5. Both 0 where that fails next to 0 already.
        per_unit: how far the own trait moves for one unit of strength, over this range.
        leak: how far every other trait moves, on the mean, for one unit of the own trait, over this range.
        images: how many the means are over.
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
        """Why the edit is not clean, a sentence each; [] for a clean one.

        Args:
            reach: how far its trait must move to both sides within the range.
            leak: how far any other trait may move, for one unit of its own.
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
        """Plain values for `EditInfo.report`; leaks below 0.05 are left out."""
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


class _Readings(NamedTuple):
    """What an evaluator read of N images: trait -> [N], and the features of the people [N,E], where it has them."""

    scores: Mapping[str, Tensor]
    people: Tensor | None


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
    """Edits random images and has the evaluator read them before and after.

    Args:
        model: its generator synthesizes the images.
        edits: by name. Where an edit names no trait, its trait is the one that it moves the most.
        codes: W codes [N,D] that no edit was fitted to. The deviation of each trait is that over all of them; the
            first `images` are edited.
        evaluator: reads the images.
        strengths: at which every edit is measured, on both sides of 0, in addition to 0 itself; None is four steps from
            0 to either end of the edit's own range.
        images: how many are edited.
        on_progress: called with the progress.

    Raises:
        EditError: too few codes, strengths or a range on one side of 0 only, or a trait not read by the evaluator.
    """
    if not 1 <= images <= len(codes) or len(codes) < 2:
        raise EditError(
            f"measuring on {images} of {len(codes)} images: expected at most as many as there are codes, of which "
            "two or more."
        )
    steps_of = {name: _steps(name, edit.info.low, edit.info.high, strengths) for name, edit in edits.items()}
    w = model.generator.broadcast(codes.to(model.generator.latent_avg))
    before = _read_all(model, w, {}, evaluator, on_progress=on_progress)
    deviations = {name: float(values[~values.isnan()].std()) for name, values in before.scores.items()}
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
    """Measures one edit of the codes [B,L,D], of which `before` was read, at each strength of `steps`."""
    changes, identity = [], []
    for strength in steps:
        if strength == 0:
            changes.append(torch.zeros(len(deviations), len(w)))
            identity.append(1.0)
            continue
        edited, offsets = apply_edit(model, edit, w, {}, torch.full((len(w),), strength).to(w))
        after = _read_all(model, edited, offsets, evaluator)
        moved = [(after.scores[k] - before.scores[k][: len(w)]) / deviation for k, deviation in deviations.items()]
        changes.append(torch.stack(moved))  # [K,B]
        if before.people is not None and after.people is not None:
            identity.append(F.cosine_similarity(before.people[: len(w)], after.people).mean().item())
    return _summarize(
        edit.info.trait,
        list(deviations),
        steps,
        torch.stack(changes),
        tuple(identity) if before.people is not None else (),
    )


def _steps(name: str, low: float, high: float, strengths: Sequence[float] | None) -> list[float]:
    """The strengths, rising, with 0. Raises EditError unless they lie on both sides of it."""
    values = [end * i / 4 for end in (low, high) for i in range(1, 5)] if strengths is None else map(float, strengths)
    steps = sorted({*values, 0.0})
    if not steps[0] < 0 < steps[-1]:
        raise EditError(
            f"edit {name!r} at strengths from {steps[0]:g} to {steps[-1]:g}: expected some below 0 and above."
        )
    return steps


def leading_trait(traits: Sequence[str], steps: Tensor, change: Tensor) -> str:
    """The trait that moves the most with the strength: of its mean change [S,K], the steepest one."""
    return traits[int((steps[:, None] * change).sum(0).abs().nan_to_num(-1.0).argmax())]  # -1: could not be read


def _read_all(
    model: Model,
    w: Tensor,
    offsets: Mapping[str, Tensor],
    evaluator: Evaluator,
    *,
    on_progress: Progress | None = None,
) -> _Readings:
    """Has the evaluator read the images of codes [N,L,D] with weight offsets."""
    values: dict[str, list[Tensor]] = {}
    people = []
    for image in render_batches(model, w, offsets, on_progress=on_progress, what="reading"):
        for name, value in read(evaluator.scorer, image).items():
            values.setdefault(name, []).append(value)
        if evaluator.person is not None:
            with torch.no_grad():
                people.append(evaluator.person(image).float().cpu())
    scores = {name: torch.cat(parts) for name, parts in values.items()}
    return _Readings(scores, torch.cat(people) if people else None)


def _summarize(
    trait: str | None, traits: list[str], steps: Sequence[float], change: Tensor, identity: tuple[float, ...]
) -> Measured:
    """Args: change [S,K,B], of every trait of every image; one that could not be read (NaN) does not count."""
    strengths = torch.tensor(steps)
    mean = change.nanmean(2)  # [S,K]
    name = leading_trait(traits, strengths, mean) if trait is None else trait
    column = traits.index(name)
    first, last = _usable_range(steps, mean[:, column].tolist(), identity)
    inner = [i for i in range(first, last + 1) if steps[i] != 0]
    if not inner:  # no usable range: measured at the smallest strengths
        zero = list(steps).index(0.0)
        inner = [zero - 1, zero + 1]
    s = strengths[inner]
    slopes = (s[:, None] * mean[inner]).sum(0) / s.square().sum()  # [K]
    leaks = dict(zip(traits, (slopes / slopes[column]).tolist(), strict=True))  # NaN: could not be read
    return Measured(
        name,
        tuple(steps),
        tuple(mean[:, column].tolist()),
        identity,
        steps[first],
        steps[last],
        slopes[column].item(),
        {k: leak for k, leak in leaks.items() if k != name and math.isfinite(leak)},
        change.shape[2],
    )


def _usable_range(steps: Sequence[float], trait_change: Sequence[float], identity: Sequence[float]) -> tuple[int, int]:
    """The indexes of the first and the last usable strength, from 0 outward."""
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
