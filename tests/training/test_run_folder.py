"""Curves for TensorBoard, where that is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from hyperstyle.training.engine import make_task, train
from hyperstyle.training.run_folder import progress

if TYPE_CHECKING:
    from training.conftest import Job


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, float, int]]]:
    """Folder -> what is written to it while it is open, by a stand-in for TensorBoard's writer."""
    written: dict[str, list[tuple[str, float, int]]] = {}

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            self.points = written.setdefault(folder, [])
            self.open = True

        def add_scalar(self, name: str, value: float, step: int) -> None:
            assert self.open
            self.points.append((name, value, step))

        def close(self) -> None:
            self.open = False
            self.points.append(("closed", 0.0, 0))

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return written


def test_curves_are_those_of_the_log(job: Job, tmp_path: Path, curves: dict[str, list[tuple[str, float, int]]]) -> None:
    options = job("encoder", tmp_path / "run", run__tensorboard=True, optim__steps=3, run__evaluate_every=2)
    train(make_task(options), options)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    [(folder, points)] = curves.items()
    assert Path(folder) == tmp_path / "run" / "tensorboard"
    assert points.pop() == ("closed", 0.0, 0)
    expected = [(name, value, row["step"]) for row in log for name, value in row.items() if name != "step"]
    assert [(name, step) for name, _, step in points] == [(name, step) for name, _, step in expected]
    assert [value for _, value, _ in points] == pytest.approx([value for _, value, _ in expected], rel=1e-6)
    assert {("test_l2", 2), ("test_l2", 3), ("loss", 1)} <= {(name, step) for name, _, step in points}


def test_none_are_written_where_they_are_not_wanted_or_cannot_be(
    job: Job, tmp_path: Path, curves: dict[str, list[tuple[str, float, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress(job("encoder", tmp_path)) as show:
        show(1, {"step": 1, "loss": 0.5})
    assert curves == {}
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if it were not installed
    with progress(job("encoder", tmp_path, run__tensorboard=True)) as show:
        show(1, {"step": 1, "loss": 0.5})
    assert list(tmp_path.iterdir()) == []
