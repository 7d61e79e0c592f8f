"""Identity at equal effect: every method on the same images, each edited as an inversion, grouped by what changed."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hyperstyle import ConfigError, EditError, HyperStyleInverter, Inversion, MethodError
from hyperstyle.evaluation import Optimization, held_out_avatars
from hyperstyle.evaluation.editing import strengths_of
from hyperstyle.evaluation.equal_effect import EffectCurve, at_changes, effect_curves
from hyperstyle.evaluation.held_out import attribute_deviations
from hyperstyle.evaluation.methods import EqualEffect, evaluate_equal_effect
from hyperstyle.evaluation.plots import equal_effect_plot

SETTINGS = Optimization(2, projection=3, tuning=4)


@pytest.fixture(scope="module")
def crops() -> Tensor:
    """Eight-bit values, which measuring leaves as they are."""
    return held_out_avatars(3, 32).add(1).mul(127.5).round().div(255).sub(0.5).div(0.5)


@pytest.fixture(scope="module")
def equal_effect(sensitive: HyperStyleInverter, crops: Tensor, progress: list[tuple[str, int, int]]) -> EqualEffect:
    return evaluate_equal_effect(
        sensitive, crops, ["smile"], points=5, optimized=SETTINGS, on_progress=lambda *now: progress.append(now)
    )


def assert_same(curve: EffectCurve, inversions: list[Inversion]) -> None:
    """The figures of the curve are those of images edited and read one by one."""
    evaluator = inversions[0].model.evaluator
    assert evaluator is not None
    assert curve.strengths == strengths_of(-3, 3, 5)
    column, spread = evaluator.config.traits.index("smile"), attribute_deviations()["smile"]
    for inversion, change, identity in zip(inversions, curve.changes, curve.identities, strict=True):
        assert inversion.crop is not None
        with torch.no_grad():
            images = [inversion.edit("smile", strength).tensor for strength in curve.strengths]
            before = evaluator(inversion.tensor)[0, column]
            read = [float(evaluator(image)[0, column] - before) / spread for image in images]
            person = evaluator.embedding(inversion.crop)
            alike = [float(F.cosine_similarity(evaluator.embedding(image), person)) for image in images]
        assert change == pytest.approx(read, abs=1e-3)
        assert identity == pytest.approx(alike, abs=1e-3)
        assert max(change) - min(change) > 0.02  # the edit does something


def test_every_method_is_measured_on_the_same_first_images(equal_effect: EqualEffect) -> None:
    assert [(c.edit, c.trait, c.method) for c in equal_effect.curves] == [
        ("smile", "smile", method) for method in ("hyperstyle", "w-encoder", "pti", "optimize-w+")
    ]
    assert equal_effect.images == 2
    for curve in equal_effect.curves:
        (still,) = (point for point in curve.points if point.change == 0)
        assert still.pictures == 2  # strength 0 changes nothing
        assert still.identity == pytest.approx(sum(row[2] for row in curve.identities) / 2)
        assert [p.change for p in curve.points] == [p.change for p in equal_effect.curves[0].points]


def test_the_methods_of_the_model_are_read_as_their_edited_inversions(
    equal_effect: EqualEffect, sensitive: HyperStyleInverter, crops: Tensor
) -> None:
    for curve in equal_effect.curves[:2]:
        inversion = sensitive.invert(list(crops[:2]), method=curve.method, align=False)
        assert_same(curve, list(inversion))


def test_pti_edits_its_pivot_in_the_tuned_generator_and_w_plus_its_own_rows(
    equal_effect: EqualEffect, sensitive: HyperStyleInverter, crops: Tensor
) -> None:
    tuned = sensitive.invert(list(crops[:2]), method="pti", steps={"optimize-w": 3, "pti": 4}, align=False)
    assert len(tuned.overrides.tuned) == 2  # a generator for each
    assert torch.equal(tuned.w[:, 0], tuned.w[:, -1])
    assert_same(equal_effect.curves[2], list(tuned))

    rows = sensitive.invert(list(crops[:2]), method="optimize-w+", steps=3, align=False)
    assert not torch.equal(rows.w[:, 0], rows.w[:, -1])
    assert_same(equal_effect.curves[3], list(rows))


def test_progress_counts_the_images_of_each_method(
    equal_effect: EqualEffect, progress: list[tuple[str, int, int]]
) -> None:
    methods = ("hyperstyle", "w-encoder", "pti", "optimize-w+")
    assert progress == [(method, done, 2) for method in methods for done in (1, 2)]


def test_without_optimization_all_images_take_part_in_the_methods_of_the_model(
    full_inverter: HyperStyleInverter, crops: Tensor
) -> None:
    equal_effect = evaluate_equal_effect(full_inverter, crops, points=2)
    assert equal_effect.images == 3
    assert [(c.edit, c.method) for c in equal_effect.curves] == [
        (edit, method) for edit in ("age", "smile") for method in ("hyperstyle", "w-encoder")
    ]


def test_a_change_is_taken_at_the_least_strength_that_reaches_it() -> None:
    strengths = (-2.0, -1.0, 0.0, 1.0, 2.0)
    changes = torch.tensor([[-2.0, -1.0, 0.0, 1.0, 0.4], [0.5, -0.2, 0.0, 0.0, 0.2], [-1.0, -1.0, 0.0, -1.0, 3.0]])
    values = torch.tensor([[0.1, 0.5, 1.0, 0.6, 0.2], [0.3, 0.6, 0.9, 0.8, 0.4], [0.1, 0.2, 0.8, 0.7, 0.3]])
    nan = float("nan")
    reached = at_changes(strengths, changes, values, (-1.5, -0.1, 0.0, 0.5, 1.0))
    expected = [
        [0.3, 0.95, 1.0, 0.8, 0.6],  # risen to 1 and fallen again: the first time counts
        [nan, 0.75, 0.9, nan, nan],  # what a negative strength raises does not count as a rise
        [nan, 0.74, 0.8, 0.55, 0.5],
    ]
    torch.testing.assert_close(reached, torch.tensor(expected).double(), atol=1e-6, rtol=0, equal_nan=True)


def test_methods_are_compared_on_the_images_that_all_of_them_change_so_far(full_inverter: HyperStyleInverter) -> None:
    read = {  # three images at the strengths -3, 0, 3
        "hyperstyle": (
            [[0.0, 0, 0.5], [0.0, 0, 0.5], [0.0, 0, 0.25]],
            [[0.9, 1.0, 0.8], [0.9, 0.9, 0.6], [0.9, 0.8, 0.7]],
        ),
        "w-encoder": (
            [[0.0, 0, 1.0], [0.0, 0, 0.3], [0.0, 0, 0.5]],
            [[0.9, 0.8, 0.4], [0.9, 0.7, 0.1], [0.9, 0.6, 0.2]],
        ),
    }
    rows = {
        method: [{"edits": {"smile": {"changes": c, "identities": i}}} for c, i in zip(*figures, strict=True)]
        for method, figures in read.items()
    }
    ours, other = effect_curves(full_inverter.model, rows, ["smile"], points=2)
    assert [(p.change, p.pictures) for p in ours.points] == [(0.0, 3), (0.25, 3), (0.5, 1)]
    assert [p.identity for p in ours.points] == pytest.approx([0.9, (0.9 + 0.75 + 0.7) / 3, 0.8], abs=1e-5)
    assert [p.identity for p in other.points] == pytest.approx([0.7, (0.7 + 0.2 + 0.4) / 3, 0.6], abs=1e-5)
    assert ours.mean == pytest.approx((ours.points[1].identity + 0.8) / 2, abs=1e-5)


def test_the_plot_has_a_panel_for_each_edit(equal_effect: EqualEffect) -> None:
    twice = replace(
        equal_effect, curves=equal_effect.curves + tuple(replace(curve, edit="age") for curve in equal_effect.curves)
    )
    sizes = []
    for result in (equal_effect, twice):
        with Image.open(io.BytesIO(equal_effect_plot(result))) as image:
            sizes.append(image.size)
    assert sizes[1] == (2 * sizes[0][0], sizes[0][1])


def test_what_cannot_be_compared_is_refused(full_inverter: HyperStyleInverter, crops: Tensor) -> None:
    model = full_inverter.model
    blind = HyperStyleInverter(
        model.generator, model.encoder, domain=model.domain, edits=model.edits, parts={"judge": model.evaluator}
    )
    with pytest.raises(MethodError, match="no perceptual network"):
        evaluate_equal_effect(blind, crops, optimized=SETTINGS)
    with pytest.raises(EditError, match="Did you mean 'smile'"):
        evaluate_equal_effect(full_inverter, crops, ["smlie"])
    with pytest.raises(ConfigError, match="points=1"):
        evaluate_equal_effect(full_inverter, crops, points=1)
