"""Edits on disk: a folder with `config.json` and `model.safetensors` each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hyperstyle.checkpoint import (
    config_from_dict,
    config_to_dict,
    load_tensors,
    read_json,
    save_tensors,
    write_json,
)
from hyperstyle.edits.direction import DirectionEdit
from hyperstyle.edits.protocol import EditInfo
from hyperstyle.errors import EditError, MissingFileError
from hyperstyle.files import make_folder

__all__ = ["load_edit", "load_edits", "save_edit"]


@dataclasses.dataclass(frozen=True)
class _Config:
    type: str
    info: EditInfo
    rows: tuple[int, int] | None = None


def save_edit(edit: DirectionEdit, folder: str | Path) -> None:
    """Writes the edit into this folder."""
    folder = make_folder(folder)
    save_tensors(folder / "model.safetensors", {"direction": edit.direction.float()})
    write_json(folder / "config.json", config_to_dict(_Config("direction", edit.info, edit.rows)))


def load_edit(folder: str | Path) -> DirectionEdit:
    """The edit in this folder.

    Raises:
        MissingFileError, ConfigError, WeightsError: a file is missing or malformed.
        EditError: the folder describes a kind of edit this version does not know.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"{folder} is not a folder. An edit is a folder with config.json and model.safetensors.")
    config = config_from_dict(_Config, read_json(folder / "config.json"), str(folder / "config.json"))
    if config.type != "direction":
        raise EditError(f"{folder} describes an edit of type {config.type!r}: expected 'direction'.")
    tensors, _ = load_tensors(folder / "model.safetensors")
    if set(tensors) != {"direction"}:
        raise EditError(f"{folder / 'model.safetensors'} holds {sorted(tensors)}: expected one tensor, 'direction'.")
    return DirectionEdit(tensors["direction"], config.info, config.rows)


def load_edits(folder: Path) -> dict[str, DirectionEdit]:
    """All edits below a folder, by the names of their folders; none if there is no such folder."""
    if not folder.is_dir():
        return {}
    return {path.name: load_edit(path) for path in sorted(folder.iterdir()) if path.is_dir()}
