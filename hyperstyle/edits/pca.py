"""Principal axes of codes: how GANSpace finds its directions (Härkönen et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from hyperstyle.errors import EditError

__all__ = ["deviations", "principal_axes"]


def principal_axes(batches: Iterable[Tensor], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and axes of codes, by the eigenvectors of their exact covariance.

    The covariance is summed in float64, so the order of the codes and the sizes of the batches do not matter.

    Args:
        batches: codes [b,D] each, all together more than one.
        count: how many axes, of the largest variance first.

    Returns:
        The mean [D], axes [count,D] of length 1 of which the entry of the largest magnitude is positive, and the
        variance along each as a share of the whole variance [count].

    Raises:
        EditError: too few codes, not finite, of different widths, or another number of axes than 1 to D.
    """
    number, total, products = 0, torch.empty(0), torch.empty(0)
    for batch in batches:
        if batch.ndim != 2 or (number and batch.shape[1] != len(total)):
            width = str(len(total)) if number else "D"
            raise EditError(f"codes of shape {tuple(batch.shape)} among those to analyze: expected [b, {width}].")
        codes = batch.double()
        if not number:
            total, products = codes.new_zeros(codes.shape[1]), codes.new_zeros(codes.shape[1], codes.shape[1])
        number, total, products = number + len(codes), total + codes.sum(0), products + codes.T @ codes
    if number < 2 or not torch.isfinite(products).all():
        raise EditError(f"{number} codes to analyze: expected two or more, of finite numbers.")
    if not 1 <= count <= len(total):
        raise EditError(f"{count} axes of codes of width {len(total)}: expected 1 to {len(total)}.")
    mean = total / number
    covariance = (products - number * mean[:, None] * mean) / (number - 1)
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    axes = vectors.T.flip(0)[:count]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    shares = values.flip(0)[:count].clamp_min(0) / values.sum()
    return mean.float(), (axes * largest.sign()).float(), shares.float()


def deviations(axes: Tensor, codes: Tensor) -> Tensor:
    """The standard deviation [K] of the coordinates of codes [N,D] along axes [K,D], N >= 2: GANSpace's unit."""
    return (codes.double() @ axes.double().T).std(0).float()
