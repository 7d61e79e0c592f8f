"""InterFaceGAN directions: every published shape, conditional directions, distances from the boundary."""

from __future__ import annotations

import math

import pytest
import torch

from hyperstyle.edits.interfacegan import conditional, direction_edit, to_boundary
from hyperstyle.errors import EditError


def direction_of(values: torch.Tensor, where: str = "direction") -> torch.Tensor:
    return direction_edit(values, name="age", width=8, where=where).direction


def test_every_published_shape_of_one_vector_is_that_vector() -> None:
    vector = torch.randn(8)
    for values in (
        vector,
        vector[None],
        vector.expand(6, 8),
        vector.expand(1, 6, 8),
        vector.expand(6, 8).reshape(1, 48),
    ):
        assert torch.equal(direction_of(values), vector)


def test_rows_that_differ_stay_and_are_read_in_their_order() -> None:
    rows = torch.randn(6, 8)
    for values in (rows, rows[None], rows.reshape(1, 48), rows.flatten()):
        assert torch.equal(direction_of(values), rows)


def test_the_precision_of_a_file_is_kept() -> None:
    assert direction_of(torch.randn(1, 8, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("shape", [(), (0,), (7,), (1, 12), (2, 16), (2, 3, 8), (1, 1, 3, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EditError, match=r"age\.pt.*\[8\], \[1, 8\], \[1, L, 8\]"):
        direction_of(torch.ones(shape), where="age.pt")


def test_the_effects_of_channels_are_no_direction() -> None:
    with pytest.raises(EditError, match=r"5376 rows.*StyleClip"):
        direction_of(torch.ones(5376, 8))


@pytest.mark.parametrize("values", [torch.zeros(8), torch.full((8,), math.nan), torch.ones(8, dtype=torch.int64)])
def test_what_leads_nowhere_is_refused(values: torch.Tensor) -> None:
    with pytest.raises(EditError, match="no direction"):
        direction_of(values)


def test_the_range_is_the_same_distance_in_w_for_every_form() -> None:
    unit = torch.nn.functional.normalize(torch.randn(8), dim=0)
    for direction, halved, reach, text in (
        (unit, False, 5.0, "distance in W"),
        (3 * unit, False, 1.7, "steps of 3 in W"),
        (unit.expand(4, 8) / 2, False, 10.0, "steps of 0.5 in W"),
        (unit, True, 3.0, "steps of 0.5 in W"),
    ):
        info = direction_edit(direction, name="age", width=8, halved=halved).info
        assert (info.low, info.high, info.unit) == (-reach, reach, text)


def test_halved_adds_half() -> None:
    direction, w = torch.randn(8), torch.randn(2, 4, 8)
    torch.testing.assert_close(direction_edit(direction, name="a", width=8, halved=True)(w, 3.0), w + 1.5 * direction)


def test_a_conditional_direction_leaves_the_conditions_alone() -> None:
    direction, first, second = torch.randn(3, 4, 8, dtype=torch.float64)
    conditioned = conditional(direction, first, first + 0.1 * second, first)  # they may repeat and lean on each other
    assert conditioned.shape == direction.shape
    assert abs(conditioned.norm() - 1) < 1e-12
    assert max(abs((conditioned * first).sum()), abs((conditioned * second).sum())) < 1e-12
    assert (conditioned * direction).sum() > 0


def test_conditions_that_leave_nothing_or_do_not_fit_are_refused() -> None:
    direction = torch.randn(8)
    with pytest.raises(EditError, match="nothing of it is left"):
        conditional(direction, -2 * direction)
    with pytest.raises(EditError, match=r"at least one, of the shape \(8,\)"):
        conditional(direction)
    with pytest.raises(EditError, match=r"conditions of shape \(4, 8\)"):
        conditional(direction, torch.randn(4, 8))


def test_codes_come_to_the_asked_distance_from_wherever_they_are() -> None:
    normal = torch.nn.functional.normalize(torch.randn(8), dim=0)
    codes, distance = torch.randn(3, 8), torch.tensor([-1.0, 0.0, 2.0])
    moved = to_boundary(codes, normal, distance)
    torch.testing.assert_close(moved @ normal, distance)
    torch.testing.assert_close(to_boundary(moved, normal, distance), moved)
    across = torch.eye(8) - torch.outer(normal, normal)
    torch.testing.assert_close(moved @ across, codes @ across)


def test_a_distance_needs_w_codes_and_a_unit_normal() -> None:
    normal = torch.nn.functional.normalize(torch.randn(8), dim=0)
    with pytest.raises(EditError, match="DirectionEdit"):
        to_boundary(torch.zeros(1, 4, 8), normal, 1.0)
    with pytest.raises(EditError, match="length 2"):
        to_boundary(torch.zeros(1, 8), 2 * normal, 1.0)
    with pytest.raises(EditError, match="another generator"):
        to_boundary(torch.zeros(1, 9), normal, 1.0)
