"""Adversarial losses of StyleGAN2, as HyperInverter is trained with late (Dinh et al., CVPR 2022, Section 3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["discriminator_loss", "generator_loss", "r1_penalty"]


def generator_loss(fake: Tensor) -> Tensor:
    """What whoever makes images lowers: mean softplus(-D(fake)) of the logits [B,1] of made images."""
    return F.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """What the discriminator lowers: the mean of its losses on the logits [B,1] of real and of made images.

    The generator's paper adds the two; HyperInverter halves the sum.
    """
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def r1_penalty(discriminator: nn.Module, real: Tensor, *, gamma: float = 10.0, every: int = 16) -> Tensor:
    """gamma / 2 * |gradient of the logits by what is real|^2, for a step of its own that comes once in `every`.

    Args:
        discriminator: images or codes -> logits.
        real: [B,3,h,w] or [B,D].
        gamma: 10 for faces, 100 for churches, as published.
        every: the penalty is as many times as large.
    """
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gamma / 2 * every * gradient.square().flatten(1).sum(1).mean()
