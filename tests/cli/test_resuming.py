"""`hyperstyle invert` goes on after an interruption, shares a folder with other runs, and replaces nothing unasked."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hyperstyle
from hyperstyle.cli import main
from hyperstyle.errors import ImageError, InversionError, WeightsError
from hyperstyle.inversion.file import read_origin
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.claims import Claims, Stamp, stamp

Captured = pytest.CaptureFixture[str]
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
OUT = Path("inversions")


def save_gray_image(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    gray = Image.linear_gradient("L").resize((16, 16)).point(lambda v: (v + 5 * number) % 256)
    gray.convert("RGB").save(path)
    return path


def faces(count: int) -> list[str]:
    """The folder `faces` of different images; gives their names without suffix."""
    names = [f"{number:03}" for number in range(count)]
    for number, name in enumerate(names):
        save_gray_image(Path("faces", f"{name}.bmp"), number)
    return names


def quickly(model: Path, *arguments: str) -> list[str]:
    """The command line, with the W encoder alone unless the arguments name another method."""
    return ["invert", "--model", str(model), "--device", "cpu", "--align", "no", "--steps", "0", *arguments]


def invert(model: Path, *arguments: str) -> int:
    return main(quickly(model, *arguments))


def start(model: Path) -> subprocess.Popen[str]:
    """`hyperstyle invert faces` as a separate process, which writes a line for each image when it is done."""
    env = os.environ | {"PYTHONPATH": str(Path(hyperstyle.__file__).parents[1]), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "hyperstyle", *quickly(model, "faces")],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def read_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """Waits for the next lines of a process."""
    assert process.stdout is not None
    return [line for _ in range(count) if (line := process.stdout.readline())]


def records() -> dict[str, Stamp | None]:
    return {file.stem: stamp(file) for file in sorted(OUT.glob("*.safetensors"))}


def temporary() -> list[str]:
    return [file.name for file in OUT.iterdir() if file.name.startswith(".")]


def inverted(lines: Sequence[str]) -> list[str]:
    """The names of the images in lines like "faces/000.bmp -> inversions/000.png  l2 ..."."""
    return [Path(line.split(" -> ")[0]).stem for line in lines if " -> " in line]


def check_kills(model: Path, names: list[str], kills: Sequence[int], capsys: Captured) -> None:
    """A run for each signal, ended by it after the first or second image that it inverts, and one that goes on."""
    known: dict[str, Stamp | None] = {}
    for turn, number in enumerate(kills):
        with start(model) as process:
            read_lines(process, 1 + turn % 2)
            process.send_signal(number)
            read_lines(process, len(names))
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
        if number != signal.SIGKILL:
            assert temporary() == [], "what is ended orderly leaves nothing"
        assert known.items() <= records().items(), "what was done is not done again"
        assert len(records()) > len(known)
        known = records()
    capsys.readouterr()
    assert invert(model, "faces") == 0
    shown = capsys.readouterr()
    assert inverted(shown.out.splitlines()) == [name for name in names if name not in known]
    assert f"hyperstyle: {len(known)} of {len(names)} were in 'inversions' already" in shown.err
    assert known.items() <= records().items()
    assert list(records()) == names
    expected = {name + ending for name in names for ending in (".png", "_sheet.png", ".safetensors")}
    assert {file.name for file in OUT.iterdir()} == expected


@posix
def test_after_kills_nothing_is_lost_and_nothing_done_twice(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
    check_kills(tiny_model_dir, faces(12), signals, capsys)


@posix
@pytest.mark.slow
def test_after_twenty_kills_over_fifty_images_too(tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured) -> None:
    check_kills(tiny_model_dir, faces(50), [signal.SIGKILL, signal.SIGTERM] * 10, capsys)


@posix
def test_what_another_run_has_in_hand_is_left_to_it_and_said(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    names = faces(6)
    with start(tiny_model_dir) as other:
        other_lines = read_lines(other, 1)
        other.send_signal(signal.SIGSTOP)
        before = records()
        assert invert(tiny_model_dir, "faces") == 0
        shown = capsys.readouterr()
        inverted_here = inverted(shown.out.splitlines())
        left = len(names) - len(inverted_here) - len(before)
        assert 1 <= left <= 3, "the one being inverted, and those read ahead"
        assert f"hyperstyle: {left} of 6 are being inverted by another run: start this one again" in shown.err
        other.send_signal(signal.SIGCONT)
        other_lines += read_lines(other, len(names))
    assert other.returncode == 0
    assert sorted(inverted_here + inverted(other_lines)) == names, "each by one of them"
    assert temporary() == []


@posix
@pytest.mark.slow
def test_three_runs_at_once_invert_each_image_once(tiny_model_dir: Path, in_tmp_path: Path) -> None:
    names = faces(60)
    runs = [start(tiny_model_dir) for _ in range(3)]
    shares = []
    for run in runs:
        with run:
            shares.append(inverted(read_lines(run, len(names))))
        assert run.returncode == 0
    assert sorted(name for share in shares for name in share) == names
    assert all(shares), "each had its share"
    assert temporary() == []


def test_where_all_is_done_no_model_is_loaded(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces(3)
    assert invert(tiny_model_dir, "faces", "--quiet") == 0
    before = records()
    monkeypatch.setattr("hyperstyle.cli.invert.load_inverter", None)
    assert invert(tiny_model_dir, "faces") == 0
    message = "hyperstyle: 3 of 3 were in 'inversions' already (--overwrite does them again)\n"
    assert capsys.readouterr() == ("", message)
    assert invert(tiny_model_dir, "faces", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert records() == before


def test_overwrite_does_them_again(tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured) -> None:
    names = faces(2)
    assert invert(tiny_model_dir, "faces", "--quiet") == 0
    before = records()
    assert invert(tiny_model_dir, "faces", "--overwrite", "--steps", "1") == 0
    assert inverted(capsys.readouterr().out.splitlines()) == names
    assert not before.items() & records().items()
    origin = read_origin(OUT / "000.safetensors")
    assert origin is not None
    assert origin["settings"]["steps"] == 1


def test_what_cannot_be_written_keeps_no_record_that_speaks_for_other_images(
    tiny_model_dir: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces(1)
    assert invert(tiny_model_dir, "faces", "--quiet") == 0

    def fail(*_: object, **__: object) -> None:
        raise ImageError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("hyperstyle.images.save_image", fail)
        assert invert(tiny_model_dir, "faces", "--overwrite", "--quiet") == 1
    assert records() == {}
    assert temporary() == []
    assert invert(tiny_model_dir, "faces", "--quiet") == 0
    assert len(records()) == 1


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--steps", "1"], "was made with --steps 0, not --steps 1"),
        (["--seed", "3"], "was made with the default --seed, not --seed 3"),
        (["--method", "w-encoder"], "was made with the default --method, not --method w-encoder"),
        (["--align", "auto"], "was made with --align no, not --align auto"),
    ],
)
def test_a_record_made_with_other_settings_is_neither_done_nor_replaced(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured, flags: list[str], reason: str
) -> None:
    faces(1)
    assert invert(tiny_model_dir, "faces", "--quiet") == 0
    before = records()
    assert invert(tiny_model_dir, "faces", *flags) == 1
    place = str(OUT / "000.safetensors")
    line = f"{place!r} is there already and {reason}. Replace it with --overwrite, or choose another --out."
    assert line in capsys.readouterr().err
    assert records() == before


def test_a_record_of_another_image_is_neither_done_nor_replaced(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    save_gray_image(Path("a/me.bmp"))
    save_gray_image(Path("b/me.bmp"), 7)  # as many bytes
    save_gray_image(Path("b/you.bmp"))
    assert invert(tiny_model_dir, "a", "--quiet") == 0
    before = records()
    assert invert(tiny_model_dir, "b") == 1
    shown = capsys.readouterr()
    assert inverted(shown.out.splitlines()) == ["you"], "it does not stop the others"
    assert f"hyperstyle: 1 of 2 failed:\n  {Path('b/me.bmp')}: " in shown.err
    assert "is there already and is of another image." in shown.err
    assert before.items() <= records().items()


def test_a_copy_of_the_image_elsewhere_is_the_same_image(tiny_model_dir: Path, in_tmp_path: Path) -> None:
    faces(1)
    assert invert(tiny_model_dir, "faces", "--quiet") == 0
    before = records()
    shutil.copytree("faces", "elsewhere")
    assert invert(tiny_model_dir, "elsewhere", "--quiet") == 0
    assert records() == before


def test_a_record_by_another_model_is_neither_done_nor_replaced(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    faces(1)
    assert invert(tiny_model_dir, "faces", "--quiet") == 0
    other = shutil.copytree(tiny_model_dir, Path("other"))
    manifest = other / "hyperstyle.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"edits": [', '"edits": [ '), encoding="utf-8")
    assert invert(other, "faces", "--quiet") == 0, "the same networks"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"steps": 2', '"steps": 3'), encoding="utf-8")
    assert invert(other, "faces", "--quiet") == 1
    assert "is there already and was made by another model." in capsys.readouterr().err


def test_other_landmarks_are_other_settings(tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured) -> None:
    Image.linear_gradient("L").convert("RGB").save("me.png")
    points = np.array([[90.0, 100.0], [160.0, 100.0], [125.0, 140.0], [100.0, 170.0], [150.0, 170.0]])
    arguments = [
        "invert",
        "me.png",
        "--landmarks",
        "points.npy",
        "--model",
        str(tiny_model_dir),
        "--steps",
        "0",
        "--quiet",
    ]
    for moved, code in ((0, 0), (0, 0), (3, 1)):
        np.save("points.npy", points + moved)
        assert main([*arguments, "--model", str(tiny_model_dir)]) == code
    assert "was made with other --landmarks" in capsys.readouterr().err


def test_records_of_before_count_by_their_name_and_damaged_ones_not_at_all(
    tiny_model_dir: Path, tiny_inverter: HyperStyleInverter, in_tmp_path: Path, capsys: Captured
) -> None:
    names = faces(4)
    OUT.mkdir()
    tiny_inverter.invert("faces/003.bmp", align=False, steps=0).save(OUT / "000.safetensors")
    assert read_origin(OUT / "000.safetensors") is None
    content = (OUT / "000.safetensors").read_bytes()
    (OUT / "001.safetensors").write_bytes(content[:-1])
    (OUT / "002.safetensors").touch()
    assert invert(tiny_model_dir, "faces") == 0
    assert inverted(capsys.readouterr().out.splitlines()) == names[1:]
    for name in names:
        assert len(Inversion.load(OUT / f"{name}.safetensors", tiny_inverter)) == 1


def test_a_safetensors_file_that_is_no_inversion_is_not_replaced(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    faces(1)
    OUT.mkdir()
    shutil.copy(tiny_model_dir / "encoder" / "model.safetensors", OUT / "000.safetensors")
    before = records()
    assert invert(tiny_model_dir, "faces", "--quiet") == 1
    assert "is there already and is no inversion. Replace it with --overwrite" in capsys.readouterr().err
    assert records() == before
    with pytest.raises(InversionError, match="is not an inversion"):
        read_origin(OUT / "000.safetensors")
    with pytest.raises(WeightsError, match=r"is not a readable safetensors file|it is a folder"):
        read_origin(OUT)


def test_images_that_were_removed_stay_so_while_their_record_is_there(tiny_model_dir: Path, in_tmp_path: Path) -> None:
    faces(1)
    assert invert(tiny_model_dir, "faces", "--quiet") == 0
    (OUT / "000.png").unlink()
    assert invert(tiny_model_dir, "faces", "--quiet") == 0
    assert not (OUT / "000.png").exists()
    (OUT / "000.safetensors").unlink()
    assert invert(tiny_model_dir, "faces", "--quiet") == 0
    assert (OUT / "000.png").exists()


def test_failed_images_are_given_back(tiny_model_dir: Path, in_tmp_path: Path) -> None:
    faces(2)
    Path("faces/000.bmp").write_bytes(b"no image")
    assert invert(tiny_model_dir, "faces", "--quiet") == 1
    assert temporary() == []
    assert Claims().claim(OUT / "000.safetensors") == "claimed"


def test_two_that_overwrite_do_not_do_the_same_twice(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = faces(2)
    assert invert(tiny_model_dir, "faces", "--quiet") == 0
    real, shares = HyperStyleInverter.from_pretrained, []

    def other_first(*arguments: object, **options: object) -> HyperStyleInverter:
        monkeypatch.setattr(HyperStyleInverter, "from_pretrained", real)
        assert invert(tiny_model_dir, "faces", "--overwrite") == 0  # after the first one listed what it has to do
        shares.append(inverted(capsys.readouterr().out.splitlines()))
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(HyperStyleInverter, "from_pretrained", other_first)
    assert invert(tiny_model_dir, "faces", "--overwrite") == 0
    assert (shares, inverted(capsys.readouterr().out.splitlines())) == ([names], [])
