"""The frames of a clip, in and out: a folder of images, or a video file (see `images.clips`)."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from PIL import Image

from hyperstyle.errors import ConfigError, ImageError, MissingDependencyError
from hyperstyle.images import list_folder, list_images, load_image, save_image
from hyperstyle.images.clips.read import Clip, open_clip
from hyperstyle.images.clips.write import MIN_RATE, encode_clip
from hyperstyle.io.files import replace_folder
from hyperstyle.io.temporary import is_temporary

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

CLIP_SUFFIXES = (".3gp", ".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm")
"""Suffixes of the video files that `open_frames` reads."""


@dataclass(frozen=True)
class FrameFolder:
    """The images of a folder, in the order of their names, numbers within them by value: 2.png before 10.png.

    Every iteration reads them anew, one at a time: upright RGB images. An ImageError names a file that is no image.

    Attributes:
        path: the folder.
        files: the images.
        left_out: (file, reason) of those that look like images and cannot be read (`images.list_images`).
    """

    path: Path
    files: tuple[Path, ...]
    left_out: tuple[tuple[Path, str], ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Image.Image]:
        return (load_image(file) for file in self.files)


def check_pyav() -> None:
    """Raises MissingDependencyError where video files can be neither read nor written."""
    try:
        importlib.import_module("av")
    except ImportError as error:
        raise MissingDependencyError(
            'video files need PyAV, which is not installed. Run: pip install "hyperstyle-inversion[video]". A folder '
            "of images, in and out, works without it."
        ) from error


def open_frames(path: str | os.PathLike[str]) -> FrameFolder | Clip:
    """The frames of a folder, hidden files left out, or a video file.

    Raises:
        ImageError: nothing is there, a folder without images, or a file that is no video.
        MissingDependencyError: a video file without PyAV.
    """
    path = Path(path)
    if path.is_dir():
        listing = list_images(sorted(list_folder(path), key=_natural_sort_key))
        if not listing.images:
            unreadable = "".join(f" {file.name!r} {why}" for file, why in listing.left_out[:1])
            raise ImageError(f"The folder {str(path)!r} holds no images (looked at names and contents).{unreadable}")
        return FrameFolder(path, listing.images, listing.left_out)
    if not path.exists():
        raise ImageError(f"There is no {str(path)!r}; expected a folder of frames or a video file.")
    check_pyav()
    return open_clip(path)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raises ConfigError for a folder that `write_folder` would refuse, to be called before the frames are made."""
    target = Path(folder)
    if target.exists() and not (target.is_dir() and all(is_temporary(path) for path in target.iterdir())):
        raise ConfigError(f"{os.fspath(folder)!r} is there already and not an empty folder. Choose another one.")


def write_folder(frames: Iterable[Image.Image], folder: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Writes frames as NAME.png into a new folder, which appears under its name when all of them are written.

    Args:
        frames: made one at a time.
        folder: must not exist, or be empty.
        names: one for each frame, without a suffix, all different.

    Raises:
        ConfigError: the folder holds something or cannot be made, two names are the same, or there are too few.
        ImageError: an image cannot be written. Nothing is left behind then, nor when `frames` raises.
    """
    check_folder(folder)
    remaining_names = iter(names)
    with replace_folder(folder, error=ConfigError) as temporary:
        for frame in frames:
            name = next(remaining_names, None)
            if name is None:
                raise ConfigError("There are more frames than names for them. Give a name for each.")
            file = temporary / f"{name}.png"
            if file.exists():
                raise ConfigError(f"Two frames are named {name!r}. Rename one of them; suffixes do not count.")
            save_image(frame, file)
        check_folder(folder)  # still


def check_clip(path: str | os.PathLike[str], rate: Fraction | float = 25) -> None:
    """Raises the errors of `write_clip` that need no frame, to be called before the frames are made."""
    if Path(path).suffix.lower() != ".mp4":
        raise ConfigError(f"{os.fspath(path)!r} cannot be written: clips are MP4, so give a name that ends in .mp4.")
    if Path(path).is_dir():
        raise ConfigError(f"{os.fspath(path)!r} is a folder, and its name is that of a clip. Choose another one.")
    if not MIN_RATE <= rate < float("inf"):
        raise ConfigError(f"A clip of {rate} frames per second: expected {float(MIN_RATE)} or more, such as 25.")
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
        frames: RGB images of one size, made one at a time.
        path: the file; it appears when all frames are in it.
        rate: frames per second, evenly spaced, without audio.
        like: in place of a rate, the clip that the frames were made from, as many as it has: they are shown when its
            own are, and its audio is copied as it is, together with title, artist, date and the like. A QualityWarning
            names audio that MP4 does not take.

    Raises:
        ConfigError: another suffix than .mp4 or the name of a folder, a rate below 0.001, both a rate and a clip or
            none of them, no frame at all, or more or fewer frames than the clip has.
        ImageError: frames of different sizes, a clip that cannot be read again, or a file that cannot be written.
            Nothing is left behind then.
        MissingDependencyError: PyAV is not installed.
    """
    if like is not None and rate is None:
        check_clip(path)
        encode_clip(frames, path, like)
    elif rate is not None and like is None:
        check_clip(path, rate)
        encode_clip(frames, path, Fraction(rate))
    else:
        raise ConfigError("A clip is written at a rate or like another clip: give one of rate=... and like=...")


def _natural_sort_key(file: Path) -> tuple[list[tuple[int, str]], str]:
    """A sort key by which numbers within names count by their value; the name itself breaks ties."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in parts], file.name
