"""The console command `hyperstyle`: one file per subcommand, each with `add_parser`.

Building the parser imports no torch, so that `--help`, `--version` and a mistyped option answer at once.

Exit codes: 0 done; 1 done, but some of the images failed; 2 nothing done, for the reason in the one line on
stderr; 129 the terminal was closed (SIGHUP); 130 interrupted from the keyboard; 141 the reader of the output went
away; 143 ended by SIGTERM. After 129, 130 and 143 no temporary files are left.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from types import FrameType
from typing import Any, TextIO

import hyperstyle
from hyperstyle.cli import (
    align,
    animate,
    app,
    bench,
    bulk,
    bulk_bench,
    bulk_edit,
    bulk_report,
    bulk_status,
    convert,
    demo,
    drag,
    edit,
    edits,
    evaluate,
    export,
    fetch,
    fit,
    import_,
    info,
    invert,
    models,
    train,
)
from hyperstyle.cli.arguments import made_folders
from hyperstyle.cli.config import ConfigParser
from hyperstyle.cli.flags import as_flags
from hyperstyle.errors import HyperStyleError, shorten, shown
from hyperstyle.io.files import removed_if_empty

__all__ = ["build_parser", "main"]

_NAMES = r"(?<!\w)'[^']*'(?:, '[^']*')*"  # what a warning is about: one name, or several; no apostrophe

_ORDER = (
    *(demo, app, fetch, models, align, invert, edit, drag, animate, edits),
    *(bulk, bulk_status, bulk_report, bulk_edit, bulk_bench),
    *(fit, convert, export, import_, train, evaluate, bench, info),
)
"""The files of the commands, in the order of `--help`."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; a parsed namespace carries the command to call as `run`."""
    parser = ConfigParser(
        prog="hyperstyle",
        description="Invert portraits into StyleGAN2 with HyperStyle, and edit them.",
        epilog="Start with: hyperstyle demo",
    )
    parser.add_argument("--version", action="version", version=f"hyperstyle {hyperstyle.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in _ORDER:
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (default: that of this process) and returns its exit code.

    Raises:
        SystemExit: by `--help`, `--version` and command lines that cannot be parsed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller: the next file that is opened would take its place
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files need not be text
            stream.reconfigure(errors="backslashreplace")
    with _end_on_signals() as received:
        try:
            code = _run(argv)
        except BaseException:  # of the handler, or whatever the cleaning up raised in its place
            if not received:
                raise
    if received:
        try:
            print(f"hyperstyle: ended by {signal.Signals(received[0]).name}", file=sys.stderr)
            sys.stdout.flush()
        except OSError:  # the terminal is gone: the flush at exit would fail too, and change the exit code
            _discard_output()
        return 128 + received[0]
    return code


def _run(argv: Sequence[str] | None) -> int:
    """The exit code of a command line; its errors become lines on stderr."""
    try:
        args = build_parser().parse_args(argv)
        made_folders.clear()
        with _warnings_on_stderr(), removed_if_empty(made_folders):
            code: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("hyperstyle: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _discard_output()  # `hyperstyle info | head`: the flush at exit would fail once more
        return 141
    except Exception as error:
        return _report(error)
    return code


def _report(error: Exception) -> int:
    """Prints an error in one line, and with HYPERSTYLE_DEBUG=1 its traceback first; returns the exit code."""
    if os.environ.get("HYPERSTYLE_DEBUG"):
        traceback.print_exception(error)
    message = as_flags(str(error))
    if isinstance(error, MemoryError):
        message = "there is not enough memory for this. Use smaller images, a smaller --batch, or fewer at once."
    elif isinstance(error, OSError):  # of a question about a path, or of stdout
        name = f" {shown(error.filename)}" if error.filename is not None else ""
        message = f"{error.strerror or message}:{name or ' in writing the output'}."
    elif not isinstance(error, HyperStyleError):
        message = (
            f"an error that should not happen, {type(error).__name__}: {message}. Run it with HYPERSTYLE_DEBUG=1 and "
            "report the traceback, please."
        )
    try:
        print(f"hyperstyle: error: {shorten(message)}", file=sys.stderr)
        sys.stdout.flush()
    except OSError:  # a full disk, a terminal that is gone
        _discard_output()
    return 2


def _warn(line: str) -> None:
    """Prints a line on stderr. Where that fails, it and those after it are lost, but the work goes on."""
    try:
        print(line, file=sys.stderr)
    except OSError:
        _discard_output(sys.stderr)


def _discard_output(*streams: TextIO) -> None:
    """What is left for these streams, or stdout and stderr, goes nowhere: the flush at exit would fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams or (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


@contextmanager
def _end_on_signals() -> Iterator[list[int]]:
    """Within it SIGTERM and SIGHUP raise SystemExit, so that temporary files are removed; yields those received.

    Later signals are ignored during the cleaning up. Only the main thread can handle signals, and signals that are
    handled or ignored already (`nohup` ignores SIGHUP) are not touched. The default handlers are restored at the end.
    While native code runs, the exception waits for it to return.
    """
    received: list[int] = []
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has one
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    handled = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]

    def leave(number: int, frame: FrameType | None) -> None:
        if not received:
            received.append(number)
            raise SystemExit(128 + number)

    for number in handled:
        signal.signal(number, leave)
    try:
        yield received
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """Within it a warning is one line, without the place in the code.

    One that differs from an earlier one only in names and numbers is not repeated: the names are listed at the end.
    """
    first: dict[str, str] = {}
    more: dict[str, list[str]] = {}

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        kind = "" if issubclass(category, UserWarning) else f"{category.__name__}: "
        line = f"hyperstyle: warning: {kind}{as_flags(str(message))}"
        same = re.sub(rf"{_NAMES}|[\d.]+", "", line)
        if same in first:
            more.setdefault(same, []).extend(re.findall(_NAMES, line)[:1])
            return
        first[same] = line
        _warn(line)

    with warnings.catch_warnings():
        warnings.showwarning = show
        try:
            yield
        finally:
            for same, names in more.items():
                if names:
                    _warn(f"{first[same].partition('. ')[0]}. The same for {', '.join(names)}.")
