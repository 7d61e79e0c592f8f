"""The figures of `hyperstyle bench`, as values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from hyperstyle.evaluation.loading import Spread

__all__ = ["BROKEN", "PAIRS", "ROWS", "Error", "Memory", "Pair", "Rate", "Speed"]

BROKEN = 1e-3
"""Difference of the two paths in float32 from which on the library counts as broken."""

PAIRS: Mapping[str, tuple[torch.dtype, bool]] = {
    "float32": (torch.float32, False),
    "bfloat16": (torch.bfloat16, False),
    "float16": (torch.float16, False),
    "batch8": (torch.float32, True),
    "batch8_bfloat16": (torch.bfloat16, True),
    "batch8_float16": (torch.float16, True),
    "edit_strip": (torch.float32, False),
}
"""Rows of two paths in turn: the type of the library's numbers, and whether it is of eight images at once."""

ROWS = (*PAIRS, "memory", "rates")
"""What can be measured: the ratios by their names, memory, and images per second."""


@dataclass(frozen=True)
class Pair:
    """One row: the library and the plain path, which is always in float32, in turn.

    Attributes:
        name: of the row.
        dtype: type of the library's numbers.
        images: how many a run makes.
        together: whether the plain path inverted all of them at once; one by one where its memory would not fit.
        ratio, cpu_ratio: the plain path's time through the library's, pair by pair, by the clock and of the processor.
        fast, plain, fast_cpu, plain_cpu: seconds for each image, by the clock and of the processor.
        gflops: 1e9 operations per second of the library, counted as those of the plain path.
        arithmetic_share, memory_share: what it reaches of the machine's ceilings; see `ceilings`.
    """

    name: str
    dtype: str
    pictures: int
    together: bool
    ratio: Spread
    cpu_ratio: Spread
    fast: Spread
    plain: Spread
    fast_cpu: Spread
    plain_cpu: Spread
    gflops: float
    arithmetic_share: float
    memory_share: float


@dataclass(frozen=True)
class Error:
    """How far images in a narrow type lie from those in float32, on the [-1,1] scale; None for what is not finite.

    Attributes:
        largest, mean: absolute difference of a value.
        psnr: in dB.
        identity: cosine similarity by the model's evaluator, the mean; None without an evaluator.
    """

    largest: float | None
    mean: float | None
    psnr: float | None
    identity: float | None


@dataclass(frozen=True)
class Memory:
    """Peaks in bytes, in processes that only build the model, or invert by the library or the plain path in float32."""

    built: int
    fast: int
    plain: int

    @property
    def above_weights_ratio(self) -> float | None:
        """What the library takes above the built model, of what the plain path takes above it."""
        return (self.fast - self.built) / (self.plain - self.built) if self.plain > self.built else None


@dataclass(frozen=True)
class Rate:
    """Inversions in batches: images per second of `invert`, its seconds for a batch, and those of the networks alone,
    without reading and measuring images."""

    dtype: str
    batch: int
    pictures_per_second: float
    seconds: Spread
    networks: Spread


@dataclass(frozen=True)
class Speed:
    """What `measure_speed` measured.

    Attributes:
        weights: what they are.
        size, steps, batch, repeats: of the inversions.
        pairs: the rows.
        agreement: largest difference of a value between both paths in float32; in the images of a strip.
        errors: of narrow types: name of the type -> "image" and "edit", one edit of it.
        memory: None where it was not asked for or the system does not tell.
        rates: images per second.
        ceilings: name of a type -> operations per second; "memory" -> bytes per second.
        missing: name of a row -> why it is not there.
        machine: what the figures depend on.
    """

    weights: str
    size: int
    steps: int
    batch: int
    repeats: int
    pairs: tuple[Pair, ...]
    agreement: Mapping[str, float]
    errors: Mapping[str, Mapping[str, Error]]
    memory: Memory | None
    rates: tuple[Rate, ...]
    ceilings: Mapping[str, float]
    missing: Mapping[str, str]
    machine: Mapping[str, Any]

    def report(self) -> dict[str, Any]:
        """As plain values, the figures that targets are set for under names of their own, None where not measured."""
        ratios: dict[str, float | None] = {f"ratio_{name}": None for name in PAIRS}
        ratios |= {f"ratio_{pair.name}": pair.ratio.median for pair in self.pairs}
        ratio = None if self.memory is None else self.memory.above_weights_ratio
        memory = self.memory
        peaks = {} if memory is None else {"built": memory.built, "peak_fast": memory.fast, "peak_plain": memory.plain}
        agreed = {name: value if math.isfinite(value) else None for name, value in self.agreement.items()}
        flat = {**ratios, "memory_above_weights_ratio": ratio, **peaks}
        agreement = {"agreement": agreed.get("image"), "agreement_edit_strip": agreed.get("strip")}
        return {**flat, **asdict(self), **agreement}
