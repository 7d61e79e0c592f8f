"""What the hypernetwork's steps are worth in steps of PTI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperstyle.evaluation.figures import Point, Row

__all__ = ["Equivalence", "equivalences", "steps_to_reach"]


@dataclass(frozen=True)
class Equivalence:
    """How many steps of PTI reach the mean that `hyperstyle` reaches on the same images.

    Attributes:
        figure: l2, perceptual or identity.
        target: the mean of `hyperstyle`.
        steps: of tuning, linear between recorded steps; 0 where the pivot is already as good, None where PTI never is.
        seconds: of these steps for one image, without the search for the pivot.
        times, times_with_pivot: these seconds, and these with the search, over those of one `hyperstyle` inversion.
    """

    figure: str
    target: float
    steps: float | None
    seconds: float | None
    times: float | None
    times_with_pivot: float | None


def equivalences(hyperstyle: Row, tuning: Sequence[Point], pivot_seconds: float) -> tuple[Equivalence, ...]:
    """For each figure that there is, the steps and the time of PTI that are as good as `hyperstyle`.

    Args:
        hyperstyle: its row, over the same images as the points.
        tuning: PTI over its steps, with seconds.
        pivot_seconds: of the search for the pivot, which comes before step 0.
    """
    steps = [float(point.step) for point in tuning]
    clock = [point.seconds or 0.0 for point in tuning]
    results = []
    for figure in ("l2", "perceptual", "identity"):
        target = getattr(hyperstyle, figure)
        if target is None:
            continue
        values = [getattr(point, figure) for point in tuning]
        reached = steps_to_reach(steps, values, target, higher=figure == "identity")
        if reached is None:
            results.append(Equivalence(figure, target, None, None, None, None))
            continue
        seconds = float(np.interp(reached, steps, clock))
        times = (seconds / hyperstyle.seconds, (seconds + pivot_seconds) / hyperstyle.seconds)
        results.append(Equivalence(figure, target, reached, seconds, *times))
    return tuple(results)


def steps_to_reach(
    steps: Sequence[float], values: Sequence[float], target: float, *, higher: bool = False
) -> float | None:
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
