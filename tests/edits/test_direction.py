"""Linear edits."""

from __future__ import annotations

import pytest
import torch

from hyperstyle.edits import DirectionEdit, Edit, EditInfo
from hyperstyle.errors import EditError

INFO = EditInfo("age")


def test_an_edit_adds_its_direction_times_the_strength_of_each_image() -> None:
    w, direction = torch.randn(3, 4, 5), torch.randn(5)
    edited = DirectionEdit(direction, INFO)(w, torch.tensor([0.0, 1.0, -2.0]))
    assert torch.equal(edited[0], w[0])
    torch.testing.assert_close(edited[1], w[1] + direction)
    torch.testing.assert_close(edited[2], w[2] - 2 * direction)


def test_a_direction_may_differ_by_row() -> None:
    w, direction = torch.randn(2, 4, 5), torch.randn(4, 5)
    torch.testing.assert_close(DirectionEdit(direction, INFO)(w, torch.ones(2)), w + direction)


def test_rows_limit_what_moves() -> None:
    w = torch.randn(2, 4, 5)
    edited = DirectionEdit(torch.randn(5), INFO, rows=(1, 3))(w, torch.ones(2))
    assert torch.equal(edited[:, [0, 3]], w[:, [0, 3]])
    assert not torch.isclose(edited[:, 1:3], w[:, 1:3]).any()


def test_codes_are_not_changed_in_place() -> None:
    w = torch.randn(1, 4, 5)
    before = w.clone()
    for rows in (None, (0, 2)):
        DirectionEdit(torch.ones(5), INFO, rows)(w, torch.ones(1))
    assert torch.equal(w, before)


def test_the_result_has_the_type_of_the_codes() -> None:
    edited = DirectionEdit(torch.randn(5), INFO)(torch.randn(1, 4, 5, dtype=torch.float64), torch.ones(1))
    assert edited.dtype == torch.float64


def test_a_direction_edit_is_an_edit_and_so_is_any_object_of_that_form() -> None:
    class Halve:
        info = EditInfo("halve")

        def __call__(self, w: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
            return w * (1 - strength[:, None, None] / 2)

    assert isinstance(DirectionEdit(torch.zeros(5), INFO), Edit)
    assert isinstance(Halve(), Edit)
    assert not isinstance(torch.zeros, Edit)


@pytest.mark.parametrize(
    "direction",
    [torch.zeros(()), torch.zeros(1, 4, 5), torch.tensor([1.0, float("nan")]), torch.tensor([float("inf")])],
)
def test_a_malformed_direction_is_refused(direction: torch.Tensor) -> None:
    with pytest.raises(EditError, match="'age'"):
        DirectionEdit(direction, INFO)


@pytest.mark.parametrize("rows", [(2, 2), (3, 1), (-1, 2)])
def test_malformed_rows_are_refused(rows: tuple[int, int]) -> None:
    with pytest.raises(EditError, match="first < end"):
        DirectionEdit(torch.zeros(5), INFO, rows)


@pytest.mark.parametrize("shape", [(6,), (3, 5)])
def test_a_direction_for_other_codes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EditError, match=r"\[5\] or \[4, 5\].*another generator"):
        DirectionEdit(torch.zeros(shape), INFO)(torch.zeros(1, 4, 5), torch.ones(1))


def test_rows_that_the_codes_lack_are_refused() -> None:
    with pytest.raises(EditError, match=r"moves rows \(2, 9\), and these codes have 4 rows"):
        DirectionEdit(torch.zeros(5), INFO, (2, 9))(torch.zeros(1, 4, 5), torch.ones(1))
