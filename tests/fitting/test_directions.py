"""Fitting: known directions are recovered, conditional ones leave the other traits alone, reports are stored."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from hyperstyle import HyperStyleInverter
from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.errors import EditError
from hyperstyle.fitting import Measured, Scores, fit_components, fit_interfacegan, sample_w, with_report

pytest.importorskip("sklearn", reason="boundaries need scikit-learn")


@pytest.fixture(scope="module")
def table() -> Scores:
    """Codes of deviation 3, and two traits whose normals are at an angle of 60 degrees."""
    codes = 3 * torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    return Scores(codes, {"a": codes[:, 0], "b": 0.5 * codes[:, 0] + 0.75**0.5 * codes[:, 1]})


def test_one_unit_is_one_deviation_of_the_codes_across_the_boundary(
    tiny_inverter: HyperStyleInverter, table: Scores
) -> None:
    edit = fit_interfacegan(tiny_inverter.model, table, ["a"], chosen=0.1, source=", made up")["a"]
    expected = 3 * torch.eye(16)[0]
    torch.testing.assert_close(edit.direction, expected, atol=0.3, rtol=0)
    assert edit.direction.norm().item() == pytest.approx(3.0, rel=0.03)
    assert edit.info.trait == "a"
    assert edit.info.model == tiny_inverter.model.generator_fingerprint
    assert edit.info.source == "InterFaceGAN: linear SVM on 400 codes of either end of 4000, made up"
    assert edit.info.report["accuracy"]["held_out"] > 0.98
    assert edit.info.report["orthogonal_to"] == []


def test_a_conditional_edit_leaves_the_other_trait_alone_and_moves_its_own_as_far(
    tiny_inverter: HyperStyleInverter, table: Scores
) -> None:
    reported: list[int] = []
    fit = fit_interfacegan(
        tiny_inverter.model,
        table,
        ["a"],
        conditional=True,
        chosen=0.1,
        on_progress=lambda *args: reported.append(args[1]),
    )
    assert reported == [1, 2]  # the boundaries of all traits are needed
    edit = fit["a"]
    other = torch.tensor([0.5, 0.75**0.5, *[0.0] * 14])
    assert abs((edit.direction @ other).item()) < 0.1
    assert edit.direction[0].item() == pytest.approx(3.0, rel=0.05)
    assert edit.info.report["orthogonal_to"] == ["b"]
    assert edit.info.source.startswith("InterFaceGAN, conditional")


def test_boundaries_that_do_not_hold_are_no_condition(tiny_inverter: HyperStyleInverter, table: Scores) -> None:
    noise = torch.randn(4000, generator=torch.Generator().manual_seed(1))
    with_noise = Scores(table.codes, {"a": table.values["a"], "noise": noise, "flat": torch.zeros(4000)})
    edit = fit_interfacegan(tiny_inverter.model, with_noise, ["a"], conditional=True, chosen=0.05)["a"]
    assert edit.info.report["orthogonal_to"] == []
    with pytest.raises(EditError, match="flat: the 200 highest"):
        fit_interfacegan(tiny_inverter.model, with_noise, chosen=0.05)


def test_unknown_traits_and_codes_of_another_width_are_refused(
    tiny_inverter: HyperStyleInverter, table: Scores
) -> None:
    with pytest.raises(EditError, match="no scores of 'c'"):
        fit_interfacegan(tiny_inverter.model, table, ["c"])
    narrow = Scores(table.codes[:, :8], table.values)
    with pytest.raises(EditError, match="width 8, and the generator's codes have 16"):
        fit_interfacegan(tiny_inverter.model, narrow)


def test_components_are_those_of_the_sampled_codes(tiny_inverter: HyperStyleInverter) -> None:
    reported: list[tuple[object, ...]] = []
    components = fit_components(tiny_inverter.model, 3, samples=5000, on_progress=lambda *args: reported.append(args))
    codes = torch.cat(list(sample_w(tiny_inverter.model.generator, 5000)))
    torch.testing.assert_close(components.mean, codes.mean(0), atol=1e-5, rtol=0)
    assert components.comp.shape == (3, 16)
    torch.testing.assert_close(components.std, ((codes - codes.mean(0)) @ components.comp.T).std(0), atol=0, rtol=0.1)
    assert reported == [("sampling", 4096, 5000), ("sampling", 5000, 5000)]


def test_a_report_brings_its_range_unless_nothing_held() -> None:
    edit = DirectionEdit(torch.ones(4), EditInfo("a", -5.0, 5.0, report={"accuracy": 1.0}))
    measured = Measured("a", (-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (), -1.0, 1.0, 1.0)
    reported = with_report(edit, measured).info
    assert (reported.low, reported.high) == (-1.0, 1.0)
    assert (reported.report["accuracy"], reported.report["trait"], reported.report["clean"]) == (1.0, "a", True)
    nothing = with_report(edit, dataclasses.replace(measured, low=0.0, high=0.0)).info
    assert (nothing.low, nothing.high, nothing.report["clean"]) == (-5.0, 5.0, False)
