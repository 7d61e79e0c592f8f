"""Means over images, the clock, and the machine that figures come from."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hyperstyle.evaluation.journal import Record
from hyperstyle.model.parts import Model

HELD_OUT_SEED = 900_001
"""Of the held-out avatars: no training set uses it."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Row:
    """One method's means over the images.

    Attributes:
        method: its name.
        l2: mean squared error on the [-1,1] scale.
        perceptual: distance of the evaluator's features (not LPIPS), None without an evaluator.
        identity: cosine similarity of the evaluator's embeddings, None without an evaluator.
        ms_ssim: at 256 px after bilinear enlargement.
        seconds: wall time from a crop to its reconstruction, one image at a time, without reading, aligning and
            measuring; the median.
        quartiles: the first and the third of these times.
        timed: how many images were timed.
        images: how many images the means are over.
    """

    method: str
    l2: float
    perceptual: float | None
    identity: float | None
    ms_ssim: float
    seconds: float
    quartiles: tuple[float, float]
    timed: int
    images: int


@dataclass(frozen=True)
class Point:
    """Means over the images after so many steps of a method; the figures are those of `Row`.

    Attributes:
        seconds: wall time of these steps for one image, without measuring, the median; None where it was not taken.
    """

    step: int
    l2: float
    perceptual: float | None
    identity: float | None
    seconds: float | None = None


def mean_row(method: str, rows: Sequence[Record], *, search: float = 0.0) -> Row:
    """The row of a method over all its images.

    Args:
        method: its name.
        rows: what the engine measured of each image.
        search: seconds to add to those of every image, as of a search for the pivot that another method did.
    """
    means = _means([row["figures"] for row in rows])
    low, median, high = np.quantile([row["seconds"] + search for row in rows], (0.25, 0.5, 0.75)).tolist()
    return Row(
        method,
        means["l2"],
        means.get("perceptual"),
        means.get("identity"),
        means["ms_ssim"],
        median,
        (low, high),
        timed=len(rows),
        images=len(rows),
    )


def mean_point(step: int, figures: Sequence[Mapping[str, float]], seconds: Sequence[float] = ()) -> Point:
    """The means over all images, and the median of the seconds."""
    means = _means(figures)
    median = statistics.median(seconds) if seconds else None
    return Point(step, means["l2"], means.get("perceptual"), means.get("identity"), median)


def _means(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(values[name] for values in figures) for name in figures[0]}


def now(device: torch.device) -> float:
    """Seconds on a clock, once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def machine(model: Model) -> dict[str, Any]:
    """What the figures depend on besides the images: processor, threads, versions, number type, weights."""
    name = platform.processor() or platform.machine()
    table = Path("/proc/cpuinfo")  # Linux: the two above say only which family it is
    if table.is_file():
        for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device)
    return {
        "cpu": name,
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "model": model.fingerprint,
    }
