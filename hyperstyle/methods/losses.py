"""Losses of the methods that optimize: the model's perceptual network or LPIPS, alone or with L2."""

from __future__ import annotations

import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.inversion.optimize import ImageLoss
from hyperstyle.model.parts import Model
from hyperstyle.networks.perception.lpips import load_lpips


def perceptual_loss(model: Model) -> ImageLoss:
    """The distance of the model's perceptual network, or LPIPS where it has none. Never that of its evaluator.

    Raises:
        MissingDependencyError, MethodError: as `load_lpips` does.
    """
    network = model.perceptual
    if network is None:
        return lpips_loss(model.device)
    # In float32, the type of the network, whatever that of the generator.
    return lambda image, target: metrics.perceptual(image.float(), target.float(), network)


def lpips_loss(device: torch.device) -> ImageLoss:
    """LPIPS with AlexNet, whose weights torchvision fetches when it is first used. Raises as `load_lpips` does."""
    network = load_lpips(instead="Or pass loss=..., a function (image, target) -> [B].").to(device)

    def loss(image: Tensor, target: Tensor) -> Tensor:
        distances: Tensor = network(image.float(), target.float())  # [B,1,1,1]
        return distances.flatten()

    return loss


def add_l2(loss: ImageLoss, weight: float = 1.0) -> ImageLoss:
    """weight * L2 + the loss. What is not one number per image is returned as it is: `image_losses` refuses it."""
    if not weight:
        return loss  # alone: else L2 would hide that no gradient flows through it

    def total(image: Tensor, target: Tensor) -> Tensor:
        losses, error = loss(image, target), metrics.l2(image, target)  # [B] each
        return weight * error + losses if isinstance(losses, Tensor) and losses.shape == error.shape else losses

    return total
