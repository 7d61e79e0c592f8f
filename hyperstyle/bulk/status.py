"""How far a job is, by the files in its folder: from any process, while it runs or not."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from hyperstyle.bulk.marker import Marker
from hyperstyle.bulk.plan import BulkJob
from hyperstyle.errors import HyperStyleError

_RECENT = 32  # shards that the rate is measured over


@dataclass(frozen=True)
class JobStatus:
    """Numbers of a job.

    Attributes:
        images, shards: of the whole job.
        done: shards that are done; `rows` images are in them, of which `failed` failed, by the `failures` of each kind.
        bytes: of the Parquet files.
        working: shards that a process works on, or died in.
        rate: images per second of the whole job, over its last shards; None where none is done.
        left: seconds until it is done, at that rate; None where the rate is not known.
    """

    images: int
    shards: int
    done: int
    rows: int
    failed: int
    failures: Mapping[str, int]
    bytes: int
    working: int
    rate: float | None
    left: float | None


def read_status(job: BulkJob) -> JobStatus:
    """The numbers of a job; shards with a damaged JSON file count as not done."""
    markers: list[tuple[float, Marker]] = []  # with the time at which each was done
    working = 0
    with os.scandir(job.folder) as entries:
        for entry in entries:
            name, _, suffix = entry.name.partition(".")
            if name.isdecimal() and suffix == "started":
                working += 1
            elif name.isdecimal() and suffix == "json":
                try:
                    markers.append((entry.stat().st_mtime, Marker.read(job.marker(int(name)))))
                except HyperStyleError:  # `bulk` does it again
                    continue
    rows = sum(marker.rows for _, marker in markers)
    failures: Counter[str] = Counter()
    for _, marker in markers:
        failures.update(marker.failures)
    rate = _rate(sorted(markers, key=lambda pair: pair[0])[-_RECENT:])
    return JobStatus(
        images=job.plan.images,
        shards=job.plan.shards,
        done=len(markers),
        rows=rows,
        failed=failures.total(),
        failures=dict(failures.most_common()),
        bytes=sum(marker.bytes for _, marker in markers),
        working=working,
        rate=rate,
        left=None if rate is None else (job.plan.images - rows) / rate,
    )


def _rate(recent: list[tuple[float, Marker]]) -> float | None:
    """Images per second from the beginning of the first of these shards, sorted by time, to the end of the last."""
    if not recent:
        return None
    first, last = recent[0], recent[-1]
    seconds = last[0] - (first[0] - first[1].seconds)
    return sum(marker.rows for _, marker in recent) / max(seconds, 1e-3)


def duration(seconds: float) -> str:
    """Seconds for people: "45 s", "12 min", "5 h 20 min", "3 d 4 h"."""
    minutes, hours, days = round(seconds / 60), round(seconds) // 3600, round(seconds) // 86400
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60} min"
