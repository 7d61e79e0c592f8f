"""Writing files so that a reader sees the old file or the whole new one, never half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperstyle.errors import HyperStyleError

__all__ = ["atomic_write"]


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
