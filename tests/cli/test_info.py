"""`hyperstyle info` for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyperstyle.cli import main
from hyperstyle.inverter import HyperStyleInverter


def info(model: Path, *arguments: str) -> int:
    return main(["info", "--model", str(model), "--device", "cpu", *arguments])


def test_the_json_is_the_description_of_the_model(tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert info(tiny_model_dir, "--json") == 0
    description = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu").describe()
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(description))


def test_the_table_shows_every_entry_every_edit_and_its_range(
    tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert info(tiny_model_dir) == 0
    shown = capsys.readouterr().out
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    for name in inverter.describe():
        assert any(line.startswith(name) for line in shown.splitlines()), name
    for name, edit in inverter.edits.items():
        line = next(line for line in shown.splitlines() if line.strip().startswith(name))
        assert f"{edit.info.low:g}" in line
        assert f"{edit.info.high:g}" in line
        assert edit.info.unit in line
    assert max(map(len, shown.splitlines())) <= 120
