"""Where images lie: folders, lists, zip files and tar shards, as names with something that reads each."""

from __future__ import annotations

import errno
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from hyperstyle.errors import ImageError
from hyperstyle.images import HEAD, load_image, read_head, sort_file

__all__ = ["Entries", "Entry", "find_entries"]

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class Entry(NamedTuple):
    """An image that has not been read.

    Attributes:
        name: where it lies within its source, with "/" between folders, so that it stays where the source is moved.
        read: gives it as plain, upright RGB, or raises ImageError.
    """

    name: str
    read: Callable[[], Image.Image]


class Entries(NamedTuple):
    """What a source holds.

    Attributes:
        images: in the order of their names, or that of the list or the shards.
        left_out: name -> why, of those that look like images and cannot be read (`images.sort_file`).
    """

    pictures: list[Entry]
    left_out: dict[str, str]


class _File(NamedTuple):
    """A file in a source: its name there, its first bytes, and what reads it as an image."""

    name: str
    head: Callable[[], bytes]
    read: Callable[[], Image.Image]


def find_entries(source: str | os.PathLike[str]) -> Entries:
    """The images of a source, in an order that depends on nothing but their names.

    Args:
        source: a folder, with all folders in it, each once, wherever links lead; one that holds tar shards and no
            images stands for the shards. A list (.txt) of files, one in a line, relative to the list's folder; lines
            that begin with "#" are left out. A .zip. A .tar that is not compressed, as WebDataset has them, or several
            as "shard-{000..009}.tar".

    Raises:
        ImageError: there is no such source, it cannot be read, or holds no image.
    """
    path = Path(os.path.expanduser(os.fspath(source)))
    shown = repr(os.fspath(source))
    if path.is_dir():
        entries = _of_folder(path)
    elif path.suffix.lower() == ".tar" and (shards := _shards(path)):
        entries = _of_shards(shards, path.parent)
    elif not path.is_file():
        raise ImageError(
            f"There is no {shown}; expected a folder of images, a list of them (.txt), a .zip or .tar shards. "
            f"Check the name; paths start from {os.getcwd()!r}."
        )
    elif path.suffix.lower() == ".zip":
        entries = _of_zip(path)
    elif path.suffix.lower() == ".txt":
        entries = _of_list(path)
    else:
        raise ImageError(
            f"{shown} is one file; expected a folder of images, a list of them (.txt), a .zip or .tar shards "
            "(not compressed). Give the folder, or unpack the file."
        )
    if not entries.pictures:
        left = "".join(f" {name!r} {why}" for name, why in list(entries.left_out.items())[:1])
        raise ImageError(
            f"There is no image in {shown} (looked at names and contents). Give a source with images.{left}"
        )
    return entries


def _sorted_out(files: Iterable[_File]) -> Entries:
    """The images among the files."""
    entries = Entries([], {})
    for file in files:
        verdict = sort_file(file.name, file.head)
        if isinstance(verdict, str):
            entries.left_out[file.name] = verdict
        elif verdict:
            entries.pictures.append(Entry(file.name, file.read))
    return entries


def _of_folder(folder: Path) -> Entries:
    names, shards = [], []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in seen:  # a link to what lies elsewhere in the folder, or around the link
            folders.clear()
            continue
        seen.add(place)
        folders.sort()  # which of two ways to a folder gives the names
        within = Path(parent).relative_to(folder)
        names += [(within / file).as_posix() for file in files]
        shards += [Path(parent) / file for file in files if file.lower().endswith(".tar")]
    found = _sorted_out(
        _File(name, partial(read_head, folder / name), partial(load_image, folder / name))
        for name in sorted(names)
        if (folder / name).is_file()
    )
    return found if found.pictures or not shards else _of_shards(sorted(shards), folder)


def _of_list(path: Path) -> Entries:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise ImageError(
            f"Cannot read the list {str(path)!r}: {error}. Expected text in UTF-8, a file in a line."
        ) from error
    names = dict.fromkeys(line for line in lines if line and not line.startswith("#"))  # each once
    return Entries([Entry(name, partial(load_image, path.parent / name)) for name in names], {})


def _of_zip(path: Path) -> Entries:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ImageError(f"Cannot read the archive {str(path)!r}: {error}. Get a whole copy of it.") from error

    def head(name: str) -> bytes:
        try:
            with archive.open(name) as file:
                return file.read(HEAD)
        except Exception as error:  # of any class: damaged, encrypted, packed in a way that Python does not know
            raise OSError(errno.EIO, str(error)) from error

    names = sorted({name for name in archive.namelist() if not name.endswith("/")})
    return _sorted_out(
        _File(name, partial(head, name), partial(_of_member, partial(archive.read, name), f"{path.name}/{name}"))
        for name in names
    )


def _of_shards(shards: Sequence[Path], folder: Path) -> Entries:
    """The members keep their names; with several shards the shard's, from `folder` on, stands before."""
    files = []
    for shard in shards:
        before = f"{shard.relative_to(folder).as_posix()}/" if len(shards) > 1 else ""
        try:
            with tarfile.open(shard, "r:") as archive:
                members = [(one.name, one.offset_data, one.size) for one in archive if one.isfile()]
        except (OSError, tarfile.TarError) as error:
            raise ImageError(
                f"Cannot read the shard {str(shard)!r}: {error}. Expected a whole .tar file, not compressed."
            ) from error
        for name, offset, size in sorted(set(members)):
            head, read = (partial(_bytes_at, shard, offset, count) for count in (min(size, HEAD), size))
            files.append(_File(before + name, head, partial(_of_member, read, f"{shard.name}/{name}")))
    return _sorted_out(files)


def _shards(path: Path) -> list[Path]:
    """The files that a range in braces stands for, or the file itself; those that are there."""
    found = _RANGE.search(path.name)
    if found is None:
        return [path] if path.is_file() else []
    names = (path.name[: found.start()] + number + path.name[found.end() :] for number in _numbers(*found.groups()))
    shards = [path.with_name(name) for name in names]
    missing = [shard for shard in shards if not shard.is_file()]
    if missing:
        raise ImageError(
            f"{len(missing)} of the {len(shards)} shards {str(path)!r} are not there, the first is "
            f"{str(missing[0])!r}. Correct the range."
        )
    return shards


def _numbers(first: str, last: str) -> Iterator[str]:
    for number in range(int(first), int(last) + 1):
        yield f"{number:0{len(first)}}"


def _bytes_at(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _of_member(read: Callable[[], bytes], name: str) -> Image.Image:
    try:
        content = read()
    except Exception as error:  # of any class: archives raise what they like where data are damaged
        raise ImageError(f"The image {name!r} cannot be opened: {error}. Get a whole copy of it.") from error
    try:
        return load_image(content)
    except ImageError as error:
        raise ImageError(f"{name!r}: {error}") from error
