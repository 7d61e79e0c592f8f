"""The images of a folder, and the files in it that look like images and cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hyperstyle.errors import ImageError
from hyperstyle.images.formats import read_head, sort_file

__all__ = ["Listing", "list_folder", "list_images"]


@dataclass(frozen=True)
class Listing:
    """The images among some files.

    Attributes:
        images: in the order in which they were looked at.
        left_out: (file, reason) of those that look like images and cannot be read.
    """

    images: tuple[Path, ...]
    left_out: tuple[tuple[Path, str], ...] = ()


def list_folder(folder: Path) -> list[Path]:
    """The entries of a folder, sorted by name. Raises ImageError where it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise ImageError(
            f"The folder {str(folder)!r} cannot be listed: {error.strerror}. Choose one that you may read."
        ) from error


def list_images(files: Iterable[Path], *, within: str | os.PathLike[str] = "") -> Listing:
    """The images among these files, and those that look like images and cannot be read; all else is ignored.

    `list_images(list_folder(folder))` lists a folder. A dead link with the name of an image is in `left_out`.

    Args:
        files: their paths.
        within: a folder that contains all of them: files in its hidden folders are ignored too.
    """
    images: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for file in files:
        name = file.relative_to(within).as_posix() if within else file.name
        verdict = file.is_file() and sort_file(name, partial(read_head, file))
        if file.is_symlink() and not file.exists() and sort_file(name, bytes):
            verdict = "is a link to a file that is not there."
        if isinstance(verdict, str):
            left_out.append((file, verdict))
        elif verdict:
            images.append(file)
    return Listing(tuple(images), tuple(left_out))
