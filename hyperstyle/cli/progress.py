"""The progress bar of commands that do several kinds of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(quiet: bool, unit: str = "it") -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar, on a terminal only, that starts again with each kind of work: gives a function of (what, done, total).

    Args:
        quiet: show nothing.
        unit: of what is counted.
    """
    from tqdm import tqdm

    bar: tqdm[None] | None = None
    doing = ""

    def show(what: str, done: int, total: int | None) -> None:
        nonlocal bar, doing
        if bar is None:  # not before there is something to show: until then the work may be refused
            bar = tqdm(unit=unit, disable=quiet or None)
        if what != doing:
            doing = what
            bar.reset(total)
            bar.set_description(what)
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
