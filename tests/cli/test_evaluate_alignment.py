"""`hyperstyle evaluate alignment`: the table on the screen, the same figures in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hyperstyle import HyperStyleInverter
from hyperstyle.cli import main
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from conftest import Portrait

Points = npt.NDArray[np.float64]


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


def test_photos_are_compared_with_mtcnn(
    model_with: Callable[[object], None],
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    portrait: Portrait,
) -> None:
    face = portrait(3, (64, 80))[1]
    model_with(lambda photo: [face] if photo.width == 64 else [])
    weights: list[Path] = []

    def mtcnn(path: Path) -> Callable[[Image.Image], list[Points]]:
        weights.append(path)
        return lambda _: [face + np.array([3, 4])]

    monkeypatch.setattr("hyperstyle.align.mtcnn.MtcnnDetector", mtcnn)
    Path("weights").mkdir()
    Image.new("RGB", (64, 64)).save("a.png")
    Image.new("RGB", (70, 64)).save("b.png")
    arguments = ["--photos", ".", "--mtcnn", "weights", "--json", "rows.json"]
    assert main(["evaluate", "alignment", *arguments, "--quiet"]) == 0
    assert weights == [Path("weights")]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["a.png", "64x64", "1", "1", "5.0"] in [line[:5] for line in lines]
    assert ["b.png", "70x64", "0", "1", "-", "-", "-"] in lines
    report = json.loads(Path("rows.json").read_text(encoding="utf-8"))
    assert set(report) == {"machine", "pictures", "aligner", "differences"}
    assert (report["pictures"], report["aligner"]) == ({"count": 2}, "auto")
    differences = report["differences"]
    assert [(entry["photo"], entry["faces"]) for entry in differences] == [("a.png", [1, 1]), ("b.png", [0, 1])]


def test_a_model_without_an_aligner_says_so(
    model_with: Callable[[object], None], in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_with(None)
    Image.new("RGB", (64, 64)).save("a.png")
    assert main(["evaluate", "alignment", "--photos", ".", "--mtcnn", ".", "--quiet"]) == 2
    assert "this model has no aligner" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "aligner"), [([], "auto"), (["--aligner", "model"], "auto"), (["--aligner", "dlib:x"], "dlib:x")]
)
def test_the_aligner_is_one_of_the_names_or_model_as_before(
    flags: list[str], aligner: str, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []

    def load(args: Any) -> HyperStyleInverter:
        given.append(args.aligner)
        raise ConfigError("stop")

    monkeypatch.setattr("hyperstyle.cli.evaluate.load_inverter", load)
    Image.new("RGB", (64, 64)).save("a.png")
    assert main(["evaluate", "alignment", "--photos", ".", "--mtcnn", ".", *flags]) == 2
    assert given == [aligner]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "python -m examples.avatars.studies.alignment"),
        (["--json", "nowhere/rows.json"], "the folder of 'nowhere/rows.json' does not exist"),
        (["--photos", "."], "--photos and --mtcnn go together"),
        (["--mtcnn", "."], "--photos and --mtcnn go together"),
        (["--photos", ".", "--mtcnn", "."], "there are no images in '.'"),
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
