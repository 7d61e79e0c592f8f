"""`hyperstyle export` and `hyperstyle import`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hyperstyle.cli import main
from hyperstyle.convert import read_generator
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def inverted(tiny_inverter: HyperStyleInverter, in_tmp_path: Path) -> Inversion:
    """An image me.png, inverted, with its file me.safetensors in the current folder."""
    from PIL import Image

    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save("me.png")
    inversion = tiny_inverter.invert("me.png", align=False)
    inversion.save("me.safetensors")
    return inversion


def run(model: Path, command: str, *arguments: str) -> int:
    return main([command, "--model", str(model), "--device", "cpu", *arguments])


def test_an_inversion_becomes_a_generator(inverted: Inversion, tiny_model_dir: Path, capsys: Captured) -> None:
    assert run(tiny_model_dir, "export", "me.safetensors", "--out", "me.pt") == 0
    assert capsys.readouterr().out == "me.pt\n"
    generator = read_generator("me.pt")
    torch.testing.assert_close(generator(inverted.w), inverted.tensor, atol=5e-5, rtol=0)


def test_a_model_gives_its_generator(tiny_model_dir: Path, in_tmp_path: Path) -> None:
    assert run(tiny_model_dir, "export", "--out", "new/g.pt") == 0
    ours = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu").model.generator.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in read_generator("new/g.pt").state_dict().items())


def test_dense_offsets_are_written_by_layer(inverted: Inversion, tiny_model_dir: Path) -> None:
    from safetensors.torch import load_file

    assert run(tiny_model_dir, "export", "me.safetensors", "--form", "offsets", "--out", "o.safetensors") == 0
    assert set(load_file("o.safetensors")) == {"w", *inverted.offsets}


def test_the_official_layout_comes_back_as_inversion_files(
    inverted: Inversion, tiny_model_dir: Path, tiny_inverter: HyperStyleInverter, capsys: Captured
) -> None:
    assert run(tiny_model_dir, "export", "me.safetensors", "--form", "official", "--out", "results") == 0
    assert list(np.load("results/latents.npy", allow_pickle=True).item()) == ["me.png"]
    assert run(tiny_model_dir, "import", "results") == 0
    assert capsys.readouterr().out.splitlines() == ["results", str(Path("inversions/me.safetensors"))]
    loaded = Inversion.load("inversions/me.safetensors", tiny_inverter)
    torch.testing.assert_close(loaded.tensor, inverted.tensor, atol=2e-5, rtol=0)
    assert run(tiny_model_dir, "edit", "inversions/me.safetensors", "--edit", "age=2", "--out", "old.png") == 0
    assert run(tiny_model_dir, "import", "results/latents.npy", "--out", "codes") == 0
    assert torch.equal(Inversion.load("codes/me.safetensors", tiny_inverter).tensor, inverted.initial.tensor)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no image was read from latents.npy"),
        (("a.png", "b.png", "A.jpg"), "'a.png' and 'A.jpg', which would both be written to A.safetensors"),
        (("2024.01.02.jpg", "2024.01.03.jpg"), "both be written to 2024.safetensors"),
        (("a.png", ""), "codes of '', which is no name"),
        ((".png",), "codes of '.png', which is no name"),
        (("a\0b.png",), "codes of 'a\\x00b.png', which is no name"),
    ],
)
def test_images_that_would_share_a_file_or_have_none_are_refused_before_any_is_written(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured, names: tuple[str, ...], message: str
) -> None:
    codes: Any = {name: np.zeros((8, 16), np.float32) for name in names}
    np.save("latents.npy", codes)
    assert run(tiny_model_dir, "import", "latents.npy") == 2
    shown = capsys.readouterr()
    assert len(shown.err.splitlines()) == 1
    assert message in shown.err
    assert [path.name for path in Path().iterdir()] == ["latents.npy"]


@pytest.mark.parametrize("place", ["generator/model.safetensors", "new/g.pt", "g.pt", "hyperstyle.json"])
def test_nothing_is_written_into_a_model(tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured, place: str) -> None:
    shutil.copytree(tiny_model_dir, "m")
    before = {path: path.read_bytes() for path in Path("m").rglob("*") if path.is_file()}
    assert run(Path("m"), "export", "--out", f"m/{place}") == 2
    assert "would lie in the model" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("m").rglob("*") if path.is_file()} == before
    assert not Path("m/new").exists()


def test_a_model_is_no_place_for_the_official_layout_either(
    inverted: Inversion, tiny_model_dir: Path, capsys: Captured
) -> None:
    shutil.copytree(tiny_model_dir, "m")
    assert run(Path("m"), "export", "me.safetensors", "--form", "official", "--out", "m") == 2
    assert "would lie in the model 'm'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "--form", "official", "--out", "results"], "--form official needs an inversion"),
        (["export", "me.safetensors", "--out", "me.safetensors"], "would replace the input"),
        (["export", "gone.safetensors", "--out", "g.pt"], "gone.safetensors"),
        (["export", "me.safetensors", "--out", "me.png/g.pt"], "cannot write into the folder"),
        (["import", "gone"], "gone is missing"),
        (["import", "."], "latents.npy is missing"),
        (["import", "me.png"], "me.png is no .npy file"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_why(
    inverted: Inversion, tiny_model_dir: Path, capsys: Captured, arguments: list[str], message: str
) -> None:
    before = sorted(Path().iterdir())
    assert run(tiny_model_dir, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert message in shown.err
    assert sorted(Path().iterdir()) == before
