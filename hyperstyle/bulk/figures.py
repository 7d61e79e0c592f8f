"""What bulk costs on this machine: against a plain loop, two processes against one, Ray against processes, memory."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hyperstyle.bulk.items import Item
from hyperstyle.bulk.local import run_local
from hyperstyle.bulk.marker import Marker
from hyperstyle.bulk.plan import Job, begin_job, make_plan
from hyperstyle.bulk.settings import JobSettings
from hyperstyle.bulk.worker import Outcome, Worker
from hyperstyle.errors import ConfigError
from hyperstyle.runtime.threads import ignored_warnings

_PARTS = 4  # in which loop and bulk take turns, so that both have the machine as it is


@dataclass(frozen=True)
class BulkFigures:
    """Figures of one machine.

    Attributes:
        images: that each figure is over.
        loop: images per second of `HyperStyleInverter.invert` on batches, reading and aligning included.
        bulk: the same of shards.
        overhead: the median, over the parts in which the two took turns, of the seconds of bulk by those of the loop,
            minus 1.
        bytes_per_image: of the Parquet files.
        memory: peak bytes of a process after its first shard, and after its last.
        two_processes: images per second of two processes by those of one; None where it was not measured.
        ray: images per second on Ray by those of one process; None where it was not measured.
    """

    images: int
    loop: float
    bulk: float
    overhead: float
    bytes_per_image: float
    memory: tuple[int | None, int | None]
    two_processes: float | None
    ray: float | None


def measure_bulk(
    source: str,
    settings: JobSettings,
    device: str,
    *,
    count: int,
    with_processes: bool = False,
    with_ray: bool = False,
) -> BulkFigures:
    """Measures with the first images of a source.

    Args:
        source: see `list_source`.
        settings: of the rows.
        device: where the model runs.
        count: how many images.
        with_processes: compare two processes with one.
        with_ray: compare Ray, which must be installed, with one process.

    Raises:
        ConfigError: the source has fewer than `count` images, or these make no four shards of whole batches.
    """
    size = count // _PARTS
    if size % settings.batch or not size:
        raise ConfigError(f"{count} images: expected a multiple of {_PARTS} batches, {_PARTS * settings.batch}.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = make_plan(source, settings, size)
        whole = begin_job(folder / "all", plan)
        if whole.plan.images < count:
            raise ConfigError(f"the source has {whole.plan.images} images: expected {count} or more.")
        worker = Worker(whole, device)
        ratios, loops, bulks = [], [], []
        _loop(worker, whole.items(0)[: settings.batch])  # the first batch takes longer
        for number in range(_PARTS):
            items = whole.items(number)
            first = [_loop, _shard] if number % 2 else [_shard, _loop]
            seconds = {run: run(worker, items, number) for run in first}
            loops.append(seconds[_loop])
            bulks.append(seconds[_shard])
            ratios.append(seconds[_shard] / seconds[_loop])
        markers = [Marker.read(whole.marker(number)) for number in range(_PARTS)]
        numbers = range(_PARTS)
        rates: dict[str, float] = {}
        runs: dict[str, Callable[[Job], Iterable[Outcome]]] = {}
        if with_processes or with_ray:
            runs["one"] = lambda job: run_local(job, numbers, [device])
        if with_processes:
            runs["two"] = lambda job: run_local(job, numbers, [device] * 2)
        if with_ray:
            from hyperstyle.bulk.ray_engine import run_ray

            runs["ray"] = lambda job: run_ray(job, numbers, device=device)
        for key, run in runs.items():
            rates[key] = _rate(begin_job(folder / key, plan), run)
    return BulkFigures(
        images=count,
        loop=count / sum(loops),
        bulk=count / sum(bulks),
        overhead=statistics.median(ratios) - 1,
        bytes_per_image=sum(marker.bytes for marker in markers) / count,
        memory=(markers[0].memory, markers[-1].memory),
        two_processes=rates["two"] / rates["one"] if "two" in rates else None,
        ray=rates["ray"] / rates["one"] if "ray" in rates else None,
    )


def _loop(worker: Worker, items: list[Item], number: int = 0) -> float:
    """Seconds of what a user would write without shards."""
    settings, begin = worker.job.plan.settings, time.perf_counter()
    remaining = iter(items)
    with ignored_warnings():
        while batch := list(islice(remaining, settings.batch)):
            worker.inverter.invert(
                [item.source for item in batch],
                method=settings.method,
                steps=settings.steps,
                align=settings.align_mode,
                batch_size=settings.batch,
            )
    return time.perf_counter() - begin


def _shard(worker: Worker, items: list[Item], number: int) -> float:
    """Seconds of one shard, with all that is written."""
    begin = time.perf_counter()
    worker.run(number)
    return time.perf_counter() - begin


def _rate(job: Job, run: Callable[[Job], Iterable[Outcome]]) -> float:
    """Images per second from the first shard's beginning to the last one's end, so without loading the model."""
    began: list[float] = []
    rows = 0
    for outcome in run(job):
        if not began:
            began.append(time.perf_counter() - outcome.seconds)
        rows += outcome.rows
    return rows / (time.perf_counter() - began[0])
