"""Whether a converted model may be written into a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hyperstyle.errors import CheckpointError, ConfigError
from hyperstyle.io.file_kind import check_suffix
from hyperstyle.io.files import finish_replacing
from hyperstyle.io.temporary import sweep

_FILE = "hyperstyle.json"


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Raises CheckpointError unless a model may be written there: nothing, an empty folder, or a model to replace.

    What a killed process left in the folder is completed or removed first.
    """
    check_suffix(folder, advice="A model is a folder: give it another name.", error=CheckpointError)
    finish_replacing(folder)
    sweep(folder)
    if not os.path.lexists(folder):
        above = next(path for path in folder.absolute().parents if os.path.lexists(path))
        if not os.path.isdir(above) or not os.access(above, os.W_OK | os.X_OK):
            raise CheckpointError(f"no folder can be made in {above}: choose another place for the model.")
        return
    try:
        if not os.path.isdir(folder):
            raise CheckpointError(f"{folder} is a file: choose another folder for the model.")
        entries = sorted(entry.name for entry in folder.iterdir())
        names = list(_names(folder)) if _FILE in entries else []
    except OSError as error:
        raise CheckpointError(
            f"Cannot look into the folder {folder}: {error.strerror or error}. Choose a place that you may read and "
            "write to."
        ) from error
    if not entries:
        return
    if _FILE not in entries:
        raise CheckpointError(
            f"the folder {folder} is not empty and no model ({entries[0]!r} is in it): choose another one."
        )
    if not overwrite:
        raise CheckpointError(f"{folder} holds a model already: choose another folder, or replace it with --force.")
    of_a_model = _of_a_model()
    if strays := [name for name in names if not of_a_model.fullmatch(name)]:
        raise CheckpointError(
            f"the model folder {folder} also holds {strays[0]!r}, which would be lost: move it, or choose another one."
        )


def check_outside(files: Sequence[str | os.PathLike[str]], folder: Path) -> None:
    """Raises ConfigError where one of the files lies in the folder to write, and would be lost with its old content."""
    target = Path(os.path.realpath(folder))
    for file in files:
        if target in Path(os.path.realpath(file)).parents:
            raise ConfigError(
                f"{os.fspath(file)} lies in {folder}, the folder to write, and would be lost: move it, or choose "
                "another folder."
            )


def _of_a_model() -> re.Pattern[str]:
    """Matches the names of what a model folder holds, those of folders with a slash at the end."""
    from hyperstyle.model.parts import ALIGNER, COMPONENTS  # with torch, which the other checks do without

    return re.compile(
        rf"{re.escape(_FILE)}|README\.md|({'|'.join(COMPONENTS)}|edits/[^/]+)/(config\.json|model\.safetensors)?"
        rf"|edits/|aligner/({'|'.join(map(re.escape, ALIGNER))})?"
    )


def _names(folder: Path, before: str = "") -> Iterator[str]:
    """The names of everything in a folder, at any depth, those of folders with a slash; links are not followed."""
    for path in sorted(folder.iterdir()):
        yield (name := f"{before}{path.name}{'/' if os.path.isdir(path) else ''}")
        if os.path.isdir(path) and not path.is_symlink():
            yield from _names(path, name)
