"""Measuring: known edits of a made-up evaluator give the numbers that they must give."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle import HyperStyleInverter
from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.errors import EditError
from hyperstyle.fitting import Evaluator, Measured, measure_edits
from hyperstyle.fitting import scores as module
from hyperstyle.inversion.state import InversionState
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE
from hyperstyle.model.parts import Model

WHOLE = (-3, -2, -1, 1, 2, 3)
CLEAN = Measured("a", (-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (), -1.0, 1.0, 1.0, {"b": 0.2}, 4)


@pytest.fixture
def brightness_model(monkeypatch: pytest.MonkeyPatch, tiny_inverter: HyperStyleInverter) -> Model:
    """A model whose images show the first row of their code, so that an evaluator can read it exactly."""

    def render(model: Model, state: InversionState) -> Tensor:
        return state.w[:, 0, :, None, None].expand(-1, -1, 32, 32)

    monkeypatch.setattr(module, "render", render)
    return tiny_inverter.model


def entry(number: int, scale: float = 1.0, **info: Any) -> DirectionEdit:
    """Adds `scale` to one entry of the code."""
    return DirectionEdit(scale * torch.eye(16)[number], EditInfo("edit", **info))


def evaluator_of(read: Callable[[Tensor], dict[str, Tensor]]) -> Evaluator:
    """Reads codes instead of images."""
    return Evaluator(lambda images: read(images[:, :, 0, 0]))


def codes() -> Tensor:
    """64 codes with standard deviation 2 in every entry."""
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    return 2 * (x - x.mean(0)) / x.std(0)


def test_changes_are_in_deviations_of_the_trait_and_leaks_per_deviation_of_it(brightness_model: Model) -> None:
    reader = evaluator_of(lambda w: {"a": 10 * w[:, 0], "b": w[:, 1] + 0.25 * w[:, 0], "flat": 0 * w[:, 0]})
    measured = measure_edits(
        brightness_model, {"e": entry(0, trait="a")}, codes(), reader, strengths=(-2, -1, 1, 2), images=4
    )["e"]
    assert measured.strengths == (-2.0, -1.0, 0.0, 1.0, 2.0)
    assert measured.change == pytest.approx((-1.0, -0.5, 0.0, 0.5, 1.0), abs=1e-5)
    assert measured.per_unit == pytest.approx(0.5, abs=1e-5)
    assert measured.leak.keys() == {"b"}  # what is the same in all images has no deviations to be measured in
    assert measured.leak["b"] == pytest.approx(0.25, abs=0.05)
    assert (measured.low, measured.high, measured.identity, measured.images) == (-2.0, 2.0, (), 4)


def test_a_trait_that_decreases_has_a_negative_leak_whatever_the_sign_of_the_edited_trait(
    brightness_model: Model,
) -> None:
    reader = evaluator_of(lambda w: {"a": w[:, 0], "b": w[:, 1]})
    both = DirectionEdit(-torch.eye(16)[0] + 0.5 * torch.eye(16)[1], EditInfo("edit", trait="a"))
    measured = measure_edits(brightness_model, {"e": both}, codes(), reader, images=4)["e"]
    assert measured.per_unit == pytest.approx(-0.5, abs=1e-5)
    assert measured.leak["b"] == pytest.approx(-0.5, abs=1e-5)


def test_strengths_are_steps_to_either_end_of_the_range_of_the_edit(brightness_model: Model) -> None:
    reader = evaluator_of(lambda w: {"a": w[:, 0]})
    measured = measure_edits(
        brightness_model, {"e": entry(0, trait="a", low=-1.0, high=2.0)}, codes(), reader, images=2
    )["e"]
    assert measured.strengths == (-1.0, -0.75, -0.5, -0.25, 0.0, 0.5, 1.0, 1.5, 2.0)


def test_an_edit_without_a_trait_gets_the_one_that_it_moves_most(brightness_model: Model) -> None:
    reader = evaluator_of(lambda w: {"a": w[:, 0] + 3 * w[:, 1], "b": w[:, 0]})
    assert measure_edits(brightness_model, {"e": entry(0)}, codes(), reader, images=2)["e"].trait == "b"


def test_the_range_ends_where_the_trait_no_longer_follows(brightness_model: Model) -> None:
    reader = evaluator_of(lambda w: {"a": w[:, 0].clamp(max=1.5), "b": w[:, 1]})
    still = torch.zeros(2, 16)
    measured = measure_edits(
        brightness_model, {"e": entry(0, trait="a")}, torch.cat([still, codes()]), reader, strengths=WHOLE, images=2
    )["e"]
    assert (measured.low, measured.high) == (-3.0, 2.0)  # from 2 to 3 nothing moves


def test_the_range_ends_where_it_is_somebody_else(brightness_model: Model) -> None:
    reader = evaluator_of(lambda w: {"a": w[:, 0]})
    person = dataclasses.replace(reader, person=lambda images: images[:, :2, 0, 0])
    w = torch.cat([torch.tensor([[1.0, 1.0] + [0.0] * 14]).expand(2, -1), codes()])
    measured = measure_edits(brightness_model, {"e": entry(0, trait="a")}, w, person, strengths=WHOLE, images=2)["e"]
    assert measured.identity[3] == 1.0
    assert (measured.low, measured.high) == (-1.0, 3.0)  # at -2 the angle to (1, 1) is a right one


def test_an_edit_that_does_nothing_has_no_range(brightness_model: Model) -> None:
    reader = evaluator_of(lambda w: {"a": w[:, 0], "b": w[:, 1]})
    measured = measure_edits(brightness_model, {"e": entry(5, trait="a")}, codes(), reader, images=2)["e"]
    assert (measured.low, measured.high, measured.per_unit, measured.leak) == (0.0, 0.0, 0.0, {})
    assert measured.faults() == ["moves its trait by no more than +0.00 and +0.00"]


def test_images_that_cannot_be_read_do_not_count(brightness_model: Model) -> None:
    reader = evaluator_of(lambda w: {"a": torch.where(w[:, 3] > 0, w[:, 0], torch.nan), "b": w[:, 1]})
    measured = measure_edits(brightness_model, {"e": entry(0, trait="a")}, codes(), reader, images=16)["e"]
    assert measured.change == pytest.approx([s * measured.per_unit for s in measured.strengths], abs=1e-5)


def test_a_trait_that_cannot_be_read_any_more_hides_no_other(brightness_model: Model) -> None:
    def reader(w: Tensor) -> dict[str, Tensor]:
        gone = (
            w[:, 2] if len(w) == DEFAULT_BATCH_SIZE else torch.full((len(w),), torch.nan)
        )  # of the edited ones, fewer
        return {"gone": gone, "a": w[:, 0], "b": w[:, 0] + w[:, 1]}

    both = measure_edits(
        brightness_model, {"e": entry(0), "own": entry(0, trait="a")}, codes(), evaluator_of(reader), images=2
    )
    assert both["e"].trait in ("a", "b")
    assert list(both["own"].leak) == ["b"]
    assert any("moves b by" in fault for fault in both["own"].faults())


def test_edits_of_styles_are_measured_through_the_generator(tiny_inverter: HyperStyleInverter) -> None:
    class Brighter:
        info = EditInfo("brighter", trait="red", space="styles")

        def __call__(self, styles: dict[str, Tensor], strength: Tensor) -> dict[str, Tensor]:
            return {**styles, "b32.torgb": styles["b32.torgb"] + strength[:, None]}

    reader = Evaluator(lambda images: {"red": images[:, 0].mean((1, 2))})
    model, w = tiny_inverter.model, torch.randn(12, 16)
    measured = measure_edits(model, {"e": Brighter()}, w, reader, strengths=(-1, 1), images=3)["e"]
    with torch.no_grad():
        styles = model.generator.styles(w)
        before = model.generator.synthesize(styles)[:, 0].mean((1, 2))
        after = model.generator.synthesize({**styles, "b32.torgb": styles["b32.torgb"] + 1})[:, 0].mean((1, 2))
    expected = ((after - before)[:3].mean() / before.std()).item()
    assert measured.change[2] == pytest.approx(expected, rel=1e-3)
    assert measured.change[1] == 0.0


def test_what_cannot_be_measured_is_refused(brightness_model: Model) -> None:
    reader = evaluator_of(lambda w: {"a": w[:, 0]})
    edits = {"e": entry(0, trait="a")}
    for strengths in ((1.0, 2.0), (-1.0, 0.0)):
        with pytest.raises(EditError, match="expected some below 0 and above"):
            measure_edits(brightness_model, edits, codes(), reader, strengths=strengths)
    with pytest.raises(EditError, match="expected some below 0 and above"):
        measure_edits(brightness_model, {"e": entry(0, trait="a", low=0.0)}, codes(), reader)
    for images in (0, 65):
        with pytest.raises(EditError, match=f"{images} of 64 images"):
            measure_edits(brightness_model, edits, codes(), reader, images=images)
    with pytest.raises(EditError, match="'nose', which the evaluator does not read"):
        measure_edits(brightness_model, {"e": entry(0, trait="nose")}, codes(), reader)


def test_every_fault_has_its_sentence() -> None:
    assert CLEAN.faults() == []
    assert CLEAN.report()["clean"] is True
    short = dataclasses.replace(CLEAN, low=0.0)
    assert short.faults() == ["moves its trait by no more than +0.00 and +1.00"]
    assert short.faults(reach=0.0) == []
    down = dataclasses.replace(CLEAN, change=(1.0, 0.0, -0.9), per_unit=-0.95)
    assert down.faults() == ["moves its trait by no more than +1.00 and -0.90"]
    assert down.faults(reach=0.9) == []
    unclean = dataclasses.replace(CLEAN, leak={"b": -0.5, "c": 0.01})
    assert unclean.faults() == ["moves b by -0.50 of its own trait"]
    assert unclean.report()["leak"] == {"b": -0.5}
    assert unclean.report()["clean"] is False
