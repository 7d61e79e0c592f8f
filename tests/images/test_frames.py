"""Frames in and out: folders of images, and video files through PyAV."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperstyle.errors import ConfigError, ImageError, MissingDependencyError
from hyperstyle.images.frames import Clip, FrameFolder, open_frames, write_clip, write_folder


def ramps(count: int = 5, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    """Frames of smooth colors, each brighter than the one before, darker on the left."""
    ramp = Image.linear_gradient("L").rotate(90).resize(size)
    return [
        Image.merge("RGB", (ramp.point(lambda v, n=n: v // 2 + 20 * n), ramp, Image.new("L", size, 90)))  # type: ignore[misc]
        for n in range(count)
    ]


def broken(frames: list[Image.Image], error: type[BaseException]) -> Iterator[Image.Image]:
    yield from frames
    raise error("the third frame failed")


class TestFolders:
    def test_names_with_numbers_are_in_the_order_of_the_numbers(self, tmp_path: Path) -> None:
        for name in ("f10.png", "f9.jpg", "F2.PNG", "f1.webp"):
            Image.new("RGB", (16, 16)).save(tmp_path / name)
        (tmp_path / "notes.txt").write_text("no frame", encoding="utf-8")
        (tmp_path / "._f9.jpg").write_bytes(b"what some systems note about f9.jpg")
        (tmp_path / "f3.png").mkdir()
        frames = open_frames(tmp_path)
        assert isinstance(frames, FrameFolder)
        assert [file.name for file in frames.files] == ["f1.webp", "F2.PNG", "f9.jpg", "f10.png"]
        assert len(frames) == len(list(frames)) == len(list(frames)) == 4

    def test_names_of_equal_numbers_have_an_order_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files = [tmp_path / name for name in ("f1.png", "f01.png", "F1.png")]
        monkeypatch.setattr(Path, "is_file", lambda path: True)
        for listed in (files, files[::-1]):
            monkeypatch.setattr(Path, "iterdir", lambda path, listed=listed: iter(listed))
            frames = open_frames(tmp_path)
            assert isinstance(frames, FrameFolder)
            assert [file.name for file in frames.files] == ["F1.png", "f01.png", "f1.png"]

    def test_the_frames_are_judged_by_what_they_hold_and_what_is_left_out_is_kept(self, tmp_path: Path) -> None:
        for name in ("10.gif", "2", ".1.png"):
            Image.new("RGB", (32, 32)).save(tmp_path / name, "GIF")
        (tmp_path / "3.svg").write_bytes(b"<svg/>")
        (tmp_path / "2.npy").write_bytes(b"\x93NUMPY")
        frames = open_frames(tmp_path)
        assert isinstance(frames, FrameFolder)
        assert [file.name for file in frames.files] == ["2", "10.gif"]
        assert [file.name for file, why in frames.left_out if why.startswith("is an SVG file")] == ["3.svg"]

    def test_an_image_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        write_folder(ramps(), tmp_path / "in", "abcde")
        (tmp_path / "in" / "c.png").write_bytes((tmp_path / "in" / "c.png").read_bytes()[:60])
        with pytest.raises(ImageError, match=r"c\.png"):
            write_folder(open_frames(tmp_path / "in"), tmp_path / "out", "abcde")
        assert [path.name for path in tmp_path.iterdir()] == ["in"]

    def test_what_was_written_is_read_again(self, tmp_path: Path) -> None:
        write_folder(ramps(), tmp_path / "a" / "out", "abcde")
        frames = open_frames(tmp_path / "a" / "out")
        assert [frame.tobytes() for frame in frames] == [frame.tobytes() for frame in ramps()]
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_where_the_frames_fail_nothing_is_left(self, tmp_path: Path, error: type[BaseException]) -> None:
        with pytest.raises(error):
            write_folder(broken(ramps(2), error), tmp_path / "out", "abcde")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_filled_meanwhile_is_left_alone(self, tmp_path: Path) -> None:
        def frames() -> Iterator[Image.Image]:
            yield from ramps(1)
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "mine.png").write_bytes(b"mine")

        with pytest.raises(ConfigError, match="not an empty folder"):
            write_folder(frames(), tmp_path / "out", "abcde")
        assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["out", "out/mine.png"]

    def test_a_folder_that_holds_something_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "mine.png").write_bytes(b"mine")
        with pytest.raises(ConfigError, match="not an empty folder"):
            write_folder(ramps(), tmp_path, "abcde")
        assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]

    def test_an_empty_folder_is_filled(self, tmp_path: Path) -> None:
        write_folder(ramps(1), tmp_path, "a")
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

    @pytest.mark.parametrize(("names", "message"), [("aba", "Two frames are named 'a'"), ("ab", "more frames than")])
    def test_names_that_do_not_fit_are_refused(self, tmp_path: Path, names: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            write_folder(ramps(3), tmp_path / "out", names)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_without_images_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="holds no images"):
            open_frames(tmp_path)


class TestClips:
    @pytest.fixture(autouse=True)
    def _needs_pyav(self) -> None:
        pytest.importorskip("av")

    def test_what_was_written_is_read_again(self, tmp_path: Path) -> None:
        write_clip(ramps(), tmp_path / "a.mp4", 30)
        clip = open_frames(tmp_path / "a.mp4")
        assert isinstance(clip, Clip)
        assert clip.rate == 30
        for _ in range(2):
            read = np.stack([np.asarray(frame, dtype=float) for frame in clip])
            assert np.abs(read - np.stack([np.asarray(frame) for frame in ramps()])).mean() < 3

    @pytest.mark.parametrize("color", [(200, 30, 40), (30, 160, 60), (40, 60, 200)])
    def test_colors_stay_as_they_are(self, tmp_path: Path, color: tuple[int, int, int]) -> None:
        write_clip([Image.new("RGB", (64, 64), color)] * 2, tmp_path / "a.mp4", 25)
        for frame in open_frames(tmp_path / "a.mp4"):
            np.testing.assert_allclose(frame.getpixel((32, 32)), color, atol=4)

    def test_an_odd_side_gets_one_more_pixel(self, tmp_path: Path) -> None:
        write_clip(ramps(size=(63, 47)), tmp_path / "a.mp4", 25)
        frame = next(iter(open_frames(tmp_path / "a.mp4")))
        assert frame.size == (64, 48)
        np.testing.assert_allclose(frame.getpixel((63, 20)), frame.getpixel((62, 20)), atol=4)

    @pytest.mark.parametrize("rate", [Fraction(30000, 1001), 23.976, 12.5])
    def test_the_rate_is_kept(self, tmp_path: Path, rate: Fraction | float) -> None:
        write_clip(ramps(8), tmp_path / "a.mp4", rate)
        clip = open_frames(tmp_path / "a.mp4")
        assert isinstance(clip, Clip)
        assert float(clip.rate) == pytest.approx(float(rate), rel=1e-4)

    def test_a_clip_recorded_sideways_is_turned_upright(self, tmp_path: Path) -> None:
        import av

        shown = ramps(1)[0]
        with av.open(tmp_path / "a.mp4", "w") as container:
            stream = container.add_stream("libx264", rate=25)
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV cannot write a rotation")
            stream.width, stream.height, stream.pix_fmt = 48, 64, "yuv420p"
            stream.set_display_rotation(90)  # counter-clockwise, when it is shown
            recorded = np.asarray(shown.transpose(Image.Transpose.ROTATE_270))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(recorded, format="rgb24")))
            container.mux(stream.encode(None))
        frame = next(iter(open_frames(tmp_path / "a.mp4")))
        assert frame.size == shown.size
        assert np.abs(np.asarray(frame, dtype=float) - np.asarray(shown)).mean() < 6

    def test_a_clip_of_one_frame_is_written_and_read(self, tmp_path: Path) -> None:
        write_clip(ramps(1), tmp_path / "a.mp4", 25)
        assert [frame.size for frame in open_frames(tmp_path / "a.mp4")] == [(64, 48)]

    def test_where_the_frames_fail_the_old_file_stays(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_bytes(b"old")
        for error in (RuntimeError, KeyboardInterrupt):
            with pytest.raises(error):
                write_clip(broken(ramps(2), error), tmp_path / "a.mp4", 25)
        with pytest.raises(ImageError, match="Frame 1 is 32 x 32 px and the first one 64 x 48"):
            write_clip([*ramps(1), Image.new("RGB", (32, 32))], tmp_path / "a.mp4", 25)
        with pytest.raises(ConfigError, match="no frames"):
            write_clip([], tmp_path / "a.mp4", 25)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]

    def test_a_damaged_clip_says_how_far_it_went(self, tmp_path: Path) -> None:
        write_clip(ramps(), tmp_path / "a.mp4", 25)
        clip = open_frames(tmp_path / "a.mp4")
        (tmp_path / "a.mp4").write_bytes(b"not a clip any more")
        with pytest.raises(ImageError, match="cannot be decoded after frame 0"):
            list(clip)

    def test_a_file_that_is_no_video_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_text("<html>not found</html>", encoding="utf-8")
        with pytest.raises(ImageError, match="cannot be read as a video"):
            open_frames(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("name", "rate", "message"),
    [
        ("a.gif", 25, "ends in .mp4"),
        ("a.mp4", 0, "0 frames per second"),
        ("a.mp4", 0.0001, "expected 0.001 or more"),
        ("a.mp4", float("nan"), "nan frames per second"),
        ("folder.mp4", 25, "is a folder"),
    ],
)
def test_clips_of_another_kind_are_refused(tmp_path: Path, name: str, rate: float, message: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ConfigError, match=message):
        write_clip(ramps(), tmp_path / name, rate)


def test_a_name_that_leads_nowhere_is_said_so() -> None:
    with pytest.raises(ImageError, match=r"no 'gone\.mp4'"):
        open_frames("gone.mp4")


def test_without_pyav_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(MissingDependencyError, match=r"pip install .hyperstyle-inversion\[video\]"):
        open_frames(tmp_path / "a.mp4")
    with pytest.raises(MissingDependencyError):
        write_clip(ramps(), tmp_path / "b.mp4", 25)
