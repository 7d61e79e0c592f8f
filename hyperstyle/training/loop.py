"""One resumable training loop: calls a step function, keeps a log, writes checkpoints atomically."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hyperstyle.errors import CheckpointError, ConfigError
from hyperstyle.files import atomic_write
from hyperstyle.training.distributed import on_first, rank

__all__ = ["Average", "Schedule", "batch_indices", "fit"]


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


class Average:
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


def fit(
    step: Callable[[int], Mapping[str, float]],
    *,
    steps: int,
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    schedule: Schedule,
    evaluate: Callable[[int], Mapping[str, float]] | None = None,
    evaluate_every: int = 500,
    save_every: int = 500,
    on_progress: Callable[[str], None] | None = None,
) -> None:
    """Runs `step(i)` for i up to `steps`, from the last checkpoint in `folder` if there is one.

    Of several processes (`training.distributed`) the first evaluates, logs and saves. The random state is set from the
    step number before each call, so an interrupted run continues as it would have.

    Args:
        step: performs one optimisation step and returns figures for the log.
        steps: total number.
        folder: gets `checkpoint.pt` and `log.jsonl`.
        modules, optimizers: what a checkpoint holds.
        schedule: learning rate; a parameter group's own `scale`, where it has one, multiplies it.
        evaluate: held-out figures for the log.
        evaluate_every, save_every: in steps; both also happen at the end.
        on_progress: gets one line of text after each evaluation.

    Raises:
        ConfigError: a loss became NaN or infinite; the last checkpoint stays as it was.
        CheckpointError: the checkpoint in `folder` belongs to another set of modules.
    """
    on_first(lambda: folder.mkdir(parents=True, exist_ok=True))
    path = folder / "checkpoint.pt"
    start = _resume(path, modules, optimizers)
    began, seen = time.perf_counter(), start
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        for i in range(start, steps):
            torch.manual_seed(i)
            for optimizer in optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = schedule.at(i, steps) * group.get("scale", 1.0)
            figures = dict(step(i))
            if bad := [k for k, v in figures.items() if not math.isfinite(v)]:
                raise ConfigError(
                    f"training stopped at step {i}: {bad[0]} is {figures[bad[0]]}. The last good state is {path}; "
                    "continue from it with a lower learning rate."
                )
            if rank() != 0:
                continue
            last = i + 1 == steps
            if evaluate is not None and ((i + 1) % evaluate_every == 0 or last):
                rate = (i + 1 - seen) / (time.perf_counter() - began)
                row = {"step": i + 1, "steps_per_second": round(rate, 3), **figures, **evaluate(i + 1)}
                log.write(json.dumps({k: round(v, 6) for k, v in row.items()}) + "\n")
                log.flush()
                if on_progress is not None:
                    text = " ".join(f"{k} {v:.5g}" for k, v in row.items())
                    on_progress(f"{text} | {(steps - i - 1) / rate / 60:.0f} min left")
            if (i + 1) % save_every == 0 or last:
                state = {
                    "step": i + 1,
                    "modules": {k: m.state_dict() for k, m in modules.items()},
                    "optimizers": {k: o.state_dict() for k, o in optimizers.items()},
                }
                with atomic_write(path) as temporary:
                    torch.save(state, temporary)


def _resume(path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]) -> int:
    if not path.exists():
        return 0
    from hyperstyle.foreign import load_state

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
