"""Reads and writes the frames of a clip, which is a folder of images or a video file (see `images.clips`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from hyperstyle.errors import ConfigError, ImageError
from hyperstyle.images import list_folder, list_images, load_image, save_image
from hyperstyle.images.clips.read import Clip, open_clip
from hyperstyle.images.clips.write import check_clip, write_clip
from hyperstyle.io.files import replace_folder
from hyperstyle.io.temporary import is_temporary

__all__ = [
    "CLIP_SUFFIXES",
    "Clip",
    "FrameFolder",
    "check_clip",
    "check_folder",
    "open_frames",
    "write_clip",
    "write_folder",
]

CLIP_SUFFIXES = (".3gp", ".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm")
"""Suffixes of the video files that `open_frames` reads."""


@dataclass(frozen=True)
class FrameFolder:
    """The images of a folder, in natural order of their names: 2.png before 10.png.

    Iterating yields upright RGB images and reads them one at a time, anew in every iteration. It raises ImageError,
    which names the file, for one that cannot be read.

    Attributes:
        path: the folder.
        files: the paths of the images.
        left_out: (file, reason) of files that look like images but cannot be read (see `images.list_images`).
    """

    path: Path
    files: tuple[Path, ...]
    left_out: tuple[tuple[Path, str], ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Image.Image]:
        return (load_image(file) for file in self.files)


def open_frames(path: str | os.PathLike[str]) -> FrameFolder | Clip:
    """Opens a folder of images, whose hidden files are left out, or a video file.

    Raises:
        ImageError: there is no such path, the folder holds no images, or the file is no video.
        MissingDependencyError: a video file, and PyAV is not installed.
    """
    path = Path(path)
    if os.path.isdir(path):
        listing = list_images(sorted(list_folder(path), key=_natural_sort_key))
        if not listing.images:
            unreadable = "".join(f" {file.name!r} {why}" for file, why in listing.left_out[:1])
            raise ImageError(f"The folder {str(path)!r} holds no images (looked at names and contents).{unreadable}")
        return FrameFolder(path, listing.images, listing.left_out)
    if not os.path.exists(path):
        raise ImageError(f"There is no {str(path)!r}; expected a folder of frames or a video file.")
    return open_clip(path)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raises ConfigError unless the folder is new or empty, as for `write_folder`. Call it before making frames."""
    target = Path(folder)
    if os.path.exists(target) and not (os.path.isdir(target) and all(is_temporary(path) for path in target.iterdir())):
        raise ConfigError(f"{os.fspath(folder)!r} is there already and not an empty folder. Choose another one.")


def write_folder(frames: Iterable[Image.Image], folder: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Writes frames as `folder`/NAME.png. The files appear in the folder only once all of them are written.

    If anything raises, `frames` included, no frame is left behind.

    Args:
        frames: consumed one at a time.
        folder: must not exist or must be empty.
        names: one NAME for each frame, all different; names beyond the last frame are ignored.

    Raises:
        ConfigError: the folder is not empty or cannot be made, two names are the same, or there are fewer names than
            frames.
        ImageError: an image cannot be written.
    """
    check_folder(folder)
    remaining_names = iter(names)
    with replace_folder(folder, error=ConfigError) as temporary:
        for frame in frames:
            name = next(remaining_names, None)
            if name is None:
                raise ConfigError("There are more frames than names for them. Give a name for each.")
            file = temporary / f"{name}.png"
            if os.path.exists(file):
                raise ConfigError(f"Two frames are named {name!r}. Rename one of them; suffixes do not count.")
            save_image(frame, file)
        check_folder(folder)  # still


def _natural_sort_key(file: Path) -> tuple[list[tuple[int, str]], str]:
    """A sort key for natural order: digits in names compare as numbers, letters without case; the name breaks ties."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in parts], file.name
