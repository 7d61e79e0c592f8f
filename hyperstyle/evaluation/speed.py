"""The library against the plain path: time in paired runs, memory in processes of their own, and how far they agree."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation import ceilings
from hyperstyle.evaluation.cases import (
    Case,
    Implementation,
    Workload,
    build_run,
    parts_of,
    peak_in_subprocess,
    time_call,
)
from hyperstyle.evaluation.figures import Progress, machine
from hyperstyle.evaluation.journal import Record
from hyperstyle.evaluation.loading import spread
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.runtime.device import pick_device

BROKEN = 1e-3
"""Difference of the two paths in float32 from which on the library counts as broken."""

PAIRS: Mapping[str, tuple[torch.dtype, bool]] = {
    "float32": (torch.float32, False),
    "batch8": (torch.float32, True),
    "edit_strip": (torch.float32, False),
    "bfloat16": (torch.bfloat16, False),
    "batch8_bfloat16": (torch.bfloat16, True),
    "float16": (torch.float16, False),
    "batch8_float16": (torch.float16, True),
}
"""Rows of two paths in turn: the type of the library's numbers, and whether it is of eight images at once."""

ROWS = (*PAIRS, "memory", "rates")
"""What can be measured: the ratios by their names, memory, and images per second."""

STRIP = 11
"""Images of an edit strip."""

_ON_CPU = ("memory", "float32", "bfloat16", "batch8", "edit_strip")  # the rows with targets
_MANY = 8  # images of the rows that are named after it
_RATES = (1, 8, 32)


@dataclass(frozen=True)
class _Bench:
    """What is measured, and the figures so far."""

    case: Case
    work: Workload
    show: Progress
    report: Record
    wide: HyperStyleInverter  # in float32

    def ceiling(self, name: str, measure: Callable[[], float]) -> float:
        """The most of this that the machine does in a second, measured once."""
        known: dict[str, float] = self.report["ceilings"]
        if name not in known:
            known[name] = measure()
        return known[name]


def measure_speed(
    case: Case, work: Workload, rows: Sequence[str] | None = None, on_progress: Progress | None = None
) -> Record:
    """Inverts and edits by the library and by the plain path, in turn in one process, and compares.

    Args:
        case: the model, and in `repeat` how many pairs of runs each row has; the rows "batch8..." have a third as many.
        work: number of steps, and of images that are inverted together; the rows "batch8..." invert eight.
        rows: some of `ROWS`; None is all on a GPU, and on a CPU those for which there are targets.
        on_progress: see `Progress`.

    Returns:
        A dictionary; figures of several runs are {"median", "low", "high"}, see `loading.spread`. The figures that have
        targets are on top, None where they were not measured: "ratio_ROW", the plain path's time over the library's,
        "memory_above_weights_ratio", the library's peak memory above the model over that of the plain path, and
        "agreement" and "agreement_edit_strip", the largest difference of a value between both paths in float32, in
        inversions and in edits. And:

        "weights", "size", "steps", "batch", "repeats": of the inversions.
        "pairs": the rows, see `_measure_pair`.
        "errors": name of a narrow type -> "image" and "edit", one edit of it -> see `_error`.
        "memory": "built", "fast" and "plain", bytes, see `peak_in_subprocess`; None where not asked for or not told.
        "rates": inversions in batches, see `_measure_rates`.
        "ceilings": name of a type -> operations per second; "memory" -> bytes per second.
        "missing": name of a row -> why it is not there.
        "machine": what the figures depend on.

    Raises:
        ConfigError: a size, device, row or number that cannot be; a model without W encoder or hypernetwork.
        HyperStyleError: a process that was ended from outside.
    """
    case.check()
    if unknown := [row for row in rows or () if row not in ROWS]:
        raise ConfigError(f"nothing called {unknown[0]!r} is measured: expected some of {', '.join(ROWS)}.")
    if min(work.steps, work.batch) < 1:
        raise ConfigError(f"{work.steps} steps, batch {work.batch}: expected 1 or more.")
    if rows is None:
        rows = ROWS if pick_device(case.device).type == "cuda" else _ON_CPU
    show = on_progress or (lambda *_: None)
    report: Record = {f"ratio_{name}": None for name in PAIRS}
    report |= dict.fromkeys(("memory_above_weights_ratio", "agreement", "agreement_edit_strip", "memory"))
    report |= {"weights": case.weights, "steps": work.steps, "batch": work.batch, "repeats": case.repeat}
    report |= {"pairs": [], "errors": {}, "rates": [], "ceilings": {}, "missing": {}}
    with case.with_threads():
        if "memory" in rows:
            _measure_memory(case, work, show, report)  # while this process holds no model
        show("building", 0, 1)
        bench = _Bench(case, work, show, report, case.build())
        model = bench.wide.model
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            names = [name for name in PAIRS if name in rows and PAIRS[name][0] == dtype]
            rates = [f"rates_{_name(dtype)}"] if "rates" in rows else []
            if reason := _not_measured(dtype, model.device):
                report["missing"].update(dict.fromkeys(names + rates, reason))
                continue
            if not names and not rates:
                continue
            fast = bench.wide if dtype == torch.float32 else case.build(dtype)
            if names and dtype != torch.float32:
                works = {"image": work, "edit": Workload(edits=1)}
                report["errors"][_name(dtype)] = {what: _error(bench.wide, fast, works[what]) for what in works}
            for name in names:
                try:
                    _measure_pair(bench, name, fast)
                except torch.cuda.OutOfMemoryError:
                    report["missing"][name] = "it did not fit into the memory of the GPU"
                except ConfigError as error:  # a network of a form that the plain path does not know
                    report["missing"][name] = str(error)
            for name in rates:
                _measure_rates(bench, name, fast)
        report["size"] = model.generator.config.size
        report["machine"] = {**machine(model), "python": platform.python_version()}
        if model.device.type == "cuda":
            report["machine"]["tf32"] = torch.backends.cudnn.allow_tf32
    return report


def _measure_memory(case: Case, work: Workload, show: Progress, report: Record) -> None:
    """Adds the peaks, and what the library takes above the built model, of what the plain path takes above it."""
    peaks: dict[str, int | None] = {}
    runs: tuple[Implementation | None, ...] = (None, "fast", "plain")
    for implementation in runs:
        show("memory", len(peaks), 3)
        peaks[implementation or "built"] = peak_in_subprocess(case, implementation, work)
    show("memory", 3, 3)
    built, fast, plain = peaks.values()
    if built is None or fast is None or plain is None:
        report["missing"]["memory"] = "this system does not tell what a process takes"
        return
    report |= {"memory": peaks, "built": built, "peak_fast": fast, "peak_plain": plain}
    if plain > built:
        report["memory_above_weights_ratio"] = (fast - built) / (plain - built)


def _measure_pair(bench: _Bench, name: str, fast: HyperStyleInverter) -> None:
    """Adds a row of the library and the plain path, which is always in float32, and what the two paths agree in.

    "name", "dtype": of the row, and the type of the library's numbers.
    "pictures": images that a run makes.
    "together": whether the plain path inverted all of them at once; one by one where its memory would not fit.
    "ratio", "cpu_ratio": the plain path's time through the library's, pair by pair, by the clock and of the processor.
    "fast", "plain", "fast_cpu", "plain_cpu": seconds for each image, by the clock and of the processor.
    "gflops": 1e9 operations per second of the library, counted as those of the plain path.
    "arithmetic_share", "memory_share": what it reaches of the machine's ceilings; see `ceilings`.
    """
    dtype, many = PAIRS[name]
    model, parts = bench.wide.model, parts_of(bench.wide)
    work = (
        Workload(edits=STRIP)
        if name == "edit_strip"
        else replace(bench.work, batch=_MANY if many else bench.work.batch)
    )
    work = replace(work, together=work.batch == 1 or ceilings.plain_fits(parts, work.batch))
    sides: dict[Implementation, HyperStyleInverter] = {"fast": fast, "plain": bench.wide}
    first = replace(work, steps=1, batch=1, edits=min(2, work.edits))
    for side, inverter in sides.items():
        build_run(side, inverter, first)()  # what is only done the first time
    runs = {side: build_run(side, inverter, work) for side, inverter in sides.items()}
    images: dict[Implementation, Tensor] = {}
    turns = max(1, bench.case.repeat // 3) if many else bench.case.repeat  # each is of several images
    seconds = np.empty((2, 2, turns))  # library and plain path, clock and processor
    for turn in range(turns):
        for place, (side, run) in enumerate(runs.items()):
            bench.show(name, 2 * turn + place, 2 * turns)
            images[side], clock, cpu = time_call(run, model.device)
            seconds[place, :, turn] = clock, cpu
    bench.show(name, 2 * turns, 2 * turns)
    if name in ("float32", "edit_strip"):
        if model.device.type == "cuda":  # the fast paths of a GPU round to ten bits
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                images = {side: run() for side, run in runs.items()}
        key = "agreement" if name == "float32" else "agreement_edit_strip"
        bench.report[key] = float((images["fast"] - images["plain"]).abs().max())
    seconds /= work.images
    row: Record = {"name": name, "dtype": _name(dtype), "pictures": work.images, "together": work.together}
    figures = zip(("ratio", "cpu_ratio"), seconds[1] / np.maximum(seconds[0], 1e-9), strict=True)
    row |= {key: spread(values.tolist()) for key, values in figures}
    keys = ("fast", "fast_cpu", "plain", "plain_cpu")
    row |= {key: spread(values.tolist()) for key, values in zip(keys, seconds.reshape(4, turns), strict=True)}
    rate = ceilings.operations(parts, model.domain, work) / work.images / row["fast"]["median"]
    moved = ceilings.least_bytes(parts_of(fast), work) / work.images / row["fast"]["median"]
    most = bench.ceiling(_name(dtype), lambda: ceilings.arithmetic_ceiling(dtype, model.device))
    most_moved = bench.ceiling("memory", lambda: ceilings.memory_ceiling(model.device))
    row |= {"gflops": rate / 1e9, "arithmetic_share": rate / most, "memory_share": moved / most_moved}
    bench.report["pairs"].append(row)
    bench.report[f"ratio_{name}"] = row["ratio"]["median"]


def _measure_rates(bench: _Bench, name: str, inverter: HyperStyleInverter) -> None:
    """Adds images per second of `invert` for some sizes of batches, or says why one is not there.

    "dtype", "batch": of the inversions.
    "pictures_per_second": of `invert`.
    "seconds": of a batch.
    "networks": those of the networks alone, without reading and measuring images.
    """
    dtype = _name(inverter.model.dtype)
    runs: dict[str, Implementation] = {"seconds": "fast", "networks": "networks"}
    for batch in _RATES:
        row: Record = {"dtype": dtype, "batch": batch}
        try:
            for place, (key, implementation) in enumerate(runs.items()):
                bench.show(f"{dtype}, batch {batch}", place, 2)
                run = build_run(implementation, inverter, replace(bench.work, batch=batch))
                run()
                row[key] = spread([time_call(run, inverter.model.device)[1] for _ in range(bench.case.repeat)])
        except torch.cuda.OutOfMemoryError:
            bench.report["missing"][name] = f"{batch} images did not fit into the memory of the GPU"
            return
        bench.report["rates"].append(row | {"pictures_per_second": batch / row["seconds"]["median"]})


def _error(wide: HyperStyleInverter, narrow: HyperStyleInverter, work: Workload) -> Record:
    """How far images of the library in a narrow type lie from its images in float32, on the [-1,1] scale.

    "largest", "mean": absolute difference of a value.
    "psnr": in dB; None where the images are equal or not finite.
    "identity": cosine similarity by the model's evaluator, the mean; None without an evaluator.
    """
    exact, image = (build_run("fast", inverter, work)().double() for inverter in (wide, narrow))
    difference = (image - exact).abs()
    mean_square = float(difference.square().mean())
    psnr = 10.0 * math.log10(4.0 / mean_square) if 0.0 < mean_square < math.inf else None
    error: Record = {"largest": float(difference.max()), "mean": float(difference.mean()), "psnr": psnr}
    model, identity = wide.model, None
    if model.evaluator is not None:
        image, exact = (model.domain.resize_to_input(rendered.float()) for rendered in (image, exact))
        identity = float(metrics.identity(image, exact, model.evaluator).mean())
    return error | {"identity": identity}


def _not_measured(dtype: torch.dtype, device: torch.device) -> str | None:
    if dtype == torch.bfloat16:
        return ceilings.without_bfloat16(device)
    return "float16 is measured on GPUs" if dtype == torch.float16 and device.type == "cpu" else None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
