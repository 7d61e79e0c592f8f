"""Runs a call in a forked process with limits, and says what it did: its exit, time, memory, files and side effects.

Forking after the imports makes a case cost milliseconds, and whatever it does (crash, hang, eat memory), the process
of the tests goes on.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from hyperstyle.io.components import open_safetensors

__all__ = ["Outcome", "faults", "run", "run_command"]

SECONDS = 60.0
MEMORY = 2 << 30
_SPACE = 6 << 30  # address space beyond that of the parent: a case that wants more gets MemoryError
_FILE_SIZE = 3 << 30
_LONGEST_LINE = 4000
_EVENTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.startfile", "pty.spawn")
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")


@dataclass(frozen=True)
class Outcome:
    """What a call did.

    Attributes:
        code: exit code; negative: the number of the signal that ended the process.
        seconds: until it ended.
        memory: bytes of resident memory at its peak, beyond those that its parent had.
        out, err: what it wrote to stdout and stderr.
        events: programs started and hosts asked for.
        files: files in its folder, as paths relative to it, that were not there before.
        timed_out: whether it was killed after `SECONDS`.
    """

    code: int
    seconds: float
    memory: int
    out: str
    err: str
    events: tuple[str, ...]
    files: tuple[str, ...]
    timed_out: bool
    folder: Path


def run_command(argv: list[str], folder: Path) -> Outcome:
    """Runs `hyperstyle ARGV` in a folder."""

    def call() -> int:
        from hyperstyle.cli import main

        return main(argv)

    return run(call, folder)


def run(call: Callable[[], Any], folder: Path) -> Outcome:
    """Calls a function in a forked process whose current folder is `folder`; its return value is the exit code."""
    before = _files(folder)
    logs = folder.parent / f"{folder.name}.logs"
    logs.mkdir(exist_ok=True)
    resident = _resident()
    sys.stdout.flush()
    sys.stderr.flush()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _run_child(call, folder, logs)
    timed_out = False
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - start > SECONDS and not timed_out:
            timed_out = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.002)
    seconds = time.monotonic() - start
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it may have left
    return Outcome(
        code=os.waitstatus_to_exitcode(status),
        seconds=seconds,
        memory=max(0, usage.ru_maxrss * 1024 - resident),
        out=_text(logs / "out"),
        err=_text(logs / "err"),
        events=tuple(_text(logs / "events").splitlines()),
        files=tuple(sorted(_files(folder) - before)),
        timed_out=timed_out,
        folder=folder,
    )


def faults(outcome: Outcome, *, is_command: bool = True) -> list[str]:
    """What an outcome has that none may have; [] if it is as it should be, whether the call succeeded or refused."""
    result = []
    if outcome.timed_out:
        result.append(f"hangs: killed after {outcome.seconds:.0f} s")
    elif outcome.code < 0:
        result.append(f"crash: signal {signal.Signals(-outcome.code).name}")
    elif outcome.code not in (0, 1, 2):
        result.append(f"exit code {outcome.code}")
    if outcome.memory > MEMORY:
        result.append(f"memory: {outcome.memory / 2**30:.1f} GiB")
    text = outcome.out + outcome.err
    if "Traceback (most recent call last)" in text or "Exception ignored" in text:
        last = [line for line in outcome.err.splitlines() if line and not line.startswith(" ")]
        result.append(f"traceback: {last[-1][:300] if last else text[-300:]}")
    if outcome.events:
        result.append(f"side effects: {outcome.events[:3]}")
    if outcome.code == 2 and is_command and not outcome.err.strip():
        result.append("exit code 2 without a word")
    longest = max((len(line) for line in text.splitlines()), default=0)
    if longest > _LONGEST_LINE:
        result.append(f"a line of {longest} characters")
    if is_command and outcome.code == 2 and len(outcome.err.splitlines()) > 20:
        result.append(f"{len(outcome.err.splitlines())} lines of errors")
    result += _file_faults(outcome)
    return result


def _file_faults(outcome: Outcome) -> list[str]:
    """Files that are temporary, or only half of one."""
    result = []
    for name in outcome.files:
        path = outcome.folder / name
        if re.search(r"(^|/)\.(tmp|hyperstyle)|\.tmp$|\.replacing", name):
            result.append(f"left behind: {name}")
        elif path.suffix == ".png":
            try:
                with Image.open(path) as image:
                    image.load()
            except Exception as error:
                result.append(f"half-written: {name}: {error}")
        elif path.suffix == ".safetensors":
            try:
                with open_safetensors(path) as file:
                    list(file.keys())
            except Exception as error:
                result.append(f"half-written: {name}: {error}")
    return result


def _run_child(call: Callable[[], Any], folder: Path, logs: Path) -> None:
    """The forked process; never returns."""
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        for name, number in (("out", 1), ("err", 2)):
            descriptor = os.open(logs / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, number)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        events = os.open(logs / "events", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        space = _status("VmSize") + _SPACE
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_SIZE, _FILE_SIZE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _EVENTS or (event in _NETWORK and not _is_local(event, arguments)):
                os.write(events, f"{event} {arguments!r}"[:300].replace("\n", " ").encode() + b"\n")

        sys.addaudithook(watch)
        try:
            result = call()
            code = result if isinstance(result, int) else 0
        except SystemExit as error:
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)
            code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 71
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _is_local(event: str, arguments: tuple[Any, ...]) -> bool:
    return event == "socket.connect" and len(arguments) > 1 and isinstance(arguments[1], str | bytes)


def _files(folder: Path) -> set[str]:
    return {os.path.relpath(os.path.join(place, name), folder) for place, _, names in os.walk(folder) for name in names}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="backslashreplace") if path.is_file() else ""


def _resident() -> int:
    return _status("VmRSS")


def _status(key: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(re.search(rf"^{key}:\s+(\d+)", text, re.M)[1]) * 1024  # type: ignore[index]
