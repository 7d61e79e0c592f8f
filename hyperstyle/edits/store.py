"""Edits on disk: a folder with `config.json` and `model.safetensors` each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from hyperstyle.edits.direction import DirectionEdit
from hyperstyle.edits.ganspace import GanspaceEdit
from hyperstyle.edits.mapper import MapperEdit
from hyperstyle.edits.protocol import Edit, EditInfo, StoredEdit
from hyperstyle.edits.stylespace import StyleEdit
from hyperstyle.errors import CheckpointError, EditError, MissingFileError, with_article
from hyperstyle.io.components import load_tensors, save_tensors, write_json
from hyperstyle.io.file_kind import check_suffix
from hyperstyle.io.files import finish_replacing, replace_folder
from hyperstyle.io.opening import read_json
from hyperstyle.io.typed_config import config_from_dict, config_to_dict

C = TypeVar("C")

KINDS: Mapping[str, type[StoredEdit]] = {
    kind.kind: kind for kind in (DirectionEdit, GanspaceEdit, StyleEdit, MapperEdit)
}
"""The kinds of edits that have a form on disk, by what `config.json` calls them."""


@dataclasses.dataclass(frozen=True)
class _Config:
    type: str
    info: EditInfo
    values: dict[str, Any] = dataclasses.field(default_factory=dict)


def save_edit(edit: Edit, folder: str | Path) -> None:
    """Writes the edit into this folder. Both files of an edit already there are replaced, or neither; other files stay.

    Raises:
        CheckpointError: the edit is of none of the `KINDS`, or the folder cannot be written.
        HyperStyleError: a file cannot be written.
    """
    if not isinstance(edit, StoredEdit) or type(edit) not in KINDS.values():
        raise CheckpointError(f"edit {edit.info.name!r} is {with_article(type(edit))}, which has no form on disk.")
    tensors, values = edit.parts()
    write_folder(folder, _Config(edit.kind, edit.info, values), tensors)


def load_folder(folder: str | Path) -> StoredEdit:
    """The edit in this folder.

    Raises:
        MissingFileError, ConfigError, WeightsError: a file is missing or malformed.
        EditError: the folder describes a kind of edit this version does not know.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise MissingFileError(f"{folder} is not a folder. An edit is a folder with config.json and model.safetensors.")
    config, tensors = read_folder(folder, _Config)
    if config.type not in KINDS:
        raise EditError(f"{folder} describes an edit of type {config.type!r}: expected one of {', '.join(KINDS)}.")
    return KINDS[config.type].from_parts(config.info, tensors, config.values)


def load_edits(folder: Path) -> dict[str, StoredEdit]:
    """The edit in each folder directly inside this one, by the name of its folder; {} if there is no such folder.

    Hidden folders are ignored.

    Raises:
        HyperStyleError: what `load_folder` raises, for the first folder without a valid edit.
    """
    if not os.path.isdir(folder):
        return {}
    return {
        path.name: load_folder(path) for path in sorted(folder.iterdir()) if os.path.isdir(path) and path.name[0] != "."
    }


def write_folder(folder: str | Path, config: Any, tensors: Mapping[str, Tensor]) -> None:
    """Writes `config.json` from a dataclass, and `model.safetensors` in float32; both or neither.

    Raises:
        CheckpointError: the folder cannot be written. HyperStyleError: a file cannot.
    """
    check_suffix(folder, advice="An edit is a folder: give it another name.", error=CheckpointError)
    with replace_folder(folder, keep_others=True) as temporary:
        save_tensors(temporary / "model.safetensors", {name: tensor.float() for name, tensor in tensors.items()})
        write_json(temporary / "config.json", config_to_dict(config))


def read_folder(folder: str | Path, kind: type[C]) -> tuple[C, dict[str, Tensor]]:
    """What `write_folder` wrote: the config as a dataclass of this kind, and name -> tensor.

    Raises:
        MissingFileError, ConfigError, WeightsError: a file is missing or malformed.
    """
    finish_replacing(folder)
    path = Path(folder) / "config.json"
    config = config_from_dict(kind, read_json(path), str(path))
    return config, load_tensors(path.with_name("model.safetensors"))[0]
