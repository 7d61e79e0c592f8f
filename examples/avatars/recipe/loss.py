"""What encoder and hypernetwork are trained to lower."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU
from examples.avatars.recipe.evaluator import load_attribute_network
from hyperstyle.training.losses import PerceptualLoss, pyramid_mse
from hyperstyle.training.steps import autocast, compiled

__all__ = ["ReconstructionLoss"]


class ReconstructionLoss:
    """Pixels over a pyramid and, at full size, the distance of the perceptual network's features."""

    def __init__(self, recipe: Recipe, run: Path) -> None:
        self.recipe = recipe
        self.features = compiled(PerceptualLoss(load_attribute_network(run / "perceptual")), recipe.compile)

    def __call__(self, image: Tensor, crop: Tensor, weight: Tensor) -> Tensor:
        """Reconstruction [B,3,s,s], crop [B,3,h,h] and where to look closer [B,1,h,h], h a multiple of s -> scalar."""
        factor = crop.shape[2] // image.shape[2]
        if factor > 1:
            return pyramid_mse(image, F.avg_pool2d(crop, factor), F.avg_pool2d(weight, factor))
        with autocast(self.recipe.dtype, CPU):
            distance: Tensor = self.features(image, crop)
        return pyramid_mse(image, crop, weight) + self.recipe.perceptual * distance
