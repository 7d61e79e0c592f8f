"""The engine on one machine: a process for each device, to which shards are handed out one by one."""

from __future__ import annotations

import os
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hyperstyle.bulk.child import Child, Lines, Send
from hyperstyle.bulk.plan import BulkJob
from hyperstyle.bulk.worker import Outcome
from hyperstyle.errors import HyperStyleError

MAX_DEATHS = 5
"""How often a process may die in the same shard before the job ends."""


def run_local(
    job: BulkJob,
    numbers: Sequence[int],
    devices: Sequence[str],
    *,
    threads: int = 2,
    wait: bool = False,
    on_batch: Callable[[int], object] = lambda rows: None,
) -> Iterator[Outcome]:
    """What became of each shard, as they are done.

    A process that dies is replaced, and its shard begun again.

    Args:
        job: of the shards.
        numbers: of the shards.
        devices: one for each process.
        threads: in each process, that read and align images.
        wait: for shards that another job works on; else they are "busy".
        on_batch: is called with the number of rows after each batch of any process.

    Raises:
        HyperStyleError: what a process raised, such as for a full disk; or processes die in one shard again and again.
    """
    driver = _Driver(job, deque(numbers), min(len(devices), len(numbers)), threads, wait, on_batch)
    try:
        for place in range(driver.count):
            driver.start(place, devices[place])
        yield from driver.outcomes()
    finally:
        driver.end()


class _Driver:
    """The processes, what they work on, and what they answer."""

    def __init__(
        self,
        job: BulkJob,
        pending: deque[int],
        count: int,
        threads: int,
        wait: bool,
        on_batch: Callable[[int], object],
    ) -> None:
        self.job, self.pending, self.count, self.threads, self.wait = job, pending, count, threads, wait
        self.on_batch = on_batch
        self.answers: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        self.children: dict[int, Child] = {}
        self.devices: dict[int, str] = {}
        self.current: dict[int, int] = {}  # place of a process -> the shard that it works on
        self.busy: list[int] = []
        self.deaths: Counter[int | None] = Counter()

    def start(self, place: int, device: str) -> None:
        """Starts the process of a place, and a thread that collects its answers."""
        self.devices[place] = device
        cores = max(1, (os.cpu_count() or 1) // self.count)  # no more threads in all than there are cores
        env = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores))}
        task = {"folder": str(self.job.folder.resolve()), "device": device, "threads": self.threads}
        child = self.children[place] = Child("hyperstyle.bulk.local:work", task, env)

        def collect() -> None:
            while (answer := child.receive()) is not None:
                self.answers.put((place, answer))
            self.answers.put((place, None))

        threading.Thread(target=collect, daemon=True).start()

    def outcomes(self) -> Iterator[Outcome]:
        """Hands out shards and yields what became of them, until there are no more."""
        working = set(self.children)
        while working:
            place, answer = self.answers.get()
            if answer is None:
                self._replace(place)
            elif "error" in answer:
                raise HyperStyleError(answer["error"])
            elif "batch" in answer:
                self.on_batch(answer["batch"])
            elif "ready" in answer:
                self._hand_out(place, working)
            else:
                outcome = Outcome(**answer)
                self.current.pop(place, None)
                if outcome.status == "busy":
                    self.busy.append(outcome.number)
                else:
                    yield outcome
                self._hand_out(place, working)
        yield from (Outcome(number, "busy") for number in self.busy)

    def _hand_out(self, place: int, working: set[int]) -> None:
        """Gives a process its next shard, or lets it go where there is none. Those to wait for come last."""
        wait = not self.pending and self.wait and bool(self.busy)
        if not self.pending and not wait:
            working.discard(place)
            return
        self.current[place] = self.busy.pop(0) if wait else self.pending.popleft()
        self.children[place].send({"number": self.current[place], "wait": wait})

    def _replace(self, place: int) -> None:
        """Starts another process in the place of one that died; its shard is the next to be handed out."""
        number = self.current.pop(place, None)
        code = self.children.pop(place).end()
        self.deaths[number] += 1
        if self.deaths[number] > MAX_DEATHS:
            where = "while it loaded the model" if number is None else f"in shard {number}"
            why = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise HyperStyleError(
                f"a process died {self.deaths[number]} times {where} ({why}). What is done stays: where it was out of "
                "memory, use a smaller --batch or fewer --workers, and run the same command again."
            )
        if number is not None:
            self.pending.appendleft(number)
        self.start(place, self.devices[place])

    def end(self) -> None:
        """Ends all processes; each may finish its batch."""
        enders = [threading.Thread(target=child.end) for child in self.children.values()]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()


def work(task: Any, lines: Lines, send: Send) -> None:
    """In the process: loads the model, then does each shard whose number comes."""
    from hyperstyle.bulk.worker import Worker

    worker = Worker(BulkJob.open(Path(task["folder"])), task["device"], threads=task["threads"])

    def on_batch(rows: int) -> None:
        lines.check()
        send({"batch": rows})

    send({"ready": True})
    while True:
        order = lines.next()
        send(vars(worker.run(order["number"], on_batch, wait=order["wait"])))
