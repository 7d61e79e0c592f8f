"""What the loop needs of a network to train: the `Task`, and what tasks share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hyperstyle.model.parts import Model
from hyperstyle.training.objective import Objective
from hyperstyle.training.options import OptimOptions
from hyperstyle.training.ranger import Ranger

__all__ = ["Phase", "Scale", "Task", "optimizer_for"]

Scale = Callable[[Tensor], Tensor]
"""A loss -> the one whose gradient is added: its share of the batch, enlarged where float16 needs it."""


class Phase(NamedTuple):
    """Gradients of a batch, and the optimizers that step with them.

    Attributes:
        add: (crop [B,3,h,w], step, scale, codes made before [B,L,D] or None) -> figures for the log.
        optimizers: names of `Task.optimizers`.
    """

    add: Callable[[Tensor, int, Scale, Tensor | None], Mapping[str, float]]
    optimizers: tuple[str, ...]


class Task(Protocol):
    """A network that is trained, for `training.engine.train`.

    Attributes:
        base: what it starts from; its domain says what images look like.
        objective: what it lowers.
        main: the name, in `modules`, of the network that learns, and whose moving average may be kept.
        modules: everything that learns or has a state, by name: what checkpoints hold.
        optimizers: by name, their parameters all from `modules`.
    """

    @property
    def base(self) -> Model:
        """See above."""
        ...

    @property
    def objective(self) -> Objective:
        """See above."""
        ...

    @property
    def main(self) -> str:
        """See above."""
        ...

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """See above."""
        ...

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """See above."""
        ...

    def train_step(self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None) -> Mapping[str, float]:
        """Adds the gradients of crops [B,3,h,w], and returns figures for the log; takes no step."""
        ...

    def phases(self, step: int) -> Sequence[Phase]:
        """What this step consists of, `train_step` first."""
        ...

    def evaluate(self, crop: Tensor) -> Mapping[str, Tensor]:
        """Figures [B] of held-out crops."""
        ...

    def sample(self, crop: Tensor) -> Mapping[str, Tensor]:
        """Images [B,3,h,w] to look at, by what they are."""
        ...

    def model(self) -> Model:
        """The model with what has been learned so far."""
        ...


def optimizer_for(parameters: Iterable[nn.Parameter], options: OptimOptions) -> Optimizer:
    """The optimizer that the options name; the loop sets its learning rate."""
    kinds: dict[str, Any] = {"ranger": Ranger, "adam": torch.optim.Adam}
    made: Optimizer = kinds[options.optimizer](list(parameters), lr=options.rate, weight_decay=options.weight_decay)
    return made
