"""Losses of latent codes."""

from __future__ import annotations

import pytest
import torch

from hyperstyle.training.losses import delta_loss, w_mean_loss


def test_delta_loss_adds_the_mean_lengths_of_the_rows_up_to_a_stage() -> None:
    w = torch.zeros(2, 4, 3)
    w[:, 1, 0], w[:, 3, 2] = 3.0, torch.tensor([4.0, 6.0])
    w = w + torch.randn(2, 1, 3)  # the first row itself costs nothing
    assert delta_loss(w).item() == pytest.approx(3 + 5)
    assert [round(delta_loss(w, stage).item(), 5) for stage in (0, 1, 2, 3)] == [0, 3, 3, 8]


def test_delta_loss_has_a_gradient_where_rows_are_still_equal() -> None:
    w = torch.zeros(2, 4, 3, requires_grad=True)
    delta_loss(w).backward()
    assert w.grad is not None
    assert w.grad.isfinite().all()


def test_w_mean_loss_is_the_mean_length_over_all_rows() -> None:
    mean = torch.randn(3)
    w = mean.repeat(2, 4, 1)
    w[0, 0, 0] += 3
    w[0, 1, 2] += 4
    assert w_mean_loss(w, mean).item() == pytest.approx(5 / 2, rel=1e-5)
    assert w_mean_loss(w, mean.repeat(4, 1)).item() == pytest.approx(5 / 2, rel=1e-5)
