"""A discriminator of images or of codes, trained together with a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.discriminator import Discriminator
from hyperstyle.training.adversarial import discriminator_loss, generator_loss, r1_penalty
from hyperstyle.training.options import LossOptions
from hyperstyle.training.task import Phase, Scale

__all__ = ["Adversary", "image_adversary"]


class Adversary:
    """The adversarial part of a training: a term of the network's loss, and the training of the discriminator.

    Attributes:
        discriminator: real or generated images or codes -> logits [B,1].
        optimizer: of the discriminator.

    Args:
        discriminator: see above.
        options: weight and interval of R1.
        weight: of the term in the network's loss.
        lr_scale: learning rate of the discriminator as a multiple of the network's.
        begin: the first step in which it is used.
        factor: multiplies `discriminator_loss`, which is the mean of two terms.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        options: LossOptions,
        *,
        weight: float,
        lr_scale: float = 1.0,
        begin: int = 0,
        factor: float = 1.0,
    ) -> None:
        self.factor = factor
        self.discriminator, self.weight, self.begin = discriminator, weight, begin
        self.gamma, self.every = options.r1, options.r1_every
        group = {"params": list(discriminator.parameters()), "scale": lr_scale}
        self.optimizer = torch.optim.Adam([group])

    def is_active(self, step: int) -> bool:
        """Whether it is used in this step."""
        return step >= self.begin

    def needs_r1(self, step: int) -> bool:
        """Whether a step of R1 follows this one."""
        return self.is_active(step) and self.gamma > 0 and (step - self.begin) % self.every == 0

    def generator_term(self, fake: Tensor) -> Tensor:
        """The weighted term of the network's loss; it has a gradient for `fake` and none for the discriminator."""
        self.discriminator.requires_grad_(False)
        loss = self.weight * generator_loss(self.discriminator(fake))
        self.discriminator.requires_grad_(True)
        return loss

    def learn(self, real: Tensor, fake: Tensor, scale: Scale) -> dict[str, float]:
        """Adds the discriminator's gradient of one batch; returns figures for the log."""
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake.detach())
        loss = self.factor * discriminator_loss(real_logits, fake_logits)
        scale(loss).backward()  # type: ignore[no-untyped-call]
        return {"real": real_logits.mean().item(), "made": fake_logits.mean().item(), "told_apart": loss.item()}

    def r1_phase(self, name: str) -> Phase:
        """R1 on real crops, as a step of the optimizer of this name."""
        return Phase(lambda crop, step, scale, codes: self.regularize(crop, scale), (name,))

    def regularize(self, real: Tensor, scale: Scale) -> dict[str, float]:
        """Adds the gradient of R1 (lazy regularization) of one batch."""
        penalty = r1_penalty(self.discriminator, real, gamma=self.gamma, every=self.every)
        scale(penalty).backward()  # type: ignore[no-untyped-call]
        return {"r1": penalty.item()}


def image_adversary(options: LossOptions, model: Model) -> Adversary | None:
    """A new discriminator of images at the domain's input size, with the generator's widths; None if its weight is 0.

    Raises:
        ConfigError: the images are not square with a power of two as side.
    """
    if options.adversarial == 0:
        return None
    height, width = model.domain.input_size
    if height != width or height & (height - 1):
        raise ConfigError(
            f"the loss adversarial for images of {height}x{width} px: expected a square of 16, 32, 64, ... px. "
            "Train without it: --loss.adversarial 0."
        )
    blocks = height.bit_length() - 2
    channels = model.generator.config.channels
    widths = (*channels, *([channels[-1]] * blocks))[:blocks]
    discriminator = Discriminator(height, widths).to(model.device)
    return Adversary(discriminator, options, weight=options.adversarial, begin=options.adversarial_from)
