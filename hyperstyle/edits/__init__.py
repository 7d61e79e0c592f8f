"""Edits: ways to move a latent code or its styles (StyleSpace), behind one protocol."""

from __future__ import annotations

from hyperstyle.edits.direction import DirectionEdit
from hyperstyle.edits.ganspace import Components, GanspaceEdit
from hyperstyle.edits.interfacegan import conditional, to_boundary
from hyperstyle.edits.mapper import MapperEdit
from hyperstyle.edits.protocol import Edit, EditInfo, StoredEdit
from hyperstyle.edits.readers import load_edit
from hyperstyle.edits.sefa import sefa
from hyperstyle.edits.store import load_edits, load_folder, save_edit
from hyperstyle.edits.styleclip import StyleClip
from hyperstyle.edits.stylespace import StyleEdit, channel_edit, published_channels

__all__ = [
    "Components",
    "DirectionEdit",
    "Edit",
    "EditInfo",
    "GanspaceEdit",
    "MapperEdit",
    "StoredEdit",
    "StyleClip",
    "StyleEdit",
    "channel_edit",
    "conditional",
    "load_edit",
    "load_edits",
    "load_folder",
    "published_channels",
    "save_edit",
    "sefa",
    "to_boundary",
]
