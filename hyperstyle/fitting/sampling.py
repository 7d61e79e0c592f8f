"""Random codes of a generator."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks.stylegan2.base import StyleGenerator

__all__ = ["sample_w"]

_BATCH = 4096


def sample_w(generator: StyleGenerator, count: int, *, seed: int = 0, truncation: float = 1.0) -> Iterator[Tensor]:
    """W codes of random z, in batches [b,D] `count` codes in all.

    The codes are the same for every `count`: a larger count begins with the same codes.

    Args:
        generator: whose mapping network makes them; they are on its device and of its type.
        count: how many, at least 1.
        seed: of the standard normal z, which are drawn on the CPU.
        truncation: psi of w_avg + psi * (w - w_avg): 1 leaves the codes as they are, 0 makes all of them the mean.

    Raises:
        ConfigError: a number of codes below 1, a truncation that is not finite, or a generator without W.
    """
    if count < 1 or not abs(truncation) < float("inf"):
        raise ConfigError(f"{count} codes at truncation {truncation}: expected 1 or more, and a finite number.")
    generator.check_has_w()
    return _batches(generator, count, seed, truncation)


def _batches(generator: StyleGenerator, count: int, seed: int, truncation: float) -> Iterator[Tensor]:
    random = torch.Generator().manual_seed(seed)
    mean = generator.latent_avg
    for first in range(0, count, _BATCH):
        z = torch.randn(
            _BATCH, generator.config.latent_width, generator=random
        )  # a whole batch: a smaller one would change the random numbers
        with torch.no_grad():
            w = generator.mapping(z[: count - first].to(mean))
            yield w if truncation == 1 else mean + truncation * (w - mean)
