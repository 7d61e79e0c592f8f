"""Rows that optimize every image on its own: W optimization, PTI, and the best offsets that can be found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.evaluation.engine import Job, Study, measure_all
from hyperstyle.evaluation.figures import Point, Progress, Row, mean_point, mean_row
from hyperstyle.evaluation.journal import Record
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.base import Start
from hyperstyle.methods.offsets import OffsetTuner
from hyperstyle.methods.projector import Projection, Projector, code_statistics
from hyperstyle.methods.pti import PivotalTuner
from hyperstyle.model.parts import Model

_RECORDED = (0, 10, 20, 30, 50, 75, 100, 150, 200, 250, 300, 350)  # steps of PTI; the last one of all is added
_TITLES = {"optimize-w": "W optimization", "pti": "PTI", "offsets": "offsets (bound)"}


@dataclass(frozen=True)
class Optimization:
    """How many images and steps the methods take that optimize each image.

    Attributes:
        images: number of images, from the first on; all where there are fewer.
        projection, tuning, offsets: steps of W optimization, of PTI, and of the search for offsets.
    """

    images: int = 32
    projection: int = 300
    tuning: int = 350
    offsets: int = 350

    def __post_init__(self) -> None:
        if min(self.images, self.projection, self.tuning, self.offsets) < 1:
            raise ConfigError(f"{self}: expected numbers from 1 on.")


@dataclass(frozen=True)
class Equivalence:
    """How many steps of PTI reach the mean that `hyperstyle` reaches on the same images.

    Attributes:
        figure: "l2", "perceptual" or "identity".
        target: the mean of this figure with `hyperstyle`.
        steps: number of tuning steps, interpolated between recorded ones; 0 where the pivot is already as good. It and
            the following are None where PTI never reaches the target.
        seconds: time of these steps for one image, without the search for the pivot.
        times, times_with_pivot: factors: these seconds, and these with the search, over those of one `hyperstyle`
            inversion.
    """

    figure: str
    target: float
    steps: float | None
    seconds: float | None
    times: float | None
    times_with_pivot: float | None


@dataclass(frozen=True, eq=False)
class Optimized:
    """What `evaluate_optimized` measured; all means are over the same images.

    Attributes:
        rows: `w-encoder`, `hyperstyle` where there is a hypernetwork, `optimize-w`, `pti` and, with a hypernetwork,
            `offsets`.
        encoder_over_optimization: a ratio, mean L2 of the W encoder over that of W optimization.
        tuning: a point of PTI for each recorded step, in ascending order; step 0 is the pivot. Seconds are without the
            search for the pivot.
        equivalence: for each figure; empty without a hypernetwork.
        shown: title of each method that was run -> its reconstructions [N,3,H,W].
    """

    rows: tuple[Row, ...]
    encoder_over_optimization: float
    tuning: tuple[Point, ...]
    equivalence: tuple[Equivalence, ...]
    shown: Mapping[str, Tensor]


def check_perceptual_network(model: Model) -> None:
    """Raises MethodError for a model without a network that optimization may use.

    The evaluator is no substitute: it cannot measure what was made to please it.
    """
    if model.perceptual is None:
        raise MethodError(
            "this model has no perceptual network to optimize against (its evaluator only measures). Use a model with "
            "one, or leave out the rows that optimize (--optimized 0)."
        )


def evaluate_optimized(
    inverter: HyperStyleInverter, study: Study, settings: Optimization, on_progress: Progress | None = None
) -> Optimized:
    """Inverts the first images by W optimization, PTI and optimized offsets.

    All three minimize the same sum, L2 + the distance of the model's perceptual network. The evaluator, which measures,
    takes no part. What differs from the published methods:

    - `optimize-w`: the projector in W from the mean code. Its published loss is a perceptual distance alone, and it
      fits noise maps too; here only the code moves.
    - `pti`: the pivot is the code of `optimize-w`. All steps are taken, without the published early stop, whose
      threshold belongs to LPIPS. Its seconds are those of tuning plus the median of those of the pivot.
    - `offsets`: relative weight offsets of the hypernetwork's layers, at the W encoder's code. Not a rival but a
      bound: how near offsets come where they are searched for each image, as far as gradient descent finds them.

    Args:
        inverter: a model with a perceptual network, see `check_perceptual_network`.
        study: the images; its journal has the rows of `w-encoder`, and perhaps of `hyperstyle`, and gets the new ones.
        settings: how many images and steps.
        on_progress: called at every step, with images x steps.
    """
    model, count = inverter.model, min(settings.images, len(study.images))
    projection = Projection(steps=settings.projection, optimize_noise=False)
    mean = code_statistics(model.generator, projection.samples)[0]  # [D]
    pivots: dict[int, Tensor] = {}  # index of the image -> its code [1,L,D]
    shown: dict[str, list[Tensor]] = {}

    def from_mean(i: int) -> Start:
        return lambda crops: mean.expand(len(crops), -1)

    def from_pivot(i: int) -> Start:
        return lambda crops: pivots[i]

    def keep(job: Job, i: int, inversion: Inversion, on_the_way: Mapping[int, Tensor]) -> Mapping[str, object]:
        if job.label == "optimize-w":
            pivots[i] = inversion.w
        shown.setdefault(_TITLES[job.label], []).append(inversion.tensor.cpu())
        return {}

    jobs = [
        Job("optimize-w", inverter, Projector(projection), None, count, start=from_mean),
        Job("pti", inverter, PivotalTuner(), settings.tuning, count, start=from_pivot, steps_measured=_RECORDED),
    ]
    if model.hypernetwork is not None:
        jobs.append(Job("offsets", inverter, OffsetTuner(lr=0.02), settings.offsets, count))
    measure_all(study, jobs, on_progress, extra=keep)

    names = ["w-encoder", "hyperstyle", *(job.label for job in jobs)]
    rows = {name: mean_row(name, of_all) for name in names if (of_all := study.rows(name, count))}
    search = rows["optimize-w"].seconds
    rows["pti"] = mean_row("pti", study.rows("pti", count), search=search)
    by_step: dict[int, list[Record]] = {}  # PTI after the recorded steps, and after its last
    for row in study.rows("pti", count):
        last = {"step": settings.tuning, "seconds": row["seconds"], "figures": row["figures"]}
        for point in (*row["on_the_way"], last):
            by_step.setdefault(point["step"], []).append(point)
    tuning = tuple(
        mean_point(step, [point["figures"] for point in points], [point["seconds"] for point in points])
        for step, points in sorted(by_step.items())
    )
    return Optimized(
        tuple(rows.values()),
        rows["w-encoder"].l2 / rows["optimize-w"].l2,
        tuning,
        equivalences(rows["hyperstyle"], tuning, search) if "hyperstyle" in rows else (),
        {title: torch.cat(images) for title, images in shown.items()},
    )


def equivalences(hyperstyle: Row, tuning: Sequence[Point], pivot_seconds: float) -> tuple[Equivalence, ...]:
    """For each figure that was measured, the steps and the time with which PTI is as good as `hyperstyle`.

    Args:
        hyperstyle: its row, over the same images as the points.
        tuning: PTI over its steps, with seconds.
        pivot_seconds: of the search for the pivot, which comes before step 0.
    """
    steps = [float(point.step) for point in tuning]
    clock = [point.seconds or 0.0 for point in tuning]
    results = []
    for figure in ("l2", "perceptual", "identity"):
        if (target := getattr(hyperstyle, figure)) is not None:
            values = [getattr(point, figure) for point in tuning]
            reached = steps_to_reach(steps, values, target, higher=figure == "identity")
            seconds = times = with_pivot = None
            if reached is not None:
                seconds = float(np.interp(reached, steps, clock))
                times, with_pivot = seconds / hyperstyle.seconds, (seconds + pivot_seconds) / hyperstyle.seconds
            results.append(Equivalence(figure, target, reached, seconds, times, with_pivot))
    return tuple(results)


def steps_to_reach(steps: Sequence[float], values: Sequence[float], target: float, *, higher: bool) -> float | None:
    """The first step at which a curve is at `target` or better, linear between the steps; None if it never is.

    Args:
        steps: rising.
        values: the curve at these steps.
        target: what is to be reached.
        higher: whether larger values are better.
    """
    sign = -1.0 if higher else 1.0
    short = [sign * (value - target) for value in values]  # how much is missing
    if short[0] <= 0:
        return steps[0]
    for i in range(1, len(steps)):
        if short[i] <= 0:
            return steps[i - 1] + (steps[i] - steps[i - 1]) * short[i - 1] / (short[i - 1] - short[i])
    return None
