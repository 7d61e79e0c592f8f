"""Reading a video file frame by frame, upright, of square pixels, deinterlaced, in sRGB; and its frames' times."""

from __future__ import annotations

import importlib
import os
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperstyle.errors import ImageError, MissingDependencyError, QualityWarning
from hyperstyle.images.clips.color import ColorTags, read_tags, to_srgb
from hyperstyle.io.opening import check_file

_DEFAULT_RATE = Fraction(25)  # for files without one
_NARROWEST, _WIDEST = Fraction(1, 10), Fraction(10)  # width over height of a pixel; other values are damage
_FORMATS_WITH_LENGTH = ("mp4", "matroska")  # formats whose header has the length of the clip
_ROUNDING = Fraction(1, 500)  # seconds
_MAY_LACK = Fraction(1, 2)  # seconds that may be missing from the length in the header


@dataclass(frozen=True)
class Clip:
    """A video file.

    Every iteration decodes it anew, one frame at a time, into an RGB image as a player shows it: upright, of square
    pixels (where they are not, the side that is too short is enlarged), deinterlaced, in sRGB with HDR mapped to SDR,
    without alpha. Iterations share nothing, so threads may each have one.

    A QualityWarning says that frames are damaged and left out, or that the file ends early; an ImageError that
    nothing can be decoded, or that colors cannot be converted.

    Attributes:
        path: the file.
        rate: frames per second, on average.
        audio: the number of its audio tracks.
    """

    path: Path
    rate: Fraction
    audio: int = 0

    def __iter__(self) -> Iterator[Image.Image]:
        import av
        from av.video.reformatter import VideoReformatter

        reformatter = VideoReformatter()
        tags_of_pending: deque[tuple[ColorTags, npt.NDArray[np.int32] | None]] = deque()
        deinterlacer: _Deinterlacer | None = None
        for frame, stream, _ in self._decoded():
            try:
                if frame is not None:
                    data = _side_data(frame)
                    is_dolby = any(name.startswith("DOVI") for name in data)
                    tags = read_tags(frame, stream.codec_context, is_dolby=is_dolby)
                    tags_of_pending.append((tags, _display_matrix(frame, data)))
                    if deinterlacer is None and frame.interlaced_frame:
                        deinterlacer = _Deinterlacer(frame, stream)
                for ready in [frame] if deinterlacer is None else list(deinterlacer.push(frame)):
                    if ready is not None:
                        tags, matrix = tags_of_pending.popleft()
                        image = Image.fromarray(to_srgb(ready, tags, reformatter))
                        yield _upright(_square_pixels(image, stream.sample_aspect_ratio), matrix)
            except (av.FFmpegError, ImageError) as error:
                raise ImageError(f"The clip {str(self.path)!r} cannot be read: {error}.") from error

    def times(self) -> list[Fraction]:
        """The time at which each of n frames begins, and at which the last one ends: n + 1 rising numbers of seconds.

        Time 0 is the start of the file, which may be that of its audio. Decodes the clip once.

        Raises:
            ImageError: nothing can be decoded.
        """
        times: list[Fraction] = []
        last = 1 / self.rate
        start = Fraction(0)
        for frame, stream, ticks in self._decoded():
            base = Fraction(stream.time_base or Fraction(1, 1000))
            if frame is None:
                last = _last_duration(stream, times[-1] + start, last)
                break
            if not times:
                start = file_start(stream.container)
            time = frame.pts * base - start if frame.pts is not None else times[-1] + last if times else Fraction(0)
            if times and time <= times[-1]:  # damaged: two frames at once
                time = times[-1] + base
            times.append(time)
            last = ticks * base or last
        if times[0] < 0:
            times = [time - times[0] for time in times]
        return [*times, times[-1] + last]

    def _decoded(self) -> Iterator[tuple[Any, Any, int]]:
        """Every frame of PyAV, its stream, and its duration in ticks (0 where unknown); at the end None as frame."""
        import av

        done = damaged = 0
        try:
            with av.open(self.path) as container:
                stream = video_stream(container)
                end = Fraction(0)
                durations: dict[int, int] = {}
                # Audio packets only tell where the file ends.
                for packet in container.demux(stream, *container.streams.audio):
                    if packet.pts is not None:
                        end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                    if packet.stream_index != stream.index:
                        continue
                    if packet.pts is not None:  # frames of PyAV carry this from version 15 on
                        durations[packet.pts] = packet.duration or 0
                    try:
                        frames = packet.decode()
                    except av.error.InvalidDataError:
                        damaged += 1
                        continue
                    for frame in frames:
                        yield frame, stream, durations.pop(frame.pts, 0)
                        done += 1
                if not done:
                    raise ImageError(
                        f"The clip {str(self.path)!r} holds no frame that can be decoded. Get a whole copy of the file."
                    )
                yield None, stream, 0
                # Of other formats FFmpeg estimates it.
                has_length = any(name in container.format.name for name in _FORMATS_WITH_LENGTH)
                length = Fraction(container.duration or 0, 1_000_000) if has_length else Fraction(0)
                self._warn(damaged, end - file_start(container), length)
        except av.FFmpegError as error:
            raise ImageError(
                f"The clip {str(self.path)!r} cannot be decoded after frame {done}: {error}. Get a whole copy of the "
                "file, or convert it to MP4."
            ) from error

    def _warn(self, damaged: int, end: Fraction, length: Fraction) -> None:
        message = ""
        if length - end > _MAY_LACK:
            message = (
                f"the clip {str(self.path)!r} ends at {float(end):.2f} s, and by its header it has {float(length):.2f} "
                "s: the file is not whole. What is there was taken."
            )
        elif damaged:
            message = (
                f"{damaged} damaged frame(s) of the clip {str(self.path)!r} were left out; the others keep their times."
            )
        if message:  # from one line of code, so that it is shown once, however often the clip is read
            warnings.warn(message, QualityWarning, stacklevel=1)


def check_pyav() -> None:
    """Raises MissingDependencyError if PyAV, which reads and writes video files, is not installed."""
    try:
        importlib.import_module("av")
    except ImportError as error:
        raise MissingDependencyError(
            'video files need PyAV, which is not installed. Run: pip install "hyperstyle-inversion[video]". A folder '
            "of images, in and out, works without it."
        ) from error


def open_clip(path: str | os.PathLike[str]) -> Clip:
    """The clip in a file.

    Raises:
        ImageError: the file is no video.
        MissingDependencyError: PyAV is not installed.
    """
    check_pyav()
    import av

    path = Path(path)
    check_file(path, "video", error=ImageError)
    try:
        with av.open(path) as container:
            stream = video_stream(container)
            rate = stream.average_rate or stream.guessed_rate or _DEFAULT_RATE
            return Clip(path, Fraction(rate), len(container.streams.audio))
    except av.FFmpegError as error:
        raise ImageError(
            f"The file {str(path)!r} cannot be read as a video: {error}. Expected MP4, MOV, MKV, WebM or the like."
        ) from error


def video_stream(container: Any) -> Any:
    """The video stream that players show. Raises ImageError where there is none, or only the cover of a song."""
    from av.stream import Disposition

    stream = container.streams.best("video")
    if stream is None or Disposition.attached_pic in Disposition(stream.disposition):
        raise ImageError(f"The file {container.name!r} holds no video. Expected a video file.")
    if stream.codec_context is None:
        raise ImageError(f"The file {container.name!r} holds video of an unknown codec. Convert it to H.264.")
    return stream


def file_start(container: Any) -> Fraction:
    """The time in seconds that players count from: the start of the first stream, at least 0."""
    return max(Fraction(0), Fraction(container.start_time or 0, 1_000_000))


def _last_duration(stream: Any, time: Fraction, duration: Fraction) -> Fraction:
    """The duration of the last frame, which begins at `time` of the file; `duration` is that of its packet.

    MP4 stores durations in the order of decoding, so that of the packet may belong to another frame. The length of the
    stream is right then, but not to the tick, as edit lists count in ms, nor where the file is not whole.
    """
    if stream.duration is None:
        return duration
    rest = Fraction(((stream.start_time or 0) + stream.duration) * stream.time_base) - time
    is_right = 0 < rest <= max(duration, _MAY_LACK) and abs(rest - duration) > _ROUNDING
    return rest if is_right else duration


def _square_pixels(image: Image.Image, aspect: Fraction | None) -> Image.Image:
    """The image with square pixels: the side that is too short is enlarged, to an even number of pixels."""
    if not aspect or aspect == 1 or not _NARROWEST <= aspect <= _WIDEST:
        return image
    width, height = image.size
    if aspect > 1:
        width = 2 * round(width * aspect / 2)
    else:
        height = 2 * round(height / aspect / 2)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _side_data(frame: Any) -> dict[str, bytes]:
    """The side data of a frame by PyAV's names."""
    try:
        return {data.type.name: bytes(data) for data in frame.side_data}
    except ValueError:  # PyAV refuses all of it if one kind is newer than its list, such as EXIF
        return {}


def _display_matrix(frame: Any, side_data: dict[str, bytes]) -> npt.NDArray[np.int32] | None:
    """[2,2] directions on the screen of a step right (row 0) and one down (row 1) in the stored frame, or None."""
    if "DISPLAYMATRIX" in side_data:
        return np.frombuffer(side_data["DISPLAYMATRIX"], np.int32).reshape(3, 3)[:2, :2]
    if not frame.rotation:
        return None
    turn = np.deg2rad(frame.rotation)  # counterclockwise, which the matrix is not
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).round().astype(np.int32)


def _upright(image: Image.Image, matrix: npt.NDArray[np.int32] | None) -> Image.Image:
    """The image turned and mirrored as the matrix says, to the nearest quarter."""
    if matrix is None or not matrix.any():
        return image
    turned = abs(matrix[0, 1]) > abs(matrix[0, 0])
    if turned:
        image = image.transpose(Image.Transpose.TRANSPOSE)
        matrix = matrix[::-1]
    if matrix[0, 0] < 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if matrix[1, 1] < 0:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image


class _Deinterlacer:
    """Turns each interlaced frame into one of both fields (FFmpeg's bwdif), one frame later."""

    def __init__(self, frame: Any, stream: Any) -> None:
        import av

        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or stream.time_base
        )
        # Frames that do not say they are interlaced stay as they are.
        filter_ = self._graph.add("bwdif", "mode=send_frame:deint=interlaced")
        self._graph.link_nodes(source, filter_, self._graph.add("buffersink")).configure()

    def push(self, frame: Any) -> Iterator[Any]:
        """Takes the next frame and gives those that are ready; None gives the last ones."""
        import av

        self._graph.vpush(frame)
        while True:
            try:
                yield self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
