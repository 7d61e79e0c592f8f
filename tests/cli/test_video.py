"""`hyperstyle edit` on folders of frames and clips."""

from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from hyperstyle.cli import main
from hyperstyle.images.frames import Clip, open_frames, write_clip
from hyperstyle.inverter import HyperStyleInverter

if TYPE_CHECKING:
    from conftest import MovingPortrait

Captured = pytest.CaptureFixture[str]
NAMES = ["000000", "000001", "000002", "000003"]


@pytest.fixture(scope="module")
def material(moving_portrait: MovingPortrait, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `turn` of four frames and `points` with their landmarks, one of them missing."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "turn").mkdir()
    (folder / "points").mkdir()
    for name, (frame, points) in zip(NAMES, moving_portrait(4, (96, 80)), strict=True):
        frame.save(folder / "turn" / f"{name}.png")
        if name != "000002":
            np.save(folder / "points" / f"{name}.npy", points)
    return folder


def edit(model: Path, source: Path, *arguments: str) -> int:
    points = () if "no" in arguments else ("--landmarks", str(source.parent / "points"))
    clip = ["--clip"] if source.is_dir() else []
    return main(["edit", str(source), *clip, "--model", str(model), "--device", "cpu", *points, *arguments])


def test_a_folder_of_frames_becomes_a_folder_of_the_same_names(
    tiny_model_dir: Path, material: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    assert edit(tiny_model_dir, material / "turn", "--edit", "age=3", "--paste-back") == 0
    shown = capsys.readouterr()
    assert shown.out == "turn_edited\n"
    assert "4 frames, 1 without a face" in shown.err
    for name in NAMES:
        with Image.open(f"turn_edited/{name}.png") as edited, Image.open(material / "turn" / f"{name}.png") as frame:
            assert edited.size == frame.size
            assert edited.tobytes() != frame.tobytes()


def test_a_frame_that_cannot_be_read_by_its_format_is_listed_and_counts(
    tiny_model_dir: Path, material: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    shutil.copytree(material / "turn", "turn")
    shutil.copytree(material / "points", "points")
    Path("turn", "000004.svg").write_bytes(b"<svg/>")
    assert edit(tiny_model_dir, Path("turn"), "--edit", "age=3", "--quiet") == 1
    assert sorted(file.stem for file in Path("turn_edited").iterdir()) == NAMES
    lines = capsys.readouterr().err.splitlines()[-2:]
    assert lines[0] == "hyperstyle: 1 of 5 failed:"
    assert lines[1].startswith(f"  {Path('turn/000004.svg')}: is an SVG file")


def test_without_paste_back_they_are_the_edited_crops(tiny_model_dir: Path, material: Path, in_tmp_path: Path) -> None:
    assert edit(tiny_model_dir, material / "turn", "--edit", "age=3", "--out", "crops", "--quiet") == 0
    assert [frame.size for frame in open_frames("crops")] == [(32, 32)] * 4


def test_edits_of_one_name_add_up(tiny_model_dir: Path, material: Path, in_tmp_path: Path) -> None:
    assert edit(tiny_model_dir, material / "turn", "--edit", "age=1", "--edit", "age=2", "--out", "a", "--quiet") == 0
    assert edit(tiny_model_dir, material / "turn", "--edit", "age=3", "--out", "b", "--quiet") == 0
    assert Path("a/000000.png").read_bytes() == Path("b/000000.png").read_bytes()


def test_frames_that_are_crops_are_taken_as_they_are(tiny_model_dir: Path, material: Path, in_tmp_path: Path) -> None:
    assert edit(tiny_model_dir, material / "turn", "--align", "no", "--edit", "age=1", "--out", "a", "--quiet") == 0
    assert len(list(Path("a").iterdir())) == 4


def test_a_clip_becomes_an_mp4_of_the_same_rate(
    tiny_model_dir: Path, material: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    pytest.importorskip("av")
    write_clip(open_frames(material / "turn"), material / "turn.mp4", 12)
    assert edit(tiny_model_dir, material / "turn.mp4", "--edit", "age=3", "--paste-back", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    clip = open_frames("turn_edited.mp4")
    assert clip.rate == 12  # type: ignore[union-attr]
    assert [frame.size for frame in clip] == [(96, 80)] * 4


def test_a_clip_keeps_its_times_and_audio_unless_a_rate_is_asked_for(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    av = pytest.importorskip("av")
    ticks = [0, 40, 300, 1000]
    with av.open("a.mp4", "w") as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "0"})
        (video.width, video.height), video.pix_fmt = (32, 32), "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=48000, layout="mono")
        for tick in ticks:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            container.mux(video.encode(frame))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48000
        container.mux([*video.encode(None), *audio.encode(sound), *audio.encode(None)])
    command = ["edit", "a.mp4", "--model", str(tiny_model_dir), "--device", "cpu", "--align", "no", "--quiet"]
    assert main([*command, "--edit", "age=3"]) == 0
    assert capsys.readouterr().err == ""
    clip = open_frames("a_edited.mp4")
    assert isinstance(clip, Clip)
    assert clip.audio == 1
    assert clip.times()[:-1] == [Fraction(tick, 1000) for tick in ticks]
    assert main([*command, "--edit", "age=3", "--rate", "10", "--out", "b.mp4"]) == 0
    assert "audio is left out" in capsys.readouterr().err
    spaced = open_frames("b.mp4")
    assert isinstance(spaced, Clip)
    assert spaced.audio == 0
    assert spaced.times() == [Fraction(number, 10) for number in range(5)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--edit", "aeg=2"], "Did you mean 'age'?"),
        (["--edit", "age=0:1:3"], "frames take one value"),
        (["--edit", "age=1", "--out", "full"], "not an empty folder"),
        (["--edit", "age=1", "--rate", "30"], "--rate is of MP4 files"),
        (["--edit", "age=1", "--rate", "30", "--out", "frames.v2"], "--rate is of MP4 files"),
        (["--edit", "age=1", "--out", "new.mkv"], "'new.mkv', the name of a video file. Clips are written as .mp4"),
        (["--edit", "age=1", "--out", "new.gif"], "'new.gif', the name of an image file. Clips are written as .mp4"),
        (["--edit", "age=1", "--landmarks", "one.npy"], "one.npy is missing"),
        (["--edit", "age=1", "--landmarks", "full/mine.txt"], "is no folder"),
        (["--edit", "age=1", "--smoothing", "-1"], "expected 0 or more"),
        (["--edit", "age=1", "--align", "no", "--paste-back"], "--paste-back with --align no"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    tiny_model_dir: Path, material: Path, in_tmp_path: Path, capsys: Captured, arguments: list[str], message: str
) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine", encoding="utf-8")
    assert edit(tiny_model_dir, material / "turn", *arguments, "--quiet") == 2
    assert message in capsys.readouterr().err
    assert [str(path) for path in sorted(Path().rglob("*"))] == ["full", "full/mine.txt"]


@pytest.mark.parametrize(
    ("out", "rate", "message"), [("a.mp4", "0", "0.0 frames per second"), ("full.mp4", "25", "is a folder")]
)
def test_a_clip_that_cannot_be_written_is_refused_before_the_work(
    tiny_model_dir: Path, material: Path, in_tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch,
    out: str, rate: str, message: str,
) -> None:  # fmt: skip
    Path("full.mp4").mkdir()
    monkeypatch.setattr("hyperstyle.cli.video._track", None)
    arguments = ["--edit", "age=1", "--paste-back", "--out", out, "--rate", rate]
    assert edit(tiny_model_dir, material / "turn", *arguments) == 2
    assert message in capsys.readouterr().err


class TestFolders:
    @pytest.fixture
    def turn(self, material: Path, tmp_path: Path) -> Path:
        """A copy of the folder, for tests that damage it."""
        shutil.copytree(material / "points", tmp_path / "points")
        return shutil.copytree(material / "turn", tmp_path / "turn")

    def refused(self, model: Path, turn: Path, capsys: Captured) -> str:
        """The error message of a command that must write nothing."""
        out = turn.parent / "out"
        assert edit(model, turn, "--edit", "age=1", "--paste-back", "--out", str(out), "--quiet") == 2
        assert sorted(path.name for path in turn.parent.iterdir()) == ["points", "turn"]
        return capsys.readouterr().err

    def test_two_frames_of_one_name(self, tiny_model_dir: Path, turn: Path, capsys: Captured) -> None:
        shutil.copy(turn / "000001.png", turn / "000001.bmp")
        assert "two frames are named '000001'" in self.refused(tiny_model_dir, turn, capsys)

    def test_landmarks_of_other_frames(self, tiny_model_dir: Path, turn: Path, capsys: Captured) -> None:
        for file in turn.iterdir():
            file.rename(file.with_name(f"frame{file.name}"))
        message = self.refused(tiny_model_dir, turn, capsys)
        assert "for none of 4 frames: expected files named like the frames, such as frame000000.npy" in message

    def test_an_unreadable_frame_in_the_middle(self, tiny_model_dir: Path, turn: Path, capsys: Captured) -> None:
        (turn / "000002.png").write_bytes((turn / "000002.png").read_bytes()[:80])
        assert "000002.png" in self.refused(tiny_model_dir, turn, capsys)

    def test_a_single_frame(self, tiny_model_dir: Path, turn: Path, capsys: Captured) -> None:
        for name in NAMES[1:]:
            (turn / f"{name}.png").unlink()
        out = turn.parent / "out"
        assert edit(tiny_model_dir, turn, "--edit", "age=3", "--paste-back", "--out", str(out)) == 0
        assert "1 frames, 0 without a face; too few in a row" in capsys.readouterr().err
        assert [path.name for path in out.iterdir()] == ["000000.png"]

    def test_the_frames_own_folder_is_not_written_into(
        self, tiny_model_dir: Path, turn: Path, capsys: Captured
    ) -> None:
        before = {file.name: file.read_bytes() for file in turn.iterdir()}
        for out in (turn, turn / "." / ".." / "turn"):
            assert edit(tiny_model_dir, turn, "--edit", "age=1", "--paste-back", "--out", str(out)) == 2
            assert "would replace the input" in capsys.readouterr().err
        assert {file.name: file.read_bytes() for file in turn.iterdir()} == before


def test_landmarks_are_refused_for_models_whose_images_are_not_cut_out(
    tiny_model_dir: Path, material: Path, in_tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch,
    tiny_inverter: HyperStyleInverter,
) -> None:  # fmt: skip
    unaligned = replace(tiny_inverter.model, domain=replace(tiny_inverter.model.domain, aligner="none"))
    inverter = SimpleNamespace(model=unaligned, edits=tiny_inverter.edits)
    monkeypatch.setattr("hyperstyle.cli.video.load_inverter", lambda args: inverter)
    assert edit(tiny_model_dir, material / "turn", "--edit", "age=1") == 2
    assert "--landmarks and --align yes are for faces" in capsys.readouterr().err


def test_paste_back_is_refused_for_models_whose_images_are_not_cut_out(
    material: Path,
    in_tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    tiny_inverter: HyperStyleInverter,
) -> None:
    unaligned = replace(tiny_inverter.model, domain=replace(tiny_inverter.model.domain, aligner="none"))
    monkeypatch.setattr("hyperstyle.cli.video.load_inverter", lambda args: SimpleNamespace(model=unaligned))
    assert main(["edit", str(material / "turn"), "--clip", "--edit", "age=1", "--paste-back"]) == 2
    assert "--paste-back is for faces, and the model 'avatars' takes whole images" in capsys.readouterr().err
