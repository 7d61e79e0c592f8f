"""One step of the optimizers: micro-batches, processes, precision, clipping and the moving average."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hyperstyle.training.distributed import average_figures, average_gradients, average_tensors, rank, world
from hyperstyle.training.loop import EMA, Stateful
from hyperstyle.training.options import OptimOptions
from hyperstyle.training.task import Phase, Task

__all__ = ["Optimization"]


class Optimization:
    """Turns the gradients that a task adds into steps.

    Attributes:
        states: what belongs into checkpoints beside the optimizers.

    Args:
        task: what is trained; its networks are put into training mode.
        options: batch, precision, clipping, moving average.
    """

    def __init__(self, task: Task, options: OptimOptions) -> None:
        self.task, self.options = task, options
        self.main = task.modules[task.main]
        self.device = next(self.main.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=options.precision == "float16")
        self.mean: nn.Module | None = None
        self.states: dict[str, Stateful] = dict(task.modules)
        if options.ema > 0:
            self.mean = copy.deepcopy(self.main).requires_grad_(False)
            self._average = EMA(self.main, self.mean, 1 - options.ema)
            self.states["average"] = self.mean
        if self.scaler.is_enabled():
            self.states["scaler"] = self.scaler
        everything = (layer for module in task.modules.values() for layer in module.modules())
        self._statistics = [b for layer in everything if isinstance(layer, _BatchNorm) for b in layer.buffers()]
        for module in task.modules.values():
            module.train()

    def step(self, i: int, crops: Tensor, codes: Tensor | None = None) -> dict[str, float]:
        """Step `i` with this process's crops [B,3,h,w] of the batch, and their codes [B,L,D] where they are known.

        Returns:
            Figures for the log, means over the whole batch, and the length of each optimizer's gradient. Where one is
            not finite nothing has been changed by it.
        """
        figures: dict[str, float] = {}
        for phase in self.task.phases(i):
            figures |= self._gradients(phase, i, crops, codes)
            for name in phase.optimizers:
                optimizer = self.task.optimizers[name]
                self.scaler.unscale_(optimizer)
                norm = nn.utils.clip_grad_norm_(self._parameters(name), self.options.clip or torch.inf)
                if not self.scaler.is_enabled():  # it leaves out such steps by itself, and goes on
                    figures[f"gradient_{name}"] = norm.item()
                    if not norm.isfinite():
                        return figures
                self.scaler.step(optimizer)
            self.scaler.update()
        average_tensors(b for m in self.task.modules.values() for b in m.buffers() if b.is_floating_point())
        if self.mean is not None:
            self._average.update()
            for kept, buffer in zip(self.mean.buffers(), self.main.buffers(), strict=True):
                kept.copy_(buffer)
        return figures

    def _parameters(self, name: str) -> list[nn.Parameter]:
        return [p for group in self.task.optimizers[name].param_groups for p in group["params"]]

    def _gradients(self, phase: Phase, i: int, crops: Tensor, codes: Tensor | None) -> dict[str, float]:
        """Gradients of the whole batch: micro-batches one after another, then the mean over processes.

        Running statistics of batch normalization are treated as gradients are: every micro-batch, whichever process
        takes it, moves those from before the step, and their mean is what stays.
        """
        for name in phase.optimizers:
            self.task.optimizers[name].zero_grad()
        parts = self.options.accumulate
        sums: dict[str, float] = {}
        before = [buffer.clone() for buffer in self._statistics]
        means = [torch.zeros_like(buffer) for buffer in before]
        for k in range(parts):
            _put(before, self._statistics)
            # The same chance for this micro-batch, whichever process takes it.
            torch.manual_seed(((self.options.seed * 1_000_003 + i) * 65_537 + rank() + world() * k) % 2**63)
            given = None if codes is None else codes[k::parts]
            found = phase.add(crops[k::parts], i, lambda loss: self.scaler.scale(loss) / parts, given)
            sums = {name: sums.get(name, 0.0) + value / parts for name, value in found.items()}
            for mean, buffer in zip(means, self._statistics, strict=True):
                mean.copy_(mean + (buffer - mean) / (k + 1))
        _put(means, self._statistics)
        for name in phase.optimizers:
            average_gradients(self._parameters(name))
        return average_figures(sums, self.device)

    @contextmanager
    def as_written(self) -> Iterator[None]:
        """The task with its networks in eval mode, and with the moving average where there is one.

        Nothing is compiled for it: batches of other sizes would be compiled anew.
        """
        modules: Mapping[str, nn.Module] = self.task.modules
        # From PyTorch 2.6 on.
        stance = getattr(torch.compiler, "set_stance", nullcontext) if self.options.compile else nullcontext
        for module in modules.values():
            module.eval()
        self._swap()
        try:
            with stance("force_eager"):
                yield
        finally:
            self._swap()
            for module in modules.values():
                module.train()

    def _swap(self) -> None:
        if self.mean is not None:
            for parameter, averaged in zip(self.main.parameters(), self.mean.parameters(), strict=True):
                parameter.data, averaged.data = averaged.data, parameter.data


def _put(values: Sequence[Tensor], places: Sequence[Tensor]) -> None:
    for value, place in zip(values, places, strict=True):
        place.copy_(value)
