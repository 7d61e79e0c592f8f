"""The library against the plain path: time in paired runs, memory in processes of their own, and how far they agree."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation import ceilings
from hyperstyle.evaluation.cases import Case, Implementation, Work, parts_of, peak_in_subprocess, prepared
from hyperstyle.evaluation.figures import Progress, machine, now
from hyperstyle.evaluation.loading import Spread
from hyperstyle.evaluation.speed_figures import PAIRS, ROWS, Error, Memory, Pair, Rate, Speed
from hyperstyle.inverter import HyperStyleInverter, pick_device

__all__ = ["STRIP", "default_rows", "measure_speed", "threads_set", "timed"]

STRIP = 11
"""Images of an edit strip."""

_MANY = 8  # images of the rows that are named after it
_RATES = (1, 8, 32)

T = TypeVar("T")


@dataclass
class _Bench:
    """Measurements in the making."""

    case: Case
    work: Work
    repeats: int
    show: Progress
    wide: HyperStyleInverter  # in float32
    pairs: list[Pair] = field(default_factory=list)
    agreement: dict[str, float] = field(default_factory=dict)
    errors: dict[str, dict[str, Error]] = field(default_factory=dict)
    rates: list[Rate] = field(default_factory=list)
    ceilings: dict[str, float] = field(default_factory=dict)

    def ceiling(self, name: str, measure: Callable[[], float]) -> float:
        if name not in self.ceilings:
            self.ceilings[name] = measure()
        return self.ceilings[name]


def default_rows(device: str) -> tuple[str, ...]:
    """All rows for a GPU; on a processor those with targets."""
    if pick_device(device).type == "cuda":
        return ROWS
    return ("memory", "float32", "bfloat16", "batch8", "edit_strip")


def measure_speed(
    case: Case,
    *,
    steps: int = 5,
    batch: int = 1,
    rows: Sequence[str] | None = None,
    repeats: int = 3,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Speed:
    """Inverts and edits by the library and by the plain path, in turn in one process, and compares.

    Args:
        case: the model.
        steps: of the hypernetwork.
        batch: images that are inverted together, but for the rows of eight.
        rows: some of `ROWS`; None is `default_rows`.
        repeats: pairs of runs for each row; a third of them for the rows of eight images.
        threads: of the processor; None leaves them as they are.
        on_progress: see `Progress`.

    Raises:
        ConfigError: a size, device, row or number that cannot be; a model without W encoder or hypernetwork.
        HyperStyleError: a process that was ended from outside.
    """
    case.check()
    rows = default_rows(case.device) if rows is None else tuple(dict.fromkeys(rows))
    if unknown := [row for row in rows if row not in ROWS]:
        raise ConfigError(f"nothing called {unknown[0]!r} is measured: expected some of {', '.join(ROWS)}.")
    if min(steps, batch, repeats, threads or 1) < 1 or threads == 0:
        raise ConfigError(f"{steps} steps, batch {batch}, {repeats} repeats, {threads} threads: expected 1 or more.")
    show = on_progress or (lambda *_: None)
    missing: dict[str, str] = {}
    work = Work(steps, batch)
    with threads_set(threads):
        memory = _memory(case, work, show) if "memory" in rows else None  # while this process holds no model
        if "memory" in rows and memory is None:
            missing["memory"] = "this system does not tell what a process takes"
        show("building", 0, 1)
        bench = _Bench(case, work, repeats, show, case.build())
        device = bench.wide.model.device
        for dtype in dict.fromkeys(PAIRS[row][0] for row in rows if row in PAIRS):
            names = [row for row in rows if row in PAIRS and PAIRS[row][0] == dtype]
            if reason := _not_measured(dtype, device):
                missing.update(dict.fromkeys(names, reason))
                continue
            fast = bench.wide if dtype == torch.float32 else case.build(dtype)
            if dtype != torch.float32:
                bench.errors[_name(dtype)] = _errors(bench.wide, fast, work)
            for name in names:
                try:
                    _measure(bench, name, fast)
                except torch.cuda.OutOfMemoryError:
                    missing[name] = "it did not fit into the memory of the GPU"
                except ConfigError as error:  # a network of a form that the plain path does not know
                    missing[name] = str(error)
        if "rates" in rows:
            for dtype in (torch.float32, torch.bfloat16, torch.float16):
                reason = _not_measured(dtype, device)
                if reason is None:
                    reason = _measure_rates(bench, dtype)
                if reason is not None:
                    missing[f"rates_{_name(dtype)}"] = reason
        about_machine = {**machine(bench.wide.model), **_settings(device)}
    return Speed(
        weights=case.words,
        size=bench.wide.model.generator.config.size,
        steps=steps,
        batch=batch,
        repeats=repeats,
        pairs=tuple(bench.pairs),
        agreement=bench.agreement,
        errors=bench.errors,
        memory=memory,
        rates=tuple(bench.rates),
        ceilings=bench.ceilings,
        missing=missing,
        machine=about_machine,
    )


def timed(function: Callable[[], T], device: torch.device) -> tuple[T, float, float]:
    """What a function returns, and its seconds by the clock and of the processor."""
    start, cpu = now(device), time.process_time()
    result = function()
    return result, now(device) - start, time.process_time() - cpu


def _measure(bench: _Bench, name: str, fast: HyperStyleInverter) -> None:
    """Adds the row, and what the two paths agree in."""
    dtype, many = PAIRS[name]
    work = replace(bench.work, batch=_MANY) if many else bench.work
    if name == "edit_strip":
        work = Work(edits=STRIP)
    model, parts = bench.wide.model, parts_of(bench.wide)
    work = replace(work, together=work.batch == 1 or ceilings.plain_fits(parts, work.batch))
    sides: dict[Implementation, HyperStyleInverter] = {"fast": fast, "plain": bench.wide}
    first = replace(work, steps=1, batch=1, edits=min(2, work.edits))
    for side, inverter in sides.items():
        prepared(side, inverter, first)()  # what is only done the first time
    runs = {side: prepared(side, inverter, work) for side, inverter in sides.items()}
    durations: dict[Implementation, list[tuple[float, float]]] = {side: [] for side in sides}
    last: dict[Implementation, Tensor] = {}
    turns = max(1, bench.repeats // 3) if many else bench.repeats  # each is of several images
    for turn in range(turns):
        for place, (side, run) in enumerate(runs.items()):
            bench.show(name, 2 * turn + place, 2 * turns)
            last[side], *seconds = timed(run, model.device)
            durations[side].append((seconds[0] / work.images, seconds[1] / work.images))
    bench.show(name, 2 * turns, 2 * turns)
    if name in ("float32", "edit_strip"):
        if model.device.type == "cuda":  # the fast paths of a GPU round to ten bits
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                last = {side: run() for side, run in runs.items()}
        key = "image" if name == "float32" else "strip"
        bench.agreement[key] = float((last["fast"] - last["plain"]).abs().max())
    clock, cpu = ({side: [pair[k] for pair in values] for side, values in durations.items()} for k in (0, 1))
    ratios = [[p / max(f, 1e-9) for f, p in zip(pair["fast"], pair["plain"], strict=True)] for pair in (clock, cpu)]
    seconds_each = Spread.of(clock["fast"])
    rate = ceilings.operations(parts, model.domain, work) / work.images / seconds_each.median
    moved = ceilings.least_bytes(parts_of(fast), work) / work.images / seconds_each.median
    most = bench.ceiling(_name(dtype), lambda: ceilings.arithmetic_ceiling(dtype, model.device))
    most_moved = bench.ceiling("memory", lambda: ceilings.memory_ceiling(model.device))
    bench.pairs.append(
        Pair(
            name=name,
            dtype=_name(dtype),
            pictures=work.images,
            together=work.together,
            ratio=Spread.of(ratios[0]),
            cpu_ratio=Spread.of(ratios[1]),
            fast=seconds_each,
            plain=Spread.of(clock["plain"]),
            fast_cpu=Spread.of(cpu["fast"]),
            plain_cpu=Spread.of(cpu["plain"]),
            gflops=rate / 1e9,
            arithmetic_share=rate / most,
            memory_share=moved / most_moved,
        )
    )


def _measure_rates(bench: _Bench, dtype: torch.dtype) -> str | None:
    """Adds the rates of this type; says why some are not there."""
    inverter = bench.wide if dtype == torch.float32 else bench.case.build(dtype)
    runs: tuple[Implementation, Implementation] = ("fast", "networks")
    for batch in _RATES:
        try:
            spreads: list[Spread] = []
            for implementation in runs:
                bench.show(f"{_name(dtype)}, batch {batch}", len(spreads), 2)
                run = prepared(implementation, inverter, replace(bench.work, batch=batch))
                run()
                spreads.append(Spread.of([timed(run, inverter.model.device)[1] for _ in range(bench.repeats)]))
        except torch.cuda.OutOfMemoryError:
            return f"{batch} images did not fit into the memory of the GPU"
        bench.rates.append(Rate(_name(dtype), batch, batch / spreads[0].median, *spreads))
    return None


def _errors(wide: HyperStyleInverter, narrow: HyperStyleInverter, work: Work) -> dict[str, Error]:
    """Of the library in a narrow type, against the library in float32: an inversion, and one edit of an image."""
    errors = {}
    for what, case_work in (("image", work), ("edit", Work(edits=1))):
        exact, image = (prepared("fast", inverter, case_work)().double() for inverter in (wide, narrow))
        difference = (image - exact).abs()
        mean_square = float(difference.square().mean())
        model = wide.model
        identity = None
        if model.evaluator is not None:
            evaluated = [model.domain.resize_to_input(rendered.float()) for rendered in (image, exact)]
            identity = _finite(float(metrics.identity(evaluated[0], evaluated[1], model.evaluator).mean()))
        psnr = 10.0 * math.log10(4.0 / mean_square) if 0.0 < mean_square < math.inf else None
        errors[what] = Error(_finite(float(difference.max())), _finite(float(difference.mean())), psnr, identity)
    return errors


def _memory(case: Case, work: Work, show: Progress) -> Memory | None:
    peaks: list[int | None] = []
    runs: tuple[Implementation | None, ...] = (None, "fast", "plain")
    for implementation in runs:
        show("memory", len(peaks), 3)
        peaks.append(peak_in_subprocess(case, implementation, work, torch.get_num_threads()))
    show("memory", 3, 3)
    built, fast, plain = peaks
    return None if built is None or fast is None or plain is None else Memory(built, fast, plain)


def _not_measured(dtype: torch.dtype, device: torch.device) -> str | None:
    if dtype == torch.bfloat16:
        return ceilings.without_bfloat16(device)
    return "float16 is measured on GPUs" if dtype == torch.float16 and device.type == "cpu" else None


def _settings(device: torch.device) -> dict[str, Any]:
    settings: dict[str, Any] = {"python": platform.python_version()}
    return settings | {"tf32": torch.backends.cudnn.allow_tf32} if device.type == "cuda" else settings


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def threads_set(count: int | None) -> Iterator[None]:
    """So many threads of PyTorch, None as they are. Raises ConfigError for more than there are processors."""
    before = torch.get_num_threads()
    if count is not None and count > (here := max(before, os.cpu_count() or 1)):
        raise ConfigError(f"{count} threads: this machine has {here} processors.")
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
