"""PTI steps that are as good as the hypernetwork, on made-up curves."""

from __future__ import annotations

import pytest

from hyperstyle.evaluation import Point, Row
from hyperstyle.evaluation.equivalence import equivalences, steps_to_reach

STEPS = [0.0, 10.0, 20.0, 50.0]


@pytest.mark.parametrize(
    ("values", "target", "higher", "expected"),
    [
        ([1.0, 0.5, 0.2, 0.1], 0.75, False, 5.0),
        ([1.0, 0.5, 0.2, 0.1], 0.5, False, 10.0),
        ([1.0, 0.5, 0.2, 0.1], 0.15, False, 35.0),
        ([1.0, 0.5, 0.2, 0.1], 2.0, False, 0.0),  # the pivot is better already
        ([1.0, 0.5, 0.2, 0.1], 0.05, False, None),
        ([1.0, 0.5, 0.6, 0.1], 0.55, False, 9.0),  # the first time, though it is lost again
        ([0.2, 0.4, 0.6, 0.9], 0.5, True, 15.0),
        ([0.2, 0.4, 0.6, 0.9], 0.95, True, None),
    ],
)
def test_the_first_step_that_is_as_good_lies_between_recorded_ones(
    values: list[float], target: float, higher: bool, expected: float | None
) -> None:
    assert steps_to_reach(STEPS, values, target, higher=higher) == (
        None if expected is None else pytest.approx(expected)
    )


def test_times_are_in_units_of_one_inversion_with_and_without_the_pivot() -> None:
    row = Row("hyperstyle", 0.3, None, 0.95, 0.9, 0.5, (0.4, 0.6), 16, 4)
    tuning = [Point(0, 0.5, None, 0.8, 0.0), Point(10, 0.1, None, 0.85, 4.0), Point(20, 0.05, None, 0.9, 8.0)]
    l2, identity = equivalences(row, tuning, pivot_seconds=6.0)
    assert (l2.figure, l2.target, l2.steps, l2.seconds) == ("l2", 0.3, pytest.approx(5), pytest.approx(2))
    assert (l2.times, l2.times_with_pivot) == (pytest.approx(4), pytest.approx(16))
    assert (identity.figure, identity.steps, identity.times, identity.times_with_pivot) == (
        "identity",
        None,
        None,
        None,
    )
