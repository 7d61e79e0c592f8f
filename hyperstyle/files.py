"""Files written so that a reader sees the old one or the whole new one, their hashes; the memory a process took."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperstyle.errors import CheckpointError, HyperStyleError

__all__ = ["atomic_write", "make_folder", "peak_memory", "sha256"]


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, error: type[HyperStyleError] = HyperStyleError) -> Iterator[Path]:
    """Give the body an empty temporary file to fill, and move it to `path` once the body has ended well.

    The temporary file lies in the folder of `path` (a rename is atomic only within one file system) and has
    its suffix, so writers that choose a format by the suffix work on it. Whatever ends the body early, Ctrl-C
    included, the temporary file is removed and an existing file at `path` stays as it was. A symbolic link is
    followed: the file it points at is replaced. The body should do nothing but write.

    Args:
        path: the file to write; its folder must exist.
        error: class of the exception that replaces an `OSError` (no such folder, read-only, disk full, ...).

    Raises:
        HyperStyleError: (or the class given) the file cannot be written; the message names path and reason.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".tmp-{secrets.token_hex(6)}{target.suffix}")
    try:
        if target.is_dir():
            raise IsADirectoryError("it is a folder, and a file name was expected")
        # Not tempfile: its files are private to the user (0600), and the rename would keep that.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as failure:
        reason = failure.strerror or str(failure)
        advice = "" if target.parent.is_dir() else f" The folder {str(target.parent)!r} does not exist."
        raise error(
            f"Cannot write {os.fspath(path)!r}: {reason}.{advice} "
            "Choose a file in an existing folder that you may write to, with room on its disk."
        ) from failure


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
