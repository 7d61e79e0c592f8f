"""`hyperstyle invert` on files, folders and broken images."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image
from torch import Tensor

from hyperstyle.cli import main
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods import registry

Captured = pytest.CaptureFixture[str]


def save_noise(path: Path, size: tuple[int, int] = (32, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize(size).convert("RGB").save(path)
    return path


def invert(model: Path, *arguments: str | Path) -> int:
    return main(["invert", "--model", str(model), "--device", "cpu", "--align", "no", *map(str, arguments)])


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_each_image_gets_a_reconstruction_a_sheet_and_an_inversion_file(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    save_noise(in_tmp_path / "faces" / "me.png")
    save_noise(in_tmp_path / "you.v2.jpg")
    assert invert(tiny_model_dir, "faces", "you.v2.jpg", "--out", "results") == 0
    expected = {name + ending for name in ("me", "you.v2") for ending in (".png", "_sheet.png", ".safetensors")}
    assert files(in_tmp_path / "results") == expected
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        f"{Path('faces/me.png')} -> {Path('results/me')}.png",
        f"you.v2.jpg -> {Path('results/you.v2')}.png",
    ]
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    again = Inversion.load(in_tmp_path / "results" / "me.safetensors", inverter)
    with Image.open(in_tmp_path / "results" / "me.png") as shown:
        assert shown.tobytes() == again.image.tobytes()
        side = shown.width
    with Image.open(in_tmp_path / "results" / "me_sheet.png") as sheet:
        assert sheet.width > 3 * side, "input, W encoder and result stand side by side"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such names")
def test_names_that_are_not_utf8_go_through_the_whole_job(tiny_model_dir: Path, in_tmp_path: Path) -> None:
    inputs, out = in_tmp_path / "faces", in_tmp_path / os.fsdecode(b"out\xff")
    name = os.fsdecode(b"\xff")
    for stem in (name, "me"):
        save_noise(inputs / f"{stem}.png")
    assert invert(tiny_model_dir, inputs, "--out", out) == 0
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    for stem in (name, "me"):
        again = Inversion.load(out / f"{stem}.safetensors", inverter)
        with Image.open(out / f"{stem}.png") as shown:
            assert shown.tobytes() == again.image.tobytes()
    assert main(["edit", str(out), "--edit", "age=1", "--model", str(tiny_model_dir), "--out", "edited"]) == 0
    assert files(in_tmp_path / "edited") == {f"{name}_edited.png", "me_edited.png"}
    stamp = (out / f"{name}.safetensors").stat().st_mtime_ns
    assert invert(tiny_model_dir, inputs, "--out", out) == 0  # its record is read, and it is done
    assert (out / f"{name}.safetensors").stat().st_mtime_ns == stamp


def test_an_image_that_is_no_result_is_not_replaced(tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured) -> None:
    save_noise(in_tmp_path / "me.jpg")
    before = save_noise(in_tmp_path / "out" / "me.png", (40, 30)).read_bytes()
    assert invert(tiny_model_dir, "me.jpg", "--out", "out") == 1
    assert "is there already and is no result. Replace it with --overwrite" in capsys.readouterr().err
    assert (in_tmp_path / "out" / "me.png").read_bytes() == before
    assert invert(tiny_model_dir, "me.jpg", "--out", "out", "--overwrite") == 0
    (in_tmp_path / "out" / "me.safetensors").unlink()  # as after an interruption
    assert invert(tiny_model_dir, "me.jpg", "--out", "out") == 0


def test_the_number_of_steps_is_passed_on(tiny_model_dir: Path, in_tmp_path: Path) -> None:
    save_noise(in_tmp_path / "me.png")
    shown = {}
    for steps in ("0", "2"):
        assert invert(tiny_model_dir, "me.png", "--steps", steps, "--out", steps) == 0
        shown[steps] = (in_tmp_path / steps / "me.png").read_bytes()
    assert shown["0"] != shown["2"]


def test_what_looks_like_an_image_in_a_folder_and_cannot_be_read_is_listed_and_counts(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    save_noise(in_tmp_path / "faces" / "me.png")
    (in_tmp_path / "faces" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    assert invert(tiny_model_dir, "faces", "--out", "out") == 0
    (in_tmp_path / "faces" / "you.svg").write_bytes(b"<svg/>")
    assert invert(tiny_model_dir, "faces", "--out", "again", "--quiet") == 1
    lines = capsys.readouterr().err.splitlines()[-2:]
    assert lines[0] == "hyperstyle: 1 of 2 failed:"
    assert lines[1].startswith(f"  {Path('faces/you.svg')}: is an SVG file, which is not read.")
    assert files(in_tmp_path / "again") == {"me.png", "me_sheet.png", "me.safetensors"}


def test_a_bad_image_does_not_stop_the_others_and_is_listed_at_the_end(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    (in_tmp_path / "a_text.jpg").write_text("not an image", encoding="utf-8")
    content = save_noise(in_tmp_path / "whole.png").read_bytes()
    (in_tmp_path / "b_cut.png").write_bytes(content[: len(content) // 2])
    save_noise(in_tmp_path / "c_tiny.png", (1, 1))
    code = invert(tiny_model_dir, "a_text.jpg", "b_cut.png", "c_tiny.png", "gone.png", "whole.png", "--out", "out")
    assert code == 1
    assert files(in_tmp_path / "out") == {"whole.png", "whole_sheet.png", "whole.safetensors"}
    errors = capsys.readouterr().err.rpartition("hyperstyle: ")[2].splitlines()
    assert errors[0] == "4 of 5 failed:"
    assert sorted(line.split(":")[0].strip() for line in errors[1:]) == [
        "a_text.jpg",
        "b_cut.png",
        "c_tiny.png",
        "gone.png",
    ]


def test_images_of_the_same_name_do_not_overwrite_each_other(tiny_model_dir: Path, in_tmp_path: Path) -> None:
    save_noise(in_tmp_path / "a" / "me.png")
    save_noise(in_tmp_path / "b" / "me.png")
    assert invert(tiny_model_dir, "a", "b", "--out", "out", "--quiet") == 0
    assert {"me.safetensors", "b_me.safetensors"} <= files(in_tmp_path / "out")


def test_an_image_to_read_is_never_replaced_by_a_result(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    before = save_noise(in_tmp_path / "me.png").read_bytes()
    assert invert(tiny_model_dir, "me.png", "--out", ".") == 2
    assert "would replace an image" in capsys.readouterr().err
    assert (in_tmp_path / "me.png").read_bytes() == before


def test_quiet_prints_nothing(tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured) -> None:
    save_noise(in_tmp_path / "me.png")
    assert invert(tiny_model_dir, "me.png", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert files(in_tmp_path / "inversions") == {"me.png", "me_sheet.png", "me.safetensors"}


def test_an_output_folder_that_cannot_be_written_is_one_line(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    save_noise(in_tmp_path / "me.png")
    assert invert(tiny_model_dir, "me.png", "--out", "me.png/out") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_model_that_does_not_exist_is_one_line(in_tmp_path: Path, capsys: Captured) -> None:
    save_noise(in_tmp_path / "me.png")
    assert invert(in_tmp_path / "no_model", "me.png") == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "no_model" in error


def test_a_method_its_steps_and_its_seed_are_passed_on(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperstyle.methods.losses.lpips_loss", lambda device: l1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    save_noise(in_tmp_path / "me.png")
    shown: dict[str, list[Tensor]] = {}
    for seed in ("1", "1", "2"):
        flags = ("--method", "optimize-w+offsets", "--steps", "optimize-w=3,offsets=2", "--seed", seed)
        assert invert(tiny_model_dir, "me.png", *flags, "--out", seed) == 0
        inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
        inversion = Inversion.load(in_tmp_path / seed / "me.safetensors", inverter)
        assert inversion.method == "optimize-w+offsets"
        assert inversion.offset_codes is not None
        shown.setdefault(seed, []).append(inversion.w)
    assert all((a == b).all() for a, b in [shown["1"]])
    assert (shown["1"][0] != shown["2"][0]).any()
    assert "me.png 1/2 loss " in capsys.readouterr().err


def test_the_help_names_every_method(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["invert", "--help"])
    words = capsys.readouterr().out.replace(",", " ").split()
    assert not set(registry.METHODS.keys()) - set(words)


def l1(image: Tensor, target: Tensor) -> Tensor:
    return (image - target).abs().mean((1, 2, 3))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--method", "ptu"), "Did you mean 'pti'"),
        (("--method", "hyperinverter"), "hyperstyle convert HYPERINVERTER.pt"),
        (("--method", "hyperstyle+pti", "--steps", "pto=3"), "no part of it"),
        (("--steps", "many"), "not a number of steps"),
        (("--steps", "pti="), "not a number of steps"),
    ],
)
def test_methods_and_steps_that_cannot_be_are_one_line_for_all_images(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured, flags: tuple[str, ...], message: str
) -> None:
    for name in ("a.png", "b.png"):
        save_noise(in_tmp_path / name)
    try:
        code = invert(tiny_model_dir, "a.png", "b.png", *flags)
    except SystemExit as ended:  # argparse
        code = ended.code
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count(message) == 1
    assert not any((in_tmp_path / "inversions").glob("*"))
