"""One resumable training loop: calls a step function, writes a log, and checkpoints atomically."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hyperstyle.errors import CheckpointError, ConfigError
from hyperstyle.io.components import save_torch
from hyperstyle.io.files import append_line, make_folder, write_text
from hyperstyle.io.opening import parse_json, read_text
from hyperstyle.training.distributed import on_first, rank
from hyperstyle.training.options import RunOptions
from hyperstyle.training.ranger import Ranger

Stateful = nn.Module | torch.amp.GradScaler
"""What a checkpoint holds besides optimizers."""

_MAX_LOG = 1 << 30  # bytes
_FLOOR = 0.02  # lower bound of the decay of a learning rate, as a fraction of the peak
_CHECKPOINT = "checkpoint-*.pt"  # the star is the step, in eight digits


@dataclass(frozen=True)
class LearningRateSchedule:
    """Linear warm-up, then a constant learning rate, then linear decay that ends at 2 % of the peak.

    Attributes:
        peak: the learning rate of the constant part.
        steps: total number of steps, those before a resumed checkpoint included.
        warmup: number of steps of the warm-up, which begins at `peak / warmup`.
        decay: the fraction of all steps, the last ones, over which the learning rate falls.
    """

    peak: float
    steps: int
    warmup: int = 100
    decay: float = 0.4

    def at(self, step: int) -> float:
        """The learning rate of `step`, 0 <= `step` < `steps`."""
        remaining = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.peak * min(1.0, (step + 1) / max(1, self.warmup)) * max(_FLOOR, min(1.0, remaining))


def newest_checkpoint(folder: Path) -> Path | None:
    """The file of the checkpoint of the highest step in a folder; None if it has none."""
    return max(folder.glob(_CHECKPOINT), default=None)


def fit(
    step: Callable[[int], Mapping[str, float]],
    modules: Mapping[str, Stateful],
    optimizers: Mapping[str, Optimizer],
    schedule: LearningRateSchedule,
    run: RunOptions,
    *,
    evaluate: Callable[[int], Mapping[str, float]] | None = None,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
    on_save: Callable[[int], None] | None = None,
    reserve_bytes: int = 0,
) -> None:
    """Calls `step(i)` for i = 0 to `schedule.steps` - 1, or continues after the newest checkpoint in the folder.

    Of several processes (`training.distributed`) only the first evaluates, logs and saves. PyTorch's random seed is set
    to i before each call, so a resumed run takes the same steps as one without interruption. Rows of the log after the
    checkpoint are removed, since those steps are run again.

    Args:
        step: runs optimization step i, counted from 0, and returns figures for the log, such as losses, by name.
        modules, optimizers: name -> what a checkpoint saves and restores; the loop sets the optimizers' learning rates.
        schedule: learning rate, and number of steps; a parameter group with the key `scale` gets so many times as much.
        run: folder, which gets `checkpoint-STEP.pt` and `log.jsonl`; the intervals of evaluations and checkpoints, both
            of which also happen after the last step; and the number of checkpoints to keep, the newest ones.
        evaluate: number of steps done -> figures of held-out data, by name, for the row of the log; called every
            `run.evaluate_every` steps.
        on_step: called after each step with the number of steps done and the row of the log.
        on_save: called with the number of steps done after each checkpoint is written.
        reserve_bytes: size of the files that `on_save` writes, for the check of the free disk space.

    Raises:
        ConfigError: a figure that `step` returned is NaN or infinite; the checkpoints are kept.
        CheckpointError: the newest checkpoint is of modules or optimizers of other names; the disk has too little
            space for the checkpoints to come; or a checkpoint or the log cannot be written. Earlier checkpoints are
            kept.
    """
    folder, steps = Path(run.out), schedule.steps
    on_first(lambda: make_folder(folder))
    start = _resume(newest_checkpoint(folder), modules, optimizers)
    on_first(lambda: _shorten(folder / "log.jsonl", start))
    if start < steps:
        saves, size = (
            math.ceil(steps / run.save_every) - start // run.save_every,
            _checkpoint_bytes(modules, optimizers),
        )
        on_first(lambda: _check_disk_space(run, saves, size, reserve_bytes))
    began = time.perf_counter()
    for i in range(start, steps):
        torch.manual_seed(i)
        for group in (group for optimizer in optimizers.values() for group in optimizer.param_groups):
            group["lr"] = schedule.at(i) * group.get("scale", 1.0)
        figures = dict(step(i))
        _check_finite(figures, i, folder)
        if rank() != 0:
            continue
        done, is_last = i + 1, i + 1 == steps
        row: dict[str, float] = {"step": done, **figures}
        if evaluate is not None and (done % run.evaluate_every == 0 or is_last):
            per_second = round((done - start) / (time.perf_counter() - began), 3)
            row = {"step": done, "steps_per_second": per_second, **figures, **evaluate(done)}
        _write_row(folder / "log.jsonl", row)
        if on_step is not None:
            on_step(done, row)
        if done % run.save_every == 0 or is_last:
            _save(folder, done, modules, optimizers, run.keep)
            if on_save is not None:
                on_save(done)


def _check_finite(figures: Mapping[str, float], i: int, folder: Path) -> None:
    """Raises ConfigError for the first figure of step `i` that is NaN or infinite."""
    bad = [name for name, value in figures.items() if not math.isfinite(value)]
    if bad:
        last_good = newest_checkpoint(folder)
        raise ConfigError(
            f"training stopped at step {i + 1}: {bad[0]} is {figures[bad[0]]}. "
            + (f"The last good state is {last_good}; continue from it" if last_good else "Start again")
            + " with a lower learning rate."
        )


def _write_row(log: Path, row: Mapping[str, float]) -> None:
    """Appends a row to the log as one line of JSON; another process may be reading the log."""
    line = json.dumps({k: v if k == "step" else float(f"{v:.7g}") for k, v in row.items()})
    append_line(log, line, error=CheckpointError)


def nbytes(state: Iterable[Any]) -> int:
    """Total bytes of the tensors among `state`, such as `state_dict().values()`; nested containers are not searched."""
    return sum(value.numel() * value.element_size() for value in state if isinstance(value, Tensor))


def _checkpoint_bytes(modules: Mapping[str, Stateful], optimizers: Mapping[str, Optimizer]) -> int:
    """Approximate bytes of a checkpoint: an optimizer has two tensors as large as each parameter, Ranger three."""
    size = sum(nbytes(module.state_dict().values()) for module in modules.values())
    for optimizer in optimizers.values():
        copies = 3 if isinstance(optimizer, Ranger) else 2
        size += copies * sum(nbytes(group["params"]) for group in optimizer.param_groups)
    return size


def _check_disk_space(run: RunOptions, saves: int, checkpoint: int, reserved: int) -> None:
    """Raises CheckpointError if the checkpoints and the files of `on_save` will not fit on the disk.

    A new file is written before an old one is removed, so both must fit for a moment.

    Args:
        run: folder, and how many checkpoints to keep.
        saves: number of checkpoints to come.
        checkpoint: bytes of one checkpoint.
        reserved: bytes of the files of `on_save`.
    """
    existing = len(list(Path(run.out).glob(_CHECKPOINT)))
    needed = max(1, min(saves, run.keep + 1 - existing)) * checkpoint + (1 if existing else min(saves, 2)) * reserved
    free = shutil.disk_usage(run.out).free
    if free < needed:
        raise CheckpointError(
            f"No room in {run.out!r}: checkpoints and model need about {needed / 1e6:,.1f} MB, and "
            f"{free / 1e6:,.1f} MB are free. Make room on its disk, or choose a folder on another one."
        )


def _save(
    folder: Path, done: int, modules: Mapping[str, Stateful], optimizers: Mapping[str, Optimizer], keep: int
) -> None:
    """Writes the checkpoint after `done` steps, and then removes all but the `keep` newest ones."""
    state = {
        "step": done,
        "modules": {k: m.state_dict() for k, m in modules.items()},
        "optimizers": {k: o.state_dict() for k, o in optimizers.items()},
    }
    save_torch(folder / _CHECKPOINT.replace("*", f"{done:08d}"), state, error=CheckpointError)
    for old in sorted(folder.glob(_CHECKPOINT))[:-keep]:
        old.unlink(missing_ok=True)


def _shorten(log: Path, done: int) -> None:
    """Removes the rows of steps after `done`, and rows that are not complete, from the log."""
    lines = []
    text = read_text(log, "log of a run", limit=_MAX_LOG) if os.path.lexists(log) else ""
    for line in text.splitlines(keepends=True):
        try:
            step = parse_json(line)["step"]
        except (ValueError, KeyError, TypeError):
            continue
        if line.endswith("\n") and isinstance(step, int) and step <= done:
            lines.append(line)
    write_text(log, "".join(lines), error=CheckpointError)


def _resume(path: Path | None, modules: Mapping[str, Stateful], optimizers: Mapping[str, Optimizer]) -> int:
    """Restores modules and optimizers from a checkpoint; the number of steps it was written after, 0 without one."""
    if path is None:
        return 0
    from hyperstyle.io.torch_files import load_state

    state = load_state(path)
    if set(state["modules"]) != set(modules) or set(state["optimizers"]) != set(optimizers):
        raise CheckpointError(
            f"{path} holds {sorted(state['modules'])}: expected {sorted(modules)}. Use another output folder."
        )
    for name, module in modules.items():
        module.load_state_dict(state["modules"][name])
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    return int(state["step"])
