"""Reading items in advance, in threads, while those before them are worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Read], ahead: int, *, threads: int = 1
) -> Generator[tuple[Item, Future[Read]], None, None]:
    """Yields each item with the future of `read(item)`, in order; threads read up to `ahead` items in advance.

    The generator keeps no reference to an item it has yielded. What `read` raises is raised by the future's `result()`.
    Closing the generator (`contextlib.closing`) cancels the reads that have not begun and waits for the current ones.
    """
    waiting: deque[tuple[Item, Future[Read]]] = deque()
    is_exhausted = False
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")
    try:
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
        is_exhausted = True  # whoever collects items has the last ones, whose futures may not have begun
    finally:
        pool.shutdown(cancel_futures=not is_exhausted)
