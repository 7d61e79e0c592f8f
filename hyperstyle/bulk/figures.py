"""What bulk costs on this machine: against a plain loop, two processes against one, Ray against processes, memory."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from hyperstyle.bulk.items import Item, Reader
from hyperstyle.bulk.local import run_local
from hyperstyle.bulk.marker import Marker
from hyperstyle.bulk.plan import BulkJob, begin_job, make_plan
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
        cpu_overhead: the same of the seconds that processors worked, which other programs disturb less.
        bytes_per_image: of the Parquet files.
        memory: peak bytes of a process after its first shard, and after its last.
        two_processes: images per second of two processes by those of one; None where it was not measured.
        ray: images per second on Ray by those of one process; None where it was not measured.
    """

    images: int
    loop: float
    bulk: float
    overhead: float
    cpu_overhead: float
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
        ConfigError: the source has fewer than `count` images, or these make no four shards of job batches.
    """
    size = count // _PARTS
    if size % settings.batch or not size:
        raise ConfigError(f"{count} images: expected a multiple of {_PARTS} batches, {_PARTS * settings.batch}.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = make_plan(source, settings, size)
        job = begin_job(folder / "all", plan, first=count)
        if job.plan.images < count:
            raise ConfigError(f"the source has {job.plan.images} images: expected {count} or more.")
        worker = Worker(job, device)
        _loop(worker, job.items(0)[: settings.batch])  # the first batch takes longer
        loops, bulks = [], []
        for number in range(_PARTS):
            items = job.items(number)
            if number % 2:
                loops.append(_loop(worker, items))
                bulks.append(_shard(worker, number))
            else:
                bulks.append(_shard(worker, number))
                loops.append(_loop(worker, items))
        markers = [Marker.read(job.marker(number)) for number in range(_PARTS)]
        numbers = range(_PARTS)
        rates: dict[str, float] = {}
        runs: dict[str, Callable[[BulkJob], Iterable[Outcome]]] = {}
        if with_processes or with_ray:
            runs["one"] = lambda each: run_local(each, numbers, [device])
        if with_processes:
            runs["two"] = lambda each: run_local(each, numbers, [device] * 2)
        if with_ray:
            from hyperstyle.bulk.ray_engine import run_ray

            runs["ray"] = lambda each: run_ray(each, numbers, device=device)
        for key, run in runs.items():
            rates[key] = _rate(begin_job(folder / key, plan, first=count), run)
    return BulkFigures(
        images=count,
        loop=count / sum(each.wall for each in loops),
        bulk=count / sum(each.wall for each in bulks),
        overhead=_median_ratio([each.wall for each in bulks], [each.wall for each in loops]) - 1,
        cpu_overhead=_median_ratio([each.cpu for each in bulks], [each.cpu for each in loops]) - 1,
        bytes_per_image=sum(marker.bytes for marker in markers) / count,
        memory=(markers[0].memory, markers[-1].memory),
        two_processes=rates["two"] / rates["one"] if "two" in rates else None,
        ray=rates["ray"] / rates["one"] if "ray" in rates else None,
    )


class _Seconds(NamedTuple):
    """That went by, and that the processors worked for this process."""

    wall: float
    cpu: float

    @classmethod
    def since(cls, begin: _Seconds) -> _Seconds:
        """From then to now."""
        return cls(time.perf_counter() - begin.wall, time.process_time() - begin.cpu)

    @classmethod
    def now(cls) -> _Seconds:
        """A moment."""
        return cls(time.perf_counter(), time.process_time())


def _loop(worker: Worker, items: list[Item]) -> _Seconds:
    """What a user would write without shards."""
    settings, begin = worker.job.plan.settings, _Seconds.now()
    remaining, reader = iter(items), Reader()
    with ignored_warnings():
        while batch := list(islice(remaining, settings.batch)):
            worker.inverter.invert(
                [reader.read(item) for item in batch],
                method=settings.method,
                steps=settings.steps,
                align=settings.align_mode,
                batch_size=settings.batch,
            )
    return _Seconds.since(begin)


def _shard(worker: Worker, number: int) -> _Seconds:
    """One shard, with all that is written."""
    begin = _Seconds.now()
    worker.run(number)
    return _Seconds.since(begin)


def _median_ratio(values: list[float], others: list[float]) -> float:
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def _rate(job: BulkJob, run: Callable[[BulkJob], Iterable[Outcome]]) -> float:
    """Images per second from the first shard's beginning to the last one's end, so without loading the model."""
    began: list[float] = []
    rows = 0
    for outcome in run(job):
        if not began:
            began.append(time.perf_counter() - outcome.seconds)
        rows += outcome.rows
    return rows / (time.perf_counter() - began[0])
