"""Sets of rendered avatars with their factors, rendered in parallel and stored as one safetensors file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from examples.avatars.renderer.factors import NAMES, Factors, check, sample_factors, select
from examples.avatars.renderer.render import render
from hyperstyle.io.components import load_tensors, save_tensors

__all__ = ["AvatarSet", "load_set", "make_set", "make_set_of", "save_set"]

_SHARD = 500


@dataclass(frozen=True)
class AvatarSet:
    """Rendered crops.

    Attributes:
        pixels: uint8 [N,3,size,size].
        attention: uint8 [N,1,size,size], 85 times a loss weight from 1 (background) to 3 (eyes and mouth).
        factors: [N,F] in the order of `factors.NAMES`.
    """

    pixels: Tensor
    attention: Tensor
    factors: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, index: Tensor | slice) -> Tensor:
        """Images as float32 [B,3,size,size] in [-1,1]."""
        return self.pixels[index].float() / 127.5 - 1.0

    def weights(self, index: Tensor | slice) -> Tensor:
        """Loss weights [B,1,size,size] with mean 1 in each image."""
        weight = self.attention[index].float()
        return weight / weight.mean((2, 3), keepdim=True)

    def factor(self, name: str) -> Tensor:
        """One factor of every avatar [N]."""
        return self.factors[:, NAMES.index(name)]

    def factor_dict(self, index: Tensor | slice) -> Factors:
        """All factors of some avatars, as `render` takes them."""
        return {name: self.factors[index, i].contiguous() for i, name in enumerate(NAMES)}


def _render_shard(job: tuple[Factors, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    factors, size, supersample = job
    torch.set_num_threads(1)
    rendered = render(factors, size, supersample=supersample)
    pixels = ((rendered.images + 1.0) * 127.5).round().clamp(0, 255).byte()
    attention = ((1.0 + rendered.face_mask + rendered.feature_mask).clamp(max=3.0) * 85.0).round().byte()
    return pixels, attention, torch.stack([factors[name] for name in NAMES], 1)


def make_set(
    count: int,
    *,
    seed: int,
    size: int,
    details: bool = True,
    supersample: int = 2,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> AvatarSet:
    """Renders `count` random crops; the same arguments give the same set, with any number of workers.

    Args:
        count: how many.
        seed: of the factors.
        details: whether images get what no W code carries.
        size, supersample, workers, on_progress: see `make_set_of`.

    Raises:
        ConfigError: a count below 1.
    """
    factors = sample_factors(count, seed=seed, details=details)
    return make_set_of(factors, size=size, supersample=supersample, workers=workers, on_progress=on_progress)


def make_set_of(
    factors: Factors,
    *,
    size: int,
    supersample: int = 2,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> AvatarSet:
    """Renders crops of avatars with these factors.

    Args:
        factors: of N avatars.
        size: side in pixels.
        supersample: see `render`.
        workers: processes; None is one per CPU core, 0 renders here.
        on_progress: called with (images rendered, N).
    """
    count = check(factors)
    jobs = [(select(factors, slice(first, first + _SHARD)), size, supersample) for first in range(0, count, _SHARD)]
    parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def collect(results: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        for part in results:
            parts.append(part)
            if on_progress is not None:
                on_progress(sum(len(p[0]) for p in parts), count)

    if workers == 0 or len(jobs) == 1:
        collect(map(_render_shard, jobs))
    else:
        with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("spawn")) as pool:
            collect(pool.map(_render_shard, jobs))
    pixels, attention, values = (torch.cat(t) for t in zip(*parts, strict=True))
    return AvatarSet(pixels, attention, values)


def save_set(path: Path, data: AvatarSet) -> None:
    """Writes the set to this file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, {"pixels": data.pixels, "attention": data.attention, "factors": data.factors})


def load_set(path: Path) -> AvatarSet:
    """The set in this file. Raises MissingFileError or WeightsError where there is none that can be read."""
    tensors, _ = load_tensors(path)
    return AvatarSet(tensors["pixels"], tensors["attention"], tensors["factors"])
