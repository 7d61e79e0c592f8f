"""What loading a model costs: seconds and memory, each measurement in a process of its own."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from hyperstyle.errors import ConfigError, HyperStyleError, QualityWarning
from hyperstyle.evaluation.figures import machine
from hyperstyle.evaluation.journal import Record
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import peak_memory
from hyperstyle.io.torch_files import load_state

T = TypeVar("T")


def spread(values: Sequence[float]) -> dict[str, float]:
    """A figure over the repeats: "median", "low" (the smallest) and "high" (the largest)."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def measure_loading(
    folder: Path, *, official: Sequence[Path] = (), image: Path | None = None, steps: int = 5, repeats: int = 3
) -> Record:
    """Loads the model and inverts one image on the CPU in float32, and loads the official files, in turn.

    Args:
        folder: a model folder.
        official: the `.pt` files that it was made from, to be read by `torch.load`.
        image: taken as it is, without alignment; noise by default.
        steps: of the hypernetwork.
        repeats: how often; each time in new processes.

    Returns:
        What was measured; figures over the repeats are as `spread` returns them.

        "model": the folder.
        "weights": bytes of its weights files.
        "seconds": from the call of `from_pretrained` to its return: files are mapped, hashed and checked.
        "official_seconds": of `torch.load` of the official files, all numbers read; None where none were given.
        "official_mapped_seconds": the same with `mmap=True`, which reads no number.
        "imported", "loaded", "inverted": peak resident memory in bytes, from the start of the process to the end of
            the imports, of loading, of the inversion; None where the system does not tell.
        "share": "weights" in the peak of the inversion.
        "steps": of the inversion of one image.
        "repeats": how often each was measured.
        "machine": what the figures depend on.

    Raises:
        ConfigError: fewer than 1 repeat.
        HyperStyleError: what loading or inverting raises, or a process that was ended from outside.
    """
    if repeats < 1:
        raise ConfigError(f"{repeats} repeats: expected 1 or more.")
    runs: list[Record] = []
    for _ in range(repeats):
        run = run_in_subprocess(_run, folder, image, steps)
        for key, mmap in (("official_seconds", False), ("official_mapped_seconds", True)):
            run[key] = run_in_subprocess(_read, tuple(official), mmap) if official else None
        runs.append(run)
    weights = sum(file.stat().st_size for file in folder.glob("*/model.safetensors"))
    result: Record = {"model": str(folder), "weights": weights}
    for key in ("seconds", "official_seconds", "official_mapped_seconds", "imported", "loaded", "inverted"):
        values = [run[key] for run in runs]
        result[key] = None if None in values else spread(values)
    share = None if result["inverted"] is None else weights / result["inverted"]["median"]
    return result | {"share": share, "steps": steps, "repeats": repeats, "machine": runs[0]["machine"]}


def run_in_subprocess(function: Callable[..., T], *arguments: Any) -> T:
    """The result of the function in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise HyperStyleError(
                "the process that measured was ended from outside; most often, the memory was full."
            ) from error


def _run(folder: Path, image: Path | None, steps: int) -> Record:
    run: Record = {"imported": peak_memory()}
    start = time.perf_counter()
    inverter = HyperStyleInverter.from_pretrained(folder, device="cpu")
    run |= {"seconds": time.perf_counter() - start, "loaded": peak_memory(), "machine": machine(inverter.model)}
    height, width = inverter.model.domain.input_size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QualityWarning)  # noise is not what a model is made for
        inverter.invert(Image.fromarray(noise) if image is None else image, steps=steps, align=False)
    return run | {"inverted": peak_memory()}


def _read(files: tuple[Path, ...], mmap: bool) -> float:
    start = time.perf_counter()
    states = [load_state(file, mmap=mmap) for file in files]
    seconds = time.perf_counter() - start
    del states  # all of them were in memory at once, as the official code has them
    return seconds
