"""The base class of training tasks: what all tasks of `hyperstyle train` share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hyperstyle.model.parts import Model
from hyperstyle.training.adversarial import Adversary, Scale, image_adversary
from hyperstyle.training.objective import ImageLoss
from hyperstyle.training.options import TrainOptions
from hyperstyle.training.ranger import Ranger

_M = TypeVar("_M", bound=nn.Module)
_OPTIMIZERS: dict[str, Any] = {"ranger": Ranger, "adam": torch.optim.Adam}


class Phase(NamedTuple):
    """One part of a training step: a backward pass, and the optimizers that then take a step.

    Attributes:
        backward: (crop [B,3,h,w], step, scale) -> figures for the log, with arguments as in `Task.train_step`. It adds
            to the gradients of the parameters. Further tensors of the batch, such as codes [B,L,D], are passed as
            keyword arguments.
        optimizers: keys of `Task.optimizers`.
    """

    backward: Callable[..., Mapping[str, float]]
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
        options: of the run.
        modules: name -> module, for all modules that are trained; checkpoints store them under these names.
        optimizers: name -> optimizer: under the key `main` that of all trained networks, the others are those of
            discriminators. The training loop sets their learning rates.
        adversaries: name -> a discriminator with its losses, under the same name in `modules` and `optimizers`. The
            discriminator of images is called "discriminator".
        generate: the generator of `base`, compiled if the options ask for it.
        predict: `network`, compiled if the options ask for it.
        dtype: for autocast.

    Args:
        base, network, objective, options: see the attributes.
        further_networks: name -> another network to train, by the same optimizer; it is added to `modules`.
    """

    def __init__(
        self,
        base: Model,
        network: nn.Module,
        objective: ImageLoss,
        options: TrainOptions,
        further_networks: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self.main, self.network, self.base, self.objective = options.component, network, base, objective
        self.options, optim = options, options.optim
        self.dtype: torch.dtype = getattr(torch, optim.precision)
        self.generate: nn.Module = compiled(base.generator, optim.compile)
        self.predict: nn.Module = compiled(network, optim.compile)
        self.modules: dict[str, nn.Module] = {self.main: network, **(further_networks or {})}
        parameters = [p for module in self.modules.values() for p in module.parameters()]
        optimizer: Optimizer = _OPTIMIZERS[optim.optimizer](parameters, lr=optim.rate, weight_decay=optim.weight_decay)
        self.optimizers = {self.main: optimizer}
        self.adversaries: dict[str, Adversary] = {}
        if options.loss.adversarial > 0:
            self.add_adversary("discriminator", image_adversary(options.loss, base))

    def add_adversary(self, name: str, adversary: Adversary) -> None:
        """Adds a discriminator to the training, under this name in `adversaries`, `modules` and `optimizers`."""
        self.adversaries[name] = adversary
        self.modules[name], self.optimizers[name] = adversary.discriminator, adversary.optimizer

    def phases(self, step: int) -> Sequence[Phase]:
        """The phases of a step: `train_step` for the network and all active discriminators, then R1 where it is due."""
        active = [name for name, adversary in self.adversaries.items() if adversary.is_active(step)]
        r1 = [
            Phase(partial(self._regularize, name), (name,)) for name in active if self.adversaries[name].needs_r1(step)
        ]
        return [Phase(self.train_step, (self.main, *active)), *r1]

    def _regularize(self, adversary: str, crop: Tensor, step: int, scale: Scale, **known: Tensor) -> dict[str, float]:
        return self.adversaries[adversary].add_r1_gradient(self.real_data(adversary, crop), scale)

    def real_data(self, adversary: str, crop: Tensor) -> Tensor:
        """The real data at which the R1 penalty of the discriminator of this name is taken. Here: the crops."""
        return crop

    def train_step(self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None) -> Mapping[str, float]:
        """Runs forward and backward passes for a batch and returns figures for the log. No optimizer takes a step.

        The gradients are those of the network, and of each discriminator that is active in this step.

        Args:
            crop: [B,3,h,w] in [-1,1].
            step: number of the training step, from 0 on.
            scale: a loss -> the loss that is differentiated, see `Scale`.
            codes: [B,L,D] latent codes of the crops, if they are known in advance.
        """
        raise NotImplementedError

    def _discriminator(self, step: int) -> Adversary | None:
        """The discriminator of images, if it is active in this step."""
        adversary = self.adversaries.get("discriminator")
        return adversary if adversary is not None and adversary.is_active(step) else None

    def add_gradient(
        self, image: Tensor, crop: Tensor, step: int, scale: Scale, terms: Iterable[Tensor] = ()
    ) -> dict[str, float]:
        """Backpropagates the loss of reconstructions and returns figures for the log.

        The loss is `objective`, plus `terms`, plus the adversarial term if the discriminator of images is active.

        Args:
            image: [B,3,h,w], the reconstructions, through which the gradient flows to the network.
            crop: [B,3,h,w], the targets.
            step, scale: see `train_step`.
            terms: scalars to add to the loss, already weighted.
        """
        loss, figures = self.objective(image, crop)  # HyperStyle, Eq. 7
        for term in terms:
            loss = loss + term
        if (adversary := self._discriminator(step)) is not None:
            loss = loss + adversary.generator_term(image)
        scale(loss).backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item(), **figures}

    def train_discriminator(self, image: Tensor, crop: Tensor, step: int, scale: Scale) -> dict[str, float]:
        """Backpropagates the loss of the discriminator of images; returns figures for the log, {} if it is inactive.

        `image` [B,3,h,w] are the reconstructions, to which no gradient flows, `crop` [B,3,h,w] the real images; `step`
        and `scale` are as in `train_step`.
        """
        adversary = self._discriminator(step)
        return {} if adversary is None else adversary.add_gradient(crop, image, scale)

    def as_input(self, image: Tensor) -> Tensor:
        """The generator's images [B,3,R,R] -> [B,3,h,w], the size of the crops, which encoder and hypernetwork take."""
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


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """A context that runs convolutions and matrix products in `dtype`; it does nothing for float32."""
    half = dtype != torch.float32
    return torch.autocast(device.type, dtype=dtype if half else torch.bfloat16, enabled=half)


def compiled(module: _M, enabled: bool) -> _M:
    """`torch.compile(module)`, which shares its parameters, if `enabled`; else the module itself.

    On a CPU, compiling needs a C++ compiler.
    """
    return cast("_M", torch.compile(module)) if enabled else module
