"""`hyperstyle edit --paste-back`, and `--face` of edit and invert."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from hyperstyle.cli import main
from hyperstyle.images import load_photo
from hyperstyle.inverter import HyperStyleInverter

if TYPE_CHECKING:
    from conftest import Portrait

pytestmark = pytest.mark.filterwarnings("ignore::hyperstyle.errors.QualityWarning")  # of random weights

MAKE, ORIENTATION = 0x010F, 0x0112


@pytest.fixture
def photo(portrait: Portrait, in_tmp_path: Path) -> Image.Image:
    """photo.jpg, 160 x 200, stored sideways, and points.npy with its landmarks, in the current folder."""
    image, points = portrait(3, (160, 200))
    exif = Image.Exif()
    exif[MAKE], exif[ORIENTATION] = "a camera", 6
    image.transpose(Image.Transpose.ROTATE_90).save("photo.jpg", exif=exif, quality=95)
    np.save("points.npy", points)
    return load_photo("photo.jpg")


def edit(model: Path, *arguments: str) -> int:
    points = [] if {"photo.safetensors", "square.png"} & set(arguments) else ["--landmarks", "points.npy"]
    return main(["edit", "--model", str(model), "--device", "cpu", *points, *arguments])


def test_the_edited_face_comes_back_into_the_photo(photo: Image.Image, tiny_model_dir: Path) -> None:
    assert edit(tiny_model_dir, "photo.jpg", "--edit", "age=2", "--paste-back", "--out", "out.png") == 0
    inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
    inversion = inverter.invert("photo.jpg", landmarks=np.load("points.npy"))
    with Image.open("out.png") as shown:
        assert shown.size == photo.size
        assert shown.tobytes() == inversion.edit("age", 2).paste_back().tobytes() != photo.tobytes()
        assert dict(shown.getexif()) == {MAKE: "a camera", ORIENTATION: 1}


def test_an_inversion_is_pasted_back_into_the_photo_given(photo: Image.Image, tiny_model_dir: Path) -> None:
    common = ["--model", str(tiny_model_dir), "--device", "cpu", "--landmarks", "points.npy", "--quiet"]
    assert main(["invert", "photo.jpg", "--out", ".", *common]) == 0
    options = ["--edit", "age=2", "--paste-back"]
    assert edit(tiny_model_dir, "photo.jpg", *options, "--out", "a.png") == 0
    assert edit(tiny_model_dir, "photo.safetensors", *options, "--photo", "photo.jpg", "--out", "b.png") == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_a_range_gives_one_photo_for_each_strength(photo: Image.Image, tiny_model_dir: Path) -> None:
    assert edit(tiny_model_dir, "photo.jpg", "--edit", "age=-2:2:3", "--paste-back", "--out", "strip.png") == 0
    with Image.open("strip.png") as strip:
        assert strip.width > 3 * photo.width


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photo.jpg", "--paste-back", "--align", "no"], "--landmarks with --align no"),
        (["square.png", "--paste-back", "--align", "no"], "--paste-back with --align no"),
        (["photo.safetensors", "--paste-back"], "pass it with --photo"),
        (["photo.safetensors", "--photo", "photo.jpg"], "--paste-back, which is missing"),
        (
            ["photo.safetensors", "--photo", "photo.jpg", "--paste-back", "--out", "photo.jpg"],
            "would replace the input",
        ),
    ],
)
def test_what_cannot_be_pasted_back_is_one_line_that_says_why(
    photo: Image.Image,
    tiny_model_dir: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
    inverter.invert("photo.jpg", landmarks=np.load("points.npy")).save("photo.safetensors")
    before = Path("photo.jpg").read_bytes()
    assert edit(tiny_model_dir, *arguments, "--edit", "age=2") == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error
    assert Path("photo.jpg").read_bytes() == before


def test_all_faces_of_a_photo_are_edited_and_put_back(
    photo: Image.Image, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.load("points.npy")
    pair = Image.new("RGB", (320, 200))
    pair.paste(photo, (0, 0))
    pair.paste(photo, (160, 0))
    pair.save("pair.png")
    inverter = HyperStyleInverter.from_pretrained(
        tiny_model_dir, device="cpu", aligner=lambda image: [points, np.add(points, [160.0, 0.0])]
    )
    for command in ("edit", "invert"):
        monkeypatch.setattr(f"hyperstyle.cli.{command}.load_inverter", lambda args: inverter)
    assert main(["edit", "pair.png", "--edit", "age=3", "--face", "all", "--paste-back"]) == 0
    with Image.open("pair_edited.png") as shown:
        changed = np.any(np.asarray(shown) != np.asarray(pair), axis=-1)
    assert changed[:, :160].sum() > 100
    assert changed[:, 160:].sum() > 100
    assert main(["edit", "pair.png", "--edit", "age=3", "--face", "1", "--paste-back", "--out", "one.png"]) == 0
    with Image.open("one.png") as shown:
        changed = np.any(np.asarray(shown) != np.asarray(pair), axis=-1)
    assert changed[:, :120].sum() == 0
    assert main(["invert", "pair.png", "--face", "all", "--quiet"]) == 0
    with Image.open("inversions/pair.png") as shown:
        assert shown.width > 1.5 * shown.height, "both faces side by side"
