"""Lists the images of a source, one after the other and always in the same order, without holding all in memory."""

from __future__ import annotations

import glob
import os
import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from hyperstyle.bulk.items import Item, file_system, is_local, next_to, reached
from hyperstyle.bulk.settings import need
from hyperstyle.errors import ConfigError, ImageError, shown
from hyperstyle.images.formats import HEAD, sort_file

_CONTENT = ("image", "bytes", "image_bytes", "content", "jpg", "jpeg", "png", "webp")  # columns with images
_PATHS = ("path", "file", "filename", "file_name", "image_path", "url", "uri")  # columns with paths or URLs
_PARQUET = (".parquet", ".pq")
_BATCH = 4096  # rows of a Parquet file that are in memory together


def list_source(source: str, *, column: str | None = None) -> Iterator[Item]:
    """The images of a source.

    Args:
        source: a path, or a URL of any store that fsspec knows, of one of these. A folder, searched recursively, each
            real folder once; tar and Parquet files in it are read too, other files are images or left alone
            (`images.formats.sort_file`). A list (.txt) of paths and URLs, one per line, relative to the list; lines
            that begin with "#" are comments. An uncompressed .tar, as WebDataset writes them. A .parquet file with
            images, or with paths. A glob of such files.
        column: of Parquet files: what holds the image (bytes, or a struct of "bytes" and "path") or its path; None
            takes the first there is of the usual names.

    Yields:
        The images by path, sorted within each folder, or in the order of the list or archive. Ids are paths within the
        source, lines of the list, or of Parquet files the column "id", the path, or NAME#ROW.

    Raises:
        ConfigError: there is no such source, or a Parquet file has no column with images.
        SourceError: its disk or store does not answer. ImageError: a list or archive cannot be read.
    """
    path = os.path.expanduser(source) if is_local(source) else source
    if glob.has_magic(path) and not (is_local(path) and os.path.lexists(path)):
        yield from _of_glob(path, column)
        return
    system, place = file_system(path)
    try:
        kind = reached(path, lambda: system.info(place))["type"]
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {shown(source)}: expected a folder, a list (.txt), .tar or .parquet files, or a URL of these."
        ) from error
    if kind == "directory":
        yield from _of_folder(path.rstrip("/") or path, system, place, column)
        return
    if kind != "file":
        raise ConfigError(f"{shown(source)} is a pipe, socket or device: expected a folder or a file.")
    items = _of_container(path, posixpath.basename(place), column)
    if items is None and path.lower().endswith(".txt"):
        items = _of_list(path)
    if items is None:
        raise ConfigError(f"{shown(source)} is one file: expected a folder, a list (.txt), .tar or .parquet files.")
    yield from items


def absolute(source: str) -> str:
    """A source as it is known from any folder: a local path becomes absolute."""
    return os.path.abspath(os.path.expanduser(source)) if is_local(source) else source


def _of_container(source: str, name: str, column: str | None) -> Iterator[Item] | None:
    """The images of a tar or Parquet file; None for any other. Their ids begin with `name`."""
    if source.lower().endswith(".tar"):
        return _of_tar(source, name)
    return _of_parquet(source, name, column) if source.lower().endswith(_PARQUET) else None


def _of_glob(pattern: str, column: str | None) -> Iterator[Item]:
    system, place = file_system(pattern)
    matches = sorted(reached(pattern, lambda: system.glob(place)))
    if not matches:
        raise ConfigError(f"no file matches {shown(pattern)}.")
    for match in matches:
        source = match if is_local(pattern) else system.unstrip_protocol(match)
        if (items := _of_container(source, posixpath.basename(match), column)) is not None:
            yield from items
        elif _is_image(source, system, match):
            yield Item(match if is_local(pattern) else source, source)


def _of_folder(root: str, system: Any, place: str, column: str | None) -> Iterator[Item]:
    """The images in a folder and those below it, in the order of their names."""
    seen: set[str] = set()

    def walk(folder: str, within: str) -> Iterator[Item]:
        if is_local(root):
            real = os.path.realpath(folder)
            if real in seen:  # reached by a link
                return
            seen.add(real)
        for name, is_folder in _entries(root, system, folder):
            inside = f"{within}/{name}" if within else name
            below, source = f"{folder.rstrip('/')}/{name}", f"{root.rstrip('/')}/{inside}"
            if name.startswith("."):
                continue
            if is_folder:
                yield from walk(below, inside)
            elif (items := _of_container(source, inside, column)) is not None:
                yield from items
            elif _is_image(source, system, below):
                yield Item(inside, source)

    return walk(place, "")


def _entries(root: str, system: Any, folder: str) -> list[tuple[str, bool]]:
    """(name, whether it is a folder) of what a folder holds, sorted; no FIFOs, sockets and devices."""
    if not is_local(root):  # some stores list the folder itself
        listed = reached(folder, lambda: system.ls(folder, detail=True))
        pairs = [(posixpath.basename(each["name"].rstrip("/")), each["type"]) for each in listed]
        return sorted({(name, kind == "directory") for name, kind in pairs if name != "" and kind in _KINDS})

    def scan() -> list[tuple[str, bool]]:
        with os.scandir(folder) as entries:  # quicker than fsspec, which asks for the size of each file
            return sorted((entry.name, entry.is_dir()) for entry in entries if entry.is_dir() or entry.is_file())

    return reached(folder, scan)


_KINDS = ("directory", "file")


def _is_image(name: str, system: Any, path: str) -> bool:
    """Whether a file counts as an image. One that looks like it and cannot be read does: its row says why."""

    def head() -> bytes:
        return bytes(reached(name, lambda: system.cat_file(path, start=0, end=HEAD)))

    return bool(sort_file(posixpath.basename(path), head))


def _of_list(source: str) -> Iterator[Item]:
    system, place = file_system(source)
    with reached(source, lambda: system.open(place, "rb")) as file:
        for number, content in enumerate(file, 1):
            try:
                line = content.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise ImageError(f"line {number} of {shown(source)} is not UTF-8: {error}.") from error
            if line and not line.startswith("#"):
                yield Item(line, next_to(source, line))


def _of_tar(source: str, name: str) -> Iterator[Item]:
    system, place = file_system(source)
    try:
        with (
            reached(source, lambda: system.open(place, "rb")) as file,
            tarfile.open(fileobj=file, mode="r:") as archive,
        ):
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else it keeps them all
                head = partial(_bytes_at, source, system, place, member.offset_data, min(member.size, HEAD))
                if member.isfile() and sort_file(member.name, head):
                    yield Item(f"{name}/{member.name}", source, member.name, member.offset_data, member.size)
    except (OSError, tarfile.TarError) as error:
        raise ImageError(
            f"Cannot read the archive {shown(source)}: {error}. Expected a whole .tar file, not compressed."
        ) from error


def _bytes_at(source: str, system: Any, place: str, offset: int, size: int) -> bytes:
    return bytes(reached(source, lambda: system.cat_file(place, start=offset, end=offset + size)))


def _of_parquet(source: str, name: str, column: str | None) -> Iterator[Item]:
    parquet = need("pyarrow.parquet", "bulk", "reading Parquet files")
    pa = need("pyarrow", "bulk", "reading Parquet files")
    system, place = file_system(source)
    try:
        with reached(source, lambda: system.open(place, "rb")) as file, parquet.ParquetFile(file) as table:
            chosen, has_paths = _column(table.schema_arrow, column, source)
            ids = "id" if "id" in table.schema_arrow.names else None
            columns = list(dict.fromkeys([*([ids] if ids else []), *([chosen] if has_paths else [])]))
            number = 0
            for count, values in _column_batches(table, columns):
                for i in range(count):
                    path = values[chosen][i] if has_paths else None
                    label = values[ids][i] if ids else path
                    label = f"{name}#{number}" if label is None else str(label)
                    if not has_paths:
                        yield Item(label, source, column=chosen, row=number)
                    elif path is None:
                        raise ImageError(f"row {number} of {shown(source)} has no path in the column {chosen!r}.")
                    else:
                        yield Item(label, next_to(source, path))
                    number += 1
    except (OSError, pa.ArrowException) as error:
        raise ImageError(f"Cannot read the Parquet file {shown(source)}: {error}. Get a whole copy of it.") from error


def _column_batches(table: Any, columns: list[str]) -> Iterable[tuple[int, dict[str, list[Any]]]]:
    """(number of rows, column -> values) of the rows of a Parquet file, a few thousand at a time."""
    if not columns:
        return [(table.metadata.num_rows, {})]
    return (
        (batch.num_rows, {name: batch.column(name).to_pylist() for name in columns})
        for batch in table.iter_batches(_BATCH, columns=columns)
    )


def _column(schema: Any, column: str | None, source: str) -> tuple[str, bool]:
    """The name of the column with images, and whether it holds paths in their place. Raises ConfigError."""
    types = need("pyarrow.types", "bulk", "reading Parquet files")
    if column is not None and column not in schema.names:
        raise ConfigError(f"{shown(source)} has no column {column!r}. Its columns: {', '.join(schema.names)}.")
    for name in [column] if column is not None else [*_CONTENT, *_PATHS]:
        kind = schema.field(name).type if name in schema.names else None
        if kind is None:
            continue
        if types.is_binary(kind) or types.is_large_binary(kind) or (types.is_struct(kind) and _has_bytes(kind)):
            return name, False
        if types.is_string(kind) or types.is_large_string(kind):
            return name, True
    raise ConfigError(
        f"{shown(source)} has no column of images. Its columns: {', '.join(schema.names)}. Name one with bytes or "
        "paths, --column NAME."
    )


def _has_bytes(kind: Any) -> bool:
    return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
