"""The loop: schedules, resuming, and what it does when a loss breaks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hyperstyle.errors import CheckpointError, ConfigError
from hyperstyle.training.loop import LearningRateSchedule, _write_row, fit
from hyperstyle.training.options import RunOptions
from hyperstyle.training.ranger import Ranger


def train(folder: Path, steps: int, *, stop_after: int | None = None, seed: int = 0) -> nn.Linear:
    """Regression of a fixed map; `stop_after` interrupts it as a crash would."""
    torch.manual_seed(seed)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.Adam(model.parameters())

    def step(i: int) -> dict[str, float]:
        if i == stop_after:
            raise KeyboardInterrupt
        x = torch.randn(8, 4)  # seeded by the loop
        loss = (model(x) - x[:, :2]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    fit(
        step,
        {"model": model},
        {"adam": optimizer},
        LearningRateSchedule(1e-2, steps, warmup=2),
        RunOptions(str(folder), evaluate_every=5, save_every=5, keep=1),
        evaluate=lambda done: {"norm": model.weight.norm().item()},
    )
    return model


def test_a_run_that_was_interrupted_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    uninterrupted = train(tmp_path / "uninterrupted", 30)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", 30, stop_after=17)
    resumed = train(tmp_path / "broken", 30, seed=99)  # the first weights do not matter: they are loaded
    assert torch.equal(uninterrupted.weight, resumed.weight)


def test_the_log_has_a_row_per_step_with_held_out_figures_where_there_are(tmp_path: Path) -> None:
    train(tmp_path, 12)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert [row["step"] for row in rows if {"norm", "steps_per_second"} <= set(row)] == [5, 10, 12]
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_rows_after_the_checkpoint_are_written_once(tmp_path: Path) -> None:
    train(tmp_path, 5)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 7, "loss": 1.0}\n{"step": 8, "lo')  # of a process that was killed
    train(tmp_path, 10)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 11))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_without_room_stops_with_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"Cannot write to .*log.jsonl': No space left"):
        _write_row(tmp_path / "log.jsonl", {"step": 1, "loss": 0.5})


@pytest.mark.parametrize("kind", [torch.optim.Adam, Ranger])
def test_a_disk_without_room_is_said_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[torch.optim.Optimizer]
) -> None:
    model = nn.Linear(200, 200)
    optimizer = kind(model.parameters(), 1e-3)  # type: ignore[call-arg]
    free, done = 0, list[int]()

    def step(i: int) -> dict[str, float]:
        done.append(i)
        model(torch.ones(1, 200)).sum().backward()
        optimizer.step()
        return {}

    def run(steps: int, reserved: int = 0) -> None:
        run = RunOptions(str(tmp_path), save_every=2, keep=2)
        fit(step, {"model": model}, {"adam": optimizer}, LearningRateSchedule(1e-3, steps), run, reserve_bytes=reserved)

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    size = (4 if kind is Ranger else 3) * 4 * (200 * 200 + 200)  # bytes of a checkpoint
    for steps, reserved, needed in ((2, 0, size), (4, 0, 2 * size), (9, 0, 3 * size), (9, 1000, 3 * size + 2000)):
        free = needed - 1
        with pytest.raises(CheckpointError, match=rf"need about {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are"):
            run(steps, reserved)
    assert done == []
    free = 3 * size
    run(6)
    assert [path.stat().st_size for path in tmp_path.glob("*.pt")] == pytest.approx([size] * 2, rel=0.02)
    free = size + 999  # two are there already, and a model
    with pytest.raises(CheckpointError, match="No room in"):
        run(9, 1000)
    free = size + 1000
    run(9, 1000)
    assert done == list(range(9))


def test_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    fit(
        lambda i: {},
        {"model": model},
        {},
        LearningRateSchedule(1e-2, 9),
        RunOptions(str(tmp_path), save_every=2, keep=3),
    )
    assert sorted(p.name for p in tmp_path.glob("*.pt")) == [f"checkpoint-{i:08d}.pt" for i in (6, 8, 9)]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, 5)
    before = (tmp_path / "checkpoint-00000005.pt").read_bytes()
    model = nn.Linear(4, 2)
    optimizer = torch.optim.Adam(model.parameters())
    schedule, run = LearningRateSchedule(1e-2, 9), RunOptions(str(tmp_path))
    with pytest.raises(ConfigError, match=r"stopped at step 6: loss is nan.*lower learning rate"):
        fit(lambda i: {"loss": float("nan")}, {"model": model}, {"adam": optimizer}, schedule, run)
    assert (tmp_path / "checkpoint-00000005.pt").read_bytes() == before


def test_a_checkpoint_of_other_modules_is_refused(tmp_path: Path) -> None:
    train(tmp_path, 5)
    with pytest.raises(CheckpointError, match="Use another output folder"):
        fit(lambda i: {}, {}, {}, LearningRateSchedule(1e-2, 9), RunOptions(str(tmp_path)))


def test_the_rate_warms_up_stays_and_decays() -> None:
    schedule = LearningRateSchedule(1.0, 100, warmup=10, decay=0.5)
    rates = [schedule.at(i) for i in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:50] == [1.0] * 41
    assert rates[75] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(0.02)
    assert LearningRateSchedule(1.0, 1000, decay=0.5).at(999) == pytest.approx(0.02)  # the lower bound
