"""`hyperstyle bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hyperstyle.cli import main
from hyperstyle.evaluation import loading, strip
from hyperstyle.evaluation.loading import Loading, Spread
from hyperstyle.evaluation.strip import StripCost

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


def test_the_strip_table_has_a_line_for_each_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    seconds = Spread(3.0, 2.0, 4.0)
    found = StripCost(
        size=512,
        count=5,
        strip=seconds,
        singles=Spread(6.0, 5.0, 7.0),
        cpu=(seconds, Spread(4.5, 4.0, 5.0)),
        gain=2.0,
        difference=(1e-5, 0.5),
        built=1 << 30,
        strip_peak=3 << 29,
        singles_peak=None,
        repeats=2,
        machine={"cpu": "a fast one", "threads": 1},
    )

    def measure(*args: Any, **kwargs: Any) -> StripCost:
        asked.append((args, {**kwargs, "on_progress": None}))
        return found

    monkeypatch.setattr(strip, "measure_strip", measure)
    command = ["bench", "strip", "--size", "512", "--count", "5", "--repeat", "2", "--threads", "3", "--quiet"]
    assert main(command) == 0
    options = {"count": 5, "repeats": 2, "threads": 3, "device": "cpu", "on_progress": None}
    assert asked == [((512,), options)]
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "5 pictures of 512 px, published networks, random weights; medians of 2, smallest and largest",
        "one call 3.00 (2.00 to 4.00) s, of processor time 3.00 (2.00 to 4.00) s",
        "5 single calls 6.00 (5.00 to 7.00) s, of processor time 4.50 (4.00 to 5.00) s",
        "single calls through one call 2.00, of processor time 1.50",
        "largest difference of a value 1.0e-05, values vary by 0.50",
        "peak memory of the networks alone 1.00 GiB",
        "peak memory of one call 1.50 GiB",
        "peak memory of single calls not known on this system",
        "machine: cpu a fast one, threads 1",
    ]
    assert main([*command, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(StripCost.__dataclass_fields__)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "100"], "a strip of 100 px: expected 256, 512 or 1024"),
        (["--count", "1"], "1 pictures, 3 repeats, 1 threads: expected 2, 1 and 1, or more"),
    ],
)
def test_a_strip_that_cannot_be_measured_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["bench", "strip", "--quiet", *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.splitlines()) == 1
