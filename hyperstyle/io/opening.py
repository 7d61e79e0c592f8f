"""The one way to open a file for reading: a regular file, of at most so many bytes.

A FIFO, a socket or a terminal would be waited for without end, and a device such as /dev/zero never ends. So readers
of this package either read with `read_bytes` and `read_text`, or call `check_file` before they pass a path on to a
library that opens it.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import IO, Any

from hyperstyle.errors import CheckpointError, ConfigError, HyperStyleError, MissingFileError, shown, with_article

__all__ = ["MAX_TEXT", "check_file", "parse_json", "read_bytes", "read_json", "read_text", "utf8_name"]

MAX_TEXT = 64 << 20
"""Bytes of the largest text file that is read whole: a configuration, a list, a record."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_file(
    path: str | os.PathLike[str],
    expected: str = "file",
    *,
    limit: int | None = None,
    error: type[HyperStyleError] = CheckpointError,
    missing: type[HyperStyleError] | None = None,
) -> int:
    """The size in bytes of a regular file that may be opened.

    Args:
        path: the file, or a link to it.
        expected: what it should be, for the message: "JSON file".
        limit: bytes that it may have; None for any number.
        error: class of the exception for anything that is no such file.
        missing: class of the exception where nothing has that name; None for `error`, or MissingFileError where
            `error` is CheckpointError.

    Raises:
        HyperStyleError: (or the classes given) nothing has that name; it is a folder, a FIFO, a socket or a device; it
            is too large; it cannot be asked about.
    """
    text = shown(os.fspath(path))[1:-1]  # without the quotes
    if missing is None:
        missing = MissingFileError if error is CheckpointError else error
    try:
        status = os.stat(path)
    except FileNotFoundError as failure:
        raise missing(f"{text} is missing: expected a {expected}.") from failure
    except OSError as failure:
        raise error(f"{text} cannot be read: {failure.strerror}. Expected a {expected}.") from failure
    except ValueError as failure:  # NUL, lone surrogates
        raise error(f"{text} cannot be the name of a file: {failure}. Expected a {expected}.") from failure
    kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "")
    if kind:
        raise error(f"{text} cannot be read: it is {kind}. Expected a {expected}.")
    if limit is not None and status.st_size > limit:
        raise error(f"{text} has {status.st_size:,} bytes: expected a {expected} of at most {limit:,}.")
    return status.st_size


def read_bytes(
    path: str | os.PathLike[str],
    expected: str = "file",
    *,
    limit: int = MAX_TEXT,
    error: type[HyperStyleError] = CheckpointError,
) -> bytes:
    """The content of a regular file.

    Args:
        path, expected, limit, error: see `check_file`.

    Raises:
        HyperStyleError: (or the class given) see `check_file`; it cannot be read, or grows while it is read.
    """
    check_file(path, expected, limit=limit, error=error)
    try:
        with Path(path).open("rb") as file:
            content = file.read(limit + 1)
    except OSError as failure:
        raise error(f"{shown(os.fspath(path))[1:-1]} cannot be read: {failure.strerror}.") from failure
    if len(content) > limit:  # files in /proc have no size
        raise error(f"{shown(os.fspath(path))[1:-1]} is too large: expected a {expected} of at most {limit:,} bytes.")
    return content


def read_text(
    path: str | os.PathLike[str],
    expected: str = "text file",
    *,
    limit: int = MAX_TEXT,
    error: type[HyperStyleError] = CheckpointError,
) -> str:
    """The content of a regular UTF-8 file, without a byte order mark.

    Args:
        path, expected, limit, error: see `check_file`.

    Raises:
        HyperStyleError: (or the class given) see `read_bytes`; it is not UTF-8.
    """
    try:
        return read_bytes(path, expected, limit=limit, error=error).decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        raise error(f"{shown(os.fspath(path))[1:-1]} is no {expected}: {failure}.") from failure


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError for any text that has none, also for one nested too deep."""
    try:
        return json.loads(text)
    except RecursionError as failure:
        raise ValueError("its values are nested too deep") from failure


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises MissingFileError or ConfigError."""
    text = read_text(path, "JSON file of a model folder, which save_pretrained() writes")
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {with_article(type(values))}: expected an object.")
    return values


def utf8_name(file: IO[bytes]) -> str:
    """A name of a file that is open, for readers that want UTF-8; it is of use only while the file is open."""
    name = os.fspath(file.name)
    return f"/dev/fd/{file.fileno()}" if any("\ud800" <= letter <= "\udfff" for letter in name) else name
