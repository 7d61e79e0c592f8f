"""Sources of images: folders, lists, zip files and tar shards, as names with a function that reads each image."""

from __future__ import annotations

import errno
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from hyperstyle.errors import ImageError
from hyperstyle.images import load_image
from hyperstyle.images.formats import HEAD, read_head, sort_file
from hyperstyle.io.opening import check_file, read_text

_MAX_LIST = 1 << 30  # bytes
_MAX_SHARDS = 1_000_000
_RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}")


class Entry(NamedTuple):
    """An image that has not been read.

    Attributes:
        name: its path within the source, with "/" between folders; it stays the same when the source is moved.
        read: returns it as upright RGB, or raises ImageError.
    """

    name: str
    read: Callable[[], Image.Image]


_Files = Iterable[tuple[Entry, Callable[[], bytes]]]  # files of a source, each with a function for its first bytes


class Entries(NamedTuple):
    """The images of a source.

    Attributes:
        images: in the order of their names, or that of the list or the shards.
        left_out: name -> reason, for files that look like images and cannot be read (`images.formats.sort_file`).
    """

    images: list[Entry]
    left_out: dict[str, str]


def find_entries(source: str | os.PathLike[str]) -> Entries:
    """The images of a source, in an order that depends on their names alone.

    Args:
        source: a folder, searched recursively, each real folder once even if links point to it; a folder of tar
            shards without images is read as these shards. A list (.txt) of files, one per line, relative to the
            list's folder; lines that start with "#" are comments. A .zip. An uncompressed .tar, as WebDataset writes
            them, or several as "shard-{000..009}.tar".

    Raises:
        ImageError: the source does not exist, cannot be read, or has no image.
    """
    path = Path(os.path.expanduser(os.fspath(source)))
    shown = repr(os.fspath(source))
    if os.path.isdir(path):
        entries = _of_folder(path)
    elif path.suffix.lower() == ".tar" and (shards := _shards(path)):
        entries = _of_shards(shards, path.parent)
    elif not os.path.isfile(path):
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
    if not entries.images:
        first_left_out = "".join(f" {name!r} {why}" for name, why in list(entries.left_out.items())[:1])
        raise ImageError(
            f"There is no image in {shown} (looked at names and contents). Give a source with images.{first_left_out}"
        )
    return entries


def _only_images(files: _Files) -> Entries:
    """The images among the files."""
    entries = Entries([], {})
    for entry, head in files:
        verdict = sort_file(entry.name, head)
        if isinstance(verdict, str):
            entries.left_out[entry.name] = verdict
        elif verdict:
            entries.images.append(entry)
    return entries


def _of_folder(folder: Path) -> Entries:
    names, shards = [], []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in seen:  # reached by a link: a folder that is visited anyway, or one around the link
            folders.clear()
            continue
        seen.add(place)
        folders.sort()  # so that it is always the same path to a folder that gives the names
        within = Path(parent).relative_to(folder)
        names += [(within / file).as_posix() for file in files]
        shards += [Path(parent) / file for file in files if file.lower().endswith(".tar")]
    entries = _only_images(
        (Entry(name, partial(load_image, folder / name)), partial(read_head, folder / name))
        for name in sorted(names)
        if os.path.isfile(folder / name)
    )
    return entries if entries.images or not shards else _of_shards(sorted(shards), folder)


def _of_list(path: Path) -> Entries:
    text = read_text(path, "list, text in UTF-8 with a file in a line", limit=_MAX_LIST, error=ImageError)
    lines = [line.strip() for line in text.splitlines()]
    names = dict.fromkeys(line for line in lines if line and not line.startswith("#"))  # without repetitions
    return Entries([Entry(name, partial(load_image, path.parent / name)) for name in names], {})


def _of_zip(path: Path) -> Entries:
    check_file(path, "zip archive", error=ImageError)
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ImageError(f"Cannot read the archive {str(path)!r}: {error}. Get a whole copy of it.") from error

    def head(name: str) -> bytes:
        try:
            with archive.open(name) as file:
                return file.read(HEAD)
        except Exception as error:  # of any class: damaged, encrypted, an unknown compression
            raise OSError(errno.EIO, str(error)) from error

    names = sorted({name for name in archive.namelist() if not name.endswith("/")})
    return _only_images(
        (Entry(name, partial(_of_member, partial(archive.read, name), f"{path.name}/{name}")), partial(head, name))
        for name in names
    )


def _of_shards(shards: Sequence[Path], folder: Path) -> Entries:
    """Names are those of the members; with several shards, the path of the shard relative to `folder` comes first."""
    files = []
    for shard in shards:
        prefix = f"{shard.relative_to(folder).as_posix()}/" if len(shards) > 1 else ""
        check_file(shard, "tar archive", error=ImageError)
        try:
            with tarfile.open(shard, "r:") as archive:
                members = [(info.name, info.offset_data, info.size) for info in archive if info.isfile()]
        except (OSError, tarfile.TarError) as error:
            raise ImageError(
                f"Cannot read the shard {str(shard)!r}: {error}. Expected a whole .tar file, not compressed."
            ) from error
        for name, offset, size in sorted(set(members)):
            head, read = (partial(_bytes_at, shard, offset, count) for count in (min(size, HEAD), size))
            files.append((Entry(prefix + name, partial(_of_member, read, f"{shard.name}/{name}")), head))
    return _only_images(files)


def _shards(path: Path) -> list[Path]:
    """The files of a range in braces, or the file itself; empty where the file does not exist."""
    braces = _RANGE.search(path.name)
    if braces is None:
        return [path] if os.path.isfile(path) else []
    first, last = braces.groups()
    if int(last) - int(first) >= _MAX_SHARDS:
        raise ImageError(f"{str(path)!r} stands for more than {_MAX_SHARDS:,} shards. Correct the range.")
    numbers = (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
    shards = [path.with_name(path.name[: braces.start()] + number + path.name[braces.end() :]) for number in numbers]
    missing = [shard for shard in shards if not os.path.isfile(shard)]
    if missing:
        raise ImageError(
            f"{len(missing)} of the {len(shards)} shards {str(path)!r} are not there, the first is "
            f"{str(missing[0])!r}. Correct the range."
        )
    return shards


def _bytes_at(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _of_member(read: Callable[[], bytes], name: str) -> Image.Image:
    try:
        content = read()
    except Exception as error:  # of any class: archive readers raise many kinds of errors for damaged data
        raise ImageError(f"The image {name!r} cannot be opened: {error}. Get a whole copy of it.") from error
    try:
        return load_image(content)
    except ImageError as error:
        raise ImageError(f"{name!r}: {error}") from error
