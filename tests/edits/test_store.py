"""Edits on disk."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from hyperstyle.edits import DirectionEdit, EditInfo, load_edit, load_edits, save_edit, store
from hyperstyle.errors import CheckpointError, ConfigError, EditError, MissingFileError, WeightsError
from hyperstyle.io.components import save_tensors

INFO = EditInfo("age", -2.0, 4.0, "years", "a test", "0123", "age")


@pytest.mark.parametrize("rows", [None, (1, 3)])
@pytest.mark.parametrize("shape", [(5,), (4, 5)])
def test_an_edit_comes_back_as_it_was(tmp_path: Path, shape: tuple[int, ...], rows: tuple[int, int] | None) -> None:
    edit = DirectionEdit(torch.randn(shape), INFO, rows)
    save_edit(edit, tmp_path / "deep" / "age")
    loaded = load_edit(tmp_path / "deep" / "age")
    assert torch.equal(loaded.direction, edit.direction)
    assert (loaded.info, loaded.rows) == (INFO, rows)


def test_edits_of_a_folder_go_by_the_names_of_their_folders(tmp_path: Path) -> None:
    save_edit(DirectionEdit(torch.zeros(5), INFO), tmp_path / "older")
    save_edit(DirectionEdit(torch.ones(5), INFO), tmp_path / "age")
    (tmp_path / "notes.txt").write_text("not an edit", encoding="utf-8")
    edits = load_edits(tmp_path)
    assert list(edits) == ["age", "older"]
    assert edits["age"].direction[0] == 1
    assert load_edits(tmp_path / "nowhere") == {}


def test_a_folder_from_before_edits_named_their_trait_still_loads(tmp_path: Path) -> None:
    save_edit(DirectionEdit(torch.zeros(5), INFO), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["info"].pop("trait") == "age"
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_edit(tmp_path).info == dataclasses.replace(INFO, trait=None)


def test_what_is_no_edit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="is not a folder"):
        load_edit(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match=r"config\.json"):
        load_edit(tmp_path)
    save_edit(DirectionEdit(torch.zeros(5), INFO, (0, 2)), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))

    for change, error, message in (
        ({"type": "spell"}, EditError, "'spell'"),
        ({"type": "style"}, EditError, "expected a tensor for each layer"),
        ({"values": {"rows": [1]}}, EditError, "rows"),
        ({"values": 3}, ConfigError, "values"),
        ({"colour": 1}, ConfigError, "'colour'"),
        ({"info": {"name": "age", "low": "much"}}, ConfigError, "low"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}), encoding="utf-8")
        with pytest.raises(error, match=message):
            load_edit(tmp_path)

    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_tensors(tmp_path / "model.safetensors", {"boundary": torch.zeros(5)})
    with pytest.raises(EditError, match="'boundary'"):
        load_edit(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="not a readable"):
        load_edit(tmp_path)


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(CheckpointError, match="taken"):
        save_edit(DirectionEdit(torch.zeros(5), INFO), tmp_path / "taken")


@pytest.mark.parametrize("place", ["new", "old"])
def test_an_edit_that_was_not_written_to_the_end_leaves_the_old_one_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    save_edit(DirectionEdit(torch.zeros(5), INFO), tmp_path / "old")

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_json", broken)
    with pytest.raises(KeyboardInterrupt):
        save_edit(DirectionEdit(torch.ones(5), INFO), tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    edit = load_edit(tmp_path / "old")
    assert isinstance(edit, DirectionEdit)
    assert torch.equal(edit.direction, torch.zeros(5))
