"""Rows that optimize: against the perceptual network only, on the same images as the other rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyperstyle import HyperStyleInverter, metrics
from hyperstyle.evaluation import Optimization, Optimized, Point, Row, evaluate_reconstruction, held_out_avatars
from hyperstyle.evaluation.optimized import equivalences, steps_to_reach
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.methods.offsets import OffsetTuner
from hyperstyle.methods.projector import Projection, Projector, code_statistics
from hyperstyle.methods.pti import PivotalTuner, PivotalTuning

SETTINGS = Optimization(3, projection=3, tuning=12, offsets=4)


@pytest.fixture(scope="module")
def crops() -> Tensor:
    """Eight-bit values, which measuring leaves as they are."""
    return held_out_avatars(5, 32).add(1).mul(127.5).round().div(255).sub(0.5).div(0.5)


@pytest.fixture(scope="module")
def optimized(full_inverter: HyperStyleInverter, crops: Tensor, progress: list[tuple[str, int, int]]) -> Optimized:
    result = evaluate_reconstruction(
        full_inverter, crops, curve=0, optimized=SETTINGS, on_progress=lambda *now: progress.append(now)
    ).optimized
    assert result is not None
    return result


def mean_l2(image: Tensor, crops: Tensor) -> float:
    return float(metrics.l2(image, crops).mean())


def test_all_rows_are_over_the_same_first_images(
    full_inverter: HyperStyleInverter, crops: Tensor, optimized: Optimized
) -> None:
    assert [row.method for row in optimized.rows] == ["w-encoder", "hyperstyle", "optimize-w", "pti", "offsets"]
    assert {row.images for row in optimized.rows} == {3}
    inversion = full_inverter.invert(list(crops[:3]), align=False)
    for row, same in zip(optimized.rows[:2], (inversion.initial, inversion), strict=True):
        assert row.l2 == pytest.approx(sum(same.metrics()["l2"]) / 3, rel=1e-4)
    assert [row.timed for row in optimized.rows] == [3, 3, 3, 3, 3]
    assert optimized.encoder_over_optimization == optimized.rows[0].l2 / optimized.rows[2].l2


def test_every_row_is_what_its_method_finds_for_error_plus_perceptual_distance(
    full_inverter: HyperStyleInverter, crops: Tensor, optimized: Optimized
) -> None:
    model, crops = full_inverter.model, crops[:3]
    assert model.perceptual is not None
    assert model.hypernetwork is not None
    network = model.perceptual

    def distance(image: Tensor, target: Tensor) -> Tensor:
        return metrics.perceptual(image, target, network)

    def loss(image: Tensor, target: Tensor) -> Tensor:
        return metrics.l2(image, target) + distance(image, target)

    rows = {row.method: row for row in optimized.rows}
    # Each image on its own, as it is timed: batches are rounded otherwise, and Adam enlarges that.
    mean = model.generator.broadcast(code_statistics(model.generator, Projection().samples)[0][None])
    projector = Projector(Projection(steps=3, optimize_noise=False), loss, l2=0.0)
    pivots = [projector(crop[None], Inversion(model, mean)) for crop in crops]
    assert rows["optimize-w"].l2 == pytest.approx(mean_l2(torch.cat([p.tensor for p in pivots]), crops), rel=1e-5)

    tuner = PivotalTuner(PivotalTuning(steps=12), distance)
    images = torch.cat([tuner(crop[None], pivot).tensor for crop, pivot in zip(crops, pivots, strict=True)])
    assert rows["pti"].l2 == pytest.approx(mean_l2(images, crops), rel=1e-5)
    torch.testing.assert_close(optimized.shown["PTI"], images, atol=2e-5, rtol=0)

    start = full_inverter.invert(list(crops), method="w-encoder", align=False)
    layers = model.hypernetwork.config.layers
    tuned = [
        OffsetTuner(steps=4, lr=0.02, layers=layers, loss=distance)(crop[None], single)
        for crop, single in zip(crops, start, strict=True)
    ]
    assert rows["offsets"].l2 == pytest.approx(mean_l2(torch.cat([t.tensor for t in tuned]), crops), rel=1e-4)


def test_the_curve_of_tuning_begins_at_the_pivot_and_ends_at_the_row(optimized: Optimized) -> None:
    rows = {row.method: row for row in optimized.rows}
    points = optimized.tuning
    assert [point.step for point in points] == [0, 10, 12]  # of the recorded steps, and the last
    assert points[0].l2 == pytest.approx(rows["optimize-w"].l2, rel=1e-4)
    for figure in ("l2", "perceptual", "identity"):
        assert getattr(points[-1], figure) == pytest.approx(getattr(rows["pti"], figure), rel=1e-4)
    seconds = [point.seconds or 0.0 for point in points]
    assert seconds == sorted(seconds)
    assert rows["pti"].seconds == pytest.approx(seconds[-1] + rows["optimize-w"].seconds)


def test_the_equivalence_is_with_the_hyperstyle_row_of_the_same_images(optimized: Optimized) -> None:
    targets = {equivalence.figure: equivalence.target for equivalence in optimized.equivalence}
    row = optimized.rows[1]
    assert targets == {"l2": row.l2, "perceptual": row.perceptual, "identity": row.identity}


def test_the_evaluator_is_measured_with_and_never_differentiated(
    full_inverter: HyperStyleInverter, crops: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert full_inverter.model.evaluator is not None
    features = full_inverter.model.evaluator.features

    def only_without_gradients(x: Tensor) -> list[Tensor]:
        assert not torch.is_grad_enabled()
        return features(x)

    monkeypatch.setattr(full_inverter.model.evaluator, "features", only_without_gradients)
    settings = Optimization(1, projection=2, tuning=2, offsets=2)
    assert evaluate_reconstruction(full_inverter, crops[:1], curve=0, optimized=settings).optimized is not None


def test_progress_counts_images_times_steps(optimized: Optimized, progress: list[tuple[str, int, int]]) -> None:
    assert [now for now in progress if now[0] == "optimize-w"] == [("optimize-w", done, 9) for done in range(1, 10)]
    assert [now for now in progress if now[0] == "pti"][-1] == ("pti", 36, 36)
    assert [now for now in progress if now[0] == "offsets"][-1] == ("offsets", 12, 12)


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
