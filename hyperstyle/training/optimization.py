"""One step of the optimizers: micro-batches, processes, precision, clipping and the moving average."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hyperstyle.training.distributed import average_figures, average_tensors, rank, world
from hyperstyle.training.loop import Stateful
from hyperstyle.training.options import OptimOptions
from hyperstyle.training.task import Phase, Task


class TaskOptimizer:
    """Computes the gradients of a task and calls its optimizers.

    Attributes:
        states: name -> what checkpoints hold besides the optimizers: the trained modules, the moving average as
            "average" and the gradient scaler of float16 as "scaler".
        average: a copy of the network `task.main` whose weights are the moving average; None without `ema`.

    Args:
        task: what is trained; its networks are set to training mode.
        options: batch, precision, clipping, moving average.
    """

    def __init__(self, task: Task, options: OptimOptions) -> None:
        self.task, self.options = task, options
        self.main = task.modules[task.main]
        self.device = next(self.main.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=options.precision == "float16")
        self.states: dict[str, Stateful] = dict(task.modules)
        self.average: nn.Module | None = None
        if options.ema > 0:
            self.average = self.states["average"] = copy.deepcopy(self.main).requires_grad_(False)
        if self.scaler.is_enabled():
            self.states["scaler"] = self.scaler
        layers = (layer for module in task.modules.values() for layer in module.modules())
        self._statistics = [b for layer in layers if isinstance(layer, _BatchNorm) for b in layer.buffers()]
        for module in task.modules.values():
            module.train()

    def step(self, i: int, crops: Tensor, **known: Tensor) -> dict[str, float]:
        """Performs step `i`.

        Args:
            i: from 0 on.
            crops: [B,3,h,w], this process's part of the batch.
            known: further tensors [B,...] that the task's phases take, such as codes [B,L,D].

        Returns:
            Figures for the log, means over the whole batch; except in float16 they include `gradient_NAME` for each
            optimizer, the norm of its gradient before clipping. If a norm is not finite, the step ends before that
            optimizer is called, and the figures tell (`loop.fit` then raises). In float16 the gradient scaler skips
            that optimizer and the step goes on.
        """
        figures: dict[str, float] = {}
        for phase in self.task.phases(i):
            figures |= self._gradients(phase, i, crops, known)
            for name in phase.optimizers:
                optimizer = self.task.optimizers[name]
                self.scaler.unscale_(optimizer)
                norm = nn.utils.clip_grad_norm_(self._parameters(name), self.options.clip or torch.inf)
                if not self.scaler.is_enabled():  # the scaler skips such steps by itself, and training continues
                    figures[f"gradient_{name}"] = norm.item()
                    if not norm.isfinite():
                        return figures
                self.scaler.step(optimizer)
            self.scaler.update()
        average_tensors(b for m in self.task.modules.values() for b in m.buffers() if b.is_floating_point())
        self._update_average()
        return figures

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is not None:
            for averaged, parameter in zip(self.average.parameters(), self.main.parameters(), strict=True):
                averaged.lerp_(parameter, 1 - self.options.ema)
            _copy(self.main.buffers(), self.average.buffers())

    def _parameters(self, name: str) -> list[nn.Parameter]:
        return [p for group in self.task.optimizers[name].param_groups for p in group["params"]]

    def _gradients(self, phase: Phase, i: int, crops: Tensor, known: dict[str, Tensor]) -> dict[str, float]:
        """Leaves the gradients of the whole batch in the parameters and returns the figures for the log.

        Both are means over micro-batches and processes. So are the running statistics of batch normalization: every
        micro-batch updates a copy of those from before this phase, and the mean of the updated copies is kept; `step`
        then takes the mean over processes.
        """
        for name in phase.optimizers:
            self.task.optimizers[name].zero_grad()
        parts = self.options.accumulate
        sums: dict[str, float] = {}
        initial = [buffer.clone() for buffer in self._statistics]
        means = [torch.zeros_like(buffer) for buffer in initial]
        for k in range(parts):
            _copy(initial, self._statistics)
            # The same random numbers for this micro-batch, whichever process computes it.
            torch.manual_seed(((self.options.seed * 1_000_003 + i) * 65_537 + rank() + world() * k) % 2**63)
            part = {name: tensor[k::parts] for name, tensor in known.items()}
            figures = phase.backward(crops[k::parts], i, lambda loss: self.scaler.scale(loss) / parts, **part)
            sums = {name: sums.get(name, 0.0) + value / parts for name, value in figures.items()}
            for mean, buffer in zip(means, self._statistics, strict=True):
                mean.copy_(mean + (buffer - mean) / (k + 1))
        _copy(means, self._statistics)
        for name in phase.optimizers:
            average_tensors(p.grad for p in self._parameters(name) if p.grad is not None)
        return average_figures(sums, self.device)

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """The networks are in eval mode, and are not compiled, until the context ends; then they are in training mode.

        Where there is a moving average, the network `task.main` has its weights meanwhile.
        """
        # Batches of other sizes would be compiled anew.
        stance = torch.compiler.set_stance if self.options.compile else nullcontext
        for module in self.task.modules.values():
            module.eval()
        self._swap()
        try:
            with stance("force_eager"):
                yield
        finally:
            self._swap()
            for module in self.task.modules.values():
                module.train()

    def _swap(self) -> None:
        if self.average is not None:
            for parameter, averaged in zip(self.main.parameters(), self.average.parameters(), strict=True):
                parameter.data, averaged.data = averaged.data, parameter.data


def _copy(values: Iterable[Tensor], targets: Iterable[Tensor]) -> None:
    for value, target in zip(values, targets, strict=True):
        target.copy_(value)
