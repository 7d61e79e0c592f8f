"""Writing frames as an MP4 file, with the times, the audio and the title of the clip that they come from."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hyperstyle.errors import ConfigError, ImageError, QualityWarning, warn
from hyperstyle.images.clips.color import BT709, STUDIO_RANGE
from hyperstyle.images.clips.read import Clip, check_pyav, file_start
from hyperstyle.io.files import atomic_write

# What players expect in an MP4 file, by the names of FFmpeg's decoders.
_AUDIO = ("aac", "ac3", "alac", "eac3", "flac", "libopus", "mp2", "mp2float", "mp3", "mp3float", "opus")
# Not the place and the device of the recording: edited clips are made to be shown.
_TAGS = ("title", "artist", "album", "comment", "copyright", "description", "date", "creation_time")
_MAX_TICKS = 1_000_000  # ticks per second; times that need more are rounded to the usual ones
_DEFAULT_TICKS = 90_000
_LARGEST_PART = 1001  # of the fraction that a rate is written as
_MIN_RATE = Fraction(1, 1000)  # frames per second; rates are written as fractions of small numbers


def check_clip(path: str | os.PathLike[str], rate: Fraction | float = 25) -> None:
    """Raises what `write_clip` would for this path and rate, or without PyAV. Call it before making frames."""
    if Path(path).suffix.lower() != ".mp4":
        raise ConfigError(f"{os.fspath(path)!r} cannot be written: clips are MP4, so give a name that ends in .mp4.")
    if os.path.isdir(path):
        raise ConfigError(f"{os.fspath(path)!r} is a folder, and its name is that of a clip. Choose another one.")
    if not _MIN_RATE <= rate < float("inf"):
        raise ConfigError(f"A clip of {rate} frames per second: expected {float(_MIN_RATE)} or more, such as 25.")
    check_pyav()


def write_clip(
    frames: Iterable[Image.Image],
    path: str | os.PathLike[str],
    rate: Fraction | float | None = None,
    *,
    like: Clip | None = None,
) -> None:
    """Writes frames as an MP4 file: H.264 at a visually lossless quality, BT.709 colors, square pixels.

    Sides of an odd number of pixels, which H.264 does not have, get one more, a copy of their last row or column.

    Args:
        frames: RGB images of one size, consumed one at a time.
        path: the file, whose suffix is .mp4; it appears only once all frames are written.
        rate: frames per second, 0.001 or more; the frames are evenly spaced, and there is no audio.
        like: in place of `rate`, the clip that the frames were made from. There must be as many frames as in it. They
            get the same timestamps, and its audio is copied without encoding it again, as are title, artist, date and
            similar metadata. A QualityWarning names audio that MP4 cannot hold.

    Raises:
        ConfigError: `path` has another suffix or is a folder, `rate` is out of range, not exactly one of `rate` and
            `like` is given, there is no frame, or there are more or fewer frames than in `like`.
        ImageError: frames of different sizes, a clip that cannot be read again, or a file that cannot be written.
            Nothing is left behind then.
        MissingDependencyError: PyAV is not installed.
    """
    if (rate is None) == (like is None):
        raise ConfigError("A clip is written at a rate or like another clip: give one of rate=... and like=...")
    rate = 25 if rate is None else rate  # any: the times are those of `like` then
    check_clip(path, rate)
    import av

    with atomic_write(path, error=ImageError) as temporary:
        try:
            if like is not None:
                ends = _ticks(like.times())
                with av.open(like.path) as source:
                    _encode(frames, temporary, *ends, source=source)
            else:
                _encode(frames, temporary, 1 / Fraction(rate).limit_denominator(_LARGEST_PART), None)
        except av.FFmpegError as error:
            reason = error.strerror or str(error)
            raise ImageError(f"The clip {os.fspath(path)!r} cannot be encoded or written: {reason}.") from error


def _ticks(times: list[Fraction]) -> tuple[Fraction, list[int]]:
    """The longest tick, in seconds, of which all times are whole numbers, and the times in ticks."""
    ticks = math.lcm(*(time.denominator for time in times))
    if ticks > _MAX_TICKS:
        ticks = _DEFAULT_TICKS
    rounded: list[int] = []
    for time in times:
        rounded.append(max(round(time * ticks), rounded[-1] + 1 if rounded else 0))
    return Fraction(1, ticks), rounded


def _encode(
    frames: Iterable[Image.Image], path: Path, tick: Fraction, ticks: list[int] | None, source: Any = None
) -> None:
    """Writes the frames, each from its own tick to that of the next; without `ticks`, each for one tick."""
    import av
    from av.video.reformatter import Colorspace

    rate = 1 / tick if ticks is None else (len(ticks) - 1) / ((ticks[-1] - ticks[0]) * tick)
    size: tuple[int, int] | None = None
    durations: dict[int, int] = {}  # first tick of a frame -> number of ticks
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as container:
        # The durations in an MP4 file are in the order of decoding: B-frames change them where they are not even.
        uneven = {"bf": "0"} if ticks is not None and len({b - a for a, b in pairwise(ticks)}) > 1 else {}
        stream = container.add_stream(
            "libx264", rate=max(rate.limit_denominator(_LARGEST_PART), _MIN_RATE), options={"crf": "17", **uneven}
        )
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = tick
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = STUDIO_RANGE
        context.sample_aspect_ratio = Fraction(1)
        audio = _Audio(source, container)

        def write(packets: Iterable[Any]) -> None:
            for packet in packets:
                packet.duration = durations.pop(packet.pts)
                audio.write_until(packet.dts * tick)
                container.mux(packet)

        for number, image in enumerate(frames):
            if size is None:
                size = image.size
                stream.width, stream.height = (side + side % 2 for side in size)
            if image.size != size:
                raise ImageError(
                    f"Frame {number} is {image.width} x {image.height} px and the first one {size[0]} x {size[1]}: "
                    "a clip has frames of one size. Write a folder of images instead."
                )
            if ticks is not None and number == len(ticks) - 1:
                raise ConfigError(f"There are more frames than the {number} of the clip whose times they should get.")
            # Odd sides get one more pixel, a copy of their last row or column.
            pixels = np.pad(np.asarray(image), [(0, size[1] % 2), (0, size[0] % 2), (0, 0)], "edge")  # [H, W, 3]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            frame.time_base = tick
            frame.pts = number if ticks is None else ticks[number]
            durations[frame.pts] = 1 if ticks is None else ticks[number + 1] - ticks[number]
            write(stream.encode(frame))
        if size is None:
            raise ConfigError("There are no frames, so there is no clip to write.")
        if ticks is not None and number + 2 < len(ticks):
            raise ConfigError(
                f"There are {number + 1} frames, and {len(ticks) - 1} of the clip whose times they should get."
            )
        write(stream.encode(None))
        audio.write_until(None)


class _Audio:
    """The audio tracks of a file, copied into another one packet by packet, together with its title.

    A QualityWarning names the tracks whose codec MP4 does not have.
    """

    def __init__(self, source: Any, container: Any) -> None:
        self._container = container
        self._streams: dict[int, Any] = {}
        self._packets: Iterator[tuple[Fraction, Any]] = iter(())
        self._next: tuple[Fraction, Any] | None = None
        if source is None:
            return
        container.metadata.update({key: source.metadata[key] for key in _TAGS if key in source.metadata})
        left_out: list[str] = []
        for stream in source.streams.audio:
            codec = "of an unknown codec" if stream.codec_context is None else stream.codec_context.name
            if codec not in _AUDIO:
                left_out.append(codec)
                continue
            copy = container.add_stream_from_template(stream)
            if "language" in stream.metadata:
                copy.metadata["language"] = stream.metadata["language"]
            self._streams[stream.index] = copy
        if left_out:
            warn(
                f"audio that an MP4 file does not take is left out of the result ({', '.join(left_out)}). To have it: "
                f"ffmpeg -i RESULT -i {shlex.quote(source.name)} -map 0:v -map 1:a -c:v copy WITH_AUDIO.mp4",
                QualityWarning,
            )
        if self._streams:
            self._packets = self._read(source)
            self._next = next(self._packets, None)

    def write_until(self, time: Fraction | None) -> None:
        """Writes the packets up to this time, in seconds; None writes all that are left."""
        while self._next is not None and (time is None or self._next[0] <= time):
            self._container.mux(self._next[1])
            self._next = next(self._packets, None)

    def _read(self, source: Any) -> Iterator[tuple[Fraction, Any]]:
        import av

        start = file_start(source)
        last: dict[int, int] = {}
        try:
            for packet in source.demux(*(source.streams[index] for index in self._streams)):
                # The second: what an edit list cuts off at the end; before the start, it prepares the decoder.
                if packet.dts is None or (packet.is_discard and packet.pts is not None and packet.pts > 0):
                    continue
                index, shift = packet.stream_index, round(start / packet.time_base)
                packet.dts = max(packet.dts - shift, last.get(index, packet.dts - shift - 1) + 1)
                packet.pts = packet.dts if packet.pts is None else max(packet.pts - shift, packet.dts)
                last[index] = packet.dts
                time = packet.dts * packet.time_base
                packet.stream = self._streams[index]
                yield time, packet
        except av.FFmpegError as error:
            raise ImageError(
                f"The audio of {source.name!r} cannot be read to its end: {error}. Get a whole copy of the file."
            ) from error
