"""A network in training: what the tasks of `hyperstyle train` share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hyperstyle.model.parts import Model
from hyperstyle.training.adversarial import Adversary, Scale, image_adversary
from hyperstyle.training.objective import ImageLoss
from hyperstyle.training.options import LossOptions, OptimOptions
from hyperstyle.training.ranger import Ranger

__all__ = ["Phase", "Scale", "Task", "autocast", "compiled", "optimizer_for"]

_M = TypeVar("_M", bound=nn.Module)


class Phase(NamedTuple):
    """Gradients of a batch, and the optimizers that use them.

    Attributes:
        add: (crop [B,3,h,w], step, scale, codes [B,L,D] or None) -> figures for the log; it adds gradients. Further
            tensors that the caller knows of a batch are keyword arguments.
        optimizers: names in `Task.optimizers`.
    """

    add: Callable[..., Mapping[str, float]]
    optimizers: tuple[str, ...]


class Task:
    """A network in training. `training.engine.train` takes any object with these attributes and methods.

    Attributes:
        main: the name, in `modules`, of the network that learns; its moving average may be kept.
        network: that network.
        base: the model it starts from; its domain describes the images.
        objective: reconstruction and crop [B,3,h,w] -> the loss, and figures for the log.
        modules: name -> every module that learns or has a state, as in checkpoints.
        optimizers: name -> optimizer of parameters in `modules`.
        adversaries: name, in `modules` and `optimizers`, -> a discriminator and its losses; that of images is called
            "discriminator".
        generate, predict: the generator and the network, compiled where the options say so.
        dtype: of autocast.

    Args:
        main, network, base, objective: see above.
        optim: optimizer, precision, compilation.
        loss: weights of the adversarial losses.
        learning: further networks that learn with the same optimizer, by name.
    """

    def __init__(
        self,
        main: str,
        network: nn.Module,
        base: Model,
        objective: ImageLoss,
        optim: OptimOptions,
        loss: LossOptions,
        learning: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self.main, self.network, self.base, self.objective = main, network, base, objective
        self.dtype: torch.dtype = getattr(torch, optim.precision)
        self.generate: nn.Module = compiled(base.generator, optim.compile)
        self.predict: nn.Module = compiled(network, optim.compile)
        self.modules: dict[str, nn.Module] = {main: network, **(learning or {})}
        parameters = [p for module in self.modules.values() for p in module.parameters()]
        self.optimizers: dict[str, Optimizer] = {main: optimizer_for(parameters, optim)}
        self.adversaries: dict[str, Adversary] = {}
        if (adversary := image_adversary(loss, base)) is not None:
            self.add_adversary("discriminator", adversary)

    def add_adversary(self, name: str, adversary: Adversary) -> None:
        """Makes a discriminator part of the training."""
        self.adversaries[name] = adversary
        self.modules[name], self.optimizers[name] = adversary.discriminator, adversary.optimizer

    def phases(self, step: int) -> Sequence[Phase]:
        """The phases of this step: `train_step`, then R1 of the discriminators in some steps."""
        active = [name for name, adversary in self.adversaries.items() if adversary.is_active(step)]
        r1 = [Phase(self._r1(name), (name,)) for name in active if self.adversaries[name].needs_r1(step)]
        return [Phase(self.train_step, (self.main, *active)), *r1]

    def _r1(self, name: str) -> Callable[..., Mapping[str, float]]:
        def add(crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None, **_: Tensor) -> dict[str, float]:
            return self.adversaries[name].regularize(self.real(name, crop), scale)

        return add

    def real(self, adversary: str, crop: Tensor) -> Tensor:
        """Real data for the R1 penalty of a discriminator: the crops themselves."""
        return crop

    def train_step(self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None) -> Mapping[str, float]:
        """Adds the gradients of crops [B,3,h,w]; returns figures for the log. The optimizer is not called.

        Args:
            crop: [B,3,h,w] in [-1,1].
            step: from 0 on.
            scale: is applied to each loss before `backward`.
            codes: [B,L,D], where they are known in advance.
        """
        raise NotImplementedError

    def add_gradient(
        self, image: Tensor, crop: Tensor, step: int, scale: Scale, terms: Iterable[Tensor] = ()
    ) -> dict[str, float]:
        """Adds the gradient of the loss of one reconstruction; returns figures for the log.

        Args:
            image, crop: [B,3,h,w].
            step, scale: see `train_step`.
            terms: further weighted terms of the loss.
        """
        loss, figures = self.objective(image, crop)  # HyperStyle, Eq. 7
        for term in terms:
            loss = loss + term
        adversary = self.adversaries.get("discriminator")
        if adversary is not None and adversary.is_active(step):
            loss = loss + adversary.generator_term(image)
        scale(loss).backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item(), **figures}

    def train_discriminator(self, image: Tensor, crop: Tensor, step: int, scale: Scale) -> dict[str, float]:
        """Adds the gradient of the discriminator of images, where it is active; returns figures for the log."""
        adversary = self.adversaries.get("discriminator")
        if adversary is None or not adversary.is_active(step):
            return {}
        return adversary.learn(crop, image, scale)

    def as_input(self, image: Tensor) -> Tensor:
        """The generator's image -> [B,3,*input_size], as encoder and hypernetwork see it."""
        return self.base.domain.as_network_input(image)

    def evaluate(self, crop: Tensor) -> Mapping[str, Tensor]:
        """Name -> figure [B] of held-out crops [B,3,h,w]."""
        raise NotImplementedError

    def sample(self, crop: Tensor) -> Mapping[str, Tensor]:
        """Name -> images [B,3,h,w] to look at: the crops and their reconstructions."""
        raise NotImplementedError

    def model(self) -> Model:
        """The model with the trained network."""
        return self.base.with_parts(**{self.main: self.network})


def optimizer_for(parameters: Iterable[nn.Parameter], options: OptimOptions) -> Optimizer:
    """The optimizer that the options name; the loop sets its learning rate."""
    kinds: dict[str, Any] = {"ranger": Ranger, "adam": torch.optim.Adam}
    optimizer: Optimizer = kinds[options.optimizer](
        list(parameters), lr=options.rate, weight_decay=options.weight_decay
    )
    return optimizer


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """Convolutions and matrix products in `dtype`; float32 disables it."""
    half = dtype != torch.float32
    return torch.autocast(device.type, dtype=dtype if half else torch.bfloat16, enabled=half)


def compiled(module: _M, enabled: bool) -> _M:
    """The same module, called through `torch.compile` where `enabled` (needs a C++ compiler on CPUs)."""
    return cast("_M", torch.compile(module)) if enabled else module
