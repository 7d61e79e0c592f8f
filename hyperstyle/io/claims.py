"""Work that several processes share through files: which piece is done, and which another process is working on."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["Claims", "Stamp", "stamp"]

Stamp = tuple[int, int, int]
"""Identifies a version of a file: inode, time of the last change in nanoseconds, size in bytes."""


def stamp(marker: Path) -> Stamp | None:
    """The version of a marker; None where it does not exist."""
    try:
        status = marker.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


class Claims:
    """The pieces of work that this process has claimed; a context manager that releases all of them at its end.

    A piece of work is named by its *marker*: the file that is written last (atomically, see `files.atomic_write`), so
    the piece is done where it exists. The process that works on it holds a lock, which the system releases when the
    process ends:

        with Claims() as claims:
            for marker in markers:
                if claims.claim(marker) == "claimed":
                    work()  # ends with writing the marker
                    claims.release(marker)

    Why no piece is done twice: a marker is checked *after* its lock was acquired, and its lock is released after the
    marker was written. So the next process that acquires the lock sees that the piece is done. The lock is a file
    next to the marker; its holder removes it before the release, so that no lock files remain between the results.
    Another process may have opened that file before it was removed, and may acquire the lock of what is then a file
    without a name, while a third one creates and locks a new file of that name. filelock checks for this: a lock
    counts only where the file still has its name. So there is one holder, whether the work succeeded or failed. Lock
    files of killed processes can be locked again; `files.sweep` removes them, but none that is held.

    On disks without locks (some network disks), and only there, two processes may do the same piece.
    """

    def __init__(self) -> None:
        self._held: dict[Path, BaseFileLock | None] = {}

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for marker in list(self._held):
            self.release(marker)

    def claim(self, marker: Path, *, outdated: Stamp | None = None) -> Literal["claimed", "done", "busy"]:
        """Claims a piece of work unless it is done, or claimed already; never waits.

        Args:
            marker: the file that is written when the piece is done.
            outdated: the `stamp` of an existing marker that is to be replaced. The piece counts as done once the
            stamp differs from it.

        Returns:
            "claimed": this `Claims` holds the piece now, until `release`. "done": the marker exists. "busy": the piece
            is claimed already, by another process, another `Claims` or this one.

        Raises:
            ConfigError: no lock can be made in the folder.
        """
        from filelock import FileLock, Timeout

        if stamp(marker) not in (None, outdated):
            return "done"
        if marker in self._held:
            return "busy"
        lock: BaseFileLock = FileLock(_lock_file(marker), timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            return "busy"
        except NotImplementedError:  # this disk has no locks
            self._held[marker] = None
            return "claimed"
        except OSError as error:
            raise ConfigError(
                f"cannot make a lock in the folder {str(marker.parent)!r}: {error.strerror or error}. Choose a folder "
                "that you may write to."
            ) from error
        self._held[marker] = lock
        if stamp(marker) not in (None, outdated):
            self.release(marker)
            return "done"
        return "claimed"

    def release(self, marker: Path) -> None:
        """Releases a piece, done or not. Does nothing where it is not claimed."""
        lock = self._held.pop(marker, None)
        if lock is None:
            return
        file = _lock_file(marker)
        if os.name == "nt":  # where files that are open cannot be removed: not by us now, nor later if another has it
            lock.release()
        with suppress(OSError):  # one that stays does no harm
            file.unlink()
        lock.release()


def _lock_file(marker: Path) -> Path:
    """A hidden file whose name `files.sweep` knows; a digest, since names may be as long as a disk allows already."""
    digest = hashlib.sha256(os.fsencode(marker.name)).hexdigest()[:12]
    return marker.with_name(f".tmp-{digest}.lock")
