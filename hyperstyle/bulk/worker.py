"""The work of every engine: one shard of a job, claimed, inverted and written, or found done or at work elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hyperstyle.bulk.marker import Marker, find_damage
from hyperstyle.bulk.plan import BulkJob
from hyperstyle.errors import ConfigError
from hyperstyle.io.claims import Claims, stamp
from hyperstyle.io.files import write_bytes
from hyperstyle.io.hub import model_digest

if TYPE_CHECKING:
    from hyperstyle.inverter import HyperStyleInverter

_POLL = 1.0  # seconds between looks at a shard that another process works on


@dataclass(frozen=True)
class Outcome:
    """What became of a shard: "written" now, "done" before, or "busy", since another process works on it.

    Attributes:
        number: of the shard.
        status: see above.
        rows, failed: images, and those that failed; 0 for a busy one.
        seconds: that inverting took.
        bytes: of its Parquet file.
    """

    number: int
    status: Literal["written", "done", "busy"]
    rows: int = 0
    failed: int = 0
    seconds: float = 0.0
    bytes: int = 0


class Worker:
    """A process's part in a job: the model is loaded once, for all of its shards.

    Args:
        job: of the shards.
        device: where the model runs.
        threads: how many read and align images.

    Raises:
        ConfigError: the model differs from that of the job. HyperStyleError: it cannot be loaded, or lacks the method.
    """

    def __init__(self, job: BulkJob, device: str, *, threads: int = 2) -> None:
        from hyperstyle.methods import registry

        self.job, self._threads = job, threads
        check_model(job)
        settings = job.plan.settings
        self.inverter: HyperStyleInverter = settings.load_inverter(device)
        registry.resolve_method(self.inverter.model, settings.method, steps=settings.steps, seed=settings.seed)

    def run(self, number: int, on_batch: Callable[[int], None] = lambda rows: None, *, wait: bool = False) -> Outcome:
        """Writes a shard, unless it is done or another process works on it. Raises what `invert_shard` raises.

        Args:
            number: of the shard.
            on_batch: is called with the number of rows after each batch; what it raises ends the shard, unwritten.
            wait: while another process works on it, until it is done or released; then it is never "busy".
        """
        from hyperstyle.bulk.shard import invert_shard

        job, marker = self.job, self.job.marker(number)
        is_damaged = marker.exists() and find_damage(job.shard(number)) is not None
        with Claims() as claims:
            outdated = stamp(marker) if is_damaged else None
            while (status := claims.claim(marker, outdated=outdated)) == "busy" and wait:
                on_batch(0)
                time.sleep(_POLL)
            if status == "busy":
                return Outcome(number, "busy")
            if status == "done":
                return _outcome(number, "done", Marker.read(marker))
            if is_damaged:
                marker.unlink(missing_ok=True)
            items, started = job.items(number), job.started(number)
            crashes: Mapping[str, str] = {}
            if started.exists():  # a process died in this shard
                from hyperstyle.bulk.probe import find_crashes

                crashes = find_crashes(items, job.plan.settings)
            write_bytes(started, b"")
            try:
                written = invert_shard(
                    items,
                    job.shard(number),
                    self.inverter,
                    job.plan.settings,
                    threads=self._threads,
                    crashes=crashes,
                    on_batch=on_batch,
                )
            finally:
                with suppress(OSError):
                    started.unlink()
        return _outcome(number, "written", written)


def check_model(job: BulkJob) -> None:
    """Raises ConfigError where the model of this name is not the one that the job was begun with."""
    settings = job.plan.settings
    if model_digest(settings.model) != job.plan.digest:
        raise ConfigError(
            f"the model {settings.model!r} is not the one that the job was begun with. Put that one back, or begin the "
            "job anew in another folder."
        )


def _outcome(number: int, status: Literal["written", "done"], marker: Marker) -> Outcome:
    return Outcome(number, status, marker.rows, marker.failed, marker.seconds, marker.bytes)
