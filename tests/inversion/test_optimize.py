"""The loop of everything that optimizes: what it minimizes, what a callback sees, when an image stops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyperstyle.inversion.optimize import Loss, Schedule, Step, optimize

TARGET = torch.tensor([[1.0, -1.0], [3.0, 2.0]])


def loss_of(x: Tensor, **parts: Tensor) -> Loss:
    losses = (x - TARGET).square().sum(1)
    return Loss(losses, x[:, :, None, None], shown={"w": x}, **parts)


def run(schedule: Schedule, x: Tensor) -> list[Step]:
    seen: list[Step] = []
    optimize([x], lambda step: loss_of(x), schedule, seen.append)
    return seen


def test_it_is_adam_with_the_schedules_rates_and_betas() -> None:
    rates = [0.3, 0.1, 0.2]
    x = torch.zeros(2, 2, requires_grad=True)
    seen = run(Schedule(3, rates.__getitem__, betas=(0.8, 0.9)), x)
    y = torch.zeros(2, 2, requires_grad=True)
    adam = torch.optim.Adam([y], betas=(0.8, 0.9))
    for rate in rates:
        adam.param_groups[0]["lr"] = rate
        adam.zero_grad()
        loss_of(y).losses.sum().backward()
        adam.step()
    assert torch.equal(x, y)
    assert x.grad is None
    assert [(step.step, step.steps) for step in seen] == [(0, 3), (1, 3), (2, 3)]
    assert seen[0].loss == pytest.approx(float(TARGET.square().sum() / 2))
    assert not any(tensor.requires_grad for step in seen for tensor in (step.image, step.losses, step.w))


def test_an_image_is_rendered_once_and_only_where_a_callback_reads_it() -> None:
    x, rendered = torch.zeros(2, 2, requires_grad=True), []

    def loss(step: int) -> Loss:
        image = x[:, :, None, None].clone()
        return Loss((x - TARGET).square().sum(1), lambda: rendered.append(step) or image)  # type: ignore[func-returns-value]

    seen: list[Step] = []
    optimize([x], loss, Schedule(3, lambda step: 0.1), seen.append)
    assert rendered == []
    assert torch.equal(seen[0].image, torch.zeros(2, 2, 1, 1))
    assert torch.equal(seen[0].image, seen[0].image)
    assert not seen[2].image.requires_grad
    assert rendered == [0, 2]


def test_an_image_below_the_threshold_stays_and_the_last_one_ends_it() -> None:
    x = torch.tensor([[1.0, -1.1], [0.0, 0.0]], requires_grad=True)
    start = x.detach().clone()
    seen = run(Schedule(5, lambda step: 0.01, threshold=0.1), x)
    assert torch.equal(x[0], start[0])
    assert not torch.equal(x[1], start[1])
    assert len(seen) == 5
    assert len(run(Schedule(5, lambda step: 0.01, threshold=100.0), x)) == 1


def test_a_penalty_is_minimized_and_not_shown_and_a_constraint_holds_after_every_step() -> None:
    x = torch.zeros(2, 2, requires_grad=True)

    def clamp() -> None:
        x.clamp_(max=0.0)

    def loss(step: int) -> Loss:
        return loss_of(x, penalty=1e6 * x[:, 1].square() + 1e6 * x[:, 1])

    seen: list[Step] = []
    optimize([x], loss, Schedule(2, lambda step: 0.5), seen.append, constrain=clamp)
    assert (x[:, 0] == 0).all()
    assert (x[:, 1] < 0).all()
    assert seen[0].losses.tolist() == TARGET.square().sum(1).tolist()


def test_a_step_has_only_what_its_method_shows() -> None:
    step = Step(1, 5, torch.zeros(1, 3, 4, 4), codes=None)
    assert step.codes is None
    assert not hasattr(step, "loss")
    assert not hasattr(step, "w")
