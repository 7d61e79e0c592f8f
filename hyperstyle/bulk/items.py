"""The images of a job: what each is called, and how its bytes are read from disks, archives and object stores."""

from __future__ import annotations

import errno
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from hyperstyle.bulk.settings import need
from hyperstyle.errors import HyperStyleError, ImageError, shown
from hyperstyle.io.opening import read_bytes

T = TypeVar("T")

MAX_IMAGE = 1 << 30
"""Bytes of the largest image that is read."""

_TRIES = 3
_WAIT = 0.5  # seconds before the second try, twice as long before the third
_OF_ONE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}


class SourceError(HyperStyleError):
    """The disk or object store that images are read from does not answer: this is no fault of any image."""


class Item(NamedTuple):
    """An image that has not been read.

    Attributes:
        id: unique within a job.
        source: path or URL of the file that holds it.
        member: its name within a tar file; "" for others.
        offset, size: the place of its bytes in a tar file; size -1 is the whole file.
        column, row: its place in a Parquet file; "" for others.
    """

    id: str
    source: str
    member: str = ""
    offset: int = 0
    size: int = -1
    column: str = ""
    row: int = -1

    @property
    def location(self) -> str:
        """The source, and after "#" the member or row within it."""
        within = self.member or (str(self.row) if self.column else "")
        return f"{self.source}#{within}" if within else self.source


def is_local(source: str) -> bool:
    """Whether this is a path, not a URL such as "s3://bucket/name"."""
    return "://" not in source


def next_to(source: str, path: str) -> str:
    """A path or URL that stands in the file `source`: a relative path is one from the folder of that file."""
    folder = source.rpartition("/")[0]
    return f"{folder}/{path}" if folder and is_local(path) and not os.path.isabs(path) else path


def file_system(source: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path within it.

    Raises:
        MissingDependencyError: fsspec, or the package behind it that knows this kind of store, is not installed.
        SourceError: the kind of store is unknown, or refuses the URL.
    """
    fsspec = need("fsspec", "bulk", "reading images from elsewhere")
    try:
        system, path = fsspec.core.url_to_fs(source)
    except ImportError as error:
        raise SourceError(f"{shown(source)} cannot be read: {error}. Install that package.") from error
    except Exception as error:  # of any class: that of the store's own client
        raise SourceError(f"{shown(source)} cannot be read: {error} Check the URL and the credentials.") from error
    return system, path


def reached(source: str, read: Callable[[], T]) -> T:
    """What `read` returns, after some tries if the disk or store does not answer.

    Raises:
        SourceError: it does not answer. FileNotFoundError: there is no such file.
    """
    for attempt in range(_TRIES):
        try:
            return read()
        except FileNotFoundError:
            raise
        except Exception as error:  # of any class: that of the store's own client
            reason = f"{type(error).__name__}: {error}"
        if attempt < _TRIES - 1:
            time.sleep(_WAIT * 2**attempt)
    raise SourceError(
        f"{shown(source)} cannot be reached after {_TRIES} tries ({reason}). What is done stays: see that disk, "
        "network and credentials are there, and run the same command again."
    )


class Reader:
    """Reads the bytes of items; several threads may share it.

    Of Parquet files it keeps the row group that was read last, since items come in the order of their rows.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._group: tuple[tuple[str, str, int], list[Any]] | None = None
        self._file: tuple[str, Any, list[int]] | None = None

    def read(self, item: Item) -> bytes:
        """The content of the image file.

        Raises:
            ImageError: this image is not there, or cannot be read. SourceError: its disk or store does not answer.
        """
        if item.column:
            with self._lock:
                value = self._of_parquet(item)
            content = value.get("bytes") if isinstance(value, dict) else value
            if content is None and isinstance(value, dict) and value.get("path"):
                # As of Hugging Face's datasets, where one of the two may be missing.
                return self.read(Item(item.id, next_to(item.source, str(value["path"]))))
            if not isinstance(content, bytes) or not content:
                raise ImageError(f"row {item.row} of {shown(item.source)} has no image in the column {item.column!r}.")
            return content
        if item.size < 0 and is_local(item.source):
            return _of_file(item.source)
        system, path = file_system(item.source)
        end = None if item.size < 0 else item.offset + item.size
        with _named(item):
            size = reached(item.source, lambda: system.size(path) or 0) if end is None else item.size
            if size > MAX_IMAGE:
                raise ImageError(f"{shown(item.source)} has {size:,} bytes: expected at most {MAX_IMAGE:,}.")
            content = reached(item.source, lambda: system.cat_file(path, start=item.offset or None, end=end))
        return bytes(content)

    def _of_parquet(self, item: Item) -> Any:
        """The value in the item's column and row, with the lock held."""
        if self._file is None or self._file[0] != item.source:
            parquet = need("pyarrow.parquet", "bulk", "reading Parquet files")
            system, path = file_system(item.source)
            with _named(item):
                file = reached(item.source, lambda: parquet.ParquetFile(system.open(path, "rb")))
            ends, end = [], 0
            for number in range(file.metadata.num_row_groups):
                end += file.metadata.row_group(number).num_rows
                ends.append(end)
            self._file = item.source, file, ends
        _, file, ends = self._file
        group = bisect_right(ends, item.row)
        if group == len(ends):
            raise ImageError(f"there is no row {item.row} in {shown(item.source)} any more.")
        key = item.source, item.column, group
        if self._group is None or self._group[0] != key:
            self._group = None  # before the next one is read
            table = reached(item.source, lambda: file.read_row_group(group, columns=[item.column]))
            self._group = key, table.column(0).to_pylist()
        start = ends[group - 1] if group else 0
        return self._group[1][item.row - start]


def _of_file(path: str) -> bytes:
    """The content of a local file. Raises ImageError or SourceError."""
    try:
        return read_bytes(path, "file of an image", limit=MAX_IMAGE, error=ImageError)
    except ImageError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno not in _OF_ONE_FILE:
            raise SourceError(
                f"{shown(path)} cannot be read ({os.strerror(cause.errno or errno.EIO)}). What is done stays: see that "
                "the disk is there, and run the same command again."
            ) from error
        raise


@contextmanager
def _named(item: Item) -> Iterator[None]:
    """Raises ImageError for a file that is not there."""
    try:
        yield
    except FileNotFoundError as error:
        raise ImageError(f"there is no file {shown(item.source)}.") from error
