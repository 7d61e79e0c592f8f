"""GANSpace edits: absolute coordinates, the relative form, exported edits, and their form on disk."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.edits.ganspace import Components, GanspaceEdit, exported_edit
from hyperstyle.errors import EditError


@pytest.fixture
def components() -> Components:
    axes = torch.linalg.qr(torch.randn(8, 8))[0][:3]
    return Components(torch.randn(8), axes, torch.tensor([2.0, 1.0, 0.5]))


def coordinate(components: Components, codes: torch.Tensor, component: int) -> torch.Tensor:
    return (codes - components.mean) @ components.comp[component] / components.std[component]


def test_the_coordinate_becomes_the_strength_whatever_it_was(components: Components) -> None:
    w, target = torch.randn(3, 8), torch.tensor([-2.0, 0.0, 5.0])
    edited = components.edit(1, name="hair")(w, target)
    torch.testing.assert_close(coordinate(components, edited, 1), target)
    for other in (0, 2):
        torch.testing.assert_close(coordinate(components, edited, other), coordinate(components, w, other))


def test_twice_is_the_same_as_once_and_zero_is_the_mean(components: Components) -> None:
    edit, w = components.edit(0, name="pose", rows=(0, 2)), torch.randn(2, 4, 8)
    once = edit(w, 2.0)
    torch.testing.assert_close(edit(once, 2.0), once)
    assert not edit.info.relative
    assert not torch.isclose(edit(w, 0.0)[:, :2], w[:, :2]).all()
    torch.testing.assert_close(coordinate(components, edit(w, 0.0)[:, 0], 0), torch.zeros(2), atol=1e-6, rtol=0)


def test_row_0_alone_sets_what_every_moved_row_gets(components: Components) -> None:
    edit, w = components.edit(2, name="color", rows=(1, 3)), torch.randn(2, 4, 8)
    before = w.clone()
    moved = edit(w, torch.tensor([3.0, -3.0])) - w
    coordinates = coordinate(components, w[:, 0], 2)
    expected = ((torch.tensor([3.0, -3.0]) - coordinates) * 0.5)[:, None] * components.comp[2]
    for row in (1, 2):
        torch.testing.assert_close(moved[:, row], expected, atol=1e-6, rtol=1e-5)
    assert not moved[:, [0, 3]].any()
    assert torch.equal(w, before)
    other = w.clone()
    other[:, 1:] = torch.randn(2, 3, 8)
    torch.testing.assert_close(
        (edit(other, torch.tensor([3.0, -3.0])) - other)[:, 1], moved[:, 1], atol=1e-6, rtol=1e-5
    )


def test_an_inverted_edit_goes_to_the_other_side_of_the_mean(components: Components) -> None:
    edit = components.edit(0, name="flip", invert=True)
    w = components.mean + torch.tensor([[1.0], [-1.0]]) * components.comp[0]
    torch.testing.assert_close(coordinate(components, edit(w, 2.0), 0), torch.tensor([-2.0, 2.0]))


def test_the_relative_form_adds_deviations(components: Components) -> None:
    edit, w = components.edit(0, name="pose", rows=(1, 3), relative=True), torch.randn(2, 4, 8)
    assert isinstance(edit, DirectionEdit)
    assert edit.info.relative
    assert torch.equal(edit(w, 0.0), w)
    moved = edit(w, -1.5) - w
    torch.testing.assert_close(moved[:, 1:3], (-3 * components.comp[0]).expand(2, 2, 8), atol=1e-6, rtol=1e-5)
    assert not moved[:, [0, 3]].any()


@pytest.mark.parametrize("rows", [None, (1, 3)])
def test_an_edit_comes_back_from_its_parts(components: Components, rows: tuple[int, int] | None) -> None:
    edit = components.edit(2, name="color", rows=rows, invert=True)
    assert isinstance(edit, GanspaceEdit)
    again = GanspaceEdit.from_parts(edit.info, *edit.parts())
    assert (again.info, again.rows, again.invert, again.std) == (edit.info, rows, True, 0.5)
    w = torch.randn(2, 4, 8)
    assert torch.equal(again(w, 4.0), edit(w, 4.0))


@pytest.mark.parametrize(
    "change", [{"std": "much"}, {"std": 0.0}, {"std": math.nan}, {"rows": [2, 1]}, {"invert": 1}, {"colour": 1}]
)
def test_parts_that_make_no_edit_are_refused(components: Components, change: dict[str, Any]) -> None:
    edit = components.edit(2, name="color")
    tensors, values = edit.parts()
    with pytest.raises(EditError, match="'color'"):
        GanspaceEdit.from_parts(edit.info, tensors, {**values, **change})


def test_codes_that_do_not_fit_are_refused(components: Components) -> None:
    with pytest.raises(EditError, match="another generator"):
        components.edit(0, name="pose")(torch.zeros(1, 4, 9), 1.0)
    with pytest.raises(EditError, match=r"moves rows \(2, 9\)"):
        components.edit(0, name="pose", rows=(2, 9))(torch.zeros(1, 4, 8), 1.0)
    with pytest.raises(EditError, match="finite"):
        components.edit(0, name="pose")(torch.zeros(1, 4, 8), math.nan)
    with pytest.raises(EditError, match="axis"):
        GanspaceEdit(torch.zeros(8), torch.zeros(9), 1.0, EditInfo("pose"))


@pytest.mark.parametrize("component", [-1, 3])
def test_a_component_that_is_not_there_is_refused(components: Components, component: int) -> None:
    with pytest.raises(EditError, match=rf"component {component}: there are 3, expected 0 to 2"):
        components.edit(component, name="pose")


def test_a_relative_edit_cannot_be_inverted(components: Components) -> None:
    with pytest.raises(EditError, match="one of the two"):
        components.edit(0, name="pose", relative=True, invert=True)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("std", [0.0, -1.0, math.inf, math.nan])
def test_a_component_without_a_deviation_makes_no_edit(std: float, relative: bool) -> None:
    components = Components(torch.zeros(4), torch.eye(4)[:1], torch.tensor([std]))
    with pytest.raises(EditError, match="expected one above 0"):
        components.edit(0, name="flat", relative=relative)


@pytest.mark.parametrize(
    "value", ["abc", None, {}, [[1.0], [1.0, 2.0]], torch.zeros(8).to_sparse(), torch.zeros(8, dtype=torch.complex64)]
)
def test_components_that_are_no_plain_numbers_are_refused(value: Any) -> None:
    with pytest.raises(EditError, match=r"'mean' holds a .*; expected an array or tensor of numbers"):
        Components.of({"mean": value, "comp": torch.eye(8)[:2], "std": torch.ones(2)})
    with pytest.raises(EditError, match="'lat_comp' holds a"):
        exported_edit({"latent_space": "W", "edit_type": "latent", "lat_comp": value}, where="a.pkl")


def test_both_ways_to_name_components_are_read(components: Components) -> None:
    short = {"std": components.std, "comp": components.comp[:, None], "mean": components.mean[None]}
    long = {"lat_" + {"std": "stdev"}.get(name, name): value.numpy() for name, value in short.items()}
    for values in (short, long):
        loaded = Components.of(values)
        for name in ("mean", "comp", "std"):
            assert torch.equal(getattr(loaded, name), getattr(components, name))
    with pytest.raises(EditError, match=r"cars\.pt has no 'std'"):
        Components.of({name: value for name, value in short.items() if name != "std"}, "cars.pt")
    with pytest.raises(EditError, match=r"cars\.pt.*expected \[D\], \[K, D\]"):
        Components.of({**short, "std": torch.ones(4)}, "cars.pt")


EXPORT = {
    "name": "Light direction",
    "sigma_range": -2.5,
    "component_index": 15,
    "lat_comp": np.eye(1, 8, 3, dtype=np.float32),
    "lat_stdev": 2.0,
    "latent_space": "W",
    "edit_type": "latent",
    "edit_start": 1,
    "edit_end": 3,
}


def test_an_exported_edit_moves_its_rows_by_deviations() -> None:
    edit, w = exported_edit(EXPORT, where="light.pkl"), torch.zeros(1, 4, 8)
    assert (edit.info.name, edit.info.low, edit.info.high, edit.rows) == ("Light direction", -2.5, 2.5, (1, 3))
    moved = edit(w, 1.5)[0]
    assert moved[:, 3].tolist() == [0.0, 3.0, 3.0, 0.0]
    assert moved.count_nonzero() == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_space": "Z"}, "space 'Z'"),
        ({"edit_type": "activation"}, "'activation'"),
        ({"lat_stdev": None}, "no whole export"),
        ({"edit_end": "all"}, "two whole numbers"),
    ],
)
def test_exports_that_are_no_edits_of_w_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EditError, match=message):
        exported_edit({**EXPORT, **change}, where="light.pkl")
