"""`hyperstyle bench`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hyperstyle.cli import main
from hyperstyle.evaluation import loading, scaling, speed
from hyperstyle.evaluation.cases import Case, Workload
from hyperstyle.evaluation.journal import Record


def spread(median: float, low: float, high: float) -> dict[str, float]:
    return {"median": median, "low": low, "high": high}


LOADING: Record = {
    "model": "models/faces",
    "weights": 3 << 29,
    "seconds": spread(2.0, 1.5, 3.25),
    "official_seconds": spread(4.0, 3.5, 5.0),
    "official_mapped_seconds": None,
    "imported": spread(1 << 29, 1 << 29, 1 << 29),
    "loaded": None,
    "inverted": spread(5 << 29, 5 << 29, 3 << 30),
    "share": 0.6,
    "steps": 5,
    "repeats": 3,
    "machine": {"cpu": "a fast one", "threads": 1},
}


def test_the_table_has_a_line_for_each_figure_that_was_taken(
    monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []

    def measure(*args: Any, **kwargs: Any) -> Record:
        calls.append((args, kwargs))
        return LOADING

    monkeypatch.setattr(loading, "measure_loading", measure)
    for name in ("a.pt", "b.pt", "me.jpg"):
        Path(name).touch()
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


def test_the_json_is_the_whole_report(
    monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "measure_loading", lambda *_, **__: LOADING)
    assert main(["bench", "loading", str(tiny_model_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == LOADING


def test_what_cannot_be_measured_is_one_line(tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "loading", str(tiny_model_dir), "--repeat", "0"]) == 2
    assert capsys.readouterr().err == "hyperstyle: error: --repeat 0: expected 1 or more.\n"


MEASURED: Record = {
    "ratio_batch8": 3.0,
    "ratio_float32": None,
    "memory_above_weights_ratio": 0.5,
    "agreement": 1e-5,
    "agreement_edit_strip": None,
    "weights": "random weights",
    "size": 256,
    "steps": 2,
    "batch": 3,
    "repeats": 2,
    "pairs": [
        {
            "name": "batch8",
            "dtype": "float32",
            "pictures": 8,
            "together": False,
            "ratio": spread(3.0, 2.5, 3.5),
            "cpu_ratio": spread(3.25, 3.0, 3.5),
            "fast": spread(5.0, 4.5, 5.5),
            "plain": spread(15.0, 14.0, 16.0),
            "fast_cpu": spread(9.0, 9.0, 9.0),
            "plain_cpu": spread(29.0, 29.0, 29.0),
            "gflops": 222.0,
            "arithmetic_share": 0.5,
            "memory_share": 0.25,
        }
    ],
    "errors": {
        "bfloat16": {
            "image": {"largest": 0.25, "mean": 0.01, "psnr": 40.0, "identity": None},
            "edit": {"largest": math.nan, "mean": math.inf, "psnr": None, "identity": None},
        }
    },
    "memory": {"built": 1 << 30, "fast": 3 << 29, "plain": 1 << 31},
    "rates": [
        {
            "dtype": "float32",
            "batch": 8,
            "pictures_per_second": 4.0,
            "seconds": spread(2.0, 2.0, 2.0),
            "networks": spread(1.5, 1.5, 1.5),
        }
    ],
    "ceilings": {"float32": 444e9, "memory": 20e9},
    "missing": {"bfloat16": "this processor has no bfloat16 instructions"},
    "machine": {"cpu": "a fast one", "threads": 1},
}


def recorded_calls(monkeypatch: pytest.MonkeyPatch, measured: Record) -> list[Any]:
    calls: list[Any] = []

    def measure(case: Case, work: Workload, rows: list[str] | None, on_progress: object) -> Record:
        calls.append((case, work, rows))
        return measured

    monkeypatch.setattr(speed, "measure_speed", measure)
    return calls


def test_without_more_words_it_compares_the_library_with_the_plain_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = recorded_calls(monkeypatch, MEASURED)
    file = tmp_path / "speed.json"
    assert main(["bench", "--quiet", "--json", str(file)]) == 0
    assert calls == [(Case(1024, None, "cpu"), Workload(5, 1), None)]
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "256 px, T=2, batch 3, random weights",
        "seconds for each image, medians of 2 pairs of runs, smallest and largest",
        "library plain path times as fast by cpu GFLOP/s share",
        "batch8 5.00 (4.50 to 5.50) 15.00 (14.00 to 16.00) 3.00 (2.50 to 3.50) 3.25 222 50%",
        "batch8: the plain path one by one; 8 at once might not fit into memory",
        "bfloat16: not measured, this processor has no bfloat16 instructions",
        "largest difference in float32, image: 1.0e-05",
        "error of at most mean PSNR in dB identity",
        "bfloat16, image 0.2500 0.01000 40.0 -",
        "bfloat16, edit nan inf - -",
        "peak memory in GiB: 1.00 built, 1.50 library, 2.00 plain path; above the weights 0.50 of it",
        "inversions batch images/s seconds a batch of it the networks",
        "float32 8 4.00 2.00 (2.00 to 2.00) 1.50 (1.50 to 1.50)",
        "the most here, float32: 444 GFLOP/s of a 3x3 convolution",
        "the most here, memory: 20 GB/s of copies",
        "machine: cpu a fast one, threads 1",
    ]
    report = json.loads(file.read_text(encoding="utf-8"))
    assert {name: report[name] for name in ("ratio_batch8", "ratio_float32", "agreement")} == {
        "ratio_batch8": 3.0,
        "ratio_float32": None,
        "agreement": 1e-5,
    }
    assert report["memory_above_weights_ratio"] == 0.5
    assert set(report["errors"]["bfloat16"]["edit"].values()) == {None}  # JSON has no NaN


def test_every_option_reaches_the_measuring(
    monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = recorded_calls(monkeypatch, MEASURED)
    options = ["--steps", "3", "--batch", "2", "--repeat", "4", "--threads", "1", "--rows", "float32", "memory"]
    assert main(["bench", "--quiet", "--model", str(tiny_model_dir), "--device", "cpu", *options]) == 0
    case = Case(1024, str(tiny_model_dir), "cpu", repeat=4, threads=1)
    assert calls == [(case, Workload(3, 2), ["float32", "memory"])]


@pytest.mark.parametrize("difference", [2e-3, math.nan])
def test_paths_that_do_not_agree_are_an_error_after_the_table(
    difference: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded_calls(monkeypatch, MEASURED | {"agreement_edit_strip": difference})
    assert main(["bench", "--quiet"]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("256 px")
    assert len(shown.err.splitlines()) == 1
    assert f"broken on this machine: the strip differs from the plain path's by {difference:.1e}" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "100"], "--size 100: expected 256, 512 or 1024"),
        (["--size", "256", "--model", "avatars"], "--size 256 with --model avatars, which has its own"),
        (["--model", "no/such/model/here"], "no/such/model/here"),
        (["--device", "warp"], "--device 'warp': models run on"),
        (["--steps", "0"], "--steps 0: expected 1 or more"),
        (["--threads", "1000000"], "1000000 threads: this machine has"),
        (["scaling", "--threads", "1000000"], "1000000 threads: this machine has"),
        (["scaling", "--plot", "a.png", "--json", "./a.png"], "both name 'a.png': expected two files"),
        (["--rows", "quick"], "nothing called 'quick' is measured"),
        (["--json", "no/such/folder/x.json"], "the folder of 'no/such/folder/x.json' does not exist"),
        (["--json", "."], "'.' is a folder: expected the name of a file"),
        (["--steps", "0", "loading", "avatars"], "--steps stands before 'loading'"),
        (["--size", "256", "scaling"], "--size stands before 'scaling', which has options of its own"),
        (["scaling", "--plot", "plot.jpg"], "'plot.jpg' cannot be written: expected a name that ends in .png"),
        (["scaling", "--model", "avatars", "--over", "size"], "--over size with --model avatars, which has one size"),
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
    seconds = spread(1.0, 0.5, 2.0)
    cost: Record = {"over": "steps", "value": 5, "way": "fast", "seconds": seconds, "cpu": seconds, "peak": 1 << 30}
    costs = [cost, cost | {"way": "plain", "peak": None}]
    calls: list[Any] = []

    def measure(*args: Any, **kwargs: Any) -> Record:
        calls.append((args, {name: value for name, value in kwargs.items() if name != "on_progress"}))
        return {"weights": "random weights", "repeats": 3, "costs": costs, "machine": {"threads": 1}}

    monkeypatch.setattr(scaling, "measure_scaling", measure)
    command = ["bench", "scaling", "--quiet", "--size", "256", "--over", "steps", "size", "--plain", "--no-memory"]
    assert main([*command, "--repeat", "2", "--json", "costs.json", "--plot", "costs.png"]) == 0
    assert calls == [((Case(256, repeat=2), ["steps", "size"]), {"plain": True, "memory": False})]
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "random weights; seconds, medians of 3, smallest and largest; peak memory",
        "over value path seconds GiB",
        "steps 5 library 1.00 (0.50 to 2.00) 1.00",
        "steps 5 plain 1.00 (0.50 to 2.00) -",
        "machine: threads 1",
    ]
    assert json.loads(Path("costs.json").read_text(encoding="utf-8"))["costs"][0]["peak"] == 1 << 30
    assert Path("costs.png").read_bytes().startswith(b"\x89PNG")
