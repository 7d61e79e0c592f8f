"""`hyperstyle edit` on inversion files and images."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from hyperstyle.cli import main
from hyperstyle.edits import DirectionEdit, EditInfo, save_edit
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.strips import grid, strip
from hyperstyle.inverter import HyperStyleInverter

if TYPE_CHECKING:
    from conftest import Portrait

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


def test_edits_add_up_and_the_image_is_that_of_the_library(
    tiny_model_dir: Path, inverted: Path, capsys: Captured
) -> None:
    assert edit(tiny_model_dir, "me.safetensors", "--edit", "age=2", "--edit", "smile=-1", "--out", "old.png") == 0
    assert capsys.readouterr().out == "old.png\n"
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    expected = Inversion.load("me.safetensors", inverter).edit(age=2, smile=-1).image
    with Image.open("old.png") as shown:
        assert shown.tobytes() == expected.tobytes()


def test_an_image_is_inverted_first(tiny_model_dir: Path, inverted: Path) -> None:
    assert edit(tiny_model_dir, "me.safetensors", "--edit", "age=2", "--out", "from_file.png") == 0
    assert edit(tiny_model_dir, "me.png", "--edit", "age=2", "--align", "no") == 0
    assert Path("me_edited.png").read_bytes() == Path("from_file.png").read_bytes()


def test_an_image_is_inverted_by_the_method_and_seed_asked_for(
    tiny_model_dir: Path, inverted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []
    real = HyperStyleInverter.invert
    monkeypatch.setattr(HyperStyleInverter, "invert", lambda *a, **k: (asked.append(k), real(*a, **k))[1])
    assert edit(tiny_model_dir, "me.png", "--edit", "age=2", "--align", "no", "--method", "w-encoder") == 0
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    inversion = inverter.invert("me.png", method="w-encoder", align=False)
    with Image.open("me_edited.png") as shown:
        assert shown.tobytes() == inversion.edit("age", 2).image.tobytes()
    edit(tiny_model_dir, "me.png", "--edit", "age=2", "--align", "no", "--seed", "7", "--overwrite")
    assert [call.get("seed") for call in asked] == [None, None, 7]


def test_a_second_edit_of_an_image_does_not_replace_the_first_unless_told(
    tiny_model_dir: Path, inverted: Path, capsys: Captured
) -> None:
    assert edit(tiny_model_dir, "me.safetensors", "--edit", "age=2") == 0
    before = Path("me_edited.png").read_bytes()
    other = ("me.safetensors", "--edit", "smile=2")
    assert edit(tiny_model_dir, *other) == 2
    assert "the result 'me_edited.png' is there already. Choose another --out" in capsys.readouterr().err
    assert Path("me_edited.png").read_bytes() == before
    assert edit(tiny_model_dir, *other, "--overwrite") == 0
    assert Path("me_edited.png").read_bytes() != before
    assert edit(tiny_model_dir, "me.safetensors", "--edit", "age=2", "--out", "me_edited.png") == 0
    assert Path("me_edited.png").read_bytes() == before, "a file that --out names is replaced"


def test_a_range_gives_a_strip_with_one_image_per_strength(tiny_model_dir: Path, inverted: Path) -> None:
    widths = []
    for count in (3, 6):
        assert edit(tiny_model_dir, "me.safetensors", "--edit", f"smile=-2:2:{count}", "--out", "strip.png") == 0
        with Image.open("strip.png") as strip:
            widths.append(strip.width)
            assert strip.width > strip.height
    assert 1.8 < widths[1] / widths[0] < 2.1


def test_two_ranges_give_a_grid_the_first_from_left_to_right(tiny_model_dir: Path, inverted: Path) -> None:
    ranges = ["--edit", "age=-1:1:3", "--edit", "smile=0:1:2"]
    assert edit(tiny_model_dir, "me.safetensors", *ranges, "--out", "grid.png") == 0
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    inversion = Inversion.load("me.safetensors", inverter)
    expected = grid(inversion, ("age", [-1.0, 0.0, 1.0]), ("smile", [0.0, 1.0]))
    with Image.open("grid.png") as shown:
        assert shown.tobytes() == expected.tobytes()
        assert shown.width > shown.height


def test_an_edit_may_be_a_folder(tiny_model_dir: Path, inverted: Path) -> None:
    assert edit(tiny_model_dir, "me.safetensors", "--edit", "age=2", "--out", "named.png") == 0
    folder = tiny_model_dir / "edits" / "age"
    assert edit(tiny_model_dir, "me.safetensors", "--edit", f"{folder}=2", "--out", "folder.png") == 0
    assert Path("named.png").read_bytes() == Path("folder.png").read_bytes()


@pytest.mark.filterwarnings("default::hyperstyle.errors.EditWarning")  # the command shows it
def test_an_edit_for_another_generator_is_refused_until_asked_for(
    tiny_model_dir: Path, inverted: Path, capsys: Captured
) -> None:
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    save_edit(DirectionEdit(torch.ones(16), EditInfo("other", model="0" * 16)), "other")
    assert edit(tiny_model_dir, "me.safetensors", "--edit", "other=1") == 2
    assert "was made for the generator 0000000000000000" in capsys.readouterr().err
    assert edit(tiny_model_dir, "me.safetensors", "--edit", "other=1", "--other-model") == 0
    assert "warning: edit 'other' was made for the generator" in capsys.readouterr().err
    expected = Inversion.load("me.safetensors", inverter).edit(DirectionEdit(torch.ones(16), EditInfo("x")), 1)
    with Image.open("me_edited.png") as shown:
        assert shown.tobytes() == expected.image.tobytes()


def test_the_file_of_a_direction_is_read_at_the_width_of_the_model(tiny_model_dir: Path, inverted: Path) -> None:
    torch.save(torch.nn.functional.normalize(torch.ones(1, 16)), "older.pt")
    assert edit(tiny_model_dir, "me.safetensors", "--edit", "older.pt=4") == 0
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    expected = Inversion.load("me.safetensors", inverter).edit(DirectionEdit(torch.ones(16), EditInfo("x")), 1)
    with Image.open("me_edited.png") as shown:
        assert shown.tobytes() == expected.image.tobytes()


@pytest.mark.filterwarnings("default::hyperstyle.errors.QualityWarning")  # the command shows it
def test_the_first_frame_of_an_animation_is_edited_which_is_said_once(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    frames = [Image.linear_gradient("L").resize((32, 32)).rotate(90 * i) for i in range(3)]
    frames[0].save("anim.gif", save_all=True, append_images=frames[1:])
    frames[0].save("still.gif")
    for name in ("anim", "still"):
        assert edit(tiny_model_dir, f"{name}.gif", "--edit", "age=2", "--align", "no") == 0
    assert Path("anim_edited.png").read_bytes() == Path("still_edited.png").read_bytes()
    assert capsys.readouterr().err.count("anim.gif' has 3 frames; the first is taken.") == 1


def test_layers_limit_the_edit(tiny_model_dir: Path, inverted: Path) -> None:
    assert edit(tiny_model_dir, "me.safetensors", "--edit", "age=2", "--layers", "b16.conv0,b16.conv1") == 0
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    inversion = Inversion.load("me.safetensors", inverter)
    expected = inversion.edit("age", 2, layers=["b16.conv0", "b16.conv1"]).image.tobytes()
    with Image.open("me_edited.png") as shown:
        assert shown.tobytes() == expected != inversion.edit("age", 2).image.tobytes()


def test_a_text_is_an_edit_of_a_model_that_knows_texts(
    tiny_model_dir: Path, inverted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def text(target: str, *, neutral: str, beta: float) -> DirectionEdit:
        calls.append((target, neutral, beta))
        return DirectionEdit(torch.ones(16), EditInfo(target, 0.0, 9.0))

    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    model = replace(inverter.model, text=text)
    monkeypatch.setattr(HyperStyleInverter, "model", property(lambda _: model))
    words = ["--text", "an old face=3", "--neutral", "someone", "--beta", "0.2"]
    assert edit(tiny_model_dir, "me.safetensors", *words) == 0
    assert calls == [("an old face", "someone", 0.2)]
    expected = Inversion.load("me.safetensors", inverter).edit(DirectionEdit(torch.ones(16), EditInfo("x")), 3)
    with Image.open("me_edited.png") as shown:
        assert shown.tobytes() == expected.image.tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["me.safetensors", "--edit", "aeg=2"], "Did you mean 'age'?"),
        (["me.safetensors", *["--edit", "age=0:1:3"] * 2, "--edit", "smile=0:1:3"], "3 ranges (age, age, smile)"),
        (["me.safetensors"], "name an edit with --edit"),
        (["me.safetensors", "--edit", "age=1", "--neutral", "a face"], "--neutral: for --text, which is missing"),
        (["me.safetensors", "--text", "an old face=2"], "no statistics of its channels to find words by"),
        (["me.safetensors", "--edit", "age=2", "--layers", "b999.conv0"], "no layer 'b999.conv0'"),
        (["me.safetensors", "--edit", "me.png=2"], "me.png"),
        ([".", "--clip", "--edit", "age=2", "--layers", "b8.conv0"], "--layers: not for folders of frames and clips"),
        (["me.png", "--edit", "age=2", "--out", "me.png"], "would replace the input"),
        (["me.png", "--edit", "age=2", "--out", "me.png/x.png"], "cannot write into the folder"),
        (["me.png", "--edit", "age=2", "--out", "me.xyz"], "me.xyz"),
        (["gone.png", "--edit", "age=2", "--out", "new/o.png"], "gone.png"),
        (["me.png", "--edit", "age=2", "--out", "new/o.xyz"], "no image format belongs to the suffix '.xyz'"),
        (["me.safetensors", "--edit", "age=2", "--face", "1", "--steps", "0"], "--steps, --face: for inverting"),
        (["me.safetensors", "--edit", "age=2", "--align", "no", "--sideways"], "--align, --sideways: for inverting"),
        (["me.safetensors", "--edit", "age=2", "--landmarks", "me.png"], "--landmarks: for inverting"),
        (["me.png", "--edit", "age=2", "--landmarks", "me.png", "--sideways"], "--sideways with --landmarks"),
        (["me.png", "--edit", "age=2", "--offsets", "frame"], "--offsets: for folders of frames and clips"),
        (["me.safetensors", "--edit", "age=2", "--smoothing", "0", "--rate", "12"], "--smoothing, --rate: for folders"),
        (
            [".", "--edit", "age=2", "--offsets", "frame"],
            "--offsets: for folders of frames and clips, and the files of",
        ),
        ([".", "--edit", "age=2", "--smoothing", "1", "--rate", "9"], "Add --clip to take them as the frames of one"),
        ([".", "--edit", "age=2", "--out", "new.mp4"], "--out new.mp4: for folders of frames and clips"),
        ([".", "--edit", "age=2", "--out", "new.png"], "--out 'new.png' is the name of an image"),
        ([".", "--edit", "age=2", "--out", "me.txt"], "cannot write into the folder"),
        ([".", "me.png", "--clip", "--edit", "age=2"], "--clip with 2 inputs: it takes one folder"),
        (["me.png", "--clip", "--edit", "age=2"], "--clip is for a folder of frames, and 'me.png' is no folder"),
        (["gone", "--clip", "--edit", "age=2"], "--clip is for a folder of frames, and 'gone' does not exist"),
        (["me.png", "you.png", "--edit", "age=2", "--out", "new.mp4"], "--out 'new.mp4' is the name of a clip"),
        (["me.png", "clip.mp4", "--edit", "age=2"], "'clip.mp4' is a clip, and there are other inputs"),
        (["*.mp4", "me.png", "--edit", "age=2"], "'clip.mp4' is a clip, and there are other inputs"),
        (["me.png", "me.safetensors", "--edit", "aeg=2"], "Did you mean 'age'?"),
        (["me.png", "me.safetensors", "--edit", "age=2", "--paste-back"], "edit it alone, with --photo"),
        (["me.png", ".", "--edit", "age=2", "--paste-back", "--photo", "me.png"], "--photo is for one inversion"),
        (["me.png", "you.png", "--edit", "age=2", "--landmarks", "points.npy"], "is one file for 2 images"),
        (["me.safetensors", "you.safetensors", "--edit", "age=2", "--steps", "1"], "--steps: for inverting"),
        (["gone.safetensors", "--edit", "age=2"], "gone.safetensors"),
        (["me.txt", "--edit", "age=2"], "me.txt"),
        (["me.safetensors", "--edit", "age=2", "--method", "pti", "--seed", "1"], "--method, --seed: for inverting"),
        ([".", "--clip", "--edit", "age=2", "--method", "pti"], "--method: not for folders of frames and clips"),
        (["fake.safetensors", "--edit", "age=2"], "fake.safetensors"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_why(
    tiny_model_dir: Path, inverted: Path, capsys: Captured, arguments: list[str], message: str
) -> None:
    for name in ("me.txt", "fake.safetensors"):
        Path(name).write_text("neither an image nor an inversion", encoding="utf-8")
    for name in ("you.png", "you.safetensors", "clip.mp4", "points.npy"):
        Path(name).write_bytes(Path("me.png").read_bytes())
    before = Path("me.png").read_bytes()
    assert edit(tiny_model_dir, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert message in shown.err
    assert Path("me.png").read_bytes() == before
    assert not list(Path().glob("new*"))
    assert not list(Path().glob("edited/*"))


class TestSeveral:
    @pytest.fixture
    def people(self, tiny_model_dir: Path, inverted: Path) -> list[Path]:
        """The folder `people` of two different images, and the result of editing each of them alone."""
        Path("people").mkdir()
        expected = []
        for name, turned in (("001", 0), ("002", 90)):
            with Image.open("me.png") as me:
                me.rotate(turned).save(f"people/{name}.png")
            arguments = ["--edit", "age=2", "--align", "no", "--out", f"{name}_alone.png"]
            assert edit(tiny_model_dir, f"people/{name}.png", *arguments) == 0
            expected.append(Path(f"{name}_alone.png"))
        return expected

    def test_files_of_a_folder_are_edited_as_separate_images_and_that_is_said(
        self, tiny_model_dir: Path, people: list[Path], capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loads: list[object] = []
        real = HyperStyleInverter.from_pretrained
        monkeypatch.setattr(
            HyperStyleInverter,
            "from_pretrained",
            lambda *a, **k: (loads.append(a), real(*a, **k))[1],  # type: ignore[func-returns-value]
        )
        capsys.readouterr()
        assert edit(tiny_model_dir, "people", "--edit", "age=2", "--align", "no", "--out", "new/older") == 0
        shown = capsys.readouterr()
        assert len(loads) == 1
        out = Path("new/older")
        assert shown.out.splitlines() == [
            f"{Path('people', name)}.png -> {out / name}_edited.png" for name in ("001", "002")
        ]
        messages = [line for line in shown.err.splitlines() if "warning" not in line]
        assert messages == [
            "hyperstyle: the files of 'people' are taken as separate images now; with --clip as the frames of one "
            "clip, as before"
        ]
        assert sorted(file.name for file in out.iterdir()) == ["001_edited.png", "002_edited.png"]
        for name, alone in zip(("001", "002"), people, strict=True):
            assert (out / f"{name}_edited.png").read_bytes() == alone.read_bytes()

    def test_with_clip_they_share_their_offsets(self, tiny_model_dir: Path, people: list[Path]) -> None:
        arguments = ["--clip", "--edit", "age=2", "--align", "no", "--quiet"]
        assert edit(tiny_model_dir, "people", *arguments) == 0
        for name, alone in zip(("001", "002"), people, strict=True):
            assert Path(f"people_edited/{name}.png").read_bytes() != alone.read_bytes()

    def test_images_inversions_and_globs_go_together_each_under_a_different_name(
        self, tiny_model_dir: Path, people: list[Path], capsys: Captured
    ) -> None:
        capsys.readouterr()
        arguments = ["--edit", "age=2", "--align", "no", "--quiet"]
        assert edit(tiny_model_dir, "me.png", "me.safetensors", "people/*2.png", *arguments) == 0
        assert capsys.readouterr().out == ""
        names = ["002_edited.png", "me_png_edited.png", "me_safetensors_edited.png"]
        assert sorted(file.name for file in Path("edited").iterdir()) == sorted(names)
        assert Path("edited/002_edited.png").read_bytes() == people[1].read_bytes()
        assert Path("edited", names[1]).read_bytes() == Path("edited", names[2]).read_bytes()

    def test_one_that_fails_does_not_stop_the_others(
        self, tiny_model_dir: Path, people: list[Path], capsys: Captured
    ) -> None:
        Path("people/000.png").write_bytes(b"no image")
        Path("false.safetensors").write_bytes(b"no inversion")
        arguments = ["--edit", "age=2", "--align", "no"]
        assert edit(tiny_model_dir, "false.safetensors", "people", "gone.png", *arguments) == 1
        errors = capsys.readouterr().err.rpartition("hyperstyle: ")[2].splitlines()
        assert errors[0] == "3 of 5 failed:"
        failed = {line.split(":")[0].strip() for line in errors[1:]}
        assert failed == {"gone.png", "false.safetensors", str(Path("people/000.png"))}
        assert sorted(file.name for file in Path("edited").iterdir()) == ["001_edited.png", "002_edited.png"]

    def test_a_range_gives_a_strip_of_each(self, tiny_model_dir: Path, people: list[Path]) -> None:
        assert edit(tiny_model_dir, "people", "--edit", "age=-1:1:3", "--align", "no", "--quiet") == 0
        for name in ("001", "002"):
            with Image.open(f"edited/{name}_edited.png") as strip:
                assert strip.width > 2 * strip.height

    def test_no_result_replaces_an_input(self, tiny_model_dir: Path, people: list[Path], capsys: Captured) -> None:
        shutil.copy("me.png", "people/001_edited.png")
        assert edit(tiny_model_dir, "people", "--edit", "age=2", "--align", "no", "--out", "people") == 2
        assert "would replace an image to read" in capsys.readouterr().err
        assert Path("people/001_edited.png").read_bytes() == Path("me.png").read_bytes()

    def test_one_image_goes_into_a_folder_that_is_there(self, tiny_model_dir: Path, people: list[Path]) -> None:
        assert edit(tiny_model_dir, "me.safetensors", "--edit", "age=2", "--out", "people") == 0
        assert Path("people/me_edited.png").exists()


# ---- masks ----


def test_edits_are_limited_to_what_is_white_in_an_image(tiny_model_dir: Path, inverted: Path) -> None:
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 16, 32))
    mask.save("mask.png")
    flags = ["--edit", "age=2", "--edit", "smile=1", "--mask", "mask.png"]
    assert edit(tiny_model_dir, "me.safetensors", *flags, "--out", "left.png") == 0
    assert edit(tiny_model_dir, "me.png", *flags, "--align", "no") == 0
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    expected = Inversion.load("me.safetensors", inverter).edit(age=2, smile=1, mask=mask).image
    for name in ("left.png", "me_edited.png"):
        with Image.open(name) as shown:
            assert shown.tobytes() == expected.tobytes()
    assert (
        edit(tiny_model_dir, "me.safetensors", "--edit", "age=0:2:2", "--mask", "mask.png", "--out", "strip.png") == 0
    )
    with Image.open("strip.png") as shown:
        limited = strip(Inversion.load("me.safetensors", inverter), "age", [0, 2], mask="mask.png")
        assert shown.tobytes() == limited.tobytes()


def test_a_region_of_a_photo_is_edited_and_pasted_back(
    tiny_model_dir: Path, in_tmp_path: Path, portrait: Portrait
) -> None:
    photo, points = portrait(1, (160, 200))
    photo.save("me.png")
    np.save("points.npy", points)
    flags = ["--edit", "age=2", "--mask", "mouth", "--landmarks", "points.npy", "--paste-back"]
    assert edit(tiny_model_dir, "me.png", *flags) == 0
    inverter = HyperStyleInverter.from_pretrained(str(tiny_model_dir), device="cpu")
    expected = inverter.invert("me.png", landmarks=points).edit("age", 2, mask="mouth").paste_back()
    with Image.open("me_edited.png") as shown:
        assert shown.tobytes() == expected.tobytes()
        changed = (np.asarray(shown) != np.asarray(photo)).any(axis=2)
    assert 0 < changed.mean() < 0.1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--edit", "age=2", "--mask", "mouht"],
            "the mask 'mouht' is neither a region of the face nor a file. Available",
        ),
        (["--edit", "age=2", "--mask", "small.png"], "The mask is 20 x 20 px and the reconstruction 32 x 32 px"),
        (["--edit", "age=2", "--mask", "black.png"], "The mask is empty"),
        (["--edit", "age=2", "--mask", "me.safetensors"], "me.safetensors"),
        (["--edit", "age=2", "--mask", "black.png", "--out", "black.png"], "black.png"),
    ],
)
def test_what_is_no_mask_is_one_line(
    tiny_model_dir: Path, inverted: Path, flags: list[str], message: str, capsys: Captured
) -> None:
    Image.new("L", (20, 20), 255).save("small.png")
    Image.new("L", (32, 32)).save("black.png")
    before = sorted(path.name for path in inverted.iterdir())
    assert edit(tiny_model_dir, "me.safetensors", *flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in inverted.iterdir()) == before


def test_clips_take_no_mask(tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured) -> None:
    Path("frames").mkdir()
    Image.new("RGB", (32, 32)).save("frames/0.png")
    assert edit(tiny_model_dir, "frames", "--clip", "--edit", "age=2", "--mask", "mouth") == 2
    assert "--mask: not for folders of frames and clips" in capsys.readouterr().err
