"""`--landmarks`: one file for an image, or a folder with one for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hyperstyle.cli import main
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter

if TYPE_CHECKING:
    from conftest import Portrait


@pytest.fixture
def photos(portrait: Portrait, in_tmp_path: Path) -> Path:
    (in_tmp_path / "points").mkdir()
    for number, name in enumerate((3, 5)):
        photo, points = portrait(number, (160, 200))
        photo.save(in_tmp_path / f"{name}.png")
        np.save(in_tmp_path / "points" / f"{name}.npy", points)
    return in_tmp_path


def test_a_photo_is_cut_out_by_the_points_of_its_file(photos: Path, tiny_model_dir: Path) -> None:
    model = ["--model", str(tiny_model_dir), "--device", "cpu", "--quiet"]
    assert main(["invert", "3.png", "--landmarks", "points/3.npy", "--out", "one", *model]) == 0
    assert main(["invert", "3.png", "5.png", "--landmarks", "points", "--out", "both", *model]) == 0
    inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
    alone, batched = (Inversion.load(photos / folder / "3.safetensors", inverter) for folder in ("one", "both"))
    placement = alone.sources[0].placement
    assert placement is not None
    assert placement.source_size == (160, 200)
    assert (alone.w == batched.w).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text", "cannot be read as a .npy file of numbers"),
        (np.zeros((4, 2)), "expected 68 or 5 points"),
        (np.array([None]), "cannot be read as a .npy file of numbers"),
    ],
)
def test_a_landmark_file_of_another_kind_fails_that_image_in_one_line(
    content: object, message: str, photos: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if isinstance(content, bytes):
        (photos / "bad.npy").write_bytes(content)
    elif isinstance(content, np.ndarray):
        np.save(photos / "bad.npy", content, allow_pickle=True)
    arguments = ["3.png", "--landmarks", "bad.npy", "--model", str(tiny_model_dir), "--device", "cpu", "--quiet"]
    assert main(["invert", *arguments]) == 1
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 2
    assert message in error[1]


def test_a_face_cannot_be_chosen_together_with_landmarks(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invert", "3.png", "--landmarks", "points", "--face", "1", "--sideways"]) == 2
    assert "--face, --sideways with --landmarks" in capsys.readouterr().err
    assert not (photos / "inversions").exists()


def test_one_file_for_several_images_is_refused(
    photos: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["3.png", "5.png", "--landmarks", "points/3.npy", "--model", str(tiny_model_dir)]
    assert main(["invert", *arguments]) == 2
    assert "is one file for 2 images" in capsys.readouterr().err
