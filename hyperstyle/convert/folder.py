"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from hyperstyle.errors import CheckpointError
from hyperstyle.files import make_folder
from hyperstyle.model import ALIGNER
from hyperstyle.model_folder import COMPONENTS

__all__ = ["check_free", "whole_folder"]

_FILE = "hyperstyle.json"
_OF_A_MODEL = re.compile(  # folders end with a slash
    rf"{re.escape(_FILE)}|README\.md|({'|'.join(COMPONENTS)}|edits/[^/]+)/(config\.json|model\.safetensors)?"
    rf"|edits/|aligner/({'|'.join(map(re.escape, ALIGNER))})?"
)


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Raises CheckpointError unless a model may be written there: nothing, an empty folder, or a model to replace."""
    if not os.path.lexists(folder):
        return
    try:
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is a file: choose another folder for the model.")
        entries = sorted(entry.name for entry in folder.iterdir())
        names = list(_names(folder)) if _FILE in entries else []
    except OSError as error:
        raise CheckpointError(
            f"Cannot look into the folder {folder}: {error.strerror or error}. Choose a place that you may read and "
            "write to."
        ) from error
    if not entries:
        return
    if _FILE not in entries:
        raise CheckpointError(
            f"the folder {folder} is not empty and no model ({entries[0]!r} is in it): choose another one."
        )
    if not overwrite:
        raise CheckpointError(f"{folder} holds a model already: choose another folder, or replace it with --force.")
    if strays := [name for name in names if not _OF_A_MODEL.fullmatch(name)]:
        raise CheckpointError(
            f"the model folder {folder} also holds {strays[0]!r}, which would be lost: move it, or choose another one."
        )


def _names(folder: Path, before: str = "") -> Iterator[str]:
    """The names of everything in a folder, at any depth, those of folders with a slash; links are not followed."""
    for path in sorted(folder.iterdir()):
        yield (name := f"{before}{path.name}{'/' if path.is_dir() else ''}")
        if path.is_dir() and not path.is_symlink():
            yield from _names(path, name)


@contextmanager
def whole_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Gives the body a temporary folder beside `folder` to fill, which takes its place once the body has ended well.

    Whatever ends the body early, Ctrl-C and SIGTERM included, the temporary folder is removed and what was at `folder`
    stays.

    Raises:
        CheckpointError: see `check_free`; or a folder cannot be made, moved or replaced.
    """
    target = Path(os.path.realpath(folder))
    check_free(target, overwrite=overwrite)
    mark = secrets.token_hex(6)
    temporary, old = target.with_name(f".tmp-{mark}"), target.with_name(f".old-{mark}")
    moved = False
    with _terminated_orderly():
        try:
            make_folder(temporary)
            yield temporary
            if target.exists():
                moved = True  # set first: an interruption between the two lines does no harm
                target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException as error:
            if moved and not target.exists():
                old.rename(target)
            for rest in (temporary, old):
                shutil.rmtree(rest, ignore_errors=True)
            if isinstance(error, OSError):
                raise CheckpointError(
                    f"Cannot write the model folder {folder}: {error.strerror or error}. Choose a place that you may "
                    "write to, with room on its disk."
                ) from error
            raise


@contextmanager
def _terminated_orderly() -> Iterator[None]:
    """SIGTERM raises SystemExit with code 143 meanwhile, once, instead of ending the process on the spot.

    Only in the main thread, where Python has signals, and only where nobody else handles SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one does not interrupt the clearing up
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
