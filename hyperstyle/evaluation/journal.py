"""Figures of single images in a file that grows by a line as each is measured, so that an interrupted run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperstyle.errors import ConfigError
from hyperstyle.io.files import append_line, write_text
from hyperstyle.io.opening import parse_json, read_bytes

Record = dict[str, Any]
"""One line: "method" and "picture" name it; the other entries are what was measured."""


class Journal:
    """The lines of a `rows.jsonl`, those that were there and new ones.

    The first line says what all others depend on. A last line without an end, as a killed run leaves it, is dropped.

    Args:
        path: the file, which is created where it is not there; None keeps the rows in memory alone.
        about: what the figures depend on, as plain values; a file with another one is refused.

    Raises:
        ConfigError: the file was begun about something else, or holds something else.
        HyperStyleError: it cannot be written.
    """

    def __init__(self, path: Path | None = None, about: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self._rows: dict[tuple[str, str], Record] = {}
        if path is not None:
            self._open(path, json.loads(json.dumps(about)))  # tuples become lists, as in the file

    def _open(self, path: Path, about: Mapping[str, Any]) -> None:
        content = read_bytes(path, "journal of a report", error=ConfigError) if os.path.lexists(path) else b""
        complete = content[: content.rfind(b"\n") + 1]
        lines = complete.splitlines()
        if not lines:
            write_text(path, json.dumps(about, allow_nan=False) + "\n")
            return
        try:
            header, *rows = (parse_json(line) for line in lines)
            self._rows = {(row["method"], row["picture"]): row for row in rows}
            changed = [key for key in {**header, **about} if header.get(key) != about.get(key)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path} holds no rows of a report. Choose another --out, or remove the file.") from error
        if changed:
            key = changed[0]
            raise ConfigError(
                f"{path} was begun with {key} = {_short(header.get(key))}, and this run has {_short(about.get(key))}. "
                "Choose another --out, or remove the file to measure anew."
            )
        if len(complete) < len(content):
            with path.open("r+b") as file:
                file.truncate(len(complete))

    def get(self, method: str, image: str) -> Record | None:
        """What was measured of this image; None where nothing was."""
        return self._rows.get((method, image))

    def add(self, row: Record) -> None:
        """Writes a line, or a later one that counts instead.

        Raises:
            HyperStyleError: it cannot be written, as where the disk is full; the lines before it stay.
        """
        if self.path is not None:
            append_line(self.path, json.dumps(row, allow_nan=False))
        self._rows[row["method"], row["picture"]] = row


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
