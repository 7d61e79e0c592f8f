"""Temporary files and folders, locked for as long as they are written; what is on the disk."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Not filelock, which locks no folders and empties the files that it locks. Here what is written is itself locked, so
# that a killed process leaves nothing else, and `sweep` knows what is in use.
try:
    import fcntl
except ImportError:  # Windows, which does not remove files that are open: there that is protection enough
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "flush_folder_to_disk",
    "flush_to_disk",
    "is_temporary",
    "locked",
    "new_temporary",
    "sweep",
    "temporary_folder",
]

_NAME = re.compile(r"\.tmp-[0-9a-f]{12}(\..*)?", re.DOTALL)
_ANY_RIGHTS = 0o666  # what the umask leaves of it


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Give the body an empty folder in `parent`, which is removed in the end; `sweep` removes that of a killed process.

    Raises:
        OSError: it cannot be made.
    """
    temporary, descriptor = new_temporary(parent, is_folder=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def sweep(folder: Path) -> None:
    """Removes the temporary files and folders in `folder` that killed processes left; those being written stay.

    A process that writes one holds its lock, which ends with the process. Without locks nothing is removed.
    """
    with suppress(OSError):
        for path in [path for path in folder.iterdir() if is_temporary(path)]:
            with suppress(OSError), locked(path) as descriptor:
                if descriptor is not None and path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif descriptor is not None:
                    path.unlink()


def is_temporary(path: Path) -> bool:
    """Whether it is called as `new_temporary` calls what it makes."""
    return _NAME.fullmatch(path.name) is not None


def new_temporary(parent: Path, suffix: str = "", *, is_folder: bool = False) -> tuple[Path, int | None]:
    """An empty file or folder, locked for as long as the descriptor is open (None: this system has no locks)."""
    while True:
        path = parent / f".tmp-{secrets.token_hex(6)}{suffix}"
        # Not tempfile: what it makes is private to the user, and the rename would keep that.
        if is_folder:
            path.mkdir()
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _ANY_RIGHTS))
        with suppress(BlockingIOError, FileNotFoundError):  # a sweep came before the lock: another name
            descriptor = _lock(path)
            if path.exists():
                return path, descriptor
            if descriptor is not None:
                os.close(descriptor)


def _lock(path: Path, *, wait: bool = False) -> int | None:
    """A descriptor that holds the lock of a file or folder for as long as it is open; None where there are no locks.

    Raises:
        BlockingIOError: another process, or another descriptor of this one, holds it, and not `wait`.
        OSError: there is no such file, or it cannot be opened.
    """
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # some network disks have no locks
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[int | None]:
    """Holds the lock of `path` while the body runs, which gets what `_lock` gives. Raises what that raises."""
    descriptor = _lock(path, wait=wait)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def flush_to_disk(path: Path) -> None:
    """Returns when the disk has the file, or the names in the folder."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not is_folder:  # some network disks do not flush folders
            raise
    finally:
        os.close(descriptor)


def flush_folder_to_disk(folder: Path) -> None:
    for path, _, files in os.walk(folder):
        for name in files:
            flush_to_disk(Path(path, name))
        flush_to_disk(Path(path))
