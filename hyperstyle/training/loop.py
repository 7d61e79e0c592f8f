"""One resumable training loop: calls a step function, keeps a log, writes checkpoints atomically.

The recipe of the bundled model and `training.engine` both run on it.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hyperstyle.errors import CheckpointError, ConfigError
from hyperstyle.io.components import save_torch
from hyperstyle.io.files import append_line, make_folder, write_text
from hyperstyle.training.distributed import on_first, rank
from hyperstyle.training.ranger import Ranger

__all__ = ["EMA", "Schedule", "Stateful", "batch_indices", "fit", "nbytes", "newest_checkpoint"]

_CHECKPOINT = "checkpoint-*.pt"  # the star is the step, in eight digits


@dataclass(frozen=True)
class Schedule:
    """Learning rate by step: linear warm-up, constant, then linear decay to `floor` times the peak.

    Attributes:
        peak: the constant rate.
        warmup: steps of the warm-up.
        decay: fraction of all steps, at the end, over which the rate falls.
        floor: what is left at the end, as a fraction of the peak.
    """

    peak: float
    warmup: int = 100
    decay: float = 0.4
    floor: float = 0.02

    def at(self, step: int, steps: int) -> float:
        """The rate of step 0 <= `step` < `steps`."""
        left = (steps - step) / max(1.0, self.decay * steps)
        return self.peak * min(1.0, (step + 1) / max(1, self.warmup)) * max(self.floor, min(1.0, left))


class EMA:
    """Exponential moving average of a module's parameters, kept in a module of the same shape."""

    def __init__(self, source: nn.Module, target: nn.Module, rate: float) -> None:
        self.source, self.target, self.rate = source, target, rate
        target.load_state_dict(source.state_dict())

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average one step towards the source."""
        for a, b in zip(self.target.parameters(), self.source.parameters(), strict=True):
            a.lerp_(b, self.rate)


def batch_indices(count: int, batch: int, step: int, seed: int) -> Tensor:
    """[batch] indices below `count`, a function of seed and step alone: a resumed run sees the same batches."""
    random = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
    return torch.randint(0, count, (batch,), generator=random)


class Stateful(Protocol):
    """A module, an optimizer, a gradient scaler: whatever has a state for checkpoints."""

    def state_dict(self) -> dict[str, Any]:
        """The state, of tensors, numbers, texts and containers of them."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Takes a state that `state_dict` gave."""
        ...


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step, None where there is none."""
    return max(folder.glob(_CHECKPOINT), default=None)


def fit(
    step: Callable[[int], Mapping[str, float]],
    *,
    steps: int,
    folder: Path,
    modules: Mapping[str, Stateful],
    optimizers: Mapping[str, Optimizer],
    schedule: Schedule,
    evaluate: Callable[[int], Mapping[str, float]] | None = None,
    evaluate_every: int = 500,
    save_every: int = 500,
    keep: int = 1,
    log_all: bool = False,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
    on_save: Callable[[int], None] | None = None,
    on_progress: Callable[[str], None] | None = None,
    reserve_bytes: int = 0,
) -> None:
    """Runs `step(i)` for i up to `steps`, from the last checkpoint in `folder` if there is one.

    Of several processes (`training.distributed`) the first evaluates, logs and saves. The random state is set from the
    step number before each call, so an interrupted run continues as it would have; rows of the log that are later than
    the checkpoint are taken out, since they come again.

    Args:
        step: performs one optimization step and returns figures for the log.
        steps: total number.
        folder: gets `checkpoint-STEP.pt` and `log.jsonl`.
        modules, optimizers: what a checkpoint holds.
        schedule: learning rate; a parameter group's own `scale`, where it has one, multiplies it.
        evaluate: held-out figures for the log.
        evaluate_every, save_every: in steps; both also happen at the end.
        keep: checkpoints that stay, the newest ones.
        log_all: a row for each step, instead of one for each evaluation.
        on_step: gets the number of steps done and the row of the log.
        on_save: gets the number of steps done, once their checkpoint is written.
        on_progress: gets one line of text after each evaluation.
        room: bytes that `on_save` writes, in place of what it wrote before.

    Raises:
        ConfigError: a loss became NaN or infinite; the last checkpoint stays as it was.
        CheckpointError: the checkpoint in `folder` belongs to another set of modules; the disk has no room for those
            to come; or one cannot be written all the same: then those before it stay.
    """
    on_first(lambda: _prepare(folder))
    start = _resume(newest_checkpoint(folder), modules, optimizers)
    on_first(lambda: _shorten(folder / "log.jsonl", start))
    if start < steps:
        saves = math.ceil(steps / save_every) - start // save_every
        on_first(lambda: _check_disk_space(folder, saves, keep, _expected(modules, optimizers), reserve_bytes))
    began, seen = time.perf_counter(), start
    for i in range(start, steps):
        torch.manual_seed(i)
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = schedule.at(i, steps) * group.get("scale", 1.0)
        figures = dict(step(i))
        if bad := [k for k, v in figures.items() if not math.isfinite(v)]:
            last_good = newest_checkpoint(folder)
            raise ConfigError(
                f"training stopped at step {i + 1}: {bad[0]} is {figures[bad[0]]}. "
                + (f"The last good state is {last_good}; continue from it" if last_good else "Start again")
                + " with a lower learning rate."
            )
        if rank() != 0:
            continue
        last = i + 1 == steps
        row: dict[str, float] = {"step": i + 1, **figures}
        evaluating = evaluate is not None and ((i + 1) % evaluate_every == 0 or last)
        if evaluate is not None and evaluating:
            rate = (i + 1 - seen) / (time.perf_counter() - began)
            row = {"step": i + 1, "steps_per_second": round(rate, 3), **figures, **evaluate(i + 1)}
            if on_progress is not None:
                text = " ".join(f"{k} {v:.5g}" for k, v in row.items())
                on_progress(f"{text} | {(steps - i - 1) / rate / 60:.0f} min left")
        if log_all or evaluating:
            _write_row(folder / "log.jsonl", row)
        if on_step is not None:
            on_step(i + 1, row)
        if (i + 1) % save_every == 0 or last:
            _save(folder, i + 1, modules, optimizers, keep)
            if on_save is not None:
                on_save(i + 1)


def _write_row(log: Path, row: Mapping[str, float]) -> None:
    """Adds a line to the log, which is read while it grows."""
    line = json.dumps({k: v if k == "step" else float(f"{v:.7g}") for k, v in row.items()})
    append_line(log, line, error=CheckpointError)


def _prepare(folder: Path) -> None:
    make_folder(folder)


def nbytes(state: Iterable[Any]) -> int:
    """Bytes of the tensors among the values of a state."""
    return sum(value.numel() * value.element_size() for value in state if isinstance(value, Tensor))


def _expected(modules: Mapping[str, Stateful], optimizers: Mapping[str, Optimizer]) -> int:
    """About the bytes of a checkpoint: every optimizer keeps two tensors as large as each parameter, Ranger three."""
    size = sum(nbytes(module.state_dict().values()) for module in modules.values())
    for optimizer in optimizers.values():
        copies = 3 if isinstance(optimizer, Ranger) else 2
        size += copies * sum(nbytes(group["params"]) for group in optimizer.param_groups)
    return size


def _check_disk_space(folder: Path, saves: int, keep: int, checkpoint: int, reserve_bytes: int) -> None:
    """Raises CheckpointError where what is to come does not fit; the new one is written before an old one goes."""
    there = len(list(folder.glob(_CHECKPOINT)))
    needed = max(1, min(saves, keep + 1 - there)) * checkpoint + (1 if there else min(saves, 2)) * reserve_bytes
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            f"No room in {str(folder)!r}: checkpoints and model need about {needed / 1e6:,.1f} MB, and "
            f"{free / 1e6:,.1f} MB are free. Make room on its disk, or choose a folder on another one."
        )


def _save(
    folder: Path, done: int, modules: Mapping[str, Stateful], optimizers: Mapping[str, Optimizer], keep: int
) -> None:
    """Writes the checkpoint of this step, and only then removes the oldest ones."""
    state = {
        "step": done,
        "modules": {k: m.state_dict() for k, m in modules.items()},
        "optimizers": {k: o.state_dict() for k, o in optimizers.items()},
    }
    save_torch(folder / _CHECKPOINT.replace("*", f"{done:08d}"), state, error=CheckpointError)
    for old in sorted(folder.glob(_CHECKPOINT))[:-keep]:
        old.unlink(missing_ok=True)


def _shorten(log: Path, done: int) -> None:
    """Takes out the rows of steps after `done`, and a row that was cut off."""
    kept = []
    for line in (log.read_text(encoding="utf-8") if log.exists() else "").splitlines(keepends=True):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if line.endswith("\n") and row["step"] <= done:
            kept.append(line)
    write_text(log, "".join(kept), error=CheckpointError)


def _resume(path: Path | None, modules: Mapping[str, Stateful], optimizers: Mapping[str, Optimizer]) -> int:
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
