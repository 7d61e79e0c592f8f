"""Adversarial losses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from hyperstyle.training.adversarial import deceived, r1_penalty, told_apart


def test_the_losses_fall_as_logits_move_the_way_they_ask_for() -> None:
    assert float(deceived(torch.zeros(4, 1))) == pytest.approx(math.log(2))
    assert float(deceived(torch.full((4, 1), 3.0))) < 0.05
    assert float(told_apart(torch.zeros(4, 1), torch.zeros(4, 1))) == pytest.approx(math.log(2))
    assert float(told_apart(torch.full((1, 1), 3.0), torch.full((1, 1), -3.0))) < 0.05
    assert float(told_apart(torch.full((1, 1), -3.0), torch.full((1, 1), -3.0))) > 1.5


def test_the_penalty_is_the_squared_slope_of_the_logits_and_has_a_gradient_of_its_own() -> None:
    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.tensor(3.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.slope * x[:, 0, 0, :1]

    network, pictures = Slope(), torch.randn(5, 3, 2, 2)
    penalty = r1_penalty(network, pictures, gamma=4.0, every=2)
    assert penalty.item() == pytest.approx(4 / 2 * 2 * 9)
    penalty.backward()  # type: ignore[no-untyped-call]
    assert network.slope.grad is not None
    assert network.slope.grad.item() == pytest.approx(4 / 2 * 2 * 6)
    assert pictures.grad is None
