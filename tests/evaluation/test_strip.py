"""The cost of a strip, on small networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyperstyle.evaluation import strip
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model import Model
from hyperstyle.networks.codes import OffsetCodes


def test_both_ways_draw_the_same_pictures_and_are_measured_in_turn(
    tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_inverter.model
    asked = []

    def case(size: int, count: int, device: str) -> tuple[Model, Tensor, OffsetCodes]:
        asked.append((size, count, device))
        sums = {name: torch.randn(1, 16).expand(count, -1) for name in ("b8.conv1", "b16.conv1", "b32.conv0")}
        return model, torch.randn(count, model.generator.config.rows, 16), OffsetCodes(sums, {}, torch.ones(count, 1))

    drawn = []
    draw = strip._drawn

    def noted(way: strip.Way, *rest: Model | Tensor | OffsetCodes) -> Tensor:
        drawn.append(way)
        return draw(way, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(strip, "_case", case)
    monkeypatch.setattr(strip, "_drawn", noted)
    monkeypatch.setattr(strip, "_alone", lambda *given: {None: 1, "strip": 2, "singles": 3}[given[-1]])
    steps: list[tuple[str, int, int]] = []
    threads = torch.get_num_threads()
    found = strip.measure_strip(256, count=4, repeats=2, on_progress=lambda *step: steps.append(step))
    assert torch.get_num_threads() == threads
    assert asked == [(256, 4, "cpu")]
    assert drawn == ["strip", "singles"] * 3  # the first two are only to warm up
    assert found.difference[0] < 2e-5 < found.difference[1]
    assert (found.built, found.strip_peak, found.singles_peak) == (1, 2, 3)
    assert found.gain == found.singles.median / found.strip.median
    assert found.machine["threads"] == 1
    assert [step for step in steps if step[0] == "drawing"] == [("drawing", k, 4) for k in range(4)]
    assert steps[-1] == ("memory", 3, 3)
