"""`hyperstyle animate`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperstyle.cli import main
from hyperstyle.images.clips.read import open_clip
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def inverted(tiny_inverter: HyperStyleInverter, in_tmp_path: Path) -> Path:
    """me.png, you.png, and the inversion of the first, in the current folder."""
    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save("me.png")
    Image.radial_gradient("L").resize((32, 32)).convert("RGB").save("you.png")
    tiny_inverter.invert("me.png", align=False).save("me.safetensors")
    return in_tmp_path


def animate(model: Path, *arguments: str) -> int:
    return main(["animate", "--model", str(model), "--device", "cpu", *arguments])


def frames(path: str) -> int:
    with Image.open(path) as animation:
        return int(animation.n_frames)  # type: ignore[attr-defined]


def test_a_range_is_swept_there_and_back(tiny_model_dir: Path, inverted: Path, capsys: Captured) -> None:
    assert animate(tiny_model_dir, "me.safetensors", "--edit", "age=-2:2:6", "--edit", "smile=1") == 0
    assert capsys.readouterr().out == "me_animated.webp\n"
    assert frames("me_animated.webp") == 10
    assert animate(tiny_model_dir, "me.safetensors", "--edit", "age=-2:2:6", "--once", "--out", "age.gif") == 0
    assert frames("age.gif") == 6


def test_two_inputs_give_the_way_between_them(
    tiny_model_dir: Path, tiny_inverter: HyperStyleInverter, inverted: Path
) -> None:
    arguments = ("me.safetensors", "you.png", "--align", "no", "--frames", "5", "--once", "--out", "way.webp")
    assert animate(tiny_model_dir, *arguments, "--size", "16") == 0
    assert frames("way.webp") == 5
    assert animate(tiny_model_dir, *arguments) == 0
    you = tiny_inverter.invert("you.png", align=False)
    way = Inversion.load("me.safetensors", tiny_inverter).interpolate(you, 5).images
    with Image.open("way.webp") as animation:
        for place, expected in enumerate(way):
            animation.seek(place)
            shown = np.asarray(animation.convert("RGB"), dtype=int)
            assert np.abs(shown - np.asarray(expected, dtype=int)).mean() < 12  # lossy


def test_paste_back_animates_the_photo(tiny_model_dir: Path, inverted: Path) -> None:
    Image.radial_gradient("L").resize((64, 80)).convert("RGB").save("photo.png")
    np.save("photo.npy", np.array([[20.0, 24.0], [36.0, 24.0], [28.0, 32.0], [22.0, 40.0], [34.0, 40.0]]))
    options = ("photo.png", "--landmarks", "photo.npy", "--edit", "age=-2:2:3", "--paste-back")
    assert animate(tiny_model_dir, *options, "--out", "photo.webp") == 0
    with Image.open("photo.webp") as animation:
        assert animation.size == (64, 80)
        assert animation.n_frames == 4  # type: ignore[attr-defined]


def test_a_clip_is_written_where_the_name_says_so_and_quiet_says_nothing(
    tiny_model_dir: Path, inverted: Path, capsys: Captured
) -> None:
    pytest.importorskip("av")
    arguments = ("me.safetensors", "--edit", "age=-2:2:3", "--out", "age.mp4", "--rate", "10", "--quiet")
    assert animate(tiny_model_dir, *arguments) == 0
    assert capsys.readouterr() == ("", "")
    clip = open_clip("age.mp4")
    assert (len(list(clip)), clip.rate) == (4, 10)


def test_an_earlier_animation_is_not_replaced_unless_told(
    tiny_model_dir: Path, inverted: Path, capsys: Captured
) -> None:
    assert animate(tiny_model_dir, "me.safetensors", "--edit", "age=-2:2:3") == 0
    before = Path("me_animated.webp").read_bytes()
    other = ("me.safetensors", "--edit", "smile=-2:2:3")
    assert animate(tiny_model_dir, *other) == 2
    assert "'me_animated.webp' is there already" in capsys.readouterr().err
    assert Path("me_animated.webp").read_bytes() == before
    assert animate(tiny_model_dir, *other, "--overwrite") == 0
    assert Path("me_animated.webp").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["me.png"], "no range: an animation of one input has one"),
        (["me.png", "--edit", "age=2"], "no range"),
        (["me.png", "--edit", "age=0:1:3", "--edit", "smile=0:1:3"], "2 ranges (age, smile)"),
        (["me.png", "--edit", "age=0:1:3", "--frames", "9"], "--frames is for two inputs"),
        (["me.png", "you.png", "--edit", "age=0:1:3"], "a range (age) and two inputs"),
        (["me.png", "you.png", "--frames", "1"], "--frames 1: expected 2 to 999"),
        (["me.png", "you.png", "--paste-back"], "--paste-back is for one input"),
        (["me.png", "you.png", "--out", "x.png"], "a name that ends in .gif, .webp or .mp4"),
        (["me.png", "you.png", "--size", "0"], "a longer side of 0 pixels"),
        (["me.png", "you.png", "--rate", "0"], "0 frames per second"),
        (["me.png", "gone.png"], "no file 'gone.png'"),
        (["me.safetensors", "--edit", "age=0:1:3", "--steps", "2"], "--steps: for inverting"),
        (["me.safetensors", "--edit", "age=0:1:3", "--paste-back"], "pass it with --photo"),
        (["me.safetensors", "--edit", "aeg=0:1:3"], "Did you mean 'age'?"),
        (["me.png", "--edit", "age=0:1:3", "--beta", "0.2"], "--beta: for --text"),
        ([".", "--edit", "age=0:1:3"], "holds frames already"),
    ],
)
def test_what_cannot_be_animated_is_one_line_that_says_why(
    tiny_model_dir: Path, inverted: Path, capsys: Captured, arguments: list[str], message: str
) -> None:
    before = sorted(inverted.iterdir())
    assert animate(tiny_model_dir, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert message in shown.err
    assert sorted(inverted.iterdir()) == before


def test_an_animation_is_limited_by_a_mask(tiny_model_dir: Path, inverted: Path, capsys: Captured) -> None:
    Image.linear_gradient("L").point(lambda level: 255 * (level > 127)).resize((32, 32), 0).save("below.png")
    flags = ("me.safetensors", "--edit", "age=-3:3:2", "--mask", "below.png", "--once", "--out", "age.webp")
    assert animate(tiny_model_dir, *flags) == 0
    shown = []
    with Image.open("age.webp") as animation:
        for place in range(2):
            animation.seek(place)
            shown.append(np.asarray(animation.convert("RGB"), dtype=int))
    change = np.abs(shown[1] - shown[0]).mean(axis=(1, 2))  # of each row
    assert change[:12].mean() < 0.2 * change[20:].mean()  # lossy
    assert animate(tiny_model_dir, "me.safetensors", "you.png", "--align", "no", "--mask", "below.png") == 2
    assert "--mask: for --edit and --text, which are missing" in capsys.readouterr().err
