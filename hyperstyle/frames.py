"""The frames of a clip, in and out: a folder of pictures, or a video file through PyAV, an optional package."""

from __future__ import annotations

import importlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from hyperstyle.errors import ConfigError, ImageError, MissingDependencyError
from hyperstyle.files import atomic_write
from hyperstyle.images import list_images, load_image, save_image

__all__ = [
    "CLIP_SUFFIXES",
    "Clip",
    "FrameFolder",
    "check_clip",
    "check_folder",
    "check_pyav",
    "open_frames",
    "write_clip",
    "write_folder",
]

CLIP_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
"""How the names of video files end that `open_frames` reads."""

_USUAL_RATE = Fraction(25)  # for files that do not say
_SLOWEST = 0.001  # frames per second; rates are written as fractions of small numbers
_BT709 = 1  # the number of ITU-R BT.709 in H.264's tables of colour spaces, primaries and transfer functions
_STUDIO_RANGE = 1  # levels from 16 to 235, as players expect
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


@dataclass(frozen=True)
class FrameFolder:
    """The pictures of a folder, in the order of their names, numbers within them by value: 2.png before 10.png.

    Every iteration reads them anew, one at a time: upright RGB pictures. An ImageError names a file that is none.

    Attributes:
        path: the folder.
        files: the pictures.
        left_out: (file, why) of those that look like pictures and cannot be read (`images.list_images`).
    """

    path: Path
    files: tuple[Path, ...]
    left_out: tuple[tuple[Path, str], ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Image.Image]:
        return (load_image(file) for file in self.files)


@dataclass(frozen=True)
class Clip:
    """A video file.

    Every iteration decodes it anew, one frame at a time: upright RGB pictures. An ImageError says where it is damaged.

    Attributes:
        path: the file.
        rate: frames per second, on average; frames are taken as evenly spaced.
    """

    path: Path
    rate: Fraction

    def __iter__(self) -> Iterator[Image.Image]:
        import av
        from av.video.reformatter import Colorspace

        done = 0
        try:
            with av.open(self.path) as container:
                for frame in container.decode(video=0):
                    # Both said aloud: up to version 16 PyAV took clips for BT.601 where the two are the same.
                    space = Colorspace.ITU709 if frame.colorspace == _BT709 else Colorspace.ITU601
                    levels = frame.reformat(
                        format="rgb24", src_colorspace=space, dst_colorspace=Colorspace.ITU601
                    ).to_ndarray()
                    picture, turn = Image.fromarray(levels), _TURNS.get(frame.rotation % 360)
                    yield picture if turn is None else picture.transpose(turn)
                    done += 1
        except av.FFmpegError as error:
            raise ImageError(
                f"The clip {str(self.path)!r} cannot be decoded after frame {done}: {error}. Get a whole copy of the "
                "file, or convert it to MP4."
            ) from error


def check_pyav() -> None:
    """Raises MissingDependencyError where video files can be neither read nor written."""
    try:
        importlib.import_module("av")
    except ImportError as error:
        raise MissingDependencyError(
            'video files need PyAV, which is not installed. Run: pip install "hyperstyle-inversion[video]". A folder '
            "of pictures, in and out, works without it."
        ) from error


def open_frames(path: str | os.PathLike[str]) -> FrameFolder | Clip:
    """The frames of a folder, hidden files left out, or a video file.

    Raises:
        ImageError: nothing is there, a folder without pictures, or a file that is no video.
        MissingDependencyError: a video file without PyAV.
    """
    path = Path(path)
    if path.is_dir():
        found = list_images(sorted(path.iterdir(), key=_natural))
        if not found.images:
            left = "".join(f" {file.name!r} {why}" for file, why in found.left_out[:1])
            raise ImageError(f"The folder {str(path)!r} holds no pictures (looked at names and contents).{left}")
        return FrameFolder(path, found.images, found.left_out)
    if not path.exists():
        raise ImageError(f"There is no {str(path)!r}; expected a folder of frames or a video file.")
    check_pyav()
    import av

    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise ImageError(f"The file {str(path)!r} holds no video. Expected a clip with pictures in it.")
            stream = container.streams.video[0]
            return Clip(path, Fraction(stream.average_rate or stream.guessed_rate or _USUAL_RATE))
    except av.FFmpegError as error:
        raise ImageError(
            f"The file {str(path)!r} cannot be read as a video: {error}. Expected MP4, MOV, MKV, WebM or the like."
        ) from error


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raises ConfigError where `write_folder` would refuse it: better before the work than after."""
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{os.fspath(folder)!r} is there already and not an empty folder. Choose another one.")


def write_folder(frames: Iterable[Image.Image], folder: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Writes frames as NAME.png into a new folder, which appears under its name when all of them are there.

    Args:
        frames: made one at a time.
        folder: must not exist, or be empty.
        names: one for each frame, without a suffix, all different.

    Raises:
        ConfigError: the folder holds something or cannot be made, two names are the same, or there are too few.
        ImageError: a picture cannot be written. Nothing is left behind then, nor when `frames` raises.
    """
    check_folder(folder)
    target = Path(os.path.realpath(folder))
    temporary = target.with_name(f".tmp-{secrets.token_hex(6)}")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"The folder {os.fspath(folder)!r} cannot be made: {error.strerror}.") from error
    try:
        given = iter(names)
        for frame in frames:
            name = next(given, None)
            if name is None:
                raise ConfigError("There are more frames than names for them. Give a name for each.")
            file = temporary / f"{name}.png"
            if file.exists():
                raise ConfigError(f"Two frames are named {name!r}. Rename one of them; suffixes do not count.")
            save_image(frame, file)
        try:
            if target.exists():
                target.rmdir()
            temporary.rename(target)
        except OSError as error:
            raise ConfigError(
                f"The folder {os.fspath(folder)!r} cannot be put in its place: {error.strerror}. Choose another one."
            ) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def check_clip(path: str | os.PathLike[str], rate: Fraction | float) -> None:
    """Raises what `write_clip` would raise without looking at a frame: better before the work than after."""
    if Path(path).suffix.lower() != ".mp4":
        raise ConfigError(f"{os.fspath(path)!r} cannot be written: clips are MP4, so give a name that ends in .mp4.")
    if Path(path).is_dir():
        raise ConfigError(f"{os.fspath(path)!r} is a folder, and by its name a clip was asked for. Choose another one.")
    if not _SLOWEST <= rate < float("inf"):
        raise ConfigError(f"A clip of {rate} frames per second: expected {_SLOWEST} or more, such as 25.")
    check_pyav()


def write_clip(frames: Iterable[Image.Image], path: str | os.PathLike[str], rate: Fraction | float) -> None:
    """Writes frames as an MP4 file: H.264 at a visually lossless quality, BT.709 colours, no sound.

    Sides of an odd number of pixels, which H.264 does not have, get one more, a copy of their last row or column.

    Args:
        frames: RGB pictures of one size, made one at a time.
        path: the file; it appears when all frames are in it.
        rate: frames per second.

    Raises:
        ConfigError: another suffix than .mp4 or the name of a folder, a rate below 0.001, or no frame at all.
        ImageError: frames of different sizes, or a file that cannot be written. Nothing is left behind then.
        MissingDependencyError: PyAV is not installed.
    """
    check_clip(path, rate)
    import av

    with atomic_write(path, error=ImageError) as temporary:
        try:
            _encode(frames, temporary, Fraction(rate).limit_denominator(1001))
        except av.FFmpegError as error:
            raise ImageError(f"The clip {os.fspath(path)!r} cannot be encoded: {error}.") from error


def _encode(frames: Iterable[Image.Image], path: Path, rate: Fraction) -> None:
    import av
    from av.video.reformatter import Colorspace

    size: tuple[int, int] | None = None
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "17"})
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _STUDIO_RANGE
        for number, picture in enumerate(frames):
            if size is None:
                size = picture.size
                stream.width, stream.height = (side + side % 2 for side in size)
            if picture.size != size:
                raise ImageError(
                    f"Frame {number} is {picture.width} x {picture.height} px and the first one {size[0]} x {size[1]}: "
                    "a clip has frames of one size. Write a folder of pictures instead."
                )
            frame = av.VideoFrame.from_ndarray(np.asarray(_even(picture)), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            container.mux(stream.encode(frame))
        if size is None:
            raise ConfigError("There are no frames, so there is no clip to write.")
        container.mux(stream.encode(None))


def _even(picture: Image.Image) -> Image.Image:
    """The picture with even sides: the last column and row twice where they were odd."""
    width, height = picture.size
    if width % 2 == 0 and height % 2 == 0:
        return picture
    wide = Image.new("RGB", (width + width % 2, height + height % 2))
    for left, top in ((1, 1), (0, 1), (1, 0), (0, 0)):
        wide.paste(picture, (left * (width % 2), top * (height % 2)))
    return wide


def _natural(file: Path) -> tuple[list[tuple[int, str]], str]:
    """A key under which numbers within names sort by value; names that are equal then sort as they are."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in parts], file.name
