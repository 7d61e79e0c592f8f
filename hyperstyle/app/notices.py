"""The library's warnings of one action, collected for the page while other threads work."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

from hyperstyle.errors import EditWarning, MemoryWarning, QualityWarning

_CATEGORIES = (EditWarning, MemoryWarning, QualityWarning)

_collected: ContextVar[list[str] | None] = ContextVar("_collected", default=None)
_lock = Lock()


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Within it, the library's warnings of this thread go to the list that it yields, each message once."""
    _install()
    messages: list[str] = []
    token = _collected.set(messages)
    try:
        yield messages
    finally:
        _collected.reset(token)


def _install() -> None:
    """Shows every one of these warnings, and asks the thread's list first.

    Not `warnings.catch_warnings`, which swaps the filters of the whole process: of two threads, each would undo what
    the other did.
    """
    with _lock:
        if warnings.showwarning.__name__ == _show_or_collect.__name__:
            return
        for category in _CATEGORIES:
            warnings.simplefilter("always", category)
        warnings.showwarning = _show_or_collect(warnings.showwarning)


def _show_or_collect(show: Any) -> Any:
    """`warnings.showwarning` that keeps messages for a thread that collects them, and hands others on to `show`."""

    def _show_or_collect(message: Warning | str, category: type[Warning], *place: Any, **line: Any) -> None:
        messages = _collected.get()
        if messages is None or not issubclass(category, _CATEGORIES):
            show(message, category, *place, **line)
        elif str(message) not in messages:
            messages.append(str(message))

    return _show_or_collect
