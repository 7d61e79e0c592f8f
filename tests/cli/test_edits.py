"""`hyperstyle edits`: the edits of a model, and adding one."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest
import torch

from hyperstyle.cli import edits
from hyperstyle.edits import DirectionEdit, EditInfo, save_edit
from hyperstyle.errors import ConfigError, EditError, EditWarning, HyperStyleError, MissingFileError
from hyperstyle.inverter import HyperStyleInverter


def command(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    edits.add_parser(parser.add_subparsers())
    args = parser.parse_args(["edits", *map(str, arguments)])
    return args.run(args)


def listed(model: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Name -> the lines below it."""
    capsys.readouterr()
    assert command("--model", model, "--device", "cpu") == 0
    entries: dict[str, str] = {}
    for line in capsys.readouterr().out.splitlines():
        if not line.startswith(" "):
            name = line
        entries[name] = entries.get(name, "") + line + "\n"
    return entries


@pytest.fixture
def model(tiny_model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "model"))


@pytest.fixture
def direction(tmp_path: Path) -> Path:
    torch.save(torch.nn.functional.normalize(torch.randn(1, 16)), tmp_path / "older.pt")
    return tmp_path / "older.pt"


def test_the_model_may_be_named_before_or_after_the_action(
    model: Path, direction: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words in (("first", ("--model", model, "add")), ("second", ("add", "--model", model))):
        assert command(*words, direction, "--name", name) == 0
    assert list(listed(model, capsys)) == ["age", "first", "second", "smile"]
    with pytest.raises(ConfigError, match="is the bundled model"):
        command("add", direction, "--name", "third")


def test_the_list_tells_space_range_unit_source_and_maker(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inverter = HyperStyleInverter.from_pretrained(model, device="cpu")
    fingerprint_here = inverter.model.generator_fingerprint
    for name, fingerprint in (("mine", fingerprint_here), ("theirs", "0123456789abcdef")):
        info = EditInfo(name, -1.5, 2.0, "steps", "a test", fingerprint, relative=False)
        save_edit(DirectionEdit(torch.randn(16), info), model / "edits" / name)
    top = json.loads((model / "hyperstyle.json").read_text(encoding="utf-8"))
    top["edits"] += ["mine", "theirs"]
    (model / "hyperstyle.json").write_text(json.dumps(top), encoding="utf-8")

    entries = listed(model, capsys)
    assert list(entries) == ["age", "mine", "smile", "theirs"]
    for text in (
        "space     w\n",
        "-1.5 to 2 steps\n",
        "absolute",
        "source    a test\n",
        f"this generator ({fingerprint_here})",
    ):
        assert text in entries["mine"]
    assert "another generator (0123456789abcdef)" in entries["theirs"]
    assert "relative: 0 is no edit" in entries["age"]
    assert "made for  not known" in entries["age"]


def test_a_published_direction_becomes_an_edit_of_the_model(
    model: Path, direction: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("add", direction, "--model", model, "--name", "years", "--rows", "1:3", "--halved", "--unit=y") == 0
    assert "years\n" in capsys.readouterr().out
    edit = HyperStyleInverter.from_pretrained(model, device="cpu").edits["years"]
    vector = torch.load(direction, weights_only=True)[0]
    moved = edit(torch.zeros(1, 8, 16), 2.0)[0]
    torch.testing.assert_close(moved[1:3], vector.expand(2, 16))
    assert not moved[[0, *range(3, 8)]].any()
    assert (edit.info.name, edit.info.unit, edit.info.low) == ("years", "y", -3.0)
    generator = HyperStyleInverter.from_pretrained(model, device="cpu").model.generator_fingerprint
    assert edit.info.model == generator  # that it is for this one, the user said
    assert "moves     rows 1 to 2\n" in listed(model, capsys)["years"]
    assert list(listed(model, capsys)) == ["age", "smile", "years"]


def test_a_component_by_its_published_name_becomes_an_edit_of_the_model(model: Path, tmp_path: Path) -> None:
    comp = torch.linalg.qr(torch.randn(50, 16))[0][:, None]
    torch.save({"mean": torch.zeros(1, 16), "comp": comp, "std": torch.ones(50)}, tmp_path / "cars_pca.pt")
    assert command("add", tmp_path / "cars_pca.pt", "--model", model, "--name", "cube", "--relative") == 0
    edit = HyperStyleInverter.from_pretrained(model, device="cpu").edits["cube"]
    moved = edit(torch.zeros(1, 8, 16), 2.0)[0]
    torch.testing.assert_close(moved[3:6], (2 * comp[16]).expand(3, 16))


def test_what_does_not_fit_leaves_the_model_as_it_was(
    model: Path, direction: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in sorted(model.rglob("*")) if path.is_file()}
    save_edit(DirectionEdit(torch.randn(16), EditInfo("other", model="0123456789abcdef")), tmp_path / "other")
    torch.save(torch.randn(1, 20), tmp_path / "wide.pt")
    for arguments, error, message in (
        (("add", direction, "--model", model, "--name", "age"), EditError, "'age' already"),
        (("add", direction, "--model", model, "--name", "../age"), ConfigError, "expected a name for a folder"),
        (("add", direction, "--model", model, "--name", "a=b"), ConfigError, "expected a name for a folder"),
        (("add", direction, "--model", model, "--name", "old", "--rows", "4:99"), EditError, "8 rows"),
        (("add", tmp_path / "wide.pt", "--model", model, "--name", "old"), EditError, r"\[16\]"),
        (("add", tmp_path / "other", "--model", model, "--name", "old"), EditError, "made for the generator 0123"),
        (("add", tmp_path / "no.pt", "--model", model, "--name", "old"), MissingFileError, r"no\.pt"),
    ):
        with pytest.raises(error, match=message):
            command(*arguments)

    def full(*_: object) -> None:
        raise HyperStyleError("the disk is full")

    with monkeypatch.context() as context:
        context.setattr("hyperstyle.model.folder.write_json", full)
        with pytest.raises(HyperStyleError, match="disk is full"):
            command("add", direction, "--model", model, "--name", "old")
    assert {path: path.read_bytes() for path in sorted(model.rglob("*")) if path.is_file()} == before
    assert sorted(path.name for path in (model / "edits").iterdir()) == ["age", "smile"]

    with pytest.warns(EditWarning, match="made for the generator 0123"):
        command("add", tmp_path / "other", "--model", model, "--name", "old", "--other-model")


def test_a_leftover_folder_that_the_model_does_not_name_is_replaced(model: Path, direction: Path) -> None:
    (model / "edits" / "years").mkdir()
    (model / "edits" / "years" / "junk").write_text("old", encoding="utf-8")
    command("add", direction, "--model", model, "--name", "years")
    assert sorted(path.name for path in (model / "edits" / "years").iterdir()) == ["config.json", "model.safetensors"]


def test_the_bundled_model_and_folders_without_a_model_are_refused(direction: Path, tmp_path: Path) -> None:
    from hyperstyle.io.hub import BUNDLED

    for bundled in ("avatars", BUNDLED["avatars"]):
        with pytest.raises(ConfigError, match=r"bundled model.*save_pretrained"):
            command("add", direction, "--model", bundled, "--name", "old")
    with pytest.raises(MissingFileError, match=r"hyperstyle\.json"):
        command("add", direction, "--model", tmp_path, "--name", "old")


@pytest.mark.parametrize("rows", ["3", "6:3", "a:b", "3:3"])
def test_rows_that_are_no_range_are_refused(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command("add", "x.pt", "--model", "m", "--name", "n", "--rows", rows)
    assert "FIRST:END" in capsys.readouterr().err
