"""What the page does, as functions from sessions and plain values to the same: no Gradio, no state of its own.

Images that are shown are enlarged or reduced to a size that fills the page; those that are downloaded are not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from hyperstyle.align.prepare import Prepared, prepare
from hyperstyle.align.source import photo_of
from hyperstyle.app import words
from hyperstyle.app.notices import collected_warnings
from hyperstyle.app.sessions import MAX_HISTORY, Session
from hyperstyle.errors import ConfigError, HyperStyleError, ImageError, InversionError
from hyperstyle.images import ImageSource, load_photo, save_image, to_images
from hyperstyle.images.formats import open_image
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


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for.

    Attributes:
        megapixels: of the largest photo.
        steps: of an inversion.
    """

    megapixels: float = 50.0
    steps: int = 1000


# ---- from a photo to an inversion ----


def open_photo(
    inverter: HyperStyleInverter,
    source: ImageSource,
    name: str,
    limits: Limits,
    *,
    align: Literal["auto"] | bool = "auto",
) -> Session:
    """Reads a photo and finds its faces.

    Args:
        inverter: its aligner finds the faces, its domain has the size of crops.
        source: path of its file, or an image.
        name: what its owner calls the file, for messages, downloads and what is saved.
        limits: of the size of the photo.
        align: see `HyperStyleInverter.invert`.

    Raises:
        ImageError: the file is no image that can be read, or larger than the limit. AlignmentError: no face.
    """
    try:
        if isinstance(source, str):
            _check_size(source, name, limits)
        with collected_warnings() as warnings:
            photo = load_photo(source)
            aligner = inverter.aligner
            faces = prepare(photo, inverter.model.domain, aligner=aligner, align=align, face=_all_faces(inverter))
    except HyperStyleError as error:
        raise type(error)(words.readable(str(error), source, name)) from error
    named = tuple(replace(face, source=replace(face.source, name=name)) for face in faces)
    said = tuple(words.readable(warning, source, name) for warning in warnings)
    return Session(name, named[0].source.photo, named, largest_face(named), warnings=said)


def _all_faces(inverter: HyperStyleInverter) -> Any:
    """All faces of a photo, or whatever there is in an image of another domain."""
    return "all" if inverter.model.domain.aligner == "face" else "largest"


def _check_size(path: str, name: str, limits: Limits) -> None:
    """Raises ImageError for an image of more pixels than the limit, before any of them is decoded."""
    with open_image(path, f"The file {name!r}") as image:
        megapixels = image.width * image.height / 1e6
    if megapixels > limits.megapixels:
        raise ImageError(
            f"The photo {name!r} has {image.width} x {image.height} pixels, {megapixels:.0f} megapixels; this page "
            f"takes up to {limits.megapixels:g}. Reduce it first."
        )


def largest_face(faces: Sequence[Prepared]) -> int:
    """The index of the face with the largest square; 0 where the image was taken whole."""

    def area(i: int) -> float:
        placement = faces[i].source.placement
        return 0.0 if placement is None else float(np.prod(np.ptp(placement.footprint, axis=0)))

    return max(range(len(faces)), key=area)


def outlined(session: Session, size: int = PHOTO_SIZE) -> Image.Image:
    """The photo, reduced to `size` pixels at most, with the square around each face; that of the chosen one stands out.

    Raises InversionError where there is no photo.
    """
    if session.photo is None:
        raise InversionError("There is no photo to show: load one.")
    shown = reduce_to(session.photo.convert("RGB"), size)
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


def invert(
    inverter: HyperStyleInverter,
    session: Session,
    *,
    face: int | None = None,
    method: str | None = None,
    steps: int | None = None,
    limits: Limits | None = None,
    callback: Callable[[int, int, Image.Image], None] | None = None,
) -> Session:
    """Inverts a face of the session's photo.

    Args:
        inverter: does it.
        session: has the photo.
        face: index of the face; None is the one that is chosen already.
        method, steps: see `HyperStyleInverter.invert`.
        limits: of the steps.
        callback: is called at each step with its number, how many there will be, and the image so far.

    Returns:
        The session with the new inversion as the only one of its history.

    Raises:
        InversionError: no photo, or no such face. ConfigError: too many steps. MethodError: an unknown method.
    """
    chosen = session.face if face is None else face
    if not session.faces:
        raise InversionError("There is no photo to invert: load one.")
    if not 0 <= chosen < len(session.faces):
        raise InversionError(f"Face {chosen + 1} is not there: {len(session.faces)} were found.")
    most = (limits or Limits()).steps
    if steps is not None and not 0 <= steps <= most:
        raise ConfigError(f"{steps} steps: this page takes 0 to {most}.")

    def show(step: Any) -> None:
        if callback is not None:
            shown = inverter.model.domain.content(step.image)
            callback(step.step, step.steps, _enlarged(to_images(shown)[0]))

    with collected_warnings() as warnings:
        inversion = inverter.invert(session.faces[chosen], method=method, steps=steps, callback=show)
    return replace(session, face=chosen, history=(inversion,), warnings=(*session.warnings, *warnings))


def open_inversion(inverter: HyperStyleInverter, path: str, name: str, session: Session | None) -> Session:
    """The session of an inversion file; a photo of the session before is used again where the face was cut out of it.

    Raises:
        HyperStyleError: the file is no inversion, or was made with another model, or holds several images.
    """
    try:
        inversion = Inversion.load(path, inverter)
    except HyperStyleError as error:
        raise type(error)(words.readable(str(error), path, name)) from error
    if len(inversion) > 1:
        raise InversionError(f"The file {name!r} holds {len(inversion)} faces: this page edits one at a time.")
    photo = None
    placement = inversion.sources[0].placement if inversion.sources else None
    if session is not None and session.photo is not None and placement is not None:
        photo = session.photo if session.photo.size == tuple(placement.source_size) else None
    if photo is not None:
        inversion = replace(inversion, sources=(replace(inversion.sources[0], photo=photo),))
    return Session(name, photo, history=(inversion,))


# ---- edits ----


def edited(session: Session, edits: Mapping[str, float], text: tuple[str, float] | None = None) -> Inversion:
    """The session's inversion after all edits that are not 0, and after one in words.

    Raises:
        InversionError: nothing was inverted. EditError: an unknown edit, or a strength that is not finite.
    """
    inversion = session.inversion
    for name, strength in edits.items():
        if strength != 0:
            inversion = inversion.edit(name, strength)
    if text is not None and text[0].strip() and text[1] != 0:
        inversion = inversion.edit(text=text[0].strip(), strength=text[1])
    return inversion


def continued_with(session: Session, inversion: Inversion) -> Session:
    """The session with `inversion` as what is edited next; what was before can be gone back to.

    The first inversion is always kept: `start_over` goes back to it.
    """
    history = (*session.history, inversion)
    if len(history) > MAX_HISTORY:
        history = (history[0], *history[2:])
    return replace(session, history=history)


def undone(session: Session) -> Session:
    """The session before the last `continued_with`; itself where there was none."""
    return replace(session, history=session.history[:-1]) if len(session.history) > 1 else session


def started_over(session: Session) -> Session:
    """The session as it was after the inversion."""
    return replace(session, history=session.history[:1])


# ---- images ----


def before_and_after(session: Session, inversion: Inversion, view: View = "face") -> tuple[Image.Image, Image.Image]:
    """Two images of one size: what was inverted and its edited reconstruction, or both within the photo.

    Raises:
        InversionError: view="photo" without a photo, or for an image that was not cut out of one.
    """
    if view == "photo":
        after = inversion.paste_back()
        photo, _ = photo_of(inversion.sources, 1)
        pair = (photo.convert("RGB"), after.convert("RGB"))
        return reduce_to(pair[0], PHOTO_SIZE), reduce_to(pair[1], PHOTO_SIZE)
    first = session.history[0]
    before = to_images(first.crop)[0] if first.crop is not None else first.image
    after = _enlarged(inversion.image)
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
        animate([_enlarged(image) for image in frames.images], path, longest=FACE_SIZE)


def _range(inverter: HyperStyleInverter, name: str, count: int) -> tuple[float, ...]:
    """`count` strengths over the range of one of the model's edits."""
    if name not in inverter.edits:
        raise ConfigError(f"There is no edit {name!r} to show: choose one of the list.")
    info = inverter.edits[name].info
    return tuple(float(value) for value in np.linspace(info.low, info.high, count))


def _enlarged(image: Image.Image) -> Image.Image:
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
    """A path of this name that nobody else has or guesses: in a new folder inside `folder`."""
    return Path(tempfile.mkdtemp(dir=folder)) / name
