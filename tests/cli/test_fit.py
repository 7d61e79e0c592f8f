"""`hyperstyle fit`: every kind from a command line to edits that load and apply."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle import HyperStyleInverter
from hyperstyle.cli import main
from hyperstyle.edits import load_edits, load_folder
from hyperstyle.edits.styleclip import StyleClip
from hyperstyle.fitting import Scores, load_scores, save_scores

SCORERS = """
def colors(images):
    return {"red": images[:, 0].mean((1, 2)), "green": images[:, 1].mean((1, 2))}

def brightness(images):
    return images.mean((1, 2, 3))

nothing = 3
"""


@pytest.fixture
def workspace(in_tmp_path: Path) -> Iterator[Path]:
    """The current folder, with a module of scorers."""
    (in_tmp_path / "my_scores.py").write_text(SCORERS, encoding="utf-8")
    importlib.invalidate_caches()
    yield in_tmp_path
    sys.modules.pop("my_scores", None)


def fit(kind: str, model: Path, *args: str) -> int:
    return main(["fit", kind, "--model", str(model), "--device", "cpu", "--out", "edits", "--quiet", *args])


class TestInterfacegan:
    @pytest.fixture(autouse=True)
    def _fit_extra(self) -> None:
        pytest.importorskip("sklearn", reason="boundaries need scikit-learn")

    def test_images_are_scored_and_the_edits_measured_and_plotted(
        self, workspace: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        scorer = ("--scorer", "my_scores:colors", "--judge", "my_scores:colors")
        sampling = ("--samples", "200", "--chosen", "40", "--pictures", "2")
        written = ("--save-table", "table.npz", "--plot", "matrix.png")
        assert fit("interfacegan", tiny_model_dir, *scorer, *sampling, *written) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:3] for line in lines] == [["red", "held", "out"], ["green", "held", "out"]]

        inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
        edits = load_edits(workspace / "edits")
        assert sorted(edits) == ["green", "red"]
        info = edits["red"].info
        assert info.model == inverter.model.generator_fingerprint
        assert info.report["pictures"] == 2
        assert info.report["accuracy"]["held_out"] > 0.5
        assert inverter.model.generator.broadcast(edits["red"](torch.zeros(1, 16), 1.0)).any()
        assert load_scores("table.npz").codes.shape == (200, 16)
        assert (workspace / "matrix.png").read_bytes()[:4] == b"\x89PNG"

    def test_a_table_needs_no_images_and_one_trait_may_be_chosen(
        self, workspace: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        codes = torch.randn(100, 16)
        save_scores(Scores(codes, {"a": codes[:, 0], "b": codes[:, 1]}), "table.npz")
        table = ("--table", "table.npz", "--trait", "a", "--conditional", "--chosen", "0.3", "--split", "1")
        assert fit("interfacegan", tiny_model_dir, *table) == 0
        shown = capsys.readouterr().out.splitlines()
        assert shown == ["a                       held out    -", "not measured: this model has no judge"]
        (edit,) = load_edits(workspace / "edits").values()
        assert edit.info.source.endswith("of either end of 100, scores of table.npz")

    def test_scores_without_a_name_and_without_a_measurement(
        self, workspace: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        scorer = ("--scorer", "my_scores:brightness", "--samples", "60", "--chosen", "0.3", "--pictures", "0")
        assert fit("interfacegan", tiny_model_dir, *scorer) == 0
        assert "not measured: --pictures 0" in capsys.readouterr().out
        assert list(load_edits(workspace / "edits")) == ["score"]

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ((), "no `perceptual` network"),
            (("--scorer", "my_scores"), "expected MODULE:FUNCTION"),
            (("--scorer", "my_scores:missing"), "cannot be imported"),
            (("--scorer", "no_such_module:f"), "cannot be imported"),
            (("--scorer", "my_scores:nothing"), "is an int: expected a function"),
            (("--scorer", "my_scores:colors", "--trait", "rde"), "Did you mean 'red'"),
            (("--table", "missing.npz"), "missing.npz is missing"),
            (("--table", "slash.npz", "--trait", "a/b", "--chosen", "0.3"), "no name of a folder"),
            (("--table", "slash.npz", "--trait", "..", "--chosen", "0.3"), "no name of a folder"),
            (("--scorer", "my_scores:colors", "--save-table", "my_scores.py/a.npz"), "cannot write into the folder"),
            (("--plot", "a.png"), "this model has no evaluator: give --judge"),
            (("--plot", "a.png", "--pictures", "0"), "give --pictures a number above 0"),
        ],
    )
    def test_what_cannot_work_is_said_in_one_line(
        self,
        args: tuple[str, ...],
        message: str,
        workspace: Path,
        tiny_model_dir: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        codes = torch.randn(40, 16)
        save_scores(Scores(codes, {"a/b": codes[:, 0], "..": codes[:, 1]}), "slash.npz")
        assert fit("interfacegan", tiny_model_dir, *args) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.out == ""
        assert not (workspace / "edits").exists()

    def test_shares_and_seeds_that_are_none_are_refused_by_the_parser(
        self, workspace: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            fit("interfacegan", tiny_model_dir, "--chosen", "few")
        assert "neither a share" in capsys.readouterr().err
        for seed in ("-1", "4294967296", "x"):
            with pytest.raises(SystemExit):
                fit("interfacegan", tiny_model_dir, "--seed", seed)
            assert "is no seed: expected 0 to 4294967295" in capsys.readouterr().err


def test_ganspace_writes_components_that_are_read_as_published_ones_are(
    workspace: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hyperstyle.edits import load_edit

    sampling = ("--samples", "500", "--components", "4", "--edits", "2")
    assert fit("ganspace", tiny_model_dir, *sampling, "--judge", "my_scores:colors", "--pictures", "2") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["component_0", "component_1"]
    written = load_folder(workspace / "edits" / "component_1")
    again = load_edit(workspace / "edits" / "components.npz", component=1, relative=True, width=16)
    w = torch.randn(2, 8, 16)
    torch.testing.assert_close(written(w, 1.5), again(w, 1.5))
    assert written.info.model == HyperStyleInverter.from_pretrained(tiny_model_dir).model.generator_fingerprint
    assert written.info.report["trait"] in ("red", "green")
    with np.load(workspace / "edits" / "components.npz") as stored:
        assert {name: stored[name].shape for name in stored} == {"mean": (1, 16), "comp": (4, 1, 16), "std": (4,)}


def test_components_may_be_written_without_edits(
    workspace: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--samples", "50", "--components", "2", "--edits", "0", "--judge", "my_scores:colors")
    assert fit("ganspace", tiny_model_dir, *args) == 0
    assert capsys.readouterr().out == ""
    assert [path.name for path in (workspace / "edits").iterdir()] == ["components.npz"]


def test_sefa_moves_the_rows_of_its_layers(workspace: Path, tiny_model_dir: Path) -> None:
    assert fit("sefa", tiny_model_dir, "--layers", "b8.conv0, 3", "--count", "2") == 0
    edits = load_edits(workspace / "edits")
    assert sorted(edits) == ["sefa_0", "sefa_1"]
    w = torch.zeros(1, 8, 16)
    moved = edits["sefa_0"](w, 1.0).abs().sum(2)[0] > 0
    assert moved.tolist() == [False, True, True, *[False] * 5]


class StandIn:
    """A stub for CLIP: the mean colors are the features."""

    options: dict[str, Any]

    def __init__(self, weights: Any, **options: Any) -> None:
        StandIn.options = {"weights": weights, **options}

    def encode_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 3)

    def encode_image(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def test_styleclip_writes_what_edits_by_text_are_made_of_and_leaves_no_progress_behind(
    workspace: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperstyle.edits.clip.OpenClip", StandIn)
    Path("clip.pt").touch()
    assert fit("styleclip", tiny_model_dir, "--samples", "50", "--images", "1", "--clip", "clip.pt") == 0
    assert StandIn.options == {
        "weights": Path("clip.pt"),
        "model": "ViT-B-32-quickgelu",
        "device": torch.device("cpu"),
        "preparation": "bicubic",
    }
    styleclip = StyleClip.load(workspace / "edits" / "styleclip", encoder=StandIn(None))
    assert styleclip.model == HyperStyleInverter.from_pretrained(tiny_model_dir).model.generator_fingerprint
    channels = sum(len(effect) for effect in styleclip.effects.values())
    assert capsys.readouterr().out.startswith(f"{channels} channels of {len(styleclip.effects)} layers")
    assert [path.name for path in (workspace / "edits").iterdir()] == ["styleclip"]
