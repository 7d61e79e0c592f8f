"""Losses of images, of an attribute network's features, and of latent codes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.metrics import perceptual
from hyperstyle.networks.perception.attributes import AttributeNetwork

__all__ = ["PerceptualLoss", "delta_loss", "pyramid_l1", "pyramid_mse", "w_mean_loss"]


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


class PerceptualLoss(nn.Module):
    """Mean of `metrics.perceptual` over a batch: (image, target) [B,3,H,W] each -> scalar."""

    def __init__(self, network: AttributeNetwork) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """No gradient reaches the network."""
        return perceptual(image, target, self.network).mean()


def delta_loss(w: Tensor, stage: int | None = None) -> Tensor:
    """How far the rows of a code are from its first: the sum over rows of the mean length of w_i - w_0.

    It is the delta regularization of e4e (Tov et al., SIGGRAPH 2021).

    Args:
        w: [B,L,D].
        stage: only rows 1 to `stage` count, as in a progressive training; None for all. 0 gives 0.
    """
    rows = w[:, 1:] if stage is None else w[:, 1 : stage + 1]
    lengths: Tensor = (rows - w[:, :1]).norm(dim=2)  # [B,L-1]
    return lengths.mean(0).sum()


def w_mean_loss(w: Tensor, mean: Tensor) -> Tensor:
    """How far codes [B,L,D] are from the mean of W, [D] or [L,D]: the mean length of the difference over all rows.

    It is the regularization of pSp (Richardson et al., CVPR 2021).
    """
    lengths: Tensor = (w - mean).flatten(1).norm(dim=1)  # [B]
    return lengths.mean()
