"""What the commands say of square images that they take as crops with no face seen in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from hyperstyle.align.aligners import AutoDetector
from hyperstyle.cli import main

pytestmark = pytest.mark.filterwarnings("default::hyperstyle.errors.QualityWarning")  # the commands show it

Captured = pytest.CaptureFixture[str]
SAID = "square and taken as an aligned crop, since no face was found in it."
COMMANDS = {
    "invert": ("invert", "--quiet"),
    "edit": ("edit", "--edit", "age=2", "--quiet"),
    "animate": ("animate", "--edit", "age=0:2:3", "--quiet"),
}


@pytest.fixture(autouse=True)
def _no_face_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AutoDetector, "__call__", lambda self, photo: [])


@pytest.fixture
def folder(in_tmp_path: Path) -> str:
    """A folder of four square images that differ, and the path of the first."""
    Path("photos").mkdir()
    for i in range(4):
        Image.linear_gradient("L").rotate(90 * i).resize((32, 32)).convert("RGB").save(f"photos/{i}.png")
    return "photos"


def said(capsys: Captured) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "taken as an aligned crop" in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_it_with_its_flags_and_is_silent_with_align_no(
    tiny_model_dir: Path, folder: str, command: str, capsys: Captured
) -> None:
    photo = str(Path(folder) / "0.png")
    name, *flags = COMMANDS[command]
    arguments = [name, "--model", str(tiny_model_dir), "--device", "cpu", photo, *flags]
    assert main([*arguments, "--out", "first.webp"]) == 0
    (line,) = said(capsys)
    assert line == (
        f"hyperstyle: warning: {photo!r}: {SAID} If it shows a face, pass --landmarks or an aligner that finds it; if "
        "it already is an aligned crop, --align no says so."
    )
    assert main([*arguments, "--align", "no", "--out", "second.webp"]) == 0
    assert said(capsys) == []


@pytest.mark.parametrize(
    ("command", "options"), [("invert", ()), ("invert", ("--batch", "2")), ("invert", ("--batch", "3")), ("edit", ())]
)
def test_a_folder_is_said_once_with_the_list(
    tiny_model_dir: Path, folder: str, command: str, options: tuple[str, ...], capsys: Captured
) -> None:
    name, *flags = COMMANDS[command]
    assert main([name, "--model", str(tiny_model_dir), "--device", "cpu", folder, *flags, *options, "--out", "o"]) == 0
    lines = said(capsys)
    assert len(lines) <= 2  # the first at once, and the list at the end
    named = [name for line in lines for name in re.findall(r"'[^']*'", line)]
    assert set(named) == {repr(str(Path(folder) / f"{i}.png")) for i in range(4)}
    if len(lines) == 2:
        assert ". The same for '" in lines[1]


def test_the_rest_of_the_images_of_a_command_are_not_lost_where_one_has_a_face(
    tiny_model_dir: Path, folder: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    points = [[12, 15], [20, 15], [16, 19], [13, 23], [19, 23]]
    first = Image.open(Path(folder) / "0.png").tobytes()
    monkeypatch.setattr(AutoDetector, "__call__", lambda self, photo: [points] if photo.tobytes() == first else [])
    assert main(["invert", "--model", str(tiny_model_dir), "--device", "cpu", folder, "--quiet", "--out", "o"]) == 0
    named = {name for line in said(capsys) for name in re.findall(r"'[^']*'", line)}
    assert named == {repr(str(Path(folder) / f"{i}.png")) for i in (1, 2, 3)}
