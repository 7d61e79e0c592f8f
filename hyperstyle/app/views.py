"""Images of a session for the page, and files of them to download.

Images that are shown are enlarged or reduced to a size that fills the page; those that are downloaded are not.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from hyperstyle.align.source import photo_of
from hyperstyle.app.sessions import Session
from hyperstyle.errors import ConfigError, InversionError
from hyperstyle.images import flatten, save_image, to_images
from hyperstyle.images.load import reduce_to
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.strips import animate, photos, strip
from hyperstyle.inverter import HyperStyleInverter

View = Literal["face", "photo"]

FACE_SIZE = 512
"""Longer side, in pixels, at which a face is shown at least."""

PHOTO_SIZE = 1024
"""Longer side, in pixels, at which a whole photo is shown at most."""

_OUTLINE, _CHOSEN = (148, 163, 184), (99, 102, 241)
_STRIP, _FRAMES = 5, 24  # images of a strip, frames of an animation
_STRIP_CELL = 256  # pixels
_PREFIX, _SECONDS_HELD = "made-", 3600  # of files to download


def outlined(session: Session, size: int = PHOTO_SIZE) -> Image.Image:
    """The photo, reduced to `size` pixels at most, with the square around each face; that of the chosen one stands out.

    Raises InversionError where there is no photo.
    """
    if session.photo is None:
        raise InversionError("There is no photo to show: load one.")
    shown = reduce_to(flatten(session.photo), size)
    scale = shown.width / session.photo.width
    draw = ImageDraw.Draw(shown)
    width = max(round(max(shown.size) / 160), 2)
    order = sorted(range(len(session.faces)), key=lambda i: i == session.face)  # the chosen one over the others
    for i in order:
        placement = session.faces[i].source.placement
        if placement is None:
            continue
        corners = [tuple((corner + 0.5) * scale) for corner in placement.footprint]
        draw.line([*corners, corners[0], corners[1]], fill=_CHOSEN if i == session.face else _OUTLINE, width=width)
    return shown


def face_at(session: Session, x: float, y: float, size: int = PHOTO_SIZE) -> int | None:
    """The face whose square has this point of the image by `outlined`, the smallest of several; None for none."""
    if session.photo is None:
        return None
    point = np.array([x, y]) * max(max(session.photo.size) / size, 1.0)
    hits = []
    for i, face in enumerate(session.faces):
        if face.source.placement is not None:
            corners = face.source.placement.footprint  # [4,2], counterclockwise on the screen
            edges = np.roll(corners, -1, axis=0) - corners
            to_point = point - corners
            sides = edges[:, 0] * to_point[:, 1] - edges[:, 1] * to_point[:, 0]
            if (sides >= 0).all() or (sides <= 0).all():
                hits.append((float(np.prod(np.ptp(corners, axis=0))), i))
    return min(hits)[1] if hits else None


def before_and_after(session: Session, inversion: Inversion, view: View = "face") -> tuple[Image.Image, Image.Image]:
    """Two images of one size: what was inverted and its edited reconstruction, or both within the photo.

    Raises:
        InversionError: view="photo" without a photo, or for an image that was not cut out of one.
    """
    if view == "photo":
        after = inversion.paste_back()
        photo, _ = photo_of(inversion.sources, 1)
        pair = (flatten(photo), flatten(after))
        return reduce_to(pair[0], PHOTO_SIZE), reduce_to(pair[1], PHOTO_SIZE)
    first = session.history[0]
    before = to_images(first.crop)[0] if first.crop is not None else first.image
    after = enlarged(inversion.image)
    return before.resize(after.size, Image.Resampling.BICUBIC), after


def has_photo(session: Session) -> bool:
    """Whether the face was cut out of a photo that is there, so that it can be pasted back."""
    sources = session.history[0].sources if session.history else ()
    return bool(sources) and sources[0].placement is not None and sources[0].photo is not None


def edit_strip(inverter: HyperStyleInverter, inversion: Inversion, name: str) -> Image.Image:
    """A labeled row of images over the range of an edit. Raises EditError for an unknown one."""
    return strip(inversion, name, list(_range(inverter, name, _STRIP)), cell=_STRIP_CELL)


def edit_animation(
    inverter: HyperStyleInverter, inversion: Inversion, name: str, path: Path, view: View = "face"
) -> None:
    """Writes a WebP animation over the range of an edit and back. Raises EditError for an unknown one."""
    frames = inversion.edit(name, _range(inverter, name, _FRAMES))
    if view == "photo":
        animate(photos(inversion, frames), path, longest=FACE_SIZE)
    else:
        animate([enlarged(image) for image in frames.images], path, longest=FACE_SIZE)


def _range(inverter: HyperStyleInverter, name: str, count: int) -> tuple[float, ...]:
    """`count` strengths over the range of one of the model's edits."""
    if name not in inverter.edits:
        raise ConfigError(f"There is no edit {name!r} to show: choose one of the list.")
    info = inverter.edits[name].info
    return tuple(float(value) for value in np.linspace(info.low, info.high, count))


def enlarged(image: Image.Image) -> Image.Image:
    """The image with its longer side at `FACE_SIZE` pixels at least."""
    scale = FACE_SIZE / max(image.size)
    if scale <= 1:
        return image
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


# ---- downloads ----


def saved(session: Session, inversion: Inversion, kind: Literal["image", "photo", "inversion"], folder: Path) -> Path:
    """Writes what is shown as a file into a new folder inside `folder`: the face, the whole photo, or the inversion.

    Raises:
        InversionError: kind="photo" for an image that was not cut out of a photo. HyperStyleError: a full disk.
    """
    if kind == "inversion":
        path = new_file(folder, f"{session.stem}.safetensors")
        inversion.save(path)
        return path
    path = new_file(folder, f"{session.stem}_{'edited' if kind == 'image' else 'photo'}.png")
    save_image(inversion.image if kind == "image" else inversion.paste_back(), path)
    return path


def new_file(folder: Path, name: str) -> Path:
    """A path of this name that nobody else has or guesses: in a new folder inside `folder`. Old ones are removed."""
    for old in folder.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):  # another thread removes them too
            if time.time() - old.stat().st_mtime > _SECONDS_HELD:
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder)) / name
