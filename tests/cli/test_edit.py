"""`hyperstyle edit` on inversion files and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hyperstyle.cli import main
from hyperstyle.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def inverted(tiny_model_dir: Path, in_tmp_path: Path) -> Path:
    """me.png and its inversion, in the current folder."""
    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save("me.png")
    HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu").invert("me.png", align=False).save(
        "me.safetensors"
    )
    return in_tmp_path


def edit(model: Path, *arguments: str) -> int:
    return main(["edit", "--model", str(model), "--device", "cpu", *arguments])


def test_edits_add_up_and_the_picture_is_that_of_the_library(
    tiny_model_dir: Path, inverted: Path, capsys: Captured
) -> None:
    assert edit(tiny_model_dir, "me.safetensors", "--edit", "age=2", "--edit", "smile=-1", "--out", "old.png") == 0
    assert capsys.readouterr().out == "old.png\n"
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    expected = Inversion.load("me.safetensors", inverter).edit(age=2, smile=-1).image
    with Image.open("old.png") as shown:
        assert shown.tobytes() == expected.tobytes()


def test_a_picture_is_inverted_first(tiny_model_dir: Path, inverted: Path) -> None:
    assert edit(tiny_model_dir, "me.safetensors", "--edit", "age=2", "--out", "from_file.png") == 0
    assert edit(tiny_model_dir, "me.png", "--edit", "age=2", "--align", "no") == 0
    assert Path("me_edited.png").read_bytes() == Path("from_file.png").read_bytes()


def test_a_range_gives_a_strip_with_one_picture_per_strength(tiny_model_dir: Path, inverted: Path) -> None:
    widths = []
    for count in (3, 6):
        assert edit(tiny_model_dir, "me.safetensors", "--edit", f"smile=-2:2:{count}", "--out", "strip.png") == 0
        with Image.open("strip.png") as strip:
            widths.append(strip.width)
            assert strip.width > strip.height
    assert 1.8 < widths[1] / widths[0] < 2.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["me.safetensors", "--edit", "aeg=2"], "Did you mean 'age'?"),
        (["me.safetensors", "--edit", "age=0:1:3", "--edit", "smile=0:1:3"], "2 ranges (age, smile)"),
        (["me.png", "--edit", "age=2", "--out", "me.png"], "would replace the input"),
        (["me.png", "--edit", "age=2", "--out", "me.png/x.png"], "cannot write into the folder"),
        (["me.png", "--edit", "age=2", "--out", "me.xyz"], "me.xyz"),
        (["gone.png", "--edit", "age=2", "--out", "new/o.png"], "gone.png"),
        (["me.png", "--edit", "age=2", "--out", "new/o.xyz"], "no picture format belongs to the suffix '.xyz'"),
        (["me.safetensors", "--edit", "age=2", "--face", "1", "--steps", "0"], "--steps, --face: for inverting"),
        (["me.safetensors", "--edit", "age=2", "--align", "no", "--sideways"], "--align, --sideways: for inverting"),
        (["me.safetensors", "--edit", "age=2", "--landmarks", "x.npy"], "--landmarks: for inverting"),
        (["me.png", "--edit", "age=2", "--landmarks", "x.npy", "--sideways"], "--sideways with --landmarks"),
        (["me.png", "--edit", "age=2", "--offsets", "frame"], "--offsets: for folders of frames and clips"),
        (["me.safetensors", "--edit", "age=2", "--smoothing", "0", "--rate", "12"], "--smoothing, --rate: for folders"),
        (["gone.safetensors", "--edit", "age=2"], "gone.safetensors"),
        (["me.txt", "--edit", "age=2"], "me.txt"),
        (["fake.safetensors", "--edit", "age=2"], "fake.safetensors"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_why(
    tiny_model_dir: Path, inverted: Path, capsys: Captured, arguments: list[str], message: str
) -> None:
    for name in ("me.txt", "fake.safetensors"):
        Path(name).write_text("neither a picture nor an inversion", encoding="utf-8")
    before = Path("me.png").read_bytes()
    assert edit(tiny_model_dir, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert message in shown.err
    assert Path("me.png").read_bytes() == before
    assert not Path("new").exists()
