"""How near the reconstruction is to the picture, for each way to invert (the form of the paper's Table 2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperstyle.avatars.factors import sample_factors, select
from hyperstyle.avatars.render import render
from hyperstyle.errors import ConfigError
from hyperstyle.inverter import HyperStyleInverter

__all__ = ["Row", "evaluate_reconstruction", "held_out_avatars"]

HELD_OUT_SEED = 900_001  # no training set uses it


@dataclass(frozen=True)
class Row:
    """One method's means over the pictures.

    Attributes:
        method: its name.
        l2: mean squared error on the [-1,1] scale.
        perceptual: distance of the judge's features (not LPIPS), None without a judge.
        identity: cosine similarity of the judge's embeddings, None without a judge.
        ms_ssim: at 256 px after bilinear enlargement.
        seconds: wall time per picture, inverted one at a time; the median.
        images: how many pictures.
    """

    method: str
    l2: float
    perceptual: float | None
    identity: float | None
    ms_ssim: float
    seconds: float
    images: int


def held_out_avatars(count: int, size: int, *, seed: int = HELD_OUT_SEED) -> Tensor:
    """Crops [N,3,size,size] of avatars with details that no training set holds."""
    drawn = sample_factors(count, seed=seed)
    parts = [render(select(drawn, slice(i, i + 64)), size).images for i in range(0, count, 64)]
    return torch.cat(parts)


def evaluate_reconstruction(
    inverter: HyperStyleInverter,
    crops: Tensor,
    *,
    methods: Sequence[str] | None = None,
    timed: int = 16,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[Row]:
    """Inverts all crops with every method.

    Args:
        inverter: the model.
        crops: [N,3,h,w] in [-1,1] at the domain's input size.
        methods: names; None is every method the model has, the plain encoder first.
        timed: how many pictures are also inverted one at a time, for the seconds.
        on_progress: called with (method, pictures done, N).

    Raises:
        ConfigError: no pictures, or of another size.
    """
    expected = inverter.model.domain.input_size
    if crops.ndim != 4 or not len(crops) or tuple(crops.shape[2:]) != expected:
        raise ConfigError(
            f"pictures {tuple(crops.shape)} to evaluate on: expected [N, 3, {expected[0]}, {expected[1]}]."
        )
    names = methods or sorted(inverter.methods, key=lambda name: name != "w-encoder")
    rows = []
    for name in names:
        figures: dict[str, list[float]] = {}
        for first in range(0, len(crops), 32):
            batch = list(crops[first : first + 32])
            for key, values in inverter.invert(batch, method=name, align=False, batch_size=32).quality.items():
                figures.setdefault(key, []).extend(values)
            if on_progress is not None:
                on_progress(name, min(first + 32, len(crops)), len(crops))
        means = {key: sum(values) / len(values) for key, values in figures.items()}
        rows.append(
            Row(
                name,
                means["l2"],
                means.get("perceptual"),
                means.get("identity"),
                means["ms_ssim"],
                _seconds(inverter, crops[: max(1, timed)], name),
                len(crops),
            )
        )
    return rows


def _seconds(inverter: HyperStyleInverter, crops: Tensor, method: str) -> float:
    """Median wall time of inverting one picture, after one that is not counted."""
    taken = []
    for crop in [crops[0], *crops]:
        if inverter.model.device.type == "cuda":
            torch.cuda.synchronize(inverter.model.device)
        began = time.perf_counter()
        inverter.invert(crop, method=method, align=False)
        if inverter.model.device.type == "cuda":
            torch.cuda.synchronize(inverter.model.device)
        taken.append(time.perf_counter() - began)
    return float(torch.tensor(taken[1:]).median())
