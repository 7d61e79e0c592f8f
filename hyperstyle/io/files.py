"""Atomic writing of files and folders: readers see the old or the complete new content. Also hashes and peak memory."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

from hyperstyle.errors import CheckpointError, HyperStyleError
from hyperstyle.io.temporary import finish, flush_to_disk, is_temporary, put_in_place, sweep, temporary

# ---- files ----


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, error: type[HyperStyleError] = HyperStyleError) -> Iterator[Path]:
    """Give the body an empty temporary file to fill, and rename it to `path` if the body ends without an exception.

    This is for writers that need a path, or that write more than fits into memory; for others see `write_bytes`. The
    temporary file is in the folder of `path` (a rename is atomic only within one file system) and has the suffix of
    `path`, because many writers choose the format by the suffix. It is flushed to the disk (fsync) before the rename,
    so that even a power cut leaves either the old file or the new one. If the body raises anything, such as
    KeyboardInterrupt, the temporary file is removed and an existing file at `path` stays as it was. If `path` is a
    symbolic link, the file that it points to is replaced. The first such write of a process in a folder also removes
    temporary files that killed processes left there (`sweep`).

    Args:
        path: the file to write; its folder must exist.
        error: class of the exception that replaces an `OSError` (no such folder, read-only, disk full, ...). This holds
            for any OSError raised by the body, so the body should do nothing but write this file.

    Raises:
        HyperStyleError: (or the class given) the file cannot be written; the message names path and reason.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():  # a rename would put a file in the place of /dev/null
            raise OSError(f"it is a {'folder' if target.is_dir() else 'device'}, and a file name was expected")
        if not _is_flushed_later(target):
            _sweep_once(target.parent)
        with temporary(target.parent, target.suffix) as file:
            yield file
            move_file(file, target)
    except OSError as failure:
        reason = failure.strerror or str(failure)
        advice = "" if target.parent.is_dir() else f" The folder {str(target.parent)!r} does not exist."
        raise error(
            f"Cannot write {os.fspath(path)!r}: {reason}.{advice} "
            "Choose a file in an existing folder that you may write to, with room on its disk."
        ) from failure


def write_bytes(
    path: str | os.PathLike[str], content: bytes | memoryview, *, error: type[HyperStyleError] = HyperStyleError
) -> None:
    """Write a file with `atomic_write`.

    Prefer encoding into memory and passing the result here to letting an encoder write the file: many encoders do not
    report that the disk is full, and this function does.
    """
    with atomic_write(path, error=error) as file:
        file.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str, *, error: type[HyperStyleError] = HyperStyleError) -> None:
    """Write a UTF-8 text file with `atomic_write`. Line endings are written as they are in `text`."""
    write_bytes(path, text.encode("utf-8"), error=error)


def append_line(path: str | os.PathLike[str], line: str, *, error: type[HyperStyleError] = HyperStyleError) -> None:
    """Append a line to a UTF-8 text file, such as a log. The file is created if it does not exist.

    The line is written in one system call, and if it does not fit on the disk, no part of it stays. Only a crash of the
    system during the write can leave a part of the line, without a newline; readers of such files must skip it.

    Args:
        path: the file; its folder must exist.
        line: the text of the line, without a newline.
        error: class of the exception that replaces an `OSError`.

    Raises:
        HyperStyleError: (or the class given) the line cannot be written; the lines before it stay.
    """
    content = line.encode("utf-8") + b"\n"
    try:
        with Path(path).open("ab", buffering=0) as file:
            before = file.tell()
            try:
                if file.write(content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except BaseException:
                with suppress(OSError):  # a device has no length
                    file.truncate(before)
                raise
    except OSError as failure:
        raise error(
            f"Cannot write to {os.fspath(path)!r}: {failure.strerror or failure}. What it holds stays: make room on "
            "its disk and run the same command again."
        ) from failure


def move_file(source: Path, target: Path) -> None:
    """Rename a file within one file system, replacing `target`; its content is flushed to the disk first.

    Raises:
        OSError: it cannot be moved; what was at `target` stays.
    """
    later = _is_flushed_later(target)
    if not later:
        flush_to_disk(source)
    os.replace(source, target)
    if not later:
        flush_to_disk(target.parent)


# ---- folders ----


@contextmanager
def replace_folder(
    path: str | os.PathLike[str], *, keep_others: bool = False, error: type[HyperStyleError] = CheckpointError
) -> Iterator[Path]:
    """Give the body an empty temporary folder to fill, and move its files to `path` if the body ends without exception.

    If `path` does not exist, the temporary folder is renamed to it. An existing folder is not replaced by a rename,
    because it may be the current directory or a mount point, and its parent may be read-only: the new files are moved
    into it. For that, the temporary folder lies inside it. Once complete, that one is renamed to a fixed name, and only
    then is the first old file touched. A process that is killed before that rename leaves the old content. After one
    that is killed later, `finish_replacing` completes the new content; this function and all readers of such folders
    call it first. If the body raises anything, what was at `path` stays as it was, and parents that were created for it
    are removed.

    Args:
        path: the folder, or a symbolic link to it. Missing parent folders are created. Symbolic links inside the folder
            are not followed: new files and folders of the same name replace the links.
        keep_others: keep old files that no new file replaces, instead of removing them.
        error: class of the exception that replaces an `OSError`.

    Raises:
        HyperStyleError: (or the class given) the folder cannot be written; the message names path and reason.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_dir():
            raise NotADirectoryError("a file has that name")
        finish_replacing(target, error=error)
        home = target if target.is_dir() else target.parent
        with removed_if_empty(missing_folders(home)):
            home.mkdir(parents=True, exist_ok=True)
            sweep(home)
            with temporary(home, is_folder=True) as folder:
                yield folder
                if not _is_flushed_later(target):
                    for place, _, names in os.walk(folder):
                        for name in (*names, ""):  # the files, and the folder itself
                            flush_to_disk(Path(place, name))
                put_in_place(folder, target, keep_others=keep_others)
    except OSError as failure:
        raise error(
            f"Cannot write the folder {os.fspath(path)!r}: {failure.strerror or failure}. Choose a place that you may "
            "write to, with room on its disk."
        ) from failure


def finish_replacing(path: str | os.PathLike[str], *, error: type[HyperStyleError] = CheckpointError) -> None:
    """Finish a `replace_folder` that was killed while it moved its complete new content into place.

    All readers of such folders call this first. If there is nothing to finish, it changes nothing. It never changes
    anything outside the folder, even if the list of files to remove contains paths that lead out of it.

    Args:
        path: the folder, which need not exist.
        error: class of the exception that replaces an `OSError`.

    Raises:
        HyperStyleError: (or the class given) it cannot be finished, for example on a read-only disk.
    """
    try:
        finish(Path(os.path.realpath(path)))
    except OSError as failure:
        raise error(
            f"The folder {os.fspath(path)!r} was being replaced when a process was killed, and this cannot be "
            f"completed: {failure.strerror or failure}. Read or write it once as a user who may write there."
        ) from failure


def missing_folders(folder: Path) -> list[Path]:
    """Of a folder and its parents, those that do not exist, from the folder on."""
    return list(takewhile(lambda path: not os.path.lexists(path), (folder, *folder.parents)))


@contextmanager
def removed_if_empty(folders: list[Path]) -> Iterator[None]:
    """After the body, removes those of these folders that are empty then; the body may add to the list."""
    try:
        yield
    finally:
        for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
            with suppress(OSError):  # it holds something, or was never made
                folder.rmdir()


def make_folder(path: str | Path, *, error: type[HyperStyleError] = CheckpointError) -> Path:
    """Creates a folder, and its parents, if it does not exist, and returns its path.

    Raises:
        CheckpointError: (or the class given) the folder cannot be created.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise error(
            f"Cannot make the folder {str(folder)!r}: {failure.strerror}. Choose a place that you may write to and "
            "where no file has that name."
        ) from failure
    return folder


@lru_cache(maxsize=256)
def _sweep_once(folder: Path) -> None:
    """Calls `sweep(folder)`, but only once in a process.

    To list a folder before each of a thousand files that are written to it would take long.
    """
    sweep(folder)


def _is_flushed_later(path: Path) -> bool:
    """Whether a file lies in a temporary folder of `replace_folder`, which is flushed to the disk as a whole later.

    To flush each of a thousand files by itself would take long.
    """
    return any(is_temporary(folder) for folder in path.parents)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(1 << 18))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def peak_memory() -> int | None:
    """Peak resident memory of this process so far, in bytes, mapped files included; None if it is not known."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where getrusage may count the process that started this one
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
