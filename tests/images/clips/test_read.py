"""Clips as players show them: aspect, orientation, fields, times; and what is damaged or no clip."""

from __future__ import annotations

import struct
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hyperstyle.errors import ImageError, QualityWarning
from hyperstyle.images.frames import Clip, open_frames, write_clip

av = pytest.importorskip("av")

# a, b, c, d of the display matrix: a step to the right leads to (a, b), one down to (c, d); and Pillow's word for it.
ORIENTATIONS = {
    (1, 0, 0, 1): None,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


def scene(size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Smooth, and different in all four corners."""
    across, down = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    levels = np.stack([40 + 150 * across, 40 + 150 * down, 200 - 120 * across * down], axis=2)
    return Image.fromarray(levels.astype(np.uint8))


def encode(
    path: Path,
    images: list[Image.Image],
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    **context: Any,
) -> None:
    """A clip of these images at 25 frames per second; `context` are attributes of the codec context."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {"crf": "4", "g": "5"})
        (stream.width, stream.height), stream.pix_fmt = images[0].size, "yuv420p"
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        container.mux(stream.encode(None))


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Writes a display matrix into an MP4 file, where phones do: in the track's header."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def first(path: Path) -> Image.Image:
    return next(iter(open_frames(path)))


def difference(a: Image.Image, b: Image.Image) -> float:
    assert a.size == b.size
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean())


class TestAspect:
    @pytest.mark.parametrize(
        ("stored", "aspect", "shown"),
        [
            ((72, 64), Fraction(4, 3), (96, 64)),  # HDV
            ((96, 48), Fraction(3, 4), (96, 64)),
            ((72, 48), Fraction(8, 9), (72, 54)),  # DVD
            ((72, 64), Fraction(1), (72, 64)),
            ((72, 64), Fraction(500), (72, 64)),  # damage
        ],
    )
    @pytest.mark.parametrize("suffix", ["mp4", "mkv"])
    def test_pixels_become_square(
        self, tmp_path: Path, stored: tuple[int, int], aspect: Fraction, shown: tuple[int, int], suffix: str
    ) -> None:
        path = tmp_path / f"a.{suffix}"
        encode(path, [scene(stored)], sample_aspect_ratio=aspect)
        assert first(path).size == shown
        assert difference(first(path), scene(shown)) < 3

    def test_an_aspect_that_only_the_codec_has_is_read(self, tmp_path: Path) -> None:
        encode(tmp_path / "a.h264", [scene((72, 64))], sample_aspect_ratio=Fraction(4, 3))
        assert first(tmp_path / "a.h264").size == (96, 64)

    def test_what_is_written_is_shown_with_the_same_shape(self, tmp_path: Path) -> None:
        encode(tmp_path / "a.mp4", [scene((72, 64))] * 2, sample_aspect_ratio=Fraction(4, 3))
        clip = open_frames(tmp_path / "a.mp4")
        assert isinstance(clip, Clip)
        write_clip(clip, tmp_path / "b.mp4", like=clip)
        with av.open(str(tmp_path / "b.mp4")) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.sample_aspect_ratio) == (96, 64, 1)


class TestOrientation:
    @pytest.mark.parametrize("matrix", ORIENTATIONS)
    def test_every_turn_and_mirror_image_is_upright_once(
        self, tmp_path: Path, matrix: tuple[int, int, int, int]
    ) -> None:
        encode(tmp_path / "a.mp4", [scene()] * 2)
        turn(tmp_path / "a.mp4", matrix)
        clip, turned = open_frames(tmp_path / "a.mp4"), ORIENTATIONS[matrix]
        assert isinstance(clip, Clip)
        expected = scene() if turned is None else scene().transpose(turned)
        assert difference(next(iter(clip)), expected) < 3
        write_clip(clip, tmp_path / "b.mp4", like=clip)
        assert difference(first(tmp_path / "b.mp4"), expected) < 4
        assert b"\0\0\0\0\x40\0\0\0" in (tmp_path / "b.mp4").read_bytes()  # where a matrix ends
        with av.open(str(tmp_path / "b.mp4")) as container:
            assert next(container.decode(video=0)).rotation == 0

    @pytest.mark.parametrize(("orientation", "turned"), [(1, None), (6, 4), (3, 3), (8, 2)])
    def test_a_turn_that_comes_with_data_unknown_to_pyav_is_applied(
        self, tmp_path: Path, orientation: int, turned: int | None
    ) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation  # newer versions of FFmpeg give all of the EXIF with a frame
        scene().save(tmp_path / "a.jpg", exif=exif, quality=95)
        expected = scene() if turned is None else scene().transpose(Image.Transpose(turned))
        assert difference(first(tmp_path / "a.jpg"), expected) < 4

    def test_pixels_become_square_before_the_image_is_turned(self, tmp_path: Path) -> None:
        encode(tmp_path / "a.mp4", [scene((72, 64))], sample_aspect_ratio=Fraction(4, 3))
        turn(tmp_path / "a.mp4", (0, 1, -1, 0))
        assert first(tmp_path / "a.mp4").size == (64, 96)


class TestFields:
    def interlaced(self, path: Path, count: int = 6) -> list[Image.Image]:
        """A bar that moves: the upper field of each frame is of one time, the lower one of half a frame later."""

        def moment(half: int) -> npt.NDArray[np.uint8]:
            image = np.full((64, 96, 3), 60, np.uint8)
            image[:, 8 + 5 * half : 28 + 5 * half] = 200
            return image

        frames = []
        for number in range(count):
            woven = moment(2 * number)
            woven[1::2] = moment(2 * number + 1)[1::2]
            frames.append(Image.fromarray(woven))
        options = {"crf": "1", "x264-params": "tff=1:interlaced=1"}
        encode(path, frames, options=options)
        return frames

    def test_fields_of_two_times_are_not_left_as_combs(self, tmp_path: Path) -> None:
        woven = self.interlaced(tmp_path / "a.mp4")
        clip = open_frames(tmp_path / "a.mp4")
        assert isinstance(clip, Clip)
        frames = list(clip)
        assert len(frames) == len(woven) == len(clip.times()) - 1

        def comb(image: Image.Image) -> float:
            levels = np.asarray(image.convert("L"), float)
            return float(np.abs(levels[1:-1] - (levels[:-2] + levels[2:]) / 2).mean())

        for frame, interlaced in zip(frames, woven, strict=True):
            assert comb(frame) < comb(interlaced) / 4


class TestTimes:
    def test_frames_at_uneven_times_are_said_so(self, tmp_path: Path) -> None:
        ticks = [0, 40, 45, 200, 1000, 1001]
        with av.open(str(tmp_path / "a.mkv"), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            (stream.width, stream.height), stream.pix_fmt = scene().size, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
            for tick in ticks:
                frame = av.VideoFrame.from_ndarray(np.asarray(scene()), format="rgb24")
                frame.pts, frame.time_base = tick, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        clip = open_frames(tmp_path / "a.mkv")
        assert isinstance(clip, Clip)
        assert clip.times()[:-1] == [Fraction(tick, 1000) for tick in ticks]
        assert clip.times()[-1] > clip.times()[-2]

    def test_even_times_are_exact(self, tmp_path: Path) -> None:
        write_clip([scene()] * 5, tmp_path / "a.mp4", Fraction(30000, 1001))
        clip = open_frames(tmp_path / "a.mp4")
        assert isinstance(clip, Clip)
        assert clip.times() == [Fraction(1001 * number, 30000) for number in range(6)]


class TestDamage:
    @pytest.fixture
    def noise(self) -> list[Image.Image]:
        """Frames that do not compress, so that every place of the file belongs to one of them."""
        generator = np.random.default_rng(0)
        return [Image.fromarray(generator.integers(0, 255, (64, 96, 3), np.uint8)) for _ in range(50)]

    @pytest.mark.parametrize("suffix", ["mp4", "mkv"])
    def test_a_file_that_ends_early_gives_what_it_has_and_says_so(
        self, tmp_path: Path, noise: list[Image.Image], suffix: str
    ) -> None:
        write_clip(noise, tmp_path / "whole.mp4", 25)
        path = tmp_path / f"a.{suffix}"
        if suffix == "mp4":
            path.write_bytes((tmp_path / "whole.mp4").read_bytes())
        else:
            encode(path, noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        clip = open_frames(path)
        with pytest.warns(QualityWarning, match=rf"a\.{suffix}' ends at 1\.\d+ s, and by its header it has 2\.00 s"):
            assert 20 < len(list(clip)) < 40

    def test_damaged_frames_are_left_out_and_counted(self, tmp_path: Path, noise: list[Image.Image]) -> None:
        encode(tmp_path / "a.mp4", noise)
        content = bytearray((tmp_path / "a.mp4").read_bytes())
        middle = len(content) // 2
        content[middle : middle + 20000] = bytes(20000)
        (tmp_path / "a.mp4").write_bytes(content)
        with pytest.warns(QualityWarning, match=r"damaged frame\(s\) of the clip '.*a\.mp4' were left out"):
            read = list(open_frames(tmp_path / "a.mp4"))
        assert 20 < len(read) < 50

    def test_a_clip_begins_at_the_first_frame_that_can_be_decoded(
        self, tmp_path: Path, noise: list[Image.Image]
    ) -> None:
        encode(tmp_path / "a.mp4", noise[:10], options={"g": "5", "keyint_min": "5", "bf": "0"})
        with av.open(str(tmp_path / "a.mp4")) as container:
            packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        content = bytearray((tmp_path / "a.mp4").read_bytes())
        for place, size in packets[:5]:
            content[place : place + size] = bytes(size)
        (tmp_path / "a.mp4").write_bytes(content)
        clip = open_frames(tmp_path / "a.mp4")
        assert isinstance(clip, Clip)
        with pytest.warns(QualityWarning, match=r"5 damaged frame\(s\)"):
            assert len(list(clip)) == 5
        assert clip.times() == [Fraction(number, 25) for number in range(5, 11)]

    def test_a_clip_whose_frames_cannot_be_decoded_is_named(self, tmp_path: Path, noise: list[Image.Image]) -> None:
        encode(tmp_path / "a.mkv", noise[:2])
        clip = open_frames(tmp_path / "a.mkv")
        with av.open(str(tmp_path / "a.mkv")) as container:
            packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        content = bytearray((tmp_path / "a.mkv").read_bytes())
        for place, size in packets:
            content[place + 8 : place + size] = b"\xff" * (size - 8)
        (tmp_path / "a.mkv").write_bytes(content)
        with pytest.raises(ImageError, match=r"a\.mkv' holds no frame that can be decoded"):
            list(clip)

    def test_the_cover_image_of_a_song_is_no_clip(self, tmp_path: Path) -> None:
        with av.open(str(tmp_path / "a.mp3"), "w") as container:
            audio = container.add_stream("libmp3lame", rate=44100)
            cover = container.add_stream("png", rate=1)
            (cover.width, cover.height), cover.pix_fmt = (32, 32), "rgb24"
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44100
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
            container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
            container.mux(cover.encode(None))
        with av.open(str(tmp_path / "a.mp3")) as container:
            assert len(container.streams.video) == 1
        with pytest.raises(ImageError, match=r"a\.mp3' holds no video"):
            open_frames(tmp_path / "a.mp3")


def test_threads_read_one_clip_at_the_same_time(tmp_path: Path) -> None:
    write_clip([scene()] * 8, tmp_path / "a.mp4", 25)
    clip = open_frames(tmp_path / "a.mp4")
    alone = [frame.tobytes() for frame in clip]
    results: list[list[bytes]] = []
    threads = [threading.Thread(target=lambda: results.append([f.tobytes() for f in clip])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [alone] * 4
