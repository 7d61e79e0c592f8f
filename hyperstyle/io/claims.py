"""Lets several processes share work through files: which piece is done, and which one another process works on."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from filelock import BaseFileLock

Stamp = tuple[int, int, int]
"""Identifies a version of a file: (inode, modification time in nanoseconds, size in bytes)."""


def stamp(marker: Path) -> Stamp | None:
    """The version of a marker file; None if it does not exist."""
    try:
        status = marker.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


class Claims:
    """The pieces of work that this process has claimed. As a context manager, it releases all of them at the end.

    A piece of work is identified by its *marker*: the file that is written last (atomically, see `files.atomic_write`),
    so the piece is done if the marker exists. The process that works on a piece holds a lock on it, which the operating
    system releases if the process dies:

        with Claims() as claims:
            for marker in markers:
                if claims.claim(marker) == "claimed":
                    work()  # ends with writing the marker
                    claims.release(marker)

    No piece is done twice: the marker is checked *after* the lock is acquired, and the lock is released after the
    marker is written, so the next process that acquires the lock sees that the piece is done.

    The lock is a file next to the marker. Its holder deletes it before releasing the lock, so that no lock files are
    left among the results. Meanwhile, another process may have opened the file; it then locks a file that is already
    deleted, while a third process creates and locks a new one of the same name. filelock prevents this: a lock is valid
    only if the locked file still exists under its name. So there is one holder at a time, whether the work succeeds or
    fails. Lock files of killed processes can be locked again; `files.sweep` removes those that nobody holds.

    Only on disks without locks (some network disks) can two processes do the same piece.
    """

    def __init__(self) -> None:
        self._held: dict[Path, BaseFileLock | None] = {}

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        for marker in list(self._held):
            self.release(marker)

    def claim(self, marker: Path, *, outdated: Stamp | None = None) -> Literal["claimed", "done", "busy"]:
        """Claims a piece of work, unless it is done or already claimed; never waits.

        Args:
            marker: the file that is written when the piece is done.
            outdated: the `stamp` of an existing marker, if the piece is to be done again. The piece is done once the
                marker has another stamp.

        Returns:
            "claimed": this `Claims` now holds the piece, until `release`. "done": the marker exists and is not the
            outdated one. "busy": the piece is already claimed, by another process, another `Claims` or this one.

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
        """Releases a piece, done or not. Does nothing if this `Claims` does not hold it."""
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
    """The lock file of a marker: hidden, in the same folder, with a name that `files.sweep` recognizes.

    The name has a digest of the marker's, which may already be as long as the disk allows.
    """
    digest = hashlib.sha256(os.fsencode(marker.name)).hexdigest()[:12]
    return marker.with_name(f".tmp-{digest}.lock")
