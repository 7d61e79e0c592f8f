"""A discriminator that learns beside a network, of images or of codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.discriminator import Discriminator
from hyperstyle.training.adversarial import discriminator_loss, generator_loss, r1_penalty
from hyperstyle.training.options import LossOptions
from hyperstyle.training.task import Phase, Scale

__all__ = ["Adversary", "picture_adversary"]


class Adversary:
    """What a discriminator adds to the training of a network: a term of its loss, and steps of its own.

    Attributes:
        discriminator: real or made things -> logits [B,1].
        optimizer: steps the discriminator.

    Args:
        discriminator: see above.
        weight: of the network's term.
        rate: its learning rate, as a multiple of the network's.
        begin: the first step in which it takes part.
        options: R1 and how often.
        factor: of `discriminator_loss`, which is a mean of two losses.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        options: LossOptions,
        *,
        weight: float,
        rate: float = 1.0,
        begin: int = 0,
        factor: float = 1.0,
    ) -> None:
        self.factor = factor
        self.discriminator, self.weight, self.begin = discriminator, weight, begin
        self.gamma, self.every = options.r1, options.r1_every
        group = {"params": list(discriminator.parameters()), "scale": rate}
        self.optimizer = torch.optim.Adam([group])

    def takes_part(self, step: int) -> bool:
        """Whether it does in this step."""
        return step >= self.begin

    def regularized(self, step: int) -> bool:
        """Whether R1 has a step of its own after this one."""
        return self.takes_part(step) and self.gamma > 0 and (step - self.begin) % self.every == 0

    def judged(self, made: Tensor) -> Tensor:
        """The weighted term of what was made, whose gradient reaches `made` and not the discriminator."""
        self.discriminator.requires_grad_(False)
        loss = self.weight * generator_loss(self.discriminator(made))
        self.discriminator.requires_grad_(True)
        return loss

    def learn(self, real: Tensor, made: Tensor, scale: Scale) -> dict[str, float]:
        """Adds the discriminator's gradient of one batch."""
        real_logits, made_logits = self.discriminator(real), self.discriminator(made.detach())
        loss = self.factor * discriminator_loss(real_logits, made_logits)
        scale(loss).backward()  # type: ignore[no-untyped-call]
        return {"real": real_logits.mean().item(), "made": made_logits.mean().item(), "told_apart": loss.item()}

    def r1_phase(self, name: str) -> Phase:
        """R1 of real crops, as a step of the optimizer that is called `name`."""
        return Phase(lambda crop, step, scale, codes: self.regularize(crop, scale), (name,))

    def regularize(self, real: Tensor, scale: Scale) -> dict[str, float]:
        """Adds the gradient of R1 (lazy regularization) of one batch."""
        penalty = r1_penalty(self.discriminator, real, gamma=self.gamma, every=self.every)
        scale(penalty).backward()  # type: ignore[no-untyped-call]
        return {"r1": penalty.item()}


def picture_adversary(options: LossOptions, model: Model) -> Adversary | None:
    """A new discriminator of images as the networks of a model see them, as wide as its generator; None for none.

    Raises:
        ConfigError: images that are not square with a power of two as side.
    """
    if options.adversarial == 0:
        return None
    height, width = model.domain.input_size
    if height != width or height & (height - 1):
        raise ConfigError(
            f"the loss adversarial for images of {height}x{width} px: expected a square of 16, 32, 64, ... px. "
            "Train without it: --loss.adversarial 0."
        )
    places = height.bit_length() - 2
    channels = model.generator.config.channels
    widths = (*channels, *([channels[-1]] * places))[:places]
    discriminator = Discriminator(height, widths).to(model.device)
    return Adversary(discriminator, options, weight=options.adversarial, begin=options.adversarial_from)
