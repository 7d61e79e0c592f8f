"""Temporary files and folders, locked for as long as they are written, and the way of complete ones to their place."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from hyperstyle.io.opening import parse_json

# Not filelock, which locks no folders and empties the files that it locks. Here what is written is itself locked, so
# that a killed process leaves nothing else, and `sweep` knows what is in use.
try:
    import fcntl
except ImportError:  # Windows, which does not remove files that are open: there that is protection enough
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"\.tmp-[0-9a-f]{12}(\..*)?", re.DOTALL)
_COMPLETE = ".replacing"  # name of a folder with the complete new content, inside the folder that is being replaced
_REMOVED = ".removed.json"  # name of a file in it, which lists the old files and folders that have to be removed


@contextmanager
def temporary(parent: Path, suffix: str = "", *, is_folder: bool = False) -> Iterator[Path]:
    """Give the body an empty file or folder in `parent`, which is removed in the end if it is still there.

    It is locked for as long as the body runs; `sweep` removes that of a killed process.

    Raises:
        OSError: it cannot be made.
    """
    with ExitStack() as locks:
        while True:
            path = parent / f".tmp-{secrets.token_hex(6)}{suffix}"
            # Not tempfile: what it makes is private to the user, and the rename would keep that.
            if is_folder:
                path.mkdir()
            else:
                path.touch(exist_ok=False)
            with suppress(BlockingIOError, FileNotFoundError):  # a sweep came before the lock: another name
                locks.enter_context(locked(path))
                if path.exists():
                    break
        try:
            yield path
        finally:
            if is_folder:
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


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
    """Whether a path has the name of a file or folder that `temporary` makes. It need not exist."""
    return _NAME.fullmatch(path.name) is not None


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[int | None]:
    """Holds the lock of a file or folder while the body runs. The lock ends with the process, too.

    Args:
        path: what is locked; it must exist.
        wait: wait for a lock that is held; else it is an error.

    Yields:
        The descriptor of the open file or folder; None on systems and disks that have no locks.

    Raises:
        BlockingIOError: another process, or another call in this one, holds the lock, and `wait` is false.
        OSError: there is no such file, or it cannot be opened.
    """
    if fcntl is None:
        yield None
        return
    descriptor = os.open(path, os.O_RDONLY)
    held: int | None = descriptor
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:  # some network disks have no locks
            held = None
        yield held
    finally:
        os.close(descriptor)


def flush_to_disk(path: Path) -> None:
    """Writes what the system holds back of a file, or of the list of names in a folder, to the disk (`fsync`).

    Raises:
        OSError: it cannot be opened, or the disk reports an error.
    """
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


# ---- a complete folder in the place of another ----


def put_in_place(temporary: Path, target: Path, *, keep_others: bool) -> None:
    """Moves the content of `temporary`, a complete folder that was flushed to the disk, to the folder `target`.

    A process that is killed meanwhile leaves the old content, or what `finish` completes.

    Args:
        temporary: lies in `target` if that exists, else beside it.
        target: is created, or its content replaced.
        keep_others: keep files of `target` that `temporary` has not; else they are removed.

    Raises:
        OSError: it cannot be moved.
    """
    if not target.exists():
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # else another process has made it since
                raise
        else:
            flush_to_disk(target.parent)
            return
    _check_places(temporary, target, keep_others=keep_others)  # better now than half-way
    removed = [] if keep_others else list(_unmatched(target, temporary))
    (temporary / _REMOVED).write_text(json.dumps(removed), encoding="utf-8")
    flush_to_disk(temporary / _REMOVED)
    flush_to_disk(temporary)
    while True:
        finish(target)
        try:
            temporary.rename(target / _COMPLETE)  # from here on it is the new one
            break
        except OSError:
            if not (target / _COMPLETE).exists():  # else another process was quicker: it goes first
                raise
    flush_to_disk(target)
    _move_into_place(target / _COMPLETE)


def finish(target: Path) -> None:
    """Completes a `put_in_place` into `target` whose process was killed; without one, it changes nothing.

    Raises:
        OSError: what it left cannot be moved.
    """
    complete = target / _COMPLETE
    while os.path.isdir(complete) and not complete.is_symlink():  # the process with the lock completes it
        with suppress(FileNotFoundError), locked(complete, wait=True) as descriptor:
            if descriptor is None or os.path.samestat(os.fstat(descriptor), complete.stat()):
                _move_into_place(complete)


def _check_places(temporary: Path, target: Path, *, keep_others: bool) -> None:
    """Raises OSError if files of `temporary` cannot be moved to their places in `target`.

    That is: no permission, another file system, or, with `keep_others`, a file where a folder has to be or vice versa.
    """
    device = target.stat().st_dev
    for folder, _, names in os.walk(temporary):
        place = target / Path(folder).relative_to(temporary)
        if keep_others and place.exists() and not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{place} is a file, and a folder has to be there")
        if place.is_symlink() or not place.is_dir():
            continue
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{os.strerror(errno.EACCES)}: {place}")
        if place.stat().st_dev != device:
            raise OSError(errno.EXDEV, f"{place} lies on another file system")
        if keep_others and (blocking := [place / name for name in names if (place / name).is_dir()]):
            raise IsADirectoryError(errno.EISDIR, f"{blocking[0]} is a folder, and a file has to be there")


def _move_into_place(complete: Path) -> None:
    """Removes the old files listed in `complete`, and moves its own files into its parent folder, the one replaced.

    If it is interrupted, calling it again finishes the work.
    """
    target = complete.parent
    with suppress(FileNotFoundError):
        for path in _listed(complete / _REMOVED, target):
            # Only what lies in the folder, at any depth, without symbolic links or "..".
            if target in path.parents and path.name != ".." and Path(os.path.realpath(path.parent)) == path.parent:
                _remove(path)
    # From the bottom up: what lies in the folder itself, such as the file that names the others, comes last.
    for folder, _, names in os.walk(complete, topdown=False):
        below = Path(folder).relative_to(complete)
        for place in (target / part for part in (*reversed(below.parents), below) if part != Path()):
            if place.is_symlink() or not place.is_dir():
                _remove(place)
                place.mkdir()
        for name in names:
            source, place = Path(folder, name), target / below / name
            if source == complete / _REMOVED:
                continue
            if place.is_dir():
                _remove(place)
            try:
                os.replace(source, place)
            except FileNotFoundError:  # without locks two processes may be at it
                if os.path.lexists(source):
                    raise
        flush_to_disk(target / below)
    with suppress(FileNotFoundError):
        shutil.rmtree(complete)
    flush_to_disk(target)


def _listed(file: Path, target: Path) -> list[Path]:
    """The paths in `target` that the file lists. Raises OSError where it holds anything else."""
    try:
        names = parse_json(file.read_bytes())
        if not isinstance(names, list) or any(b"\0" in os.fsencode(name) for name in names):
            raise ValueError("it holds other values")
        return [target / name for name in names]
    except (TypeError, ValueError) as error:
        raise OSError(errno.EINVAL, f"{file} is damaged: expected names of files") from error


def _unmatched(old: Path, new: Path) -> Iterator[str]:
    """Paths, relative to `old`, of the files and folders in `old` that `new` does not have.

    A folder that `new` lacks is one entry; in folders that both have, the entries are "folder/name".
    """
    for path in old.iterdir():
        if path.name == _COMPLETE or is_temporary(path):
            continue
        other = new / path.name
        if not other.exists():
            yield path.name
        elif path.is_dir() and not path.is_symlink() and other.is_dir():
            yield from (f"{path.name}/{name}" for name in _unmatched(path, other))


def _remove(path: Path) -> None:
    """Removes a file, a symbolic link (not what it points to), or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
