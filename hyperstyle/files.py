"""Files and folders written so that a reader sees the old one or the whole new one; hashes; memory of the process."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hyperstyle.errors import CheckpointError, HyperStyleError

try:
    import fcntl
except ImportError:  # Windows, which does not remove files that are open: there that is protection enough
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "atomic_write",
    "make_folder",
    "peak_memory",
    "replace_folder",
    "restore_folder",
    "sha256",
    "sweep",
    "write_bytes",
    "write_text",
]

_TEMPORARY = ".tmp-"
_ANY_RIGHTS = 0o666  # what the umask leaves of it


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, error: type[HyperStyleError] = HyperStyleError) -> Iterator[Path]:
    """Give the body an empty temporary file to fill, and move it to `path` once the body has ended well.

    For writers that need a path, or make more than fits into memory; else see `write_bytes`. The temporary file lies
    in the folder of `path` (a rename is atomic only within one file system) and has its suffix, so writers that choose
    a format by the suffix work on it. It is on the disk before it gets its name (fsync), so that a power cut leaves
    the old file or the new one too. Whatever ends the body early, Ctrl-C included, the temporary file is removed and an
    existing file at `path` stays as it was; `sweep` removes what a killed process leaves. A symbolic link is followed:
    the file it points at is replaced. The body should do nothing but write.

    Args:
        path: the file to write; its folder must exist.
        error: class of the exception that replaces an `OSError` (no such folder, read-only, disk full, ...).

    Raises:
        HyperStyleError: (or the class given) the file cannot be written; the message names path and reason.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise IsADirectoryError("it is a folder, and a file name was expected")
        temporary, descriptor = _new_temporary_file(target)
        try:
            yield temporary
            _flush_to_disk(temporary)
            os.replace(temporary, target)
            _flush_to_disk(target.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            if descriptor is not None:
                os.close(descriptor)
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
    """Write a file by `atomic_write`. Encode into memory first: many encoders do not report a full disk, this does."""
    with atomic_write(path, error=error) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str, *, error: type[HyperStyleError] = HyperStyleError) -> None:
    """Write a UTF-8 text file by `atomic_write`, with the line ends that stand in `text`."""
    write_bytes(path, text.encode("utf-8"), error=error)


@contextmanager
def replace_folder(path: str | os.PathLike[str], *, error: type[HyperStyleError] = CheckpointError) -> Iterator[Path]:
    """Give the body an empty temporary folder to fill, and put it in the place of `path` once the body has ended well.

    An existing folder is moved aside to `.NAME.old`, the new one takes its name, and the old one is removed. A
    process killed between these two renames leaves the old folder aside; `restore_folder`, which this function and
    every reader call first, moves it back. Whatever else ends the body early, what was at `path` stays.

    Args:
        path: the folder; the folders above it are made where they are missing.
        error: class of the exception that replaces an `OSError`.

    Raises:
        HyperStyleError: (or the class given) the folder cannot be written; the message names path and reason.
    """
    target = Path(os.path.realpath(path))
    restore_folder(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{_TEMPORARY}{secrets.token_hex(6)}")
        temporary.mkdir()
        try:
            with _locked(temporary):
                yield temporary
                _flush_folder_to_disk(temporary)
                _exchange(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as failure:
        raise error(
            f"Cannot write the folder {os.fspath(path)!r}: {failure.strerror or failure}. Choose a place that you may "
            "write to, with room on its disk."
        ) from failure


def _exchange(temporary: Path, target: Path) -> None:
    """Gives the folder `temporary` the name `target`, and removes the folder that had it; or changes nothing."""
    if not target.exists():
        temporary.rename(target)
        _flush_to_disk(target.parent)
        return
    old = _aside(target)
    with _locked(target, wait=True):  # nobody restores the old folder while it is replaced
        target.rename(old)
        try:
            temporary.rename(target)
        except BaseException:
            old.rename(target)
            raise
        _flush_to_disk(target.parent)
        shutil.rmtree(old, ignore_errors=True)


def restore_folder(path: str | os.PathLike[str]) -> None:
    """Moves the old folder back where a process was killed while `replace_folder` put a new one in its place.

    Where `path` is there, removes what is left of the old folder. Where this process may not rename, does nothing.
    """
    target = Path(os.path.realpath(path))
    old = _aside(target)
    if not old.is_dir():
        return
    with suppress(OSError), _locked(old, wait=True):  # another process was quicker, or the disk is read-only
        if not target.exists():
            old.rename(target)
        elif old.exists():
            shutil.rmtree(old, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Removes the temporary files and folders in `folder` that killed processes left; those being written stay.

    A process that writes one holds its lock, which ends with the process. Without locks nothing is removed.
    """
    with suppress(OSError):
        for path in [path for path in folder.iterdir() if path.name.startswith(_TEMPORARY)]:
            with suppress(OSError), _locked(path) as is_dead:
                if is_dead and path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif is_dead:
                    path.unlink()


def make_folder(path: str | Path) -> Path:
    """The folder, made where it is not there. Raises CheckpointError where it cannot be made."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"Cannot make the folder {str(folder)!r}: {error.strerror}. Choose a place that you may write to and where "
            "no file has that name."
        ) from error
    return folder


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(1 << 18))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def peak_memory() -> int | None:
    """The most bytes that this process had in memory so far, mapped files included; None where it is not known."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where getrusage may count the process that started this one
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _new_temporary_file(target: Path) -> tuple[Path, int | None]:
    """An empty file beside `target`, locked for as long as the descriptor is open (None: this system has no locks)."""
    while True:
        path = target.with_name(f"{_TEMPORARY}{secrets.token_hex(6)}{target.suffix}")
        # Not tempfile: its files are private to the user (0600), and the rename would keep that.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _ANY_RIGHTS))
        with suppress(BlockingIOError, FileNotFoundError):  # a sweep came between the two lines: another name
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
def _locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Holds the lock of `path` while the body runs, which gets False where there are none. Raises what `_lock` does."""
    descriptor = _lock(path, wait=wait)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _flush_to_disk(path: Path) -> None:
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


def _flush_folder_to_disk(folder: Path) -> None:
    for path, _, files in os.walk(folder):
        for name in files:
            _flush_to_disk(Path(path, name))
        _flush_to_disk(Path(path))


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")
