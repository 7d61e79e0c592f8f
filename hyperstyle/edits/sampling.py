"""Random codes of a generator, and principal axes: how GANSpace (Härkönen et al., 2020) and SeFa find directions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, EditError
from hyperstyle.networks.stylegan2.base import StyleGenerator


def sample_w(
    generator: StyleGenerator, count: int, *, seed: int = 0, truncation: float = 1.0, batch_size: int = 4096
) -> Iterator[Tensor]:
    """W codes of random z, in batches [b,D] `count` codes in all.

    The codes are the same for every `count`: a larger count begins with the same codes.

    Args:
        generator: whose mapping network makes them; they are on its device and of its type.
        count: how many, at least 1.
        seed: of the standard normal z, which are drawn on the CPU.
        truncation: psi of w_avg + psi * (w - w_avg): 1 leaves the codes as they are, 0 makes all of them the mean.
        batch_size: codes at once.

    Raises:
        ConfigError: a number of codes below 1, a truncation that is not finite, or a generator without W.
    """
    if count < 1 or not abs(truncation) < float("inf"):
        raise ConfigError(f"{count} codes at truncation {truncation}: expected 1 or more, and a finite number.")
    generator.check_has_w()
    return _batches(generator, count, seed, truncation, batch_size)


def _batches(generator: StyleGenerator, count: int, seed: int, truncation: float, batch_size: int) -> Iterator[Tensor]:
    random = torch.Generator().manual_seed(seed)
    mean = generator.latent_avg
    for first in range(0, count, batch_size):
        # Always a whole batch: a smaller one would change the random numbers.
        z = torch.randn(batch_size, generator.config.latent_width, generator=random)
        with torch.no_grad():
            w = generator.mapping(z[: count - first].to(mean))
            yield w if truncation == 1 else mean + truncation * (w - mean)


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
    # cov = (Σ x xᵀ - N μ μᵀ) / (N - 1), [D,D]
    mean = total / number
    covariance = (products - number * mean[:, None] * mean) / (number - 1)
    variances, axes = leading_eigenvectors(covariance)
    shares = variances[:count].clamp_min(0) / variances.sum()
    return mean.float(), axes[:count].float(), shares.float()


def leading_eigenvectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [D] of a symmetric matrix [D,D], largest first, and unit eigenvectors [D,D], a row each.

    The sign of an eigenvector is free: the entry of the largest magnitude is made positive.
    """
    values, vectors = torch.linalg.eigh(matrix)  # ascending; a column each
    values, vectors = values.flip(0), vectors.T.flip(0)
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))  # [D,1]
    return values, vectors * largest.sign()


def deviations(axes: Tensor, codes: Tensor) -> Tensor:
    """The standard deviation [K] of the coordinates of codes [N,D] along axes [K,D], N >= 2: GANSpace's unit."""
    return (codes.double() @ axes.double().T).std(0).float()
