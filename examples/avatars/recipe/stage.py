"""A stage of the recipe: a task, its batches and its schedule, run by the loop of `hyperstyle train`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from examples.avatars.recipe.data import LOG
from hyperstyle.training.adversarial import Scale
from hyperstyle.training.loop import LearningRateSchedule, fit
from hyperstyle.training.optimization import TaskOptimizer
from hyperstyle.training.options import OptimOptions, RunOptions
from hyperstyle.training.task import Task

__all__ = ["RegressionTask", "StageTask", "adam", "train_stage"]


class StageTask(Task):
    """A network trained by a stage that is no task of `hyperstyle train`; subclasses implement `train_step`.

    Args:
        main: name of the network in checkpoints.
        network: what is trained.
    """

    def __init__(self, main: str, network: nn.Module) -> None:
        self.main, self.network = main, network
        self.modules, self.optimizers, self.adversaries = {main: network}, {main: adam(network)}, {}


class RegressionTask(StageTask):
    """A network with a loss of its own.

    Args:
        main, network: see `StageTask`.
        loss: the tensors of a batch -> the loss, and figures for the log.
    """

    def __init__(self, main: str, network: nn.Module, loss: Callable[..., tuple[Tensor, dict[str, float]]]) -> None:
        super().__init__(main, network)
        self.loss = loss

    def train_step(
        self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None, **batch: Tensor
    ) -> Mapping[str, float]:
        """Adds the gradient of the loss of a batch."""
        loss, figures = self.loss(crop, **batch)
        scale(loss).backward()  # type: ignore[no-untyped-call]
        return figures


def adam(network: nn.Module, **options: Any) -> Optimizer:
    """The optimizer of all stages; the loop sets its learning rate."""
    return torch.optim.Adam(network.parameters(), betas=(0.9, 0.99), **options)


def train_stage(
    task: Task,
    optim: OptimOptions,
    schedule: LearningRateSchedule,
    folder: Path,
    batch: Callable[[int], dict[str, Tensor]],
    evaluate: Callable[[int], dict[str, float]],
    *,
    evaluate_every: int = 1000,
) -> TaskOptimizer:
    """Trains the network of a task, from the last checkpoint of the stage if there is one.

    Args:
        task: what is trained.
        optim: clipping, moving average.
        schedule: length and learning rate.
        folder: gets checkpoints and log.
        batch: step -> the arguments of `TaskOptimizer.step`, of this process's part of the batch.
        evaluate: number of steps done -> held-out figures; called with the networks in eval mode, and with averaged
            weights where there are.
        evaluate_every: steps between two of these.

    Returns:
        The state of the optimization, with the moving average of the network.
    """
    name = "/".join(folder.parts[-2:])
    optimizer = TaskOptimizer(task, optim)

    @torch.no_grad()
    def figures(done: int) -> dict[str, float]:
        with optimizer.evaluation_mode():
            return evaluate(done)

    def report(done: int, row: Mapping[str, float]) -> None:
        if (per_second := row.get("steps_per_second")) is not None:
            text = " ".join(f"{key} {value:.5g}" for key, value in row.items())
            LOG.info("%s: %s | %.0f min left", name, text, (schedule.steps - done) / max(per_second, 1e-3) / 60)

    def step(i: int) -> dict[str, float]:
        return optimizer.step(i, **batch(i))

    run = RunOptions(str(folder), save_every=500, evaluate_every=evaluate_every, keep=1)
    fit(step, optimizer.states, task.optimizers, schedule, run, evaluate=figures, on_step=report)
    return optimizer
