"""How an answer reaches the page: errors as messages, and work that reports while it runs."""

from __future__ import annotations

import functools
import html
import inspect
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from hyperstyle.app import words
from hyperstyle.errors import HyperStyleError

_log = logging.getLogger(__name__)


def readable(answer: Callable[..., Any]) -> Callable[..., Any]:
    """The same answer, but every error is a message on the page; unexpected ones are logged and say so.

    An answer in parts yields changes of the page by the names of its parts.
    """

    def shown(error: Exception) -> Any:
        if isinstance(error, gr.Error):
            return error
        if isinstance(error, HyperStyleError):
            message = words.error_text(error)
        else:
            _log.exception("an answer of the page failed", exc_info=error)
            message = "Something went wrong on the server, which is not your fault. Its log says what."
        # The page shows messages as HTML, and they quote names of files.
        return gr.Error(
            html.escape(message, quote=False), title="That did not work", print_exception=False, duration=12
        )

    if inspect.isgeneratorfunction(answer):

        @functools.wraps(answer)
        def answer_in_parts(*args: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from answer(*args, **named)
            except Exception as error:
                yield {"drag_note": "", "strip_note": ""}  # what was in progress is no longer
                raise shown(error) from error

        return answer_in_parts

    @functools.wraps(answer)
    def answer_at_once(*args: Any, **named: Any) -> Any:
        try:
            return answer(*args, **named)
        except Exception as error:
            raise shown(error) from error

    return answer_at_once


class Work:
    """Which visitors wait for work that reports as it goes on, to end it for those who no longer do."""

    def __init__(self) -> None:
        self._ends: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def begin(self, key: str) -> threading.Event:
        """The event that ends the work of this visitor, which begins now, in place of earlier work."""
        with self._lock:
            self._end(key)
            self._ends[key] = threading.Event()
            return self._ends[key]

    def end(self, key: str) -> None:
        """Ends what this visitor waits for, if anything."""
        with self._lock:
            self._end(key)

    def _end(self, key: str) -> None:
        if (event := self._ends.pop(key, None)) is not None:
            event.set()


class _Ended(BaseException):
    """Leaves the work of a visitor who no longer waits for it."""


def in_background(work: Callable[[Callable[..., None]], Any], is_ended: threading.Event) -> Iterator[Any]:
    """Runs `work(report)` in a thread and yields ("step", what it reported last); at the end ("done", its result).

    Once `is_ended` is set or the iterator closed, the next report ends the work, and nothing more is yielded. Raises
    what `work` raises.
    """
    reports: queue.Queue[Any] = queue.Queue()

    def report(*values: Any) -> None:
        if is_ended.is_set():
            raise _Ended
        reports.put(("step", values))

    def run() -> None:
        try:
            reports.put(("done", work(report)))
        except BaseException as error:
            reports.put(("error", error))

    threading.Thread(target=run, daemon=True).start()
    try:
        while True:
            kind, value = reports.get()
            while kind == "step" and not reports.empty():  # of several, only the newest is worth showing
                kind, value = reports.get()
            if is_ended.is_set():
                return
            if kind == "error":
                raise value
            yield kind, value
            if kind == "done":
                return
    finally:
        is_ended.set()
