"""`hyperstyle evaluate alignment`: the table on the screen, the same figures in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from examples.avatars.renderer.snapshots import snapshots
from hyperstyle import HyperStyleInverter
from hyperstyle.cli import main
from hyperstyle.evaluation import HELD_OUT_SEED

ROW = {
    "pictures",
    "count",
    "detected",
    "false",
    "pixels",
    "relative",
    "relative_95",
    "corners",
    "corners_95",
    "seconds",
}

Points = npt.NDArray[np.float64]


def first_photo(photo: Image.Image) -> list[Points]:
    """Knows the first held-out photo, and finds nothing else."""
    known = next(snapshots(1, seed=HELD_OUT_SEED, size=64, supersample=2))
    return [known.landmarks + np.array([0, 2])] if photo == known.image else []


@pytest.fixture
def model_with(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Image.Image], list[Points]] | None], None]:
    """Makes the command use the tiny model with this aligner."""

    def use(aligner: Callable[[Image.Image], list[Points]] | None) -> None:
        inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
        inverter.aligner = aligner
        monkeypatch.setattr("hyperstyle.cli.evaluate.load_inverter", lambda _: inverter)

    return use


def test_it_prints_the_table_and_writes_the_same_figures(
    model_with: Callable[[object], None], in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_with(first_photo)
    assert main(["evaluate", "alignment", "--count", "2", "--size", "64", "--json", "rows.json", "--quiet"]) == 0
    printed, error = capsys.readouterr()
    assert error == ""
    found = json.loads(Path("rows.json").read_text(encoding="utf-8"))
    assert set(found) == {"machine", "pictures", "aligner", "rows", "differences"}
    assert found["pictures"] == {"count": 2, "seed": HELD_OUT_SEED}
    assert found["aligner"] == "model"
    assert found["differences"] == []
    photos, crops = found["rows"]
    assert set(photos) == set(crops) == ROW
    assert (photos["detected"], photos["false"], round(photos["pixels"], 6)) == (0.5, 0, 2.0)
    assert (crops["detected"], crops["pixels"]) == (0.0, None)
    lines = [line.split() for line in printed.splitlines()]
    assert lines[1][:7] == ["photos", "64", "px", "2", "50.0%", "0", "2.00"]
    assert lines[2][:6] == ["crops", "32", "px", "2", "0.0%", "0"]


def test_photos_are_compared_with_mtcnn(
    model_with: Callable[[object], None],
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    face = next(snapshots(1, seed=3, size=64)).landmarks
    model_with(lambda photo: [face] if photo.width == 64 else [])
    weights: list[Path] = []

    def mtcnn(path: Path) -> Callable[[Image.Image], list[Points]]:
        weights.append(path)
        return lambda _: [face + np.array([3, 4])]

    monkeypatch.setattr("hyperstyle.align.mtcnn.MtcnnDetector", mtcnn)
    Image.new("RGB", (64, 64)).save("a.png")
    Image.new("RGB", (70, 64)).save("b.png")
    arguments = ["--photos", ".", "--mtcnn", "weights", "--count", "1", "--size", "64", "--json", "rows.json"]
    assert main(["evaluate", "alignment", *arguments, "--quiet"]) == 0
    assert weights == [Path("weights")]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["a.png", "64x64", "1", "1", "5.0"] in [line[:5] for line in lines]
    assert ["b.png", "70x64", "0", "1", "-", "-", "-"] in lines
    differences = json.loads(Path("rows.json").read_text(encoding="utf-8"))["differences"]
    assert [(one["photo"], one["faces"]) for one in differences] == [("a.png", [1, 1]), ("b.png", [0, 1])]


def test_a_model_without_an_aligner_says_so(
    model_with: Callable[[object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    model_with(None)
    assert main(["evaluate", "alignment", "--quiet"]) == 2
    assert "this model has no aligner" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "--count 0: expected 1 or more"),
        (["--json", "nowhere/rows.json"], "the folder of 'nowhere/rows.json' does not exist"),
        (["--photos", "."], "--photos and --mtcnn go together"),
        (["--mtcnn", "."], "--photos and --mtcnn go together"),
        (["--photos", ".", "--mtcnn", "."], "there are no pictures in '.'"),
    ],
)
def test_bad_arguments_are_one_line_before_any_work(
    arguments: list[str],
    message: str,
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hyperstyle.cli.evaluate.load_inverter", None)  # nobody calls it
    assert main(["evaluate", "alignment", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
