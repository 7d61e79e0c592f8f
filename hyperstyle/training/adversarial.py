"""Adversarial losses of StyleGAN2, as in the late phase of HyperInverter's training (CVPR 2022, Section 3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["discriminator_loss", "generator_loss", "r1_penalty"]


def generator_loss(fake: Tensor) -> Tensor:
    """The generator's loss, mean softplus(-D(fake)), from the logits [B,1] of generated images."""
    return F.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss, from its logits [B,1] of real and generated images: the mean of two softplus terms.

    StyleGAN2 adds the two terms; HyperInverter takes their mean.
    """
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def r1_penalty(discriminator: nn.Module, real: Tensor, *, gamma: float = 10.0, every: int = 16) -> Tensor:
    """The R1 penalty gamma / 2 * |grad D(real)|^2 of a separate step, once in `every` steps (lazy regularization).

    Args:
        discriminator: images or codes -> logits.
        real: [B,3,h,w] or [B,D].
        gamma: 10 for faces, 100 for churches, as published.
        every: the penalty is multiplied by it.
    """
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gamma / 2 * every * gradient.square().flatten(1).sum(1).mean()
