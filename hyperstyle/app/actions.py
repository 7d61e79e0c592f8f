"""What the page does, as functions from sessions and plain values to the same: no Gradio, no state of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageChops

from hyperstyle.align.prepare import Prepared, prepare
from hyperstyle.app import views, words
from hyperstyle.app.notices import collected_warnings
from hyperstyle.app.sessions import MAX_HISTORY, Session
from hyperstyle.domain import REGIONS
from hyperstyle.errors import ConfigError, HyperStyleError, ImageError, InversionError, did_you_mean
from hyperstyle.images import ImageSource, load_photo, to_images
from hyperstyle.images.formats import open_image
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter

PAINTED = "painted"
"""The area that the visitor painted."""

_NOT_PAINTED = 'Nothing is painted yet: paint where the face may change, then click "Use the painted area".'
_SAME_PLACE = 1.0  # pixels of the photo between corners of the same face


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for.

    Attributes:
        megapixels: of the largest photo.
        steps: of an inversion or a drag.
        points: that are dragged together.
    """

    megapixels: float = 50.0
    steps: int = 1000
    points: int = 50


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
        raise InversionError(f"Face {chosen} is not there: {len(session.faces)} were found, numbered from 0.")
    _check_steps(steps, limits or Limits())

    def show(step: Any) -> None:
        if callback is not None:
            shown = inverter.model.domain.content(step.image)
            callback(step.step, step.steps, views.enlarged(to_images(shown)[0]))

    with collected_warnings() as warnings:
        inversion = inverter.invert(session.faces[chosen], method=method, steps=steps, callback=show)
    return replace(session, face=chosen, history=(inversion,), warnings=(*session.warnings, *warnings))


def _check_steps(steps: int | None, limits: Limits) -> None:
    if steps is not None and not 0 <= steps <= limits.steps:
        raise ConfigError(f"{steps} steps: this page takes 0 to {limits.steps}.")


def open_inversion(inverter: HyperStyleInverter, path: str, name: str, session: Session | None) -> Session:
    """The session of an inversion file; the photo and faces of the session before stay where it is one of these faces.

    Raises:
        HyperStyleError: the file is no inversion, or was made with another model, or holds several images.
    """
    try:
        inversion = Inversion.load(path, inverter)
    except HyperStyleError as error:
        raise type(error)(words.readable(str(error), path, name)) from error
    if len(inversion) > 1:
        raise InversionError(f"The file {name!r} holds {len(inversion)} faces: this page edits one at a time.")
    face = None if session is None else _face_of(session, inversion)
    if session is None or face is None:
        return Session(name, history=(inversion,))
    inversion = replace(inversion, sources=(replace(inversion.sources[0], photo=session.photo),))
    return Session(name, session.photo, session.faces, face, history=(inversion,))


def _face_of(session: Session, inversion: Inversion) -> int | None:
    """Which face of the session's photo was inverted: the one at its place. None where it is none of them.

    The size of the photo does not tell: many photos have the same.
    """
    place = inversion.sources[0].placement if inversion.sources else None
    if place is None or session.photo is None or session.photo.size != tuple(place.source_size):
        return None
    for i, face in enumerate(session.faces):
        there = face.source.placement
        if there is not None and np.abs(there.footprint - place.footprint).max() < _SAME_PLACE:
            return i
    return None


# ---- edits ----


def edited(
    session: Session, edits: Mapping[str, float], text: tuple[str, float] = ("", 0.0), *, area: str = ""
) -> Inversion:
    """The session's inversion after all edits that are not 0, and after one in words.

    Args:
        session: has the inversion.
        edits: names and strengths.
        text: what it should look like, and how much.
        area: where it may change: "" for everywhere, a region of the face, or `PAINTED`.

    Raises:
        InversionError: nothing was inverted, or painted. EditError: an unknown edit, or a strength that is not finite.
        ConfigError: another area. HyperStyleError: what `Inversion.edit` raises of a mask.
    """
    inversion = session.inversion
    mask = mask_of(session, area)
    for name, strength in edits.items():
        if strength != 0:
            inversion = inversion.edit(name, strength, mask=mask)
    if text[0].strip() and text[1] != 0:
        inversion = inversion.edit(text=text[0].strip(), strength=text[1], mask=mask)
    return inversion


def mask_of(session: Session, area: str) -> str | Image.Image | None:
    """An area as the `mask` of the library. Raises InversionError where nothing is painted, ConfigError for others."""
    if area in ("", None):
        return None
    if area == PAINTED:
        if session.painted is None:
            raise InversionError(_NOT_PAINTED)
        return session.painted
    if area not in REGIONS:  # the library takes names of files too
        raise ConfigError(f"There is no area {area!r}. {did_you_mean(str(area), REGIONS)}")
    return area


def with_painted(session: Session, layers: Sequence[str], limits: Limits | None = None) -> Session:
    """The session with what was painted as its area.

    Args:
        session: has the inversion.
        layers: files of images whose opaque pixels are painted, in front of the face as it is shown.
        limits: of their size.

    Raises:
        InversionError: there is nothing painted. ImageError: a file is no image, or larger than the limit.
    """
    size = session.inversion.image.size
    painted = Image.new("L", size)
    for layer in layers:
        _check_size(layer, "painting", limits or Limits())
        image = load_photo(layer)
        alpha = image.getchannel("A") if image.mode == "RGBA" else Image.new("L", image.size)
        painted = ImageChops.lighter(painted, alpha.resize(size, Image.Resampling.BILINEAR))
    if painted.getbbox() is None:
        raise InversionError(_NOT_PAINTED)
    return replace(session, painted=painted)


def dragged(
    session: Session,
    inversion: Inversion,
    moves: Sequence[tuple[tuple[float, float], tuple[float, float]]],
    *,
    area: str = "",
    steps: int | None = None,
    limits: Limits | None = None,
    callback: Callable[[int, int, Image.Image], None] | None = None,
) -> tuple[Session, list[str]]:
    """The session that goes on with `inversion` after points of it were dragged, and the library's warnings.

    Args:
        session: in whose history the result is put.
        inversion: the session's, edited.
        moves: see `Inversion.drag`, in pixels of the reconstruction.
        area: as of `edited`.
        steps: see `Inversion.drag`.
        limits: of the steps and points.
        callback: as of `invert`.

    Raises:
        ConfigError, InversionError: see `Inversion.drag` and `edited`.
    """

    def show(step: Any) -> None:
        if callback is not None:
            shown = inversion.model.domain.content(step.image)
            callback(step.step, step.steps, views.enlarged(to_images(shown)[0]))

    limits = limits or Limits()
    _check_steps(steps, limits)
    if isinstance(moves, list | tuple) and len(moves) > limits.points:
        raise ConfigError(f"{len(moves)} points: this page moves up to {limits.points} at once.")
    with collected_warnings() as warnings:
        result = inversion.drag(moves, mask=mask_of(session, area), steps=steps, callback=show)
    return continued_with(session, result), warnings


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
