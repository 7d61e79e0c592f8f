"""The rendered sets, and what all stages need of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from examples.avatars.recipe.config import Recipe
from examples.avatars.renderer.dataset import AvatarSet, load_set, make_set, save_set
from examples.avatars.renderer.encoding import trait_encoding
from hyperstyle.domain import DOMAINS, Domain
from hyperstyle.errors import ConfigError
from hyperstyle.training.distributed import on_first, rank, world

__all__ = [
    "CPU",
    "LOG",
    "Sets",
    "batch_indices",
    "cached_set",
    "chunks",
    "domain_of",
    "encoded",
    "make_data",
    "mean_errors",
    "mirrored",
]

LOG = logging.getLogger("hyperstyle.training")
CPU = torch.device("cpu")


def cached_set(path: Path, make: Callable[[], AvatarSet]) -> AvatarSet:
    """The set in this file; the first process renders and writes it if the file does not exist.

    All processes must call it together.
    """
    on_first(lambda: None if path.exists() else save_set(path, make()))
    return load_set(path)


class Sets:
    """The rendered sets; each is rendered on first access and stored on disk."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder

    def _set(self, name: str, count: int, seed: int, details: bool) -> AvatarSet:
        size = self.recipe.generator.size

        def report(done: int, total: int) -> None:
            LOG.info("%s: %d of %d rendered", name, done, total)

        def render() -> AvatarSet:
            seeds = self.recipe.seed * 1000 + seed
            return make_set(count, seed=seeds, size=size, details=details, on_progress=report)

        path = self.folder / f"{name}-{size}-{count}.safetensors"
        return cached_set(path, render)

    @cached_property
    def clean(self) -> AvatarSet:
        return self._set("clean", self.recipe.clean, 1, False)

    @cached_property
    def detailed(self) -> AvatarSet:
        return self._set("detailed", self.recipe.detailed, 2, True)

    @cached_property
    def clean_test(self) -> AvatarSet:
        return self._set("clean-test", self.recipe.held_out, 3, False)

    @cached_property
    def detailed_test(self) -> AvatarSet:
        return self._set("detailed-test", self.recipe.held_out, 4, True)


def domain_of(recipe: Recipe) -> Domain:
    """Avatars at the size of the recipe's generator."""
    size = recipe.generator.size
    return replace(DOMAINS["avatars"].at_size(size), input_size=(size, size))


def mirrored(batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
    """The images [B,C,h,w] of a batch, mirrored in every other step."""
    return {name: images.flip(3) for name, images in batch.items()} if step % 2 else batch


def batch_indices(count: int, batch: int, step: int, seed: int) -> Tensor:
    """This process's part of [batch] random indices below `count`.

    They depend on seed and step alone, so that a resumed run has the same batches.
    """
    random = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
    if batch % world():
        raise ConfigError(f"a batch of {batch} for {world()} processes: expected a multiple.")
    return torch.randint(0, count, (batch,), generator=random)[rank() :: world()]


def encoded(data: AvatarSet, index: Tensor | slice) -> Tensor:
    """Encoded traits [B,F] of some avatars."""
    return trait_encoding(data.factor_dict(index))


def mean_errors(differences: Iterable[Tensor], count: int) -> tuple[float, float]:
    """L1 and L2 over batches of differences [B,3,h,w] of `count` images in all."""
    total = torch.zeros(2)
    for d in differences:
        total += torch.stack([d.abs().mean((1, 2, 3)).sum(), d.square().mean((1, 2, 3)).sum()])
    l1, l2 = (total / count).tolist()
    return l1, l2


def chunks(count: int, size: int = 64) -> Iterable[slice]:
    """Slices of `size` indices below `count`."""
    return (slice(i, min(i + size, count)) for i in range(0, count, size))


def make_data(recipe: Recipe, data: Sets, run: Path) -> None:
    """Renders all sets that do not exist yet."""
    sets = (data.clean_test, data.detailed_test, data.clean, data.detailed)
    LOG.info("data: %d images", sum(map(len, sets)))
