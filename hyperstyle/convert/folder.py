"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperstyle.errors import CheckpointError
from hyperstyle.files import make_folder
from hyperstyle.model_folder import COMPONENTS

__all__ = ["check_free", "whole_folder"]

_FILE = "hyperstyle.json"
_OF_A_MODEL = {_FILE, "README.md", "edits", *COMPONENTS}


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Raises CheckpointError unless a model may be written there: nothing, an empty folder, or a model to replace."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is a file: choose another folder for the model.")
    entries = sorted(entry.name for entry in folder.iterdir())
    if not entries:
        return
    if _FILE not in entries:
        raise CheckpointError(
            f"the folder {folder} is not empty and no model ({entries[0]!r} is in it): choose another one."
        )
    if not overwrite:
        raise CheckpointError(f"{folder} holds a model already: choose another folder, or replace it with --force.")
    if strays := [name for name in entries if name not in _OF_A_MODEL]:
        raise CheckpointError(
            f"the model folder {folder} also holds {strays[0]!r}, which would be lost: move it, or choose another one."
        )


@contextmanager
def whole_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Gives the body a temporary folder beside `folder` to fill, which takes its place once the body has ended well.

    Whatever ends the body early, Ctrl-C included, the temporary folder is removed and what was at `folder` stays.

    Raises:
        CheckpointError: see `check_free`; or a folder cannot be made, moved or replaced.
    """
    target = Path(os.path.realpath(folder))
    check_free(target, overwrite=overwrite)
    mark = secrets.token_hex(6)
    temporary, old = target.with_name(f".tmp-{mark}"), target.with_name(f".old-{mark}")
    try:
        make_folder(temporary)
        yield temporary
        if target.exists():
            target.rename(old)
        temporary.rename(target)
    except BaseException as error:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise CheckpointError(
                f"Cannot write the model folder {folder}: {error.strerror or error}. Choose a place that you may write "
                "to, with room on its disk."
            ) from error
        raise
    shutil.rmtree(old, ignore_errors=True)
