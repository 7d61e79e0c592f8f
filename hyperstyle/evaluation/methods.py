"""All methods and hybrids side by side: how near, how editable, how long, how large (quality over time)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from hyperstyle.evaluation.editing import check_points, measurable_edits
from hyperstyle.evaluation.engine import Job, Study, check_trials, measure_all
from hyperstyle.evaluation.equal_effect import EffectCurve, effect_curves
from hyperstyle.evaluation.figures import Progress, Row, mean_row
from hyperstyle.evaluation.images import given_crops
from hyperstyle.evaluation.measures import basic_measures
from hyperstyle.evaluation.optimized import Optimization, check_perceptual_network
from hyperstyle.evaluation.trials import Trial
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.registry import by_networks
from hyperstyle.model.parts import Model

EDITS = ("age", "smile", "pose")
"""Edits that tell how editable inversions are, where the model has them and its evaluator reads their traits."""

_HYBRIDS = ("hyperstyle+offsets", "hyperstyle+offset-codes", "hyperstyle+pti", "w-encoder+offsets")
_HYBRID_STEPS = (10, 25, 50, 100)
_SHOWN = 4  # images kept for a contact sheet


def all_trials(model: Model) -> tuple[Trial, ...]:
    """Every method of the model's networks, the optimizations, and hybrids at several numbers of steps.

    W optimization takes 300 steps in both spaces, fewer than published, as in the rows that optimize; PTI takes its
    published numbers, 450 of W optimization and 350 of tuning.
    """
    feed_forward = by_networks(model)
    hybrids = [name for name in _HYBRIDS if name.partition("+")[0] in feed_forward]
    return (
        *(Trial(name) for name in feed_forward),
        *(Trial(name, 300) for name in ("optimize-w", "optimize-w+")),
        Trial("pti"),
        *(Trial(name, steps) for name in hybrids for steps in _HYBRID_STEPS),
    )


@dataclass(frozen=True)
class MethodRow:
    """What was measured of one trial.

    Attributes:
        trial: the method and its steps.
        row: means over the images; its method is the trial in words, its seconds are those of `invert`.
        bytes: of the file of one saved inversion, the mean.
        editability: identity similarity to the input where an edit has had the same measured effect with every trial,
            the mean over changes and edits; None without an evaluator, without such edits, or without such changes.
    """

    trial: Trial
    row: Row
    bytes: float
    editability: float | None


@dataclass(frozen=True, eq=False)
class Methods:
    """What `evaluate_methods` measured, on the same images for all.

    Attributes:
        rows: in the order of the trials.
        curves: for every edit and trial, what `editability` is the mean of.
        shown: title -> [at most 4,3,H,W], the input and the reconstructions.
    """

    rows: tuple[MethodRow, ...]
    curves: tuple[EffectCurve, ...]
    shown: Mapping[str, Tensor]


def evaluate_methods(
    inverter: HyperStyleInverter,
    crops: Tensor,
    trials: Sequence[Trial],
    *,
    points: int = 5,
    on_progress: Progress | None = None,
) -> Methods:
    """Inverts every crop by every trial, one at a time, as `invert` does, and edits the inversions.

    Those that optimize use the model's perceptual network; the evaluator only measures.

    Args:
        inverter: the model.
        crops: [N,3,h,w] in [-1,1] at the domain's input size.
        trials: methods and their steps.
        points: strengths over the range of each edit of `EDITS`.
        on_progress: called with the trial, images done, and images.

    Raises:
        ConfigError: no images, or of another size; no trial, or one twice; fewer than 2 points.
        MethodError: an unknown method, one whose weights the model lacks, or steps of one that takes none: before
            anything is measured.
    """
    model = inverter.model
    images = given_crops(model, crops)
    check_trials(model, trials)
    check_points(points)
    traits = () if model.evaluator is None else model.evaluator.config.traits
    edits = tuple(name for name in EDITS if name in model.edits and model.edits[name].info.trait in traits)
    study = Study(images, basic_measures(model), edits=edits, points=points)
    shown: dict[str, list[Tensor]] = {"input": [images.load(i)[None] for i in range(min(_SHOWN, len(images)))]}

    def keep(job: Job, i: int, inversion: Inversion, on_the_way: Mapping[int, Tensor]) -> Mapping[str, object]:
        if i < _SHOWN:
            shown.setdefault(job.label, []).append(inversion.tensor.cpu())
        return {"bytes": _bytes(with_metrics(inversion))}  # a file holds its metrics

    jobs = [Job.of(trial, inverter, len(images), edited=len(images)) for trial in trials]
    measure_all(study, jobs, on_progress, extra=keep)
    records = {str(trial): study.rows(str(trial), len(images)) for trial in trials}
    curves = effect_curves(model, records, edits, points=points)
    rows = []
    for trial in trials:
        name = str(trial)
        means = [curve.mean for curve in curves if curve.method == name and curve.mean is not None]
        size = fmean(row["bytes"] for row in records[name])
        rows.append(MethodRow(trial, mean_row(name, records[name]), size, fmean(means) if means else None))
    return Methods(tuple(rows), curves, {title: torch.cat(parts) for title, parts in shown.items()})


@dataclass(frozen=True)
class EqualEffect:
    """What `evaluate_equal_effect` measured: for every edit a curve for each method, all on the same images."""

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

    The methods are those of the model and, with `optimized`, two that fit each image by the model's perceptual
    network; the evaluator only measures:

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
    names = tuple(measurable_edits(model, edits))
    check_points(points)
    images = given_crops(model, crops if optimized is None else crops[: optimized.images])
    count = len(images)
    jobs = [Job.of(Trial(name), inverter, count, edited=count) for name in by_networks(model)]
    if optimized is not None:
        check_perceptual_network(model)
        steps = {"optimize-w": optimized.projection, "pti": optimized.tuning}
        jobs.append(Job("pti", inverter, "pti", steps, count, edited=count))
        jobs.append(Job("optimize-w+", inverter, "optimize-w+", optimized.projection, count, edited=count))
    study = Study(images, basic_measures(model), edits=names, points=points)
    measure_all(study, jobs, on_progress)
    rows = {job.label: study.rows(job.label, count) for job in jobs}
    return EqualEffect(effect_curves(model, rows, names, points=points), count)


def _bytes(inversion: Inversion) -> int:
    """Of its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inversion.safetensors"
        inversion.save(path)
        return path.stat().st_size
