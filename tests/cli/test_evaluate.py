"""`hyperstyle evaluate reconstruction` and `hyperstyle evaluate editing`: tables on the screen, figures in files."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from hyperstyle import HyperStyleInverter
from hyperstyle.cli import main
from hyperstyle.cli.evaluate_text import methods_text
from hyperstyle.edits import DirectionEdit
from hyperstyle.errors import HyperStyleError
from hyperstyle.evaluation import Optimization, Row, held_out_avatars
from hyperstyle.evaluation.methods import MethodRow, Methods
from hyperstyle.evaluation.trials import Trial
from hyperstyle.images import to_images
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig

ROW = {"method", "l2", "perceptual", "identity", "ms_ssim", "seconds", "quartiles", "timed", "images"}
POINT = {"step", "l2", "perceptual", "identity", "seconds"}
EDIT_POINT = {"strength", "trait", "trait_std", "change", "identity", "identity_to_crop"}


@pytest.fixture(scope="module")
def evaluator_model_dir(tiny_inverter: HyperStyleInverter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with an evaluator, a perceptual network, and edits that name their traits."""
    torch.manual_seed(1)
    trunk = TrunkConfig((8, 8), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    networks = [AttributeNetwork(AttributeNetworkConfig(("smile", "age"), trunk, 32, 8)) for _ in range(2)]
    model = tiny_inverter.model
    edits = {}
    for name, edit in model.edits.items():
        assert isinstance(edit, DirectionEdit)
        edits[name] = replace(edit, info=replace(edit.info, trait=name))
    folder = tmp_path_factory.mktemp("models") / "judged"
    HyperStyleInverter(
        model.generator,
        model.encoder,
        model.hypernetwork,
        domain=model.domain,
        edits=edits,
        steps=2,
        parts={"judge": networks[0], "perceptual": networks[1]},
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    few = partial(Optimization, projection=2, tuning=11, offsets=2)
    monkeypatch.setattr("hyperstyle.evaluation.Optimization", few)


@pytest.fixture
def few_steps_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    few = (Trial("w-encoder"), Trial("hyperstyle+offsets", 2))
    monkeypatch.setattr("hyperstyle.evaluation.methods.all_trials", lambda model: few)


def test_reconstruction_prints_tables_and_writes_the_same_figures(
    evaluator_model_dir: Path, few_steps: None, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", "rows.json", "--sheet", "sheet.png", "--plot", "plot.png"]
    arguments = ["--model", str(evaluator_model_dir), "--device", "cpu", "--count", "3", "--optimized", "2"]
    assert main(["evaluate", "reconstruction", *arguments, "--curve", "3", *files, "--quiet"]) == 0
    printed, error = capsys.readouterr()
    assert error == ""
    report = json.loads(Path("rows.json").read_text(encoding="utf-8"))
    assert set(report) == {"machine", "pictures", "rows", "curve", "optimised"}
    assert set(report["machine"]) == {"cpu", "device", "threads", "torch", "dtype", "model"}
    assert report["machine"]["model"] == HyperStyleInverter.from_pretrained(evaluator_model_dir).model.fingerprint
    assert report["pictures"] == {"domain": "avatars", "count": 3, "seed": 900_001, "size": [32, 32]}
    best = report["optimised"]
    assert set(best) == {"settings", "rows", "encoder_over_optimisation", "tuning", "equivalence"}
    assert best["settings"]["projection"] == 2
    assert all(set(row) == ROW for row in report["rows"] + best["rows"])
    assert all(set(point) == POINT for point in report["curve"] + best["tuning"])
    assert [point["step"] for point in report["curve"]] == [0, 1, 2, 3]
    assert [comparison["figure"] for comparison in best["equivalence"]] == ["l2", "perceptual", "identity"]

    first = [line.split()[0] for line in printed.splitlines() if line]
    methods = ["w-encoder", "hyperstyle", "optimize-w", "pti", "offsets"]
    # All images, the heading of the curve, the first two images.
    assert [word for word in first if word in methods] == [*methods[:2], "hyperstyle", *methods]
    for row in report["rows"] + best["rows"]:
        assert any(
            line.startswith(row["method"]) and f"{row['l2']:.4f}" in line and line.endswith(str(row["images"]))
            for line in printed.splitlines()
        ), row
    assert f"over that of W optimization: {best['encoder_over_optimisation']:.2f}" in printed
    for name in ("sheet.png", "plot.png"):
        with Image.open(name) as image:
            assert image.format == "PNG"


def test_without_optimization_any_model_of_avatars_will_do(
    tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tiny_model_dir), "--count", "2", "--device", "cpu", "--curve", "0", "--quiet"]
    assert main(["evaluate", "reconstruction", *arguments, "--optimized", "0"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["method", "w-encoder", "hyperstyle"]


def test_methods_are_a_line_each_with_the_figures_of_the_file(
    evaluator_model_dir: Path, few_steps_of_all: None, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", "rows.json", "--sheet", "sheet.png", "--plot", "plot.png"]
    arguments = ["--model", str(evaluator_model_dir), "--device", "cpu", "--count", "2", "--quiet", *files]
    methods = ["offsets:1", "all", "hyperstyle+offsets:2", "w-encoder"]
    assert main(["evaluate", "reconstruction", *arguments, "--methods", *methods]) == 0
    printed = capsys.readouterr().out.splitlines()
    report = json.loads(Path("rows.json").read_text(encoding="utf-8"))
    assert set(report) == {"machine", "pictures", "methods", "equal_effect"}
    assert [entry["row"]["method"] for entry in report["methods"]] == ["offsets:1", "w-encoder", "hyperstyle+offsets:2"]
    assert report["methods"][2]["trial"] == {"method": "hyperstyle+offsets", "steps": 2}
    for entry, line in zip(report["methods"], printed[1:], strict=False):
        assert set(entry) == {"trial", "row", "bytes", "editability"}
        assert set(entry["row"]) == ROW
        row = entry["row"]
        assert line.split()[:3] == [row["method"], f"{row['l2']:.4f}", f"{row['perceptual']:.4f}"]
        assert line.endswith(f"{entry['bytes'] / 1000:.1f}")
    assert "equal measured effect of edits (age, smile)" in printed[-1]
    for name in ("sheet.png", "plot.png"):
        with Image.open(name) as image:
            assert image.format == "PNG"


def test_seconds_are_over_those_of_pti_where_it_is_among_the_methods() -> None:
    row = Row("pti", 0.1, 0.2, 0.9, 0.9, 8.0, (7.0, 9.0), 1, 1)
    rows = tuple(
        MethodRow(Trial(name), replace(row, method=name, seconds=seconds), 1234.0, None)
        for name, seconds in (("pti", 8.0), ("hyperstyle", 1.0))
    )
    lines = methods_text(Methods(rows, (), {})).splitlines()
    assert lines[1].split() == ["pti", "0.1000", "0.2000", "0.9000", "0.9000", "-", "8.00", "7.00-9.00", "1.000", "1.2"]
    assert lines[2].split()[6:] == ["1.00", "7.00-9.00", "0.125", "1.2"]
    assert methods_text(Methods(rows[1:], (), {})).splitlines()[1].split()[-2:] == ["-", "1.2"]


def test_editing_prints_tables_and_writes_the_same_figures(
    evaluator_model_dir: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", "edits.json", "--sheet", "sheet.png", "--plot", "plot.png"]
    arguments = ["--model", str(evaluator_model_dir), "--device", "cpu", "--count", "2", "--points", "3", "--quiet"]
    assert main(["evaluate", "editing", *arguments, "--edits", "smile", *files]) == 0
    printed = capsys.readouterr().out
    report = json.loads(Path("edits.json").read_text(encoding="utf-8"))
    assert set(report) == {"machine", "pictures", "population_std", "edits", "equal_effect"}
    assert report["equal_effect"] is None
    assert [(curve["edit"], curve["trait"], curve["offsets"]) for curve in report["edits"]] == [
        ("smile", "smile", True),
        ("smile", "smile", False),
    ]
    for curve in report["edits"]:
        assert set(curve) == {"edit", "trait", "offsets", "points", "monotone", "spearman", "leak"}
        assert all(set(point) == EDIT_POINT for point in curve["points"])
        for point in curve["points"]:
            assert f"{point['identity_to_crop']:.4f}" in printed
    assert "smile, with offsets" in printed
    assert "smile, without offsets" in printed
    assert sorted(path.name for path in in_tmp_path.iterdir()) == ["edits.json", "plot.png", "sheet.png"]


def test_editing_at_equal_effect_prints_a_column_for_each_method_and_writes_its_plot(
    evaluator_model_dir: Path, few_steps: None, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", "edits.json", "--equal-effect", "equal.png"]
    arguments = ["--model", str(evaluator_model_dir), "--device", "cpu", "--count", "3", "--points", "3", "--quiet"]
    assert main(["evaluate", "editing", *arguments, "--edits", "smile", "--optimized", "2", *files]) == 0
    printed = capsys.readouterr().out
    report = json.loads(Path("edits.json").read_text(encoding="utf-8"))["equal_effect"]
    assert set(report) == {"curves", "images", "steps"}
    assert (report["images"], report["steps"]) == (2, {"projection": 2, "tuning": 11})
    methods = ["hyperstyle", "w-encoder", "pti", "optimize-w+"]
    assert [curve["method"] for curve in report["curves"]] == methods
    assert ["change", "of", "smile", *methods, "images"] in [line.split() for line in printed.splitlines()]
    assert "at equal effect, 2 images" in printed
    for curve in report["curves"]:
        for point in curve["points"]:
            assert f"{point['identity']:.4f}" in printed
    with Image.open("equal.png") as image:
        assert image.format == "PNG"


def test_editing_at_equal_effect_without_optimization_takes_all_images(
    evaluator_model_dir: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(evaluator_model_dir), "--device", "cpu", "--count", "3", "--points", "2", "--quiet"]
    assert main(["evaluate", "editing", *arguments, "--edits", "smile", "--equal-effect", "equal.png"]) == 0
    printed = capsys.readouterr().out
    assert "at equal effect, 3 images" in printed
    assert "optimize-w+" not in printed
    assert [path.name for path in in_tmp_path.iterdir()] == ["equal.png"]


def test_progress_is_shown_on_a_terminal(
    tiny_model_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    arguments = ["--model", str(tiny_model_dir), "--count", "1", "--device", "cpu", "--optimized", "0"]
    assert main(["evaluate", "reconstruction", *arguments]) == 0
    assert "hyperstyle, step by step: 100%" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["reconstruction", "editing"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "--count 0: expected 1 or more"),
        (["--json", "nowhere/rows.json"], "the folder of 'nowhere/rows.json' does not exist"),
        (["--plot", "nowhere/plot.png"], "the folder of 'nowhere/plot.png' does not exist"),
        (["--sheet", "sheet.bmp"], "'sheet.bmp' cannot be written: expected a name that ends in .png"),
        (["--json", "."], "'.' is a folder"),
    ],
)
def test_bad_arguments_are_one_line_before_any_work(
    what: str,
    arguments: list[str],
    message: str,
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hyperstyle.cli.evaluate_runs.load_inverter", None)  # nobody calls it
    assert main(["evaluate", what, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(in_tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reconstruction", "--curve", "-1"], "--curve -1: expected 0 or more"),
        (["reconstruction", "--optimized", "-1"], "--optimized -1: expected 0 or more"),
        (["reconstruction", "--methods", "all", "--curve", "0"], "--curve and --methods do not go together"),
        (["reconstruction", "--methods", "all", "--optimized", "4"], "--optimized and --methods do not go together"),
        (["editing", "--points", "1"], "--points 1: expected 2 or more"),
        (["editing", "--optimized", "-1"], "--optimized -1: expected 0 or more"),
    ],
)
def test_numbers_out_of_range_and_arguments_that_exclude_each_other_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("what", ["reconstruction", "editing"])
def test_a_plot_without_matplotlib_is_refused_before_any_work(
    what: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperstyle.cli.evaluate_runs.load_inverter", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["evaluate", what, "--plot", "plot.png"]) == 2
    assert 'pip install "hyperstyle-inversion[plots]"' in capsys.readouterr().err
    assert list(in_tmp_path.iterdir()) == []


def test_what_a_model_lacks_is_said_before_images_are_read(
    tiny_model_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperstyle.evaluation.images.held_out_avatars", None)
    assert main(["evaluate", "reconstruction", "--model", str(tiny_model_dir), "--device", "cpu"]) == 2
    assert "no perceptual network to optimize against" in capsys.readouterr().err
    assert main(["evaluate", "editing", "--model", str(tiny_model_dir), "--device", "cpu"]) == 2
    assert "this model has no evaluator" in capsys.readouterr().err


def test_the_plot_at_equal_effect_is_refused_before_any_work_where_it_cannot_be_made(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperstyle.cli.evaluate_runs.load_inverter", None)  # nobody calls it
    assert main(["evaluate", "editing", "--equal-effect", "equal.jpg"]) == 2
    assert "'equal.jpg' cannot be written: expected a name that ends in .png" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["evaluate", "editing", "--equal-effect", "equal.png"]) == 2
    assert 'pip install "hyperstyle-inversion[plots]"' in capsys.readouterr().err
    assert list(in_tmp_path.iterdir()) == []


def test_when_the_plot_fails_no_file_is_written(
    evaluator_model_dir: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(result: object) -> bytes:
        raise HyperStyleError("no plot today")

    monkeypatch.setattr("hyperstyle.evaluation.plots.editing_plot", fail)
    arguments = ["--model", str(evaluator_model_dir), "--device", "cpu", "--count", "1", "--points", "2", "--quiet"]
    files = ["--json", "edits.json", "--sheet", "sheet.png", "--plot", "plot.png"]
    assert main(["evaluate", "editing", *arguments, *files]) == 2
    assert "no plot today" in capsys.readouterr().err
    assert list(in_tmp_path.iterdir()) == []


@pytest.fixture
def data(in_tmp_path: Path) -> Path:
    """The folder "crops": two held-out ones, one of them of another size, and a file that is no image."""
    folder = in_tmp_path / "crops"
    folder.mkdir()
    for i, image in enumerate(to_images(held_out_avatars(2, 64))):
        image.resize((32, 32) if i else (64, 64)).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.mark.parametrize("what", ["reconstruction", "editing"])
def test_figures_are_of_the_folder_that_is_named(
    what: str, data: Path, evaluator_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--optimized", "0", *(["--curve", "0"] if what == "reconstruction" else ["--points", "2", "--edits", "age"])]
    arguments = ["--model", str(evaluator_model_dir), "--device", "cpu", "--data", "crops", *few, "--quiet"]
    assert main(["evaluate", what, *arguments, "--json", "all.json"]) == 1
    assert "broken.jpg" in capsys.readouterr().err
    assert main(["evaluate", what, *arguments, "--count", "1", "--json", "one.json"]) in (0, 1)
    images = [json.loads(Path(name).read_text(encoding="utf-8"))["pictures"] for name in ("all.json", "one.json")]
    assert images[0] == {"domain": "avatars", "count": 2, "source": "crops", "size": [32, 32]}
    assert images[1]["count"] == 1


def test_methods_are_compared_on_the_folder_that_is_named(
    data: Path, evaluator_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "broken.jpg").unlink()
    arguments = ["--model", str(evaluator_model_dir), "--device", "cpu", "--data", "crops", "--methods", "w-encoder"]
    assert main(["evaluate", "reconstruction", *arguments, "--quiet", "--json", "rows.json"]) == 0
    assert json.loads(Path("rows.json").read_text(encoding="utf-8"))["pictures"]["count"] == 2


@pytest.mark.parametrize(
    "words", [["reconstruction", "--optimized", "0"], ["editing"], ["report", "MODEL", "--out", "report"]]
)
def test_more_images_than_come_with_the_library_are_refused_with_the_command_that_makes_them(
    words: list[str], evaluator_model_dir: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [] if "report" in words else ["--model", str(evaluator_model_dir)]
    arguments = [str(evaluator_model_dir) if word == "MODEL" else word for word in words]
    assert main(["evaluate", *arguments, *named, "--device", "cpu", "--count", "256", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "256 held-out crops: expected 1 to 64" in error
    assert "python -m examples.avatars.crops --out FOLDER" in error
    assert error.count("\n") == 1
    assert list(in_tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["pasting"], ["jitter", "--noise", "1", "--count", "8", "--quiet"], ["pasting", "--edit", "age"]]
)
def test_what_measures_on_rendered_photos_says_where_it_is_now(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *words]) == 2
    error = capsys.readouterr().err
    assert f"`python -m examples.avatars.studies.{words[0]}` in a checkout" in error
    assert error.count("\n") == 1
