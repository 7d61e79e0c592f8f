"""The regression that finds the directions of the bundled edits."""

from __future__ import annotations

import pytest
import torch

from examples.avatars.recipe.directions import regression_direction
from hyperstyle.errors import EditError


def test_the_regression_finds_a_planted_direction_per_standard_deviation() -> None:
    truth = torch.randn(6, dtype=torch.float64)
    trait = 3 + 2 * torch.randn(50, dtype=torch.float64)
    codes = torch.randn(6, dtype=torch.float64) + trait[:, None] * truth
    torch.testing.assert_close(regression_direction(codes, trait), truth * trait.std())


def test_the_regression_averages_over_what_varies_independently() -> None:
    truth, other = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 5.0, 0.0])
    trait, unrelated = torch.randn(20_000), torch.randn(20_000)
    codes = trait[:, None] * truth + unrelated[:, None] * other
    torch.testing.assert_close(regression_direction(codes, trait), truth, atol=0.15, rtol=0)


@pytest.mark.parametrize(
    ("codes", "trait", "message"),
    [
        (torch.zeros(4, 3), torch.ones(4), "same value"),
        (torch.zeros(4, 3), torch.zeros(3), "expected"),
        (torch.zeros(1, 3), torch.zeros(1), "N >= 2"),
        (torch.zeros(4), torch.zeros(4), "expected"),
    ],
)
def test_a_regression_without_a_direction_is_refused(codes: torch.Tensor, trait: torch.Tensor, message: str) -> None:
    with pytest.raises(EditError, match=message):
        regression_direction(codes, trait)
