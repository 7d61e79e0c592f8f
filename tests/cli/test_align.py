"""`hyperstyle align` on photos with landmarks and with a stub detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hyperstyle.align import crop
from hyperstyle.cli import main

Captured = pytest.CaptureFixture[str]

FACE = np.array([[40.0, 60.0], [70.0, 62.0], [55.0, 75.0], [43.0, 90.0], [66.0, 92.0]])
TWO = [FACE, FACE * 0.6 + [110.0, 20.0]]


@pytest.fixture
def photo(in_tmp_path: Path) -> Image.Image:
    """photo.png, 200 x 150, in the current folder."""
    y, x = np.mgrid[:150, :200]
    image = Image.fromarray(np.stack([x, y, (x + y) // 2], axis=-1).astype(np.uint8))
    image.save("photo.png")
    return image


class Found:
    """Finds the faces passed to the constructor."""

    def __init__(self, faces: list[npt.NDArray[np.float64]]) -> None:
        self.aligner = lambda photo: faces


def finds(monkeypatch: pytest.MonkeyPatch, faces: list[npt.NDArray[np.float64]]) -> None:
    monkeypatch.setattr("hyperstyle.cli.align.load_inverter", lambda args: Found(faces))


def align(*arguments: str) -> int:
    return main(["align", "--out", "out", *arguments])


def test_the_crop_is_that_of_the_library(photo: Image.Image, capsys: Captured) -> None:
    np.save("points.npy", FACE)
    assert align("photo.png", "--landmarks", "points.npy", "--size", "64", "--transform-size", "128") == 0
    assert capsys.readouterr().out == f"photo.png -> {Path('out/photo.png')}\n"
    assert {file.name for file in Path("out").iterdir()} == {"photo.png", "photo_sheet.png"}
    with Image.open("out/photo.png") as shown:
        assert shown.tobytes() == crop(photo, FACE, 64, 128).image.tobytes()


def test_the_sheet_shows_the_square_and_the_points_on_the_photo(photo: Image.Image) -> None:
    np.save("points.npy", FACE)
    assert align("photo.png", "--landmarks", "points.npy", "--size", "64", "--quiet") == 0
    with Image.open("out/photo_sheet.png") as sheet:
        colors = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    for color in ((255, 196, 0), (0, 220, 130)):
        assert (colors == color).all(axis=1).sum() > 20


@pytest.mark.parametrize(("face", "expected"), [("largest", [0]), ("center", [1]), ("1", [1]), ("all", [0, 1])])
def test_the_requested_faces_are_cut_out(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch, face: str, expected: list[int]
) -> None:
    finds(monkeypatch, TWO)
    assert align("photo.png", "--face", face, "--size", "64") == 0
    names = [f"photo_{i + 1}.png" for i in expected] if face == "all" else ["photo.png"]
    assert {file.name for file in Path("out").iterdir()} == {*names, "photo_sheet.png"}
    for name, place in zip(names, expected, strict=True):
        with Image.open(Path("out") / name) as shown:
            assert shown.tobytes() == crop(photo, TWO[place], 64, 64).image.tobytes()


def test_a_photo_that_fails_does_not_stop_the_others(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    finds(monkeypatch, TWO)
    Path("text.png").write_text("no image", encoding="utf-8")
    assert align("text.png", "photo.png", "gone.png", "--size", "64") == 1
    shown = capsys.readouterr()
    assert shown.out == f"photo.png -> {Path('out/photo.png')}\n"
    assert shown.err.splitlines()[0] == "hyperstyle: 2 of 3 failed:"


@pytest.mark.parametrize(
    ("faces", "face", "message"), [([], "largest", "no face found in 'photo.png' (200x150 px)"), (TWO, "2", "--face 2")]
)
def test_a_face_that_is_not_there_is_one_line_that_says_so(
    photo: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    faces: list[npt.NDArray[np.float64]],
    face: str,
    message: str,
) -> None:
    finds(monkeypatch, faces)
    assert align("photo.png", "--face", face) == 1
    assert message in capsys.readouterr().err.splitlines()[1]
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "0"], "--size 0"),
        (["--face", "all"], "--face with --landmarks"),
        (["--size", "64", "--transform-size", "32"], "--transform-size 32"),
        (["--out", "."], "would replace an image to read"),
        (["--out", "photo.png/out"], "cannot write into the folder"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_why(
    photo: Image.Image, capsys: Captured, arguments: list[str], message: str
) -> None:
    np.save("points.npy", FACE)
    before = Path("photo.png").read_bytes()
    assert align("photo.png", "--landmarks", "points.npy", *arguments) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error
    assert Path("photo.png").read_bytes() == before


def test_a_face_is_a_word_or_a_number(photo: Image.Image, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        align("photo.png", "--face", "left")
    assert "'left' is no face: expected largest, center, all" in capsys.readouterr().err
