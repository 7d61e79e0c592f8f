"""Adversarial training as in StyleGAN2: losses, R1, and a discriminator trained together with a network.

HyperInverter uses a discriminator of images in the late phase of its training (Dinh et al., CVPR 2022, Section 3.4),
e4e one of codes, which keeps predicted codes near W (Tov et al., SIGGRAPH 2021).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.discriminator import Discriminator
from hyperstyle.training.options import LossOptions

Scale = Callable[[Tensor], Tensor]
"""A loss -> the loss to differentiate: divided by the number of micro-batches, multiplied where float16 needs it."""


def generator_loss(fake: Tensor) -> Tensor:
    """The generator's loss, mean softplus(-D(fake)), from the logits [B,1] of generated images."""
    return F.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss, from its logits [B,1] of real and generated images: the mean of two softplus terms.

    StyleGAN2 adds the two terms; HyperInverter takes their mean.
    """
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def r1_penalty(discriminator: nn.Module, real: Tensor, *, gamma: float = 10.0, every: int = 16) -> Tensor:
    """The R1 penalty, a scalar: gamma / 2 * |grad D(real)|^2, the mean over the batch, times `every`.

    With lazy regularization it is taken once in `every` steps, and multiplied to make up for the others.

    Args:
        discriminator: images or codes -> logits.
        real: [B,3,h,w] or [B,D].
        gamma: 10 for faces, 100 for churches, as published.
        every: see above.
    """
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gamma / 2 * every * gradient.square().flatten(1).sum(1).mean()


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
        begin: the first step in which it is active.
        factor: multiplies `discriminator_loss`, which is the mean of two terms.
        prefix: of the names of its figures in the log.
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
        prefix: str = "",
    ) -> None:
        self.discriminator, self.weight, self.begin = discriminator, weight, begin
        self.factor, self.prefix = factor, prefix
        self.gamma, self.every = options.r1, options.r1_every
        group = {"params": list(discriminator.parameters()), "scale": lr_scale}
        self.optimizer = torch.optim.Adam([group])

    def is_active(self, step: int) -> bool:
        """Whether the discriminator is used and trained in this step."""
        return step >= self.begin

    def needs_r1(self, step: int) -> bool:
        """Whether a step of the R1 penalty follows this one: every `options.r1_every` steps once it is active."""
        return self.is_active(step) and self.gamma > 0 and (step - self.begin) % self.every == 0

    def generator_term(self, fake: Tensor) -> Tensor:
        """The weighted term of the network's loss; it has a gradient for `fake` and none for the discriminator."""
        self.discriminator.requires_grad_(False)
        loss = self.weight * generator_loss(self.discriminator(fake))
        self.discriminator.requires_grad_(True)
        return loss

    def add_gradient(self, real: Tensor, fake: Tensor, scale: Scale) -> dict[str, float]:
        """Backpropagates `discriminator_loss` into the discriminator alone; returns figures for the log."""
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake.detach())
        loss = self.factor * discriminator_loss(real_logits, fake_logits)
        scale(loss).backward()  # type: ignore[no-untyped-call]
        figures = {"real": real_logits.mean().item(), "made": fake_logits.mean().item(), "told_apart": loss.item()}
        return {self.prefix + name: value for name, value in figures.items()}

    def add_r1_gradient(self, real: Tensor, scale: Scale) -> dict[str, float]:
        """Backpropagates `r1_penalty` at the real data of one batch; returns figures for the log."""
        penalty = r1_penalty(self.discriminator, real, gamma=self.gamma, every=self.every)
        scale(penalty).backward()  # type: ignore[no-untyped-call]
        return {f"{self.prefix}r1": penalty.item()}


def image_adversary(options: LossOptions, model: Model) -> Adversary:
    """The adversarial part for images: a new discriminator at the domain's input size, with the generator's widths.

    Raises:
        ConfigError: the images are not square with a power of two as side.
    """
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


class LatentDiscriminator(nn.Module):
    """Classifies codes, each row separately: [...,D] -> logits [...,1], positive for codes of W.

    Four linear layers, with leaky ReLU 0.2 between them; the last gives the logit.

    Args:
        width: D.

    Example:
        >>> LatentDiscriminator(16)(torch.zeros(2, 6, 16)).shape
        torch.Size([2, 6, 1])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = [layer for _ in range(3) for layer in (nn.Linear(width, width), nn.LeakyReLU(0.2))]
        self.mlp = nn.Sequential(*hidden, nn.Linear(width, 1))

    def forward(self, w: Tensor) -> Tensor:
        logits: Tensor = self.mlp(w)
        return logits


class LatentPool(nn.Module):
    """A pool of codes of earlier steps, on which the latent discriminator is trained as well.

    Its contents are buffers, so they are part of checkpoints. It uses PyTorch's global random numbers. With several
    processes, each calls it with the codes of all (`distributed.gather`), so that all have the same pool.

    Attributes:
        codes: [size,D].
        filled: how many of them are there so far, a scalar.

    Args:
        width: D.
        size: number of codes.
    """

    codes: Tensor
    filled: Tensor

    def __init__(self, width: int, size: int = 50) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, w: Tensor) -> Tensor:
        """Codes -> as many codes [B,D]; each is swapped with one of the pool with probability 1/2, once that is full.

        Args:
            w: [B,D], or [B,L,D], of which one row each is chosen at random.
        """
        if w.ndim == 3:
            rows = torch.randint(w.shape[1], (len(w),)).to(w.device)
            w = w[torch.arange(len(w), device=w.device), rows]
        out = w.detach().clone()
        size, filled = len(self.codes), int(self.filled)
        for code in out:
            if filled < size:
                self.codes[filled] = code
                filled += 1
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(size, ()))
                earlier = self.codes[place].clone()
                self.codes[place] = code
                code.copy_(earlier)
        self.filled.fill_(filled)
        return out
