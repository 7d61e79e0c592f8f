"""Editing figures: those of the edited images, and right on made-up readings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle import ConfigError, EditError, HyperStyleInverter, Inversion, MethodError
from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.evaluation import EditCurve, Editing, evaluate_editing, held_out_avatars
from hyperstyle.evaluation.editing import monotone_share, spearman, strengths_of
from hyperstyle.evaluation.grids import editing_grid
from hyperstyle.evaluation.held_out import attribute_deviations
from hyperstyle.evaluation.plots import editing_plot

COUNT = 9  # two batches


@pytest.fixture(scope="module")
def crops() -> Tensor:
    return held_out_avatars(COUNT, 32)


@pytest.fixture(scope="module")
def editing(full_inverter: HyperStyleInverter, crops: Tensor) -> Editing:
    return evaluate_editing(full_inverter, crops, points=3)


@pytest.fixture(scope="module")
def inversion(full_inverter: HyperStyleInverter, crops: Tensor) -> Inversion:
    return full_inverter.invert(list(crops), align=False)


def curve_of(editing: Editing, edit: str, offsets: bool) -> EditCurve:
    (matching,) = (curve for curve in editing.curves if (curve.edit, curve.offsets) == (edit, offsets))
    return matching


@pytest.mark.parametrize("offsets", [True, False])
def test_every_figure_is_that_of_the_edited_inversions(offsets: bool, editing: Editing, inversion: Inversion) -> None:
    evaluator, variant = inversion.model.evaluator, inversion if offsets else inversion.initial
    assert evaluator is not None
    assert inversion.crop is not None
    std = attribute_deviations()
    curve = curve_of(editing, "smile", offsets)
    assert [point.strength for point in curve.points] == [-3, 0, 3]
    with torch.no_grad():
        images = [variant.edit("smile", s).tensor for s in (-3, 0, 3)]
        read = torch.stack([evaluator(p) for p in images])
        people = [evaluator.embedding(p) for p in images]
        original = evaluator.embedding(inversion.crop)
    smile, age = read[..., evaluator.config.traits.index("smile")], read[..., evaluator.config.traits.index("age")]
    for i, point in enumerate(curve.points):
        assert point.trait == pytest.approx(float(smile[i].mean()), abs=1e-4)
        assert point.trait_std == pytest.approx(float(smile[i].std(correction=0)), abs=1e-4)
        assert point.change == pytest.approx(float((smile[i] - smile[1]).mean()) / std["smile"], abs=1e-3)
        assert point.identity == pytest.approx(float(F.cosine_similarity(people[i], people[1]).mean()), abs=1e-4)
        assert point.identity_to_crop == pytest.approx(float(F.cosine_similarity(people[i], original).mean()), abs=1e-4)
    moved = [(x[[0, 2]] - x[1]).abs().mean() / std[name] for name, x in (("age", age), ("smile", smile))]
    assert curve.leak == {"age": pytest.approx(float(moved[0] / moved[1]), rel=1e-2)}


def test_there_are_two_curves_for_each_edit_of_the_model(editing: Editing) -> None:
    kinds = [("age", True), ("age", False), ("smile", True), ("smile", False)]
    assert [(curve.edit, curve.offsets) for curve in editing.curves] == kinds
    assert editing.images == COUNT
    for curve in editing.curves:
        assert curve.points[1].change == 0
        assert curve.points[1].identity == pytest.approx(1)


def test_chosen_edits_only_and_the_leak_into_the_others_all_the_same(full_inverter: HyperStyleInverter) -> None:
    progress: list[tuple[str, int, int]] = []
    result = evaluate_editing(
        full_inverter, held_out_avatars(1, 32), ["age", "age"], points=2, on_progress=lambda *now: progress.append(now)
    )
    assert [curve.edit for curve in result.curves] == ["age", "age"]
    assert [point.strength for point in result.curves[0].points] == [-3, 0, 3]
    assert list(result.curves[0].leak) == ["smile"]
    assert progress == [("editing", 1, 1)]


def test_an_edit_that_moves_nothing_leaks_nothing(full_inverter: HyperStyleInverter) -> None:
    model = full_inverter.model
    still = {
        "smile": DirectionEdit(torch.zeros(16), EditInfo("smile", trait="smile")),
        "age": model.edits["age"],
    }
    inverter = HyperStyleInverter(
        model.generator, model.encoder, domain=model.domain, edits=still, parts={"judge": model.evaluator}
    )
    (curve,) = evaluate_editing(inverter, held_out_avatars(2, 32), ["smile"], points=3).curves
    assert (curve.offsets, curve.leak, curve.monotone, curve.spearman) == (False, {}, 0, 0)


def test_the_share_of_images_that_rise_at_every_step() -> None:
    rising, dented, falling = [0.0, 0.1, 0.2, 0.3], [0.0, 0.2, 0.1, 0.3], [3.0, 2.0, 1.0, 0.0]
    assert monotone_share(torch.tensor([rising, dented, falling, rising]).T) == 0.5
    assert monotone_share(torch.tensor([[0.0, 0.0, 1.0]]).T) == 0  # a step without a change does not rise


def test_rank_correlation_is_that_of_the_textbook() -> None:
    strengths = (-2.0, -1.0, 0.0, 4.0)

    def of(*values: float) -> float:
        return spearman(strengths, torch.tensor(values)[:, None])

    assert of(0.1, 0.2, 7.0, 9.0) == pytest.approx(1)
    assert of(4, 3, 2, 1) == pytest.approx(-1)
    assert of(1, 3, 2, 4) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert of(1, 1, 2, 3) == pytest.approx(4.5 / (5 * 4.5) ** 0.5)  # equal values share rank 1.5
    assert of(1, 1, 1, 1) == 0
    columns = torch.tensor([[1.0, 4.0], [2.0, 3.0], [3.0, 2.0], [4.0, 1.0]])
    assert spearman(strengths, columns) == pytest.approx(0)  # the mean over images


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((-2.0, 2.0, 5), (-2, -1, 0, 1, 2)),
        ((-2.0, 2.0, 4), (-2, pytest.approx(-2 / 3), 0, pytest.approx(2 / 3), 2)),
        ((-1.0, 3.0, 3), (-1, 0, 1, 3)),
        ((-0.3, 0.3, 7), pytest.approx((-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3))),  # one zero, though sums are not exact
    ],
)
def test_strengths_go_over_the_range_and_hold_zero(
    arguments: tuple[float, float, int], expected: tuple[float, ...]
) -> None:
    assert strengths_of(*arguments) == expected
    assert strengths_of(*arguments).count(0.0) == 1


def test_the_spread_of_traits_is_that_of_the_population() -> None:
    spread = attribute_deviations()
    assert spread["age"] == pytest.approx(12**-0.5, rel=0.02)  # evenly between 0 and 1
    assert spread["glasses"] == pytest.approx((0.28 * 0.72) ** 0.5, rel=0.02)


def test_edits_that_nobody_can_read_are_listed(full_inverter: HyperStyleInverter, crops: Tensor) -> None:
    model = full_inverter.model
    smile = model.edits["smile"]
    assert isinstance(smile, DirectionEdit)
    edits = dict(model.edits)
    edits["old"] = replace(smile, info=replace(smile.info, trait=None))
    edits["jaw"] = replace(smile, info=replace(smile.info, trait="jaw"))  # which this evaluator does not read
    inverter = HyperStyleInverter(
        model.generator,
        model.encoder,
        model.hypernetwork,
        domain=model.domain,
        edits=edits,
        parts={"judge": model.evaluator},
    )
    with pytest.raises(EditError, match=r"old \(trait None\), jaw \(trait 'jaw'\).*can be measured: age, smile\."):
        evaluate_editing(inverter, crops)
    with pytest.raises(EditError, match="Did you mean 'smile'"):
        evaluate_editing(inverter, crops, ["smlie"])
    with pytest.raises(EditError, match="no edit to measure"):
        evaluate_editing(inverter, crops, [])
    with pytest.raises(ConfigError, match="points=1"):
        evaluate_editing(full_inverter, crops, points=1)


def test_a_model_without_an_evaluator_is_refused(tiny_inverter: HyperStyleInverter, crops: Tensor) -> None:
    with pytest.raises(MethodError, match="no evaluator"):
        evaluate_editing(tiny_inverter, crops)


def test_sheet_and_plot_show_every_edit(editing: Editing) -> None:
    page = editing_grid(editing)
    assert page.height >= 2 * 4 * 128  # two images, four curves
    assert page.width >= (1 + 3) * 128
    assert editing_plot(editing).startswith(b"\x89PNG")
