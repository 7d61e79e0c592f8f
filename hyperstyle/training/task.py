"""The base class of training tasks: what all tasks of `hyperstyle train` share."""

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
    """One part of a training step: `add` computes gradients, with which these optimizers then take a step.

    Attributes:
        add: (crop [B,3,h,w], step, scale, codes [B,L,D] or None) -> figures for the log. It runs the backward pass,
            which adds to the gradients of the parameters. Other tensors that are known of a batch are passed as keyword
            arguments.
        optimizers: keys of `Task.optimizers`.
    """

    add: Callable[..., Mapping[str, float]]
    optimizers: tuple[str, ...]


class Task:
    """A network in training, with its losses and optimizers.

    Subclasses implement `train_step`, `evaluate` and `sample`. `training.engine.train` takes any object with these
    attributes and methods.

    Attributes:
        main: key of the trained network in `modules`, and its component name (see `model`). The training may keep a
            moving average of its weights.
        network: the trained network.
        base: the model that training starts from. Its generator renders; its domain describes the images.
        objective: (reconstruction, crop), both [B,3,h,w] -> (loss, figures for the log).
        modules: name -> module, for all modules that are trained; checkpoints store them under these names.
        optimizers: name -> optimizer of parameters of `modules`.
        adversaries: name -> a discriminator with its losses, under the same name in `modules` and `optimizers`. The
            discriminator of images is called "discriminator".
        generate: the generator of `base`, compiled if the options ask for it.
        predict: `network`, compiled if the options ask for it.
        dtype: for autocast.

    Args:
        main, network, base, objective: see the attributes.
        optim: options for optimizer, precision and compilation.
        loss: options for the adversarial losses.
        learning: name -> another network that is trained by the same optimizer.
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
        """Adds a discriminator to the training, under this name in `adversaries`, `modules` and `optimizers`."""
        self.adversaries[name] = adversary
        self.modules[name], self.optimizers[name] = adversary.discriminator, adversary.optimizer

    def phases(self, step: int) -> Sequence[Phase]:
        """The phases of a step: `train_step` for the network and all active discriminators, then R1 where it is due."""
        active = [name for name, adversary in self.adversaries.items() if adversary.is_active(step)]
        r1 = [Phase(self._r1(name), (name,)) for name in active if self.adversaries[name].needs_r1(step)]
        return [Phase(self.train_step, (self.main, *active)), *r1]

    def _r1(self, name: str) -> Callable[..., Mapping[str, float]]:
        def add(crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None, **_: Tensor) -> dict[str, float]:
            return self.adversaries[name].regularize(self.real(name, crop), scale)

        return add

    def real(self, adversary: str, crop: Tensor) -> Tensor:
        """The real data at which the R1 penalty of the discriminator of this name is taken. Here: the crops."""
        return crop

    def train_step(self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None) -> Mapping[str, float]:
        """Runs forward and backward passes for a batch and returns figures for the log. No optimizer takes a step.

        Args:
            crop: [B,3,h,w] in [-1,1].
            step: number of the training step, from 0 on.
            scale: applied to each loss before `backward`.
            codes: [B,L,D] latent codes of the crops, if they are known in advance.
        """
        raise NotImplementedError

    def add_gradient(
        self, image: Tensor, crop: Tensor, step: int, scale: Scale, terms: Iterable[Tensor] = ()
    ) -> dict[str, float]:
        """Backpropagates the loss of reconstructions and returns figures for the log.

        The loss is `objective`, plus `terms`, plus the adversarial term if the discriminator of images is active.

        Args:
            image: [B,3,h,w], the reconstructions, with their graph.
            crop: [B,3,h,w], the targets.
            step, scale: see `train_step`.
            terms: scalars to add to the loss, already weighted.
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
        """Backpropagates the loss of the discriminator of images; returns figures for the log, {} if it is inactive.

        `image` [B,3,h,w] are reconstructions, `crop` [B,3,h,w] the real images; see `train_step` for the others.
        """
        adversary = self.adversaries.get("discriminator")
        if adversary is None or not adversary.is_active(step):
            return {}
        return adversary.learn(crop, image, scale)

    def as_input(self, image: Tensor) -> Tensor:
        """The generator's images [B,3,size,size] -> [B,3,*input_size], the input of encoder and hypernetwork."""
        return self.base.domain.as_network_input(image)

    def evaluate(self, crop: Tensor) -> Mapping[str, Tensor]:
        """Figures of held-out crops [B,3,h,w]: name -> [B], a value for each crop."""
        raise NotImplementedError

    def sample(self, crop: Tensor) -> Mapping[str, Tensor]:
        """Images for people to look at, the crops and their reconstructions: name -> [B,3,h,w]."""
        raise NotImplementedError

    def model(self) -> Model:
        """The model `base` with the trained network in its place."""
        return self.base.with_parts(**{self.main: self.network})


def optimizer_for(parameters: Iterable[nn.Parameter], options: OptimOptions) -> Optimizer:
    """A new optimizer of the kind that the options name. The training loop sets its learning rate at every step."""
    kinds: dict[str, Any] = {"ranger": Ranger, "adam": torch.optim.Adam}
    optimizer: Optimizer = kinds[options.optimizer](
        list(parameters), lr=options.rate, weight_decay=options.weight_decay
    )
    return optimizer


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """A context that runs convolutions and matrix products in `dtype`; it does nothing for float32."""
    half = dtype != torch.float32
    return torch.autocast(device.type, dtype=dtype if half else torch.bfloat16, enabled=half)


def compiled(module: _M, enabled: bool) -> _M:
    """`torch.compile(module)`, which shares its parameters, if `enabled`; else the module itself.

    On a CPU, compiling needs a C++ compiler.
    """
    return cast("_M", torch.compile(module)) if enabled else module
