"""Losses of images: pixels over a pyramid, and the perceptual network's features."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU
from examples.avatars.recipe.evaluator import load_attribute_network
from hyperstyle.metrics import perceptual
from hyperstyle.training.objective import ImageLoss, MeanDistance
from hyperstyle.training.task import autocast, compiled

__all__ = ["ReconstructionLoss", "pyramid_l1", "pyramid_mse"]


def pyramid_l1(image: Tensor, target: Tensor, weight: Tensor | None = None, *, levels: int = 4) -> Tensor:
    """Weighted L1 of the images and of their finite differences, summed over an image pyramid.

    Args:
        image, target: [B,3,H,W].
        weight: [B,1,H,W] weight of each pixel; with mean 1 the scale of the loss does not change.
        levels: pyramid levels, each half the size of the one before; differences are left out at the last.
    """
    total = image.new_zeros(())
    difference = image - target
    for level in range(levels):
        weighted = difference if weight is None else difference * weight
        total = total + weighted.abs().mean()
        if level < levels - 1:
            horizontal = difference[..., 1:] - difference[..., :-1]
            vertical = difference[..., 1:, :] - difference[..., :-1, :]
            if weight is not None:
                horizontal, vertical = horizontal * weight[..., 1:], vertical * weight[..., 1:, :]
            total = total + horizontal.abs().mean() + vertical.abs().mean()
            difference = F.avg_pool2d(difference, 2)
            weight = None if weight is None else F.avg_pool2d(weight, 2)
    return total


def pyramid_mse(image: Tensor, target: Tensor, weight: Tensor | None = None, *, levels: int = 3) -> Tensor:
    """7.5 times the squared error plus the L1 error, summed over an image pyramid; arguments as in `pyramid_l1`."""
    total = image.new_zeros(())
    difference = image - target
    for level in range(levels):
        squared, absolute = difference.square(), difference.abs()
        if weight is not None:
            squared, absolute = squared * weight, absolute * weight
        total = total + 7.5 * squared.mean() + absolute.mean()
        if level < levels - 1:
            difference = F.avg_pool2d(difference, 2)
            weight = None if weight is None else F.avg_pool2d(weight, 2)
    return total


class ReconstructionLoss:
    """Pixels over a pyramid and, at full size, the distance of the perceptual network's features."""

    def __init__(self, recipe: Recipe, run: Path) -> None:
        self.recipe = recipe
        distance = MeanDistance(load_attribute_network(run / "perceptual"), lambda net, a, b: perceptual(a, b, net))
        self.features = compiled(distance, recipe.compile)

    def __call__(self, image: Tensor, crop: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of a batch.

        Args:
            image: reconstruction [B,3,s,s].
            crop: [B,3,h,h], h a multiple of s.
            weight: [B,1,h,h] weight of each pixel; None for equal weights.
        """
        factor = crop.shape[2] // image.shape[2]
        if factor > 1:
            weight = None if weight is None else F.avg_pool2d(weight, factor)
            return pyramid_mse(image, F.avg_pool2d(crop, factor), weight)
        with autocast(self.recipe.dtype, CPU):
            distance: Tensor = self.features(image, crop)
        return pyramid_mse(image, crop, weight) + self.recipe.perceptual * distance

    def with_weight(self, weight: Tensor | None, shift: Tensor | float = 0.0) -> ImageLoss:
        """The objective of a task for one batch.

        Args:
            weight: see `__call__`.
            shift: [B,3,s,s], is added to the reconstruction.
        """
        return lambda image, crop: (self(image + shift, crop, weight), {})
