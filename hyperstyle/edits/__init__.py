"""Edits: ways to move an inverted code or its styles, behind one protocol."""

from __future__ import annotations

from hyperstyle.edits.direction import DirectionEdit
from hyperstyle.edits.protocol import Edit, EditInfo, StoredEdit
from hyperstyle.edits.readers import load_edit
from hyperstyle.edits.store import load_edits, load_folder, save_edit

__all__ = ["DirectionEdit", "Edit", "EditInfo", "StoredEdit", "load_edit", "load_edits", "load_folder", "save_edit"]
