"""`hyperstyle bench loading`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hyperstyle.cli import main
from hyperstyle.evaluation import loading
from hyperstyle.evaluation.loading import Loading, Spread

FOUND = Loading(
    model="models/faces",
    weights=3 << 29,
    seconds=Spread(2.0, 1.5, 3.25),
    official_seconds=Spread(4.0, 3.5, 5.0),
    official_mapped_seconds=None,
    imported=Spread(1 << 29, 1 << 29, 1 << 29),
    loaded=None,
    inverted=Spread(5 << 29, 5 << 29, 3 << 30),
    share=0.6,
    steps=5,
    repeats=3,
    machine={"cpu": "a fast one", "threads": 1},
)


def test_the_table_has_a_line_for_each_figure_that_was_taken(
    monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def measure(*args: Any, **kwargs: Any) -> Loading:
        asked.append((args, kwargs))
        return FOUND

    monkeypatch.setattr(loading, "measure_loading", measure)
    command = ["bench", "loading", str(tiny_model_dir), "--official", "a.pt", "--encoder", "b.pt", "--steps", "2"]
    assert main([*command, "--repeat", "7", "--picture", "me.jpg"]) == 0
    files = [Path("a.pt"), Path("b.pt")]
    assert asked == [
        ((tiny_model_dir,), {"official": files, "picture": Path("me.jpg"), "steps": 2, "repeats": 7}),
    ]
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "models/faces: 1.50 GiB of weights; medians of 3, smallest and largest",
        "load the model folder 2.00 (1.50 to 3.25) s",
        "torch.load of the official files 4.00 (3.50 to 5.00) s",
        "peak memory of the imports 0.50 (0.50 to 0.50) GiB",
        "peak memory after loading not known on this system",
        "peak memory after T=5, one picture 2.50 (2.50 to 3.00) GiB",
        "share of the weights in it 60%",
        "machine: cpu a fast one, threads 1",
    ]


def test_the_json_holds_what_was_really_measured(tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "loading", str(tiny_model_dir), "--repeat", "1", "--steps", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == set(Loading.__dataclass_fields__)
    assert found["seconds"]["median"] > 0
    assert found["official_seconds"] is None
    assert found["machine"]["dtype"] == "float32"


def test_what_cannot_be_measured_is_one_line(tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "loading", str(tiny_model_dir), "--repeat", "0"]) == 2
    assert capsys.readouterr().err == "hyperstyle: error: 0 repeats: expected 1 or more.\n"
