"""Losses of images by a network, and of latent codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["MeanDistance", "delta_loss", "w_mean_loss"]


class MeanDistance(nn.Module):
    """The mean over a batch of a distance: (image, target) [B,3,H,W] each -> scalar.

    Args:
        network: what the distance needs; it is frozen.
        distance: (network, image, target) -> [B], or [B,1,1,1].
    """

    def __init__(self, network: nn.Module, distance: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.distance = network.eval().requires_grad_(False), distance

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        return self.distance(self.network, image, target).mean()


def delta_loss(w: Tensor, stage: int | None = None) -> Tensor:
    """Delta regularization of e4e (Tov et al., SIGGRAPH 2021): the sum over rows i of the mean of |w_i - w_0|.

    Args:
        w: [B,L,D].
        stage: only rows 1 to `stage` count, as in progressive training; None for all. 0 gives 0.
    """
    rows = w[:, 1:] if stage is None else w[:, 1 : stage + 1]
    lengths: Tensor = (rows - w[:, :1]).norm(dim=2)  # [B,L-1]
    return lengths.mean(0).sum()


def w_mean_loss(w: Tensor, mean: Tensor) -> Tensor:
    """Regularization of pSp (Richardson et al., CVPR 2021): the mean over a batch of |w - mean|.

    Args:
        w: [B,L,D].
        mean: the mean of W, [D] or [L,D].
    """
    lengths: Tensor = (w - mean).flatten(1).norm(dim=1)  # [B]
    return lengths.mean()
