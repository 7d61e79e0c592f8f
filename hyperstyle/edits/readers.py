"""Edits from files: our own folders, and the direction files that others publish."""

from __future__ import annotations

from pathlib import Path

from hyperstyle.edits.protocol import StoredEdit
from hyperstyle.edits.store import load_folder

__all__ = ["load_edit"]


def load_edit(path: str | Path) -> StoredEdit:
    """The edit in this folder."""
    return load_folder(path)
