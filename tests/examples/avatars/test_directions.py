"""The regression that finds the directions of the bundled edits."""

from __future__ import annotations

import pytest
import torch

from examples.avatars.recipe.directions import regression_directions
from hyperstyle.errors import EditError


def test_the_regression_finds_planted_directions_per_standard_deviation() -> None:
    truth = torch.randn(2, 6, dtype=torch.float64)
    traits = 3 + 2 * torch.randn(50, 2, dtype=torch.float64)
    codes = torch.randn(6, dtype=torch.float64) + traits @ truth
    torch.testing.assert_close(regression_directions(codes, traits), truth * traits.std(0)[:, None])


def test_a_direction_moves_one_trait_and_leaves_another_that_goes_with_it() -> None:
    """As gray hair goes with age: the direction of age is what age adds where the hair stays as it is."""
    age = torch.rand(20_000)
    gray = 0.7 * age + 0.3 * torch.rand(20_000)
    codes = torch.stack([age, gray, 0.1 * torch.randn(20_000)], 1)
    direction = regression_directions(codes, torch.stack([age, gray], 1))
    expected = torch.tensor([[age.std(), 0.0, 0.0], [0.0, gray.std(), 0.0]])
    torch.testing.assert_close(direction, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("codes", "traits", "message"),
    [
        (torch.zeros(4, 3), torch.ones(4, 1), "same value"),
        (torch.zeros(4, 3), torch.arange(8.0).view(4, 2), "linear combination"),
        (torch.zeros(4, 3), torch.zeros(3, 1), "expected"),
        (torch.zeros(1, 3), torch.zeros(1, 1), "more codes"),
        (torch.zeros(4), torch.zeros(4, 1), "expected"),
    ],
)
def test_a_regression_without_a_direction_is_refused(codes: torch.Tensor, traits: torch.Tensor, message: str) -> None:
    with pytest.raises(EditError, match=message):
        regression_directions(codes, traits)
