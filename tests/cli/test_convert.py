"""`hyperstyle convert`: what it prints, and the one line it fails with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from hyperstyle.cli import main
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig


@pytest.fixture
def generator() -> Generator:
    return Generator(GeneratorConfig(32, (16, 16, 16, 8), 16, mapping_layers=2))


@pytest.fixture
def checkpoint(generator: Generator, tmp_path: Path) -> Path:
    """A generator of 32 px as the PyTorch port saves it, without a mean code."""
    state = {name: tensor for name, tensor in generator.state_dict().items() if name != "latent_avg"}
    torch.save({"g_ema": state, "g_optim": {}}, tmp_path / "toonify.pt")
    return tmp_path / "toonify.pt"


def test_it_says_what_was_found_and_what_became_of_it(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m"
    assert main(["convert", str(checkpoint), "--domain", "faces", "--out", str(out), "--licence", "MIT"]) == 0
    printed, progress = capsys.readouterr()
    assert progress.splitlines()[0] == "toonify.pt: StyleGAN2 generator, 69 tensors"
    lines = printed.splitlines()
    assert lines[:2] == ["domain        faces, 32 px", "generator     69 tensors"]
    assert "not needed    g_optim of toonify.pt" in lines
    assert "computed      the mean code, from 100,000 samples: toonify.pt has none" in lines
    for path, name in (
        (checkpoint, "toonify.pt"),
        (out / "generator/model.safetensors", "generator/model.safetensors"),
    ):
        assert f"sha256        {hashlib.sha256(path.read_bytes()).hexdigest()}  {name}" in lines
    assert lines[-2].startswith("took ")
    assert lines[-1] == f"wrote         {out}"


def test_it_ends_with_what_a_model_without_an_encoder_cannot_do_and_info_says_why(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "m")
    assert main(["convert", str(checkpoint), "--domain", "faces", "--out", out]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("hyperstyle: note: the model has no encoder to start from an image: only optimize-w, ")
    assert last.endswith("--encoder (in Python encoder=...).")
    assert main(["info", "--model", out, "--device", "cpu"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["hyperinverter", "the model has no HyperInverter network"] in lines
    assert ["offsets", "the model has no W encoder to start from"] in lines


def test_the_generator_in_training_is_taken_with_use(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    torch.save({"g": content["g_ema"], "d": {}}, tmp_path / "training.pt")
    command = ["convert", str(tmp_path / "training.pt"), "--domain", "faces", "--out", str(tmp_path / "m")]
    assert main(command) == 2
    assert "training.pt has only 'g'" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
    assert main([*command, "--use", "g"]) == 0
    assert "hyperstyle: note: the generator of training.pt is 'g'" in capsys.readouterr().err


def test_the_model_can_be_shown_and_names_its_source(
    checkpoint: Path, generator: Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "m")
    origin = "https://example.org/toonify"
    main(["convert", str(checkpoint), "--domain", "faces", "--out", out, "--origin", origin, "--steps", "3"])
    inverter = HyperStyleInverter.from_pretrained(out, device="cpu")
    assert torch.equal(inverter.model.generator.conv1.conv.weight, generator.conv1.conv.weight)
    assert inverter.model.steps == 3
    capsys.readouterr()
    assert main(["info", "--model", out, "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "toonify.pt (StyleGAN2 generator)" in shown
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in shown
    assert origin in shown
    assert "the mean code, from 100,000 samples" in shown


def test_it_replaces_a_model_only_with_force(checkpoint: Path, tmp_path: Path) -> None:
    command = ["convert", str(checkpoint), "--domain", "faces", "--out", str(tmp_path / "m")]
    assert [main(command), main(command), main([*command, "--force"])] == [0, 2, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "does not say what kind of images it is for: name it with --domain"),
        (["--domain", "faces", "--encoder", "page.pt"], "page.pt is a web page"),
        (["--domain", "faces", "--generator", "page.pt"], "page.pt is a web page"),
        (["--domain", "nowhere"], "no domain 'nowhere'"),
    ],
)
def test_it_fails_with_one_line_and_writes_nothing(
    checkpoint: Path,
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    (in_tmp_path / "page.pt").write_text("<html>", encoding="utf-8")
    assert main(["convert", str(checkpoint), "--out", "m", *arguments]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("hyperstyle: error: ")
    assert message in last
    assert sorted(path.name for path in in_tmp_path.iterdir()) == ["page.pt", "toonify.pt"]
