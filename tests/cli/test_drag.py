"""`hyperstyle drag`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperstyle.cli import main
from hyperstyle.errors import EditWarning
from hyperstyle.images import load_image
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter

Captured = pytest.CaptureFixture[str]
pytestmark = pytest.mark.filterwarnings("default::hyperstyle.errors.EditWarning")  # they are shown, not raised
MOVE = ("--move", "10,20:16,20", "--drag-steps", "3")


@pytest.fixture
def inverted(tiny_inverter: HyperStyleInverter, in_tmp_path: Path) -> Path:
    """me.png, its inversion, and photo.png with the landmarks of a face, in the current folder."""
    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save("me.png")
    tiny_inverter.invert("me.png", align=False).save("me.safetensors")
    Image.radial_gradient("L").resize((64, 80)).convert("RGB").save("photo.png")
    Image.new("L", (32, 32), 255).save("mask.gif")
    np.save("photo.npy", np.array([[20.0, 24.0], [36.0, 24.0], [28.0, 32.0], [22.0, 40.0], [34.0, 40.0]]))
    return in_tmp_path


def drag(model: Path, *arguments: str) -> int:
    return main(["drag", "--model", str(model), "--device", "cpu", *arguments])


def test_an_inversion_and_an_image_are_dragged(
    tiny_model_dir: Path, tiny_inverter: HyperStyleInverter, inverted: Path, capsys: Captured
) -> None:
    assert drag(tiny_model_dir, "me.safetensors", *MOVE) == 0
    shown = capsys.readouterr()
    assert shown.out == "me_dragged.png\n"
    assert "1 of 1 points did not arrive in 3 steps" in shown.err
    with pytest.warns(EditWarning):
        expected = Inversion.load("me.safetensors", tiny_inverter).drag([((10, 20), (16, 20))], steps=3)
    assert load_image("me_dragged.png").tobytes() == expected.image.tobytes()
    assert drag(tiny_model_dir, "me.png", "--align", "no", *MOVE, "--out", "again.png", "--quiet") == 0
    assert load_image("again.png").tobytes() == expected.image.tobytes()
    assert capsys.readouterr().out == ""


def test_the_way_is_animated_and_a_mask_limits_it(
    tiny_model_dir: Path, tiny_inverter: HyperStyleInverter, inverted: Path, capsys: Captured
) -> None:
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[:, :16] = 255
    Image.fromarray(mask).save("left.png")
    options = ("--move", "3,3:8,9", "--radius", "2", "--mask", "left.png", "--out", "out.png", "--animate", "way.webp")
    options = (*options, "--drag-steps", "8")
    assert drag(tiny_model_dir, "me.safetensors", *MOVE, *options) == 0
    assert capsys.readouterr().out == "out.png\nway.webp\n"
    before = Inversion.load("me.safetensors", tiny_inverter).image
    after = load_image("out.png")
    assert np.array_equal(np.asarray(after)[:, 16:], np.asarray(before)[:, 16:])
    assert not np.array_equal(np.asarray(after), np.asarray(before))
    with Image.open("way.webp") as animation:
        assert 3 <= animation.n_frames <= 20  # type: ignore[attr-defined]  # equal ones are joined
        for place, expected in ((0, before), (animation.n_frames - 1, after)):  # type: ignore[attr-defined]
            animation.seek(place)
            frame = np.asarray(animation.convert("RGB"), dtype=int)
            assert np.abs(frame - np.asarray(expected, dtype=int)).mean() < 12  # lossy


def test_points_of_a_photo_are_dragged_in_it(tiny_model_dir: Path, inverted: Path) -> None:
    options = ("--landmarks", "photo.npy", "--move", "28,32:34,30", "--in-photo", "--drag-steps", "2", "--paste-back")
    assert drag(tiny_model_dir, "photo.png", *options, "--animate", "photo.gif") == 0
    pasted = load_image("photo_dragged.png")
    assert pasted.size == (64, 80)
    assert pasted.tobytes() != load_image("photo.png").tobytes()
    with Image.open("photo.gif") as animation:
        assert animation.size == (64, 80)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["me.safetensors"], "required: --move"),
        (["me.safetensors", "--move", "1,2"], "'1,2' is no move: expected X,Y:X,Y in pixels"),
        (["me.safetensors", "--move", "1,2:nan,4"], "is no move"),
        (["me.safetensors", "--move", "1,2:3,4:5,6"], "is no move"),
        (["me.safetensors", "--move", "1,2:40,4"], "from (1, 2) to (40, 4): expected both within the reconstruction"),
        (["me.safetensors", "--move", "4,4:4,4"], "from (4, 4) to (4, 4), which is where it is"),
        (["me.safetensors", *MOVE[:2], "--in-photo"], "was not cut out of a photo"),
        (["gone.safetensors", *MOVE[:2]], "no file 'gone.safetensors'"),
        (["me.safetensors", *MOVE[:2], "--radius", "90"], "radius=90.0: expected 1 to 8 pixels"),
        (["me.safetensors", *MOVE[:2], "--drag-steps", "-1"], "--drag-steps -1: expected 0 or more"),
        (["me.safetensors", *MOVE[:2], "--drag-steps", "20000"], "steps of a drag=20000: expected a whole number"),
        (["me.safetensors", *MOVE[:2], "--mask", "muoth"], "Did you mean 'mouth'?"),
        (["me.safetensors", *MOVE[:2], "--animate", "way.png"], "a name that ends in .gif, .webp or .mp4"),
        (["me.safetensors", *MOVE[:2], "--paste-back"], "pass it with --photo"),
        (["me.png", *MOVE[:2], "--out", "me.png"], "would replace the input"),
        (["me.png", *MOVE[:2], "--mask", "mask.gif", "--animate", "mask.gif"], "'mask.gif' would replace an input"),
        (
            ["me.safetensors", *MOVE[:2], "--paste-back", "--photo", "mask.gif", "--animate", "mask.gif"],
            "'mask.gif' would replace an input",
        ),
        (["gone.png", *MOVE[:2]], "no file 'gone.png'"),
        ([".", *MOVE[:2]], "is no image: points belong to a single one"),
    ],
)
def test_what_cannot_be_dragged_is_one_line_that_says_why(
    tiny_model_dir: Path, inverted: Path, capsys: Captured, arguments: list[str], message: str
) -> None:
    before = sorted(inverted.iterdir())
    with suppress(SystemExit):  # of argparse
        assert drag(tiny_model_dir, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in " ".join(shown.err.split())
    assert sorted(inverted.iterdir()) == before
