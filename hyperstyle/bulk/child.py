"""Processes of this package that may die, and that end when the process that started them does.

A child is this interpreter with the same `sys.path`. It gets one JSON value as its task, and sends JSON values back,
one per line. Its standard input stays open for as long as its parent wants it to work.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from hyperstyle.errors import HyperStyleError

Send = Callable[[Mapping[str, Any]], None]

_GRACE = 20.0  # seconds in which a child that is to end may finish its batch
_CODE = "import sys; sys.path[:] = {path!r}; from hyperstyle.bulk.child import main; main({target!r})"


class Child:
    """A process that runs a function `target(task, lines, send)` of this package.

    Args:
        target: "module:function".
        task: what the function gets, plain values.
        env: of the process; None for that of this one.
    """

    def __init__(self, target: str, task: Any, env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE.format(path=sys.path, target=target)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=None if env is None else dict(env),
        )
        self._reading = threading.Lock()
        self.send(task)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, value: Any) -> None:
        """Sends a value; it is lost where the process is dead, which `receive` tells."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any] | None:
        """The next value, waited for; None at its end."""
        assert self._process.stdout is not None
        with self._reading:
            line = "" if self._process.stdout.closed else self._process.stdout.readline()
        if not line.endswith("\n"):  # the end, or a line that was cut off by it
            return None
        value: dict[str, Any] = json.loads(line)
        return value

    def end(self) -> int:
        """Lets the process finish its batch, or ends it; returns its exit code, negative for that of a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):  # it is dead, and something was left to send
            self._process.stdin.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        with self._reading:  # by another thread, which comes to the end of it now
            self._process.stdout.close()
        return code


class Stopped(Exception):
    """The parent wants no more work done."""


class Lines:
    """The values that the parent sends, and whether it still wants work done."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._is_open = True
        self._changed = threading.Condition()

    def next(self) -> Any:
        """The next value, waited for. Raises Stopped where none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._values or not self._is_open)
            if not self._is_open:
                raise Stopped
            return self._values.pop(0)

    def check(self) -> None:
        """Raises Stopped where the parent wants no more work done, or is dead."""
        if not self._is_open:
            raise Stopped

    def read(self) -> None:
        """Reads them until the parent closes them or dies; then the process ends, at the latest after some seconds."""
        rest = b""
        while content := os.read(0, 1 << 16):  # not by sys.stdin, whose lock would be held at the end of the process
            *lines, rest = (rest + content).split(b"\n")
            with self._changed:
                self._values += [json.loads(line) for line in lines]
                self._changed.notify()
        with self._changed:
            self._is_open = False
            self._changed.notify()
        time.sleep(_GRACE)
        os._exit(1)


def main(target: str) -> None:
    """The child's side: calls the function with its task, and sends its error where it raises one."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    lock = threading.Lock()

    def send(value: Mapping[str, Any]) -> None:
        with lock:
            answers.write(json.dumps(value) + "\n")
            answers.flush()

    lines = Lines()
    threading.Thread(target=lines.read, daemon=True).start()
    module, _, name = target.partition(":")
    try:
        getattr(importlib.import_module(module), name)(lines.next(), lines, send)
    except (Stopped, KeyboardInterrupt, BrokenPipeError):
        sys.exit(0)
    except HyperStyleError as error:
        send({"error": str(error)})
