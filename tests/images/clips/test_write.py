"""Clips like others: the times, audio and title of the clip that the frames were made from."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hyperstyle.errors import ConfigError, ImageError, QualityWarning
from hyperstyle.images.frames import Clip, open_frames, write_clip

av = pytest.importorskip("av")

RATE = 48000
EVEN = tuple(range(0, 1000, 40))
UNEVEN = (0, 33, 70, 300, 310, 800, 805, 1200)


def tone(pitch: float, seconds: float) -> npt.NDArray[np.float32]:
    """[1,n] a tone that grows louder, so that no part of it is like another."""
    time = np.arange(int(seconds * RATE)) / RATE
    return (np.sin(2 * np.pi * pitch * time) * time / seconds / 2).astype(np.float32)[None]


def record(
    path: Path,
    times: tuple[int, ...] = EVEN,
    *,
    codecs: tuple[str, ...] = ("aac",),
    seconds: float = 1.0,
    video_at: int = 0,
    audio_at: int = 0,
    title: dict[str, str] | None = None,
) -> Clip:
    """A clip of gray frames, each a little brighter, at times in ms, with a tone for each audio codec."""
    with av.open(str(path), "w") as container:
        container.metadata.update(title or {})
        # With B-frames where times are even; phones, whose times are not, record none.
        video = container.add_stream("libx264", rate=25, options={} if times == EVEN else {"bf": "0"})
        (video.width, video.height), video.pix_fmt = (64, 48), "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        tracks = [container.add_stream(codec, rate=RATE, layout="mono") for codec in codecs]
        for track, language in zip(tracks, ("eng", "deu", "fra"), strict=False):
            track.metadata["language"] = language
        packets: list[Any] = []
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 + 5 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time + video_at, Fraction(1, 1000)
            packets += video.encode(frame)
        for packet in packets + video.encode(None):
            after = (*times, times[-1] + 40)[times.index(packet.pts - video_at) + 1]
            packet.duration = after + video_at - packet.pts
            container.mux(packet)
        for number, track in enumerate(tracks):
            resampler = av.AudioResampler(track.codec_context.format, "mono", RATE, frame_size=1024)
            frame = av.AudioFrame.from_ndarray(tone(440 * (number + 1), seconds), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, audio_at * RATE // 1000, Fraction(1, RATE)
            for part in (*resampler.resample(frame), *resampler.resample(None)):
                container.mux(track.encode(part))
            container.mux(track.encode(None))
    clip = open_frames(path)
    assert isinstance(clip, Clip)
    return clip


def samples(path: Path, track: int = 0) -> tuple[Fraction, npt.NDArray[np.float64]]:
    """When the first sample is heard, in seconds from the start of the file, and the samples."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=track))
        start = Fraction(max(container.start_time, 0), 1_000_000)
        assert frames[0].pts is not None
        levels = np.concatenate([frame.to_ndarray() for frame in frames], axis=-1)[0]
        scale = np.iinfo(levels.dtype).max if levels.dtype.kind == "i" else 1
        return frames[0].pts * frames[0].time_base - start, levels / scale


def heard(path: Path) -> float:
    """When the tone begins, in seconds from the start of the file: where it fits best."""
    start, levels = samples(path)
    return float(start) + lag(levels, tone(440, 1.0)[0]) / RATE


def lag(levels: npt.NDArray[Any], other: npt.NDArray[Any]) -> int:
    """By how many samples the one comes after the other."""
    length = 2 * max(len(levels), len(other))
    fit = np.fft.irfft(np.fft.rfft(levels, length) * np.conj(np.fft.rfft(other, length)), length)
    best = int(np.argmax(fit))
    return best if best < length // 2 else best - length


def times(path: Path) -> list[Fraction]:
    clip = open_frames(path)
    assert isinstance(clip, Clip)
    return clip.times()


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("shown", [EVEN, UNEVEN])
def test_frames_are_shown_when_those_of_the_clip_are(tmp_path: Path, shown: tuple[int, ...], suffix: str) -> None:
    clip = record(tmp_path / f"a.{suffix}", shown)
    assert clip.times()[:-1] == [Fraction(time, 1000) for time in shown]
    write_clip(clip, tmp_path / "b.mp4", like=clip)
    assert times(tmp_path / "b.mp4") == clip.times()
    read = [frame.getpixel((9, 9))[0] for frame in open_frames(tmp_path / "b.mp4")]  # type: ignore[index]
    np.testing.assert_allclose(read, [40 + 5 * number for number in range(len(shown))], atol=4)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "aac"), ("mkv", "libopus"), ("webm", "libopus"), ("mkv", "libmp3lame"), ("mkv", "ac3"), ("mov", "alac")],
)
def test_audio_is_the_same_at_the_same_time(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "webm":  # which takes no H.264
        record(tmp_path / "a.mkv", codecs=(codec,))
        (tmp_path / "a.mkv").rename(path)
    else:
        record(path, codecs=(codec,))
    clip = open_frames(path)
    assert isinstance(clip, Clip)
    write_clip(clip, tmp_path / "b.mp4", like=clip)
    assert heard(path) == pytest.approx(0, abs=1e-3)
    assert heard(tmp_path / "b.mp4") == pytest.approx(0, abs=1e-3)  # Matroska counts in ms
    (_, original), (_, copied) = samples(path), samples(tmp_path / "b.mp4")
    assert abs(len(original) - len(copied)) < 1152  # what pads the last packet
    shift = lag(copied, original)
    middle = slice(4000, 44000)
    np.testing.assert_allclose(np.roll(copied, -shift)[middle], original[middle], atol=1e-4)  # AC-3 is dithered


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("video_at", "audio_at"), [(500, 0), (0, 500), (700, 1200), (2000, 2000)])
def test_audio_and_video_that_start_at_different_times_stay_together(
    tmp_path: Path, suffix: str, video_at: int, audio_at: int
) -> None:
    clip = record(tmp_path / f"a.{suffix}", UNEVEN, video_at=video_at, audio_at=audio_at)
    write_clip(clip, tmp_path / "b.mp4", like=clip)
    before = heard(clip.path) - clip.times()[0]
    after = heard(tmp_path / "b.mp4") - times(tmp_path / "b.mp4")[0]
    assert float(before) == pytest.approx((audio_at - video_at) / 1000, abs=0.002)
    assert float(after) == pytest.approx(float(before), abs=0.002)
    assert len(times(tmp_path / "b.mp4")) == len(clip.times())


def test_every_audio_track_is_copied_with_its_language(tmp_path: Path) -> None:
    clip = record(tmp_path / "a.mkv", codecs=("aac", "ac3", "libopus"))
    assert clip.audio == 3
    write_clip(clip, tmp_path / "b.mp4", like=clip)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert [stream.codec_context.name for stream in container.streams.audio] == ["aac", "ac3", "opus"]
        assert [stream.language for stream in container.streams.audio] == ["eng", "deu", "fra"]


@pytest.mark.parametrize(("codecs", "expected"), [(("pcm_s16le",), []), (("pcm_s16le", "aac"), ["aac"])])
def test_audio_that_mp4_does_not_take_is_left_out_and_named(
    tmp_path: Path, codecs: tuple[str, ...], expected: list[str]
) -> None:
    clip = record(tmp_path / "a.mkv", codecs=codecs)
    with pytest.warns(QualityWarning, match=r"left out of the result \(pcm_s16le\).*ffmpeg -i RESULT"):
        write_clip(clip, tmp_path / "b.mp4", like=clip)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert [stream.codec_context.name for stream in container.streams.audio] == expected
    assert times(tmp_path / "b.mp4") == clip.times()


def test_title_and_date_are_kept_and_the_place_is_not(tmp_path: Path) -> None:
    said = {"title": "a turn", "artist": "somebody", "creation_time": "2024-03-02T10:20:30.000000Z"}
    clip = record(tmp_path / "a.mp4", title=said | {"location": "+52.5200+013.4050/"})
    write_clip(clip, tmp_path / "b.mp4", like=clip)
    with av.open(str(clip.path)) as container:
        assert any("location" in key for key in container.metadata)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert said.items() <= container.metadata.items()
        assert not any("location" in key for key in container.metadata)


@pytest.mark.parametrize("count", [0, 3, 26])
def test_another_number_of_frames_is_refused(tmp_path: Path, count: int) -> None:
    clip = record(tmp_path / "a.mp4")
    frames = [Image.new("RGB", (64, 48))] * count
    with pytest.raises(ConfigError, match=r"no frames|3 frames, and 25 of the clip|more frames than the 25"):
        write_clip(frames, tmp_path / "b.mp4", like=clip)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_rate_or_a_clip_is_given(tmp_path: Path) -> None:
    clip = record(tmp_path / "a.mp4")
    for options in ({}, {"rate": 25, "like": clip}):
        with pytest.raises(ConfigError, match="give one of"):
            write_clip(clip, tmp_path / "b.mp4", **options)  # type: ignore[arg-type]


def test_at_a_rate_there_is_no_audio(tmp_path: Path) -> None:
    clip = record(tmp_path / "a.mp4", UNEVEN)
    write_clip(clip, tmp_path / "b.mp4", 10)
    assert times(tmp_path / "b.mp4") == [Fraction(number, 10) for number in range(len(UNEVEN) + 1)]
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert not container.streams.audio


def test_a_clip_that_changed_meanwhile_leaves_nothing_behind(tmp_path: Path) -> None:
    clip = record(tmp_path / "a.mp4")
    frames = list(islice(clip, 3))
    clip.path.write_bytes(clip.path.read_bytes()[:500])
    with pytest.raises(ImageError, match=r"a\.mp4"):
        write_clip(frames, tmp_path / "b.mp4", like=clip)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("room", [10, 20000, -5000, -10])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, room: int) -> None:
    resource = pytest.importorskip("resource")
    generator = np.random.default_rng(0)
    frames = [Image.fromarray(generator.integers(0, 255, (64, 96, 3), np.uint8)) for _ in range(10)]
    write_clip(frames, tmp_path / "a.mp4", 25)
    old = (tmp_path / "a.mp4").read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal, so a write that is too long fails like one to a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (room if room > 0 else len(old) + room, before[1]))
    try:
        with pytest.raises(ImageError, match=r"a\.mp4' cannot be encoded or written: File too large\."):
            write_clip(frames, tmp_path / "a.mp4", 25)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [old]


def test_a_clip_may_be_replaced_by_what_is_made_of_it(tmp_path: Path) -> None:
    clip = record(tmp_path / "a.mp4", UNEVEN)
    before = clip.times()
    write_clip(clip, clip.path, like=clip)
    assert clip.times() == before
    assert heard(clip.path) == pytest.approx(0, abs=1e-4)
