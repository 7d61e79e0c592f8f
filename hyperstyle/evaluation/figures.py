"""Figures of reconstructions, the rows and points that hold their means, and the machine they come from."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import ConfigError
from hyperstyle.images import to_pil, to_tensor
from hyperstyle.model.parts import Model

__all__ = [
    "HELD_OUT_SEED",
    "Figures",
    "Point",
    "Progress",
    "Row",
    "cat",
    "checked",
    "machine",
    "mean_point",
    "mean_row",
    "measure",
    "now",
]

HELD_OUT_SEED = 900_001
"""Of the held-out avatars: no training set uses it."""

Figures = dict[str, Tensor]
"""Name -> one number per image [N], on the CPU."""

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


def checked(model: Model, crops: Tensor) -> Tensor:
    """Crops [N,3,h,w] as images on disk would give them, in 256 levels, on the model's device.

    Raises:
        ConfigError: no images, or of another size than the domain's input.
    """
    expected = model.domain.input_size
    if crops.ndim != 4 or not len(crops) or tuple(crops.shape[1:]) != (3, *expected):
        raise ConfigError(f"images {tuple(crops.shape)} to evaluate on: expected [N, 3, {expected[0]}, {expected[1]}].")
    return torch.stack([to_tensor(to_pil(crop)) for crop in crops]).to(model.device)


def measure(model: Model, rendered: Tensor, crop: Tensor, *, ms_ssim: bool = False) -> Figures:
    """Figures of reconstructions [B,3,H,W] against crops [B,3,h,w]; the evaluator measures, where there is one."""
    with torch.no_grad():
        image = model.domain.resize_to_input(rendered.float())
        found = {"l2": metrics.l2(image, crop)}
        if model.evaluator is not None:
            found["perceptual"] = metrics.perceptual(image, crop, model.evaluator)
            found["identity"] = metrics.identity(image, crop, model.evaluator)
        if ms_ssim:
            found["ms_ssim"] = metrics.ms_ssim(image, crop)
    return {name: values.cpu() for name, values in found.items()}


def cat(parts: Iterable[Figures]) -> Figures:
    """The images of all parts in one."""
    parts = list(parts)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _means(figures: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: values.double().mean().item() for name, values in figures.items()}


def mean_row(method: str, figures: Figures, seconds: Sequence[float], first: int | None = None) -> Row:
    """The row of a method: means over its first images (all by default), quartiles of its seconds."""
    chosen = {name: values[:first] for name, values in figures.items()}
    means = _means(chosen)
    low, median, high = torch.tensor(seconds, dtype=torch.float64).quantile(torch.tensor([0.25, 0.5, 0.75]).double())
    return Row(
        method,
        means["l2"],
        means.get("perceptual"),
        means.get("identity"),
        means["ms_ssim"],
        median.item(),
        (low.item(), high.item()),
        len(seconds),
        len(chosen["l2"]),
    )


def mean_point(step: int, figures: Figures, seconds: Sequence[float] = ()) -> Point:
    """The means over all images, and the median of the seconds."""
    means = _means(figures)
    taken = torch.tensor(seconds, dtype=torch.float64).quantile(0.5).item() if seconds else None
    return Point(step, means["l2"], means.get("perceptual"), means.get("identity"), taken)


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
