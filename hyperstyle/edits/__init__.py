"""Edits: ways to move an inverted code, behind one protocol."""

from __future__ import annotations

from hyperstyle.edits.direction import DirectionEdit
from hyperstyle.edits.protocol import Edit, EditInfo
from hyperstyle.edits.store import load_edit, load_edits, save_edit

__all__ = ["DirectionEdit", "Edit", "EditInfo", "load_edit", "load_edits", "save_edit"]
