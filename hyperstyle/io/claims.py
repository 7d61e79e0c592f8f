"""Work that several processes share through files: which piece of it is done, which another process has in hand."""

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
"""What tells one state of a file from the next: inode, time of change in nanoseconds, size in bytes."""


def stamp(marker: Path) -> Stamp | None:
    """The state of a marker; None where it is not there."""
    try:
        status = marker.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


class Claims:
    """The pieces of work that this process has in hand; a context manager, which gives back those that are left.

    A piece of work is named by its *marker*: the file that is written last (atomically, see `files.atomic_write`) and
    so says that the piece is done. Who works on it holds a lock, which ends with the process, however it ends:

        with Claims() as claims:
            for marker in markers:
                if claims.claim(marker) == "free":
                    work()  # ends with writing the marker
                    claims.release(marker)

    How no piece is done twice: a marker is looked at *after* its lock was taken, and the holder gives the lock back
    after it wrote the marker; so whoever gets the lock of a finished piece sees that it is done. The lock is a file
    beside the marker. Its holder removes it before giving it back, since locks should not litter a folder of results.
    A process that opened the lock file before that, and locks it after, has the lock of a file without a name, while
    a third one may make and lock a new file of that name: filelock looks, once it has a lock, whether its file still
    has a name, and else has no lock. So there is one holder, whether the piece was finished or failed. Killed processes
    leave lock files, which anybody may lock again; `files.sweep` removes them, and leaves alone those that are held.

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

    def claim(self, marker: Path, *, outdated: Stamp | None = None) -> Literal["free", "done", "busy"]:
        """Takes a piece of work in hand, where it is free; never waits.

        Args:
            marker: the file that is written when the piece is done.
            outdated: the `stamp` of an existing marker that is to be replaced. The piece counts as done once the
            stamp differs from it.

        Returns:
            "free": it was free, and this `Claims` now holds it until `release`. "done": the marker is there. "busy":
            another process, or another `Claims`, has it in hand; or this one has already.

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
            return "free"
        except OSError as error:
            raise ConfigError(
                f"cannot make a lock in the folder {str(marker.parent)!r}: {error.strerror or error}. Choose a folder "
                "that you may write to."
            ) from error
        self._held[marker] = lock
        if stamp(marker) not in (None, outdated):
            self.release(marker)
            return "done"
        return "free"

    def release(self, marker: Path) -> None:
        """Gives a piece back, done or not. Nothing happens where it is not in hand."""
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
