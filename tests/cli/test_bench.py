"""`hyperstyle bench`."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hyperstyle.cli import main
from hyperstyle.evaluation import loading, scaling, speed
from hyperstyle.evaluation.cases import Case
from hyperstyle.evaluation.loading import Loading, Spread
from hyperstyle.evaluation.scaling import Cost, Scaling
from hyperstyle.evaluation.speed_figures import Error, Memory, Pair, Rate, Speed

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
    calls: list[Any] = []

    def measure(*args: Any, **kwargs: Any) -> Loading:
        calls.append((args, kwargs))
        return FOUND

    monkeypatch.setattr(loading, "measure_loading", measure)
    command = ["bench", "loading", str(tiny_model_dir), "--official", "a.pt", "--encoder", "b.pt", "--steps", "2"]
    assert main([*command, "--repeat", "7", "--picture", "me.jpg"]) == 0
    files = [Path("a.pt"), Path("b.pt")]
    assert calls == [
        ((tiny_model_dir,), {"official": files, "image": Path("me.jpg"), "steps": 2, "repeats": 7}),
    ]
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "models/faces: 1.50 GiB of weights; medians of 3, smallest and largest",
        "load the model folder 2.00 (1.50 to 3.25) s",
        "torch.load of the official files 4.00 (3.50 to 5.00) s",
        "peak memory of the imports 0.50 (0.50 to 0.50) GiB",
        "peak memory after loading not known on this system",
        "peak memory after T=5, one image 2.50 (2.50 to 3.00) GiB",
        "share of the weights in it 60%",
        "machine: cpu a fast one, threads 1",
    ]


def test_the_json_holds_what_was_really_measured(tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "loading", str(tiny_model_dir), "--repeat", "1", "--steps", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == set(Loading.__dataclass_fields__)
    assert report["seconds"]["median"] > 0
    assert report["official_seconds"] is None
    assert report["machine"]["dtype"] == "float32"


def test_what_cannot_be_measured_is_one_line(tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "loading", str(tiny_model_dir), "--repeat", "0"]) == 2
    assert capsys.readouterr().err == "hyperstyle: error: 0 repeats: expected 1 or more.\n"


PAIR = Pair(
    name="batch8",
    dtype="float32",
    pictures=8,
    together=False,
    ratio=Spread(3.0, 2.5, 3.5),
    cpu_ratio=Spread(3.25, 3.0, 3.5),
    fast=Spread(5.0, 4.5, 5.5),
    plain=Spread(15.0, 14.0, 16.0),
    fast_cpu=Spread(9.0, 9.0, 9.0),
    plain_cpu=Spread(29.0, 29.0, 29.0),
    gflops=222.0,
    arithmetic_share=0.5,
    memory_share=0.25,
)
MEASURED = Speed(
    weights="random weights",
    size=256,
    steps=2,
    batch=3,
    repeats=2,
    pairs=(PAIR,),
    agreement={"image": 1e-5},
    errors={"bfloat16": {"image": Error(0.25, 0.01, 40.0, None), "edit": Error(None, None, None, None)}},
    memory=Memory(1 << 30, 3 << 29, 1 << 31),
    rates=(Rate("float32", 8, 4.0, Spread(2.0, 2.0, 2.0), Spread(1.5, 1.5, 1.5)),),
    ceilings={"float32": 444e9, "memory": 20e9},
    missing={"bfloat16": "this processor has no bfloat16 instructions"},
    machine={"cpu": "a fast one", "threads": 1},
)


def recorded_calls(monkeypatch: pytest.MonkeyPatch, measured: Speed) -> list[Any]:
    calls: list[Any] = []

    def measure(case: Case, **kwargs: Any) -> Speed:
        calls.append((case, {name: value for name, value in kwargs.items() if name != "on_progress"}))
        return measured

    monkeypatch.setattr(speed, "measure_speed", measure)
    return calls


def test_without_more_words_it_compares_the_library_with_the_plain_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = recorded_calls(monkeypatch, MEASURED)
    file = tmp_path / "speed.json"
    assert main(["bench", "--quiet", "--json", str(file)]) == 0
    assert calls == [(Case(1024, None, "cpu"), {})]
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "256 px, T=2, batch 3, random weights",
        "seconds for each image, medians of 2 pairs of runs, smallest and largest",
        "library plain path times as fast by cpu GFLOP/s share",
        "batch8 5.00 (4.50 to 5.50) 15.00 (14.00 to 16.00) 3.00 (2.50 to 3.50) 3.25 222 50%",
        "batch8: the plain path one by one; 8 at once might not fit into memory",
        "bfloat16: not measured, this processor has no bfloat16 instructions",
        "largest difference in float32, image 1.0e-05",
        "error of bfloat16, image at most 0.2500, mean 0.01000, PSNR in dB 40.0",
        "error of bfloat16, edit not finite",
        "peak memory in GiB 1.00 built, 1.50 library, 2.00 plain path; above the weights 0.50 of it",
        "float32, batch 8 4.00 images/s, 2000.0 ms a batch, 1500.0 ms of it the networks",
        "the most here, float32 444 GFLOP/s of a 3x3 convolution",
        "the most here, memory 20 GB/s of copies",
        "machine: cpu a fast one, threads 1",
    ]
    report = json.loads(file.read_text(encoding="utf-8"))
    assert {name: report[name] for name in ("ratio_batch8", "ratio_float32", "agreement")} == {
        "ratio_batch8": 3.0,
        "ratio_float32": None,
        "agreement": 1e-5,
    }
    assert report["memory_above_weights_ratio"] == 0.5


def test_every_option_reaches_the_measuring(
    monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = recorded_calls(monkeypatch, MEASURED)
    options = ["--steps", "3", "--batch", "2", "--repeat", "4", "--threads", "1", "--rows", "float32", "memory"]
    assert main(["bench", "--quiet", "--model", str(tiny_model_dir), "--device", "cpu", *options]) == 0
    expected_options = {"steps": 3, "batch": 2, "repeats": 4, "threads": 1, "rows": ["float32", "memory"]}
    assert calls == [(Case(1024, str(tiny_model_dir), "cpu"), expected_options)]


@pytest.mark.parametrize("difference", [2e-3, math.nan])
def test_paths_that_do_not_agree_are_an_error_after_the_table(
    difference: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded_calls(monkeypatch, replace(MEASURED, agreement={"image": 1e-5, "strip": difference}))
    assert main(["bench", "--quiet"]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("256 px")
    assert len(shown.err.splitlines()) == 1
    assert f"broken on this machine: the strip differs from the plain path's by {difference:.1e}" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "100"], "a model of 100 px: expected 256, 512 or 1024"),
        (["--size", "256", "--model", "avatars"], "--size 256 with --model avatars, which has its own"),
        (["--model", "no/such/model/here"], "no/such/model/here"),
        (["--device", "warp"], "device 'warp' is not known"),
        (["--steps", "0"], "0 steps, batch 1, 3 repeats"),
        (["--threads", "1000000"], "1000000 threads: this machine has"),
        (["scaling", "--threads", "1000000"], "1000000 threads: this machine has"),
        (["scaling", "--plot", "a.png", "--json", "./a.png"], "both name 'a.png': expected two files"),
        (["--rows", "quick"], "nothing called 'quick' is measured"),
        (["--json", "no/such/folder/x.json"], "the folder of 'no/such/folder/x.json' does not exist"),
        (["--json", "."], "'.' is a folder: expected the name of a file"),
        (["--steps", "0", "loading", "avatars"], "--steps stands before 'loading'"),
        (["--size", "256", "scaling"], "--size stands before 'scaling', which has options of its own"),
        (["scaling", "--plot", "plot.jpg"], "'plot.jpg' cannot be written: expected a name that ends in .png"),
        (["scaling", "--model", "avatars", "--over", "size"], "'avatars' has one size"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_a_model_is_built(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(Case, "build", lambda *_: pytest.fail("built"))
    assert main(["bench", *arguments]) == 2  # nor is there a progress bar
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.splitlines()) == 1


def test_scaling_prints_and_writes_what_it_found(
    monkeypatch: pytest.MonkeyPatch, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = Spread(1.0, 0.5, 2.0)
    costs = (
        Cost("steps", 5, "fast", seconds, seconds, 1 << 30, 1 << 29),
        Cost("steps", 5, "plain", seconds, seconds, None, 1 << 29),
    )
    calls: list[Any] = []

    def measure(*args: Any, **kwargs: Any) -> Scaling:
        calls.append((args, {name: value for name, value in kwargs.items() if name != "on_progress"}))
        return Scaling("random weights", 3, costs, {"threads": 1})

    monkeypatch.setattr(scaling, "measure_scaling", measure)
    command = ["bench", "scaling", "--quiet", "--size", "256", "--over", "steps", "size", "--plain", "--no-memory"]
    assert main([*command, "--repeat", "2", "--json", "costs.json", "--plot", "costs.png"]) == 0
    assert calls == [((Case(256), ["steps", "size"]), {"plain": True, "memory": False, "repeats": 2})]
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "random weights; seconds, medians of 3, smallest and largest; peak memory",
        "steps 5 library 1.00 (0.50 to 2.00) s 1.00 GiB",
        "steps 5 plain 1.00 (0.50 to 2.00) s",
        "machine: threads 1",
    ]
    assert json.loads(Path("costs.json").read_text(encoding="utf-8"))["costs"][0]["peak"] == 1 << 30
    assert Path("costs.png").read_bytes().startswith(b"\x89PNG")
