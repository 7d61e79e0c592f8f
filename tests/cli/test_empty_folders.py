"""A command that writes nothing leaves no folder behind: what it made for its results is removed again."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hyperstyle.cli import main

COMMANDS = (
    "invert me.png --model {model} --out new/deep",
    "align me.png --model {model} --landmarks points.npy --out new/deep",
    "edit me.png you.png --model {model} --edit age=2 --out new/deep",
    "edit me.png --model {model} --edit age=2 --out new/me.png",
    "edit frames --clip --model {model} --edit age=2 --align no --out new/deep",
    "edit frames --clip --model {model} --edit age=2 --align no --out new/me.mp4",
    "animate me.png --model {model} --edit age=-1:1:3 --out new/me.webp",
    "export me.safetensors --model {model} --out new/me.pt",
    "export me.safetensors --form official --model {model} --out new/deep",
    "convert me.png --out new/deep",
    "import frames --model {model} --out new/deep",
    "fit sefa --model {model} --layers 99 --out new/deep",
    "evaluate report {model} --data frames --out new/deep",
    "evaluate celebahq frames --model {model} --out new/deep",
)


@pytest.mark.parametrize("line", COMMANDS)
def test_no_empty_folder_is_left(
    line: str, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("frames").mkdir()
    Image.new("RGB", (32, 32)).save("whole.png")
    for file in ("me.png", "you.png", "frames/1.png"):
        Path(file).write_bytes(Path("whole.png").read_bytes()[:60])  # cut off
    for file in ("me.safetensors", "points.npy"):
        Path(file).write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    assert main(line.format(model=tiny_model_dir).split()) in (1, 2)
    message = capsys.readouterr().err
    assert "should not happen" not in message
    assert "cannot write into" not in message
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_was_there_stays(tiny_model_dir: Path, tmp_path: Path) -> None:
    image, out = tmp_path / "me.png", tmp_path / "there"
    image.write_bytes(b"x")
    out.mkdir()
    assert main(["invert", str(image), "--model", str(tiny_model_dir), "--out", str(out / "new")]) == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["there"]
    assert list(out.iterdir()) == []
