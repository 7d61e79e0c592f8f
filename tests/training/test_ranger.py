"""Ranger: what a step does, and that it goes on from a saved state."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hyperstyle.errors import ConfigError
from hyperstyle.training.ranger import Ranger


def stepped(optimizer: Ranger, parameter: nn.Parameter, count: int, seed: int = 0) -> None:
    random = torch.Generator().manual_seed(seed)
    for _ in range(count):
        parameter.grad = torch.randn(parameter.shape, generator=random)
        optimizer.step()


def test_a_gradient_of_two_axes_loses_its_mean_and_one_of_one_axis_keeps_it() -> None:
    matrix, vector = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(3))
    matrix.grad, vector.grad = torch.tensor([[1.0, 2, 3], [4, 4, 4]]), torch.tensor([1.0, 2, 3])
    Ranger([matrix, vector], 0.1).step()
    assert matrix.grad.tolist() == [[-1, 0, 1], [0, 0, 0]]
    assert vector.grad.tolist() == [1, 2, 3]
    # The first step is the learning rate times the gradient: momentum, its bias removed, and no denominator.
    assert matrix.detach().flatten().tolist() == pytest.approx([0.1, 0, -0.1, 0, 0, 0])


def test_every_sixth_step_goes_half_of_the_way_back() -> None:
    ahead, plain = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    both = Ranger([ahead], 0.1), Ranger([plain], 0.1, alpha=1.0)
    for count in (5, 1):
        for parameter, optimizer in zip((ahead, plain), both, strict=True):
            stepped(optimizer, parameter, count, seed=count)
        if count == 5:
            assert torch.equal(ahead, plain)
    torch.testing.assert_close(ahead.detach(), (1 + plain.detach()) / 2)


def test_a_run_that_is_saved_and_loaded_goes_on_bit_for_bit() -> None:
    uninterrupted, interrupted = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(3, 4))
    optimizer, first = Ranger([uninterrupted], 0.1), Ranger([interrupted], 0.1)
    for seed in (1, 2):
        stepped(optimizer, uninterrupted, 4, seed)
    stepped(first, interrupted, 4, 1)
    again = nn.Parameter(interrupted.detach().clone())
    second = Ranger([again], 0.1)
    second.load_state_dict(first.state_dict())
    stepped(second, again, 4, 2)
    assert torch.equal(uninterrupted, again)


def test_parameters_without_a_gradient_stay_and_a_closure_gives_its_loss() -> None:
    used, unused = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([3.0]))
    optimizer = Ranger([used, unused], 0.1, weight_decay=0.5)

    def closure() -> float:
        optimizer.zero_grad()
        loss = used.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 9
    assert unused.item() == 3
    assert used.item() == pytest.approx(3 * (1 - 0.1 * 0.5) - 0.1 * 6)


def test_it_finds_a_minimum() -> None:
    parameter = nn.Parameter(torch.tensor([5.0, -3.0]))
    optimizer = Ranger([parameter], 0.1)
    for _ in range(1000):
        optimizer.zero_grad()
        (parameter - torch.tensor([1.0, 2.0])).square().sum().backward()
        optimizer.step()
    assert parameter.detach().tolist() == pytest.approx([1, 2], abs=0.02)


@pytest.mark.parametrize("wrong", [{"lr": -1}, {"alpha": 0}, {"alpha": 1.5}, {"k": 0}, {"betas": (0.9, 1)}, {"eps": 0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Ranger([nn.Parameter(torch.zeros(1))], **wrong)
