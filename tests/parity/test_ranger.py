"""Ranger against a recording of the optimizer that the published networks were trained with."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hyperstyle.training.ranger import Ranger

pytestmark = pytest.mark.reference

Parameters = dict[str, nn.Parameter]
CLOSE = 4e-7  # what an independent implementation reached


class Recording:
    """Gradients of 24 steps with the default settings, and parameters on the way, of these and of other settings."""

    def __init__(self, reference: Path) -> None:
        folder = reference / "editing"
        spec = importlib.util.spec_from_file_location("detrand", folder / "detrand.py")
        assert spec is not None
        assert spec.loader is not None
        draw = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(draw)
        base: int = json.loads((folder / "golden" / "set.json").read_text())["seed_base"]
        self.schedule: list[dict[str, Any]] = json.loads((folder / "golden" / "ranger.json").read_text())["schedule"]
        with np.load(folder / "golden" / "ranger.npz") as file:
            self.arrays = {name: torch.from_numpy(file[name]) for name in file}
        self.start: dict[str, Tensor] = {
            name: torch.from_numpy(np.asarray(values)).float()
            for name, values in {
                "conv_weight": 0.3 * draw.normal(base + 600, 4, 3, 3, 3),
                "conv_bias": 0.1 * draw.normal(base + 601, 4),
                "gain": np.ones(4),
                "lin_weight": 0.5 * draw.normal(base + 602, 5, 4),
                "lin_bias": 0.1 * draw.normal(base + 603, 5),
            }.items()
        }

    def replay(self, make: Callable[[Parameters], Ranger]) -> Iterator[Parameters]:
        """The parameters after every step."""
        parameters = {name: nn.Parameter(start.clone()) for name, start in self.start.items()}
        optimizer = make(parameters)
        for i in range(24):
            for name, parameter in parameters.items():
                parameter.grad = self.arrays[f"grad/{i}/{name}"].clone()
            optimizer.step()
            yield parameters

    def distance(self, run: str, step: int, parameters: Parameters) -> float:
        """The largest, of all parameters."""
        pairs = ((parameter, self.arrays[f"{run}/{step}/{name}"]) for name, parameter in parameters.items())
        return max((actual.detach() - expected).abs().max().item() for actual, expected in pairs)


@pytest.fixture(scope="module")
def recording(reference_dir: Path) -> Recording:
    return Recording(reference_dir)


def test_every_parameter_after_each_of_24_steps_is_the_recorded_one(recording: Recording) -> None:
    for step, parameters in enumerate(recording.replay(lambda p: Ranger(p.values(), 1e-2)), 1):
        assert recording.distance("default_lr1e-2", step, parameters) <= CLOSE
        if f"no_gc/{step}/gain" in recording.arrays:  # the original takes no notice of that setting
            assert recording.distance("no_gc", step, parameters) <= CLOSE


def test_sizes_of_steps_are_the_recorded_ones(recording: Recording) -> None:
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = Ranger([parameter], 1.0, alpha=1.0, k=10**6, eps=1e-300)
    for row in recording.schedule:
        before = parameter.item()
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        state = optimizer.state[parameter]
        mean, root = state["exp_avg"].item(), state["exp_avg_sq"].sqrt().item()
        size = (before - parameter.item()) / (mean / root if row["rectified"] else mean)
        assert size == pytest.approx(row["step_size"], rel=1e-9)


# Gradients depend on where the parameters went, and only those of the default settings were recorded: other settings,
# replayed with these, come as close as the two runs stayed together; without its setting each is ten times as far.
OTHERS: dict[str, tuple[Callable[[Parameters], Ranger], float]] = {
    "hyperstyle_lr1e-4": (lambda p: Ranger(p.values()), 3e-6),
    "wd": (lambda p: Ranger(p.values(), 1e-2, weight_decay=0.05), 4e-5),
    "k3_alpha08": (lambda p: Ranger(p.values(), 1e-2, k=3, alpha=0.8), 7e-5),
    "betas": (lambda p: Ranger(p.values(), 1e-2, betas=(0.9, 0.99), eps=1e-8), 3e-4),
    "two_groups": (
        lambda p: Ranger(
            [
                {"params": [p["conv_weight"], p["conv_bias"]]},
                {"params": [p["gain"], p["lin_weight"], p["lin_bias"]], "betas": (0.8, 0.99)},
            ],
            1e-2,
        ),
        8e-4,
    ),
}


@pytest.mark.parametrize("run", OTHERS)
def test_other_settings_go_the_recorded_way(recording: Recording, run: str) -> None:
    make, allowed = OTHERS[run]
    seen = 0
    for step, parameters in enumerate(recording.replay(make), 1):
        if f"{run}/{step}/gain" in recording.arrays:
            seen += 1
            assert recording.distance(run, step, parameters) <= (CLOSE if step == 1 else allowed)
    assert seen >= 1
