"""`hyperstyle train`: what is typed becomes options; what cannot work is refused before anything is trained."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hyperstyle.cli import build_parser, main
from hyperstyle.training.options import TASKS, TrainOptions

Captured = pytest.CaptureFixture[str]
ENCODER = ("train", "encoder", "--generator", "g.pt", "--data", "photos", "--out", "run")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, in_tmp_path: Path) -> list[TrainOptions]:
    """The options of every training that was started; no training runs. The files of its arguments are there."""
    Path("photos").mkdir()
    Path("g.pt").touch()
    seen: list[TrainOptions] = []
    engine = ModuleType("hyperstyle.training.engine")

    def train(task: None, options: TrainOptions) -> Path:
        seen.append(options)
        return Path(options.run.out) / "model"

    engine.train = train  # type: ignore[attr-defined]
    engine.make_task = lambda options: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hyperstyle.training.engine", engine)
    return seen


def test_flags_become_options(trained: list[TrainOptions]) -> None:
    code = main(
        [*ENCODER, "--kind", "e4e", "--batch", "4", "--rate", "3e-4", "--loss.lpips", "0", "--optim.compile", "--quiet"]
    )
    assert code == 0
    [options] = trained
    assert options.encoder is not None
    assert (options.encoder.generator, options.encoder.kind) == ("g.pt", "e4e")
    assert (options.data.train, options.run.out, options.run.quiet) == ("photos", "run", True)
    assert (options.optim.batch, options.optim.rate, options.optim.compile) == (4, 3e-4, True)
    assert (options.loss.lpips, options.loss.l2) == (0, 1)


def test_every_option_has_its_long_name_too(trained: list[TrainOptions]) -> None:
    argv = "train hyperstyle --hyperstyle.encoder avatars --data.train photos --run.out r --optim.steps 3"
    argv += " --no-run.tensorboard"
    assert main(argv.split()) == 0
    [options] = trained
    assert options.hyperstyle is not None
    assert (options.hyperstyle.encoder, options.data.train, options.run.out) == ("avatars", "photos", "r")
    assert (options.optim.steps, options.run.tensorboard) == (3, False)


def test_flags_win_over_files_wherever_they_stand(trained: list[TrainOptions], in_tmp_path: Path) -> None:
    (in_tmp_path / "a.toml").write_text("[optim]\nbatch = 6\nsteps = 7\n", encoding="utf-8")
    (in_tmp_path / "b.yaml").write_text("optim: {batch: 2, seed: 5}\nrun: {quiet: true}\n", encoding="utf-8")
    assert main([*ENCODER, "--batch", "10", "--config", "a.toml", "b.yaml", "--no-quiet"]) == 0
    [options] = trained
    assert (options.optim.batch, options.optim.steps, options.optim.seed) == (10, 7, 5)
    assert options.run.quiet is False


def test_files_may_be_named_one_after_another_and_the_end_says_where_the_model_is(
    trained: list[TrainOptions], in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (in_tmp_path / "a.toml").write_text("[optim]\nbatch = 6\n", encoding="utf-8")
    argv = [*ENCODER, "--config", "a.toml", "--config", "tryout"]
    assert main([*argv, "--config", "a.toml"]) == 0
    assert (trained[0].optim.batch, trained[0].optim.steps) == (6, 200)
    assert capsys.readouterr().out.strip() == str(Path("run/model"))
    monkeypatch.setenv("RANK", "1")
    assert main(argv) == 0
    assert capsys.readouterr().out == ""


def test_a_file_may_hold_the_whole_job(trained: list[TrainOptions], in_tmp_path: Path) -> None:
    text = '[encoder]\ngenerator = "g.pt"\n[data]\ntrain = "photos"\n[run]\nout = "r"\n'
    (in_tmp_path / "job.toml").write_text(text, encoding="utf-8")
    assert main(["train", "encoder", "--config", "job.toml", "tryout"]) == 0
    assert (trained[0].data.train, trained[0].optim.steps) == ("photos", 200)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "encoder", "--data", "p", "--out", "r"], "training encoder needs encoder.generator"),
        ([*ENCODER, "--batch", "x"], "optim.batch is 'x': expected a whole number"),
        ([*ENCODER, "--loss.identity", "0.1", "--loss.moco", "0.5"], "loss: identity is 0.1 and moco is 0.5"),
        ([*ENCODER, "--config", "gone.toml"], "there is no configuration 'gone.toml'"),
        ([*ENCODER, "--config", "hyperstyle-faces"], "task is 'hyperstyle', and 'encoder' is to be trained"),
    ],
)
def test_what_cannot_work_is_one_line(
    argv: list[str], message: str, trained: list[TrainOptions], capsys: Captured
) -> None:
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert trained == []


def test_processes_that_cannot_share_a_batch_are_refused(
    trained: list[TrainOptions], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main([*ENCODER, "--batch", "8"]) == 2
    assert "a batch of 8 images for 3 processes" in capsys.readouterr().err
    assert main([*ENCODER, "--batch", "9"]) == 0


@pytest.mark.parametrize("task", TASKS)
def test_the_help_shows_defaults_and_what_is_required(task: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["train", task, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--data TRAIN, --data.train TRAIN folder, list, .zip or .tar shards of images (required)" in shown
    assert "--loss.lpips LPIPS LPIPS (default: 0.8)" in shown
    adam = task == "hyperinverter"
    assert f"Ranger, or Adam (default: {'adam' if adam else 'ranger'})" in shown


def test_only_what_was_typed_is_in_the_namespace() -> None:
    args: argparse.Namespace = build_parser().parse_args([*ENCODER])
    options = {name for name in vars(args) if "." in name}
    assert options == {"encoder.generator", "data.train", "run.out"}
