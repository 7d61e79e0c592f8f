"""Random codes of a generator."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks.stylegan2.generator import Generator

__all__ = ["sample_w"]


def sample_w(
    generator: Generator, count: int, *, seed: int = 0, truncation: float = 1.0, batch_size: int = 4096
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
        ConfigError: a number of codes below 1, or a truncation that is not finite.
    """
    if count < 1 or not abs(truncation) < float("inf"):
        raise ConfigError(f"{count} codes at truncation {truncation}: expected 1 or more, and a finite number.")
    return _batches(generator, count, seed, truncation, batch_size)


def _batches(generator: Generator, count: int, seed: int, truncation: float, batch_size: int) -> Iterator[Tensor]:
    random = torch.Generator().manual_seed(seed)
    mean = generator.latent_avg
    for first in range(0, count, batch_size):
        # Always a whole batch: a smaller one would change the random numbers.
        z = torch.randn(batch_size, generator.config.latent_width, generator=random)
        with torch.no_grad():
            w = generator.mapping(z[: count - first].to(mean))
            yield w if truncation == 1 else mean + truncation * (w - mean)
