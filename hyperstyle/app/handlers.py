"""Answers to what visitors do on the page: Gradio's values in, actions, Gradio's updates out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from hyperstyle.app import actions, points, views, words
from hyperstyle.app.actions import Limits
from hyperstyle.app.answers import Work, in_background
from hyperstyle.app.notices import collected_warnings
from hyperstyle.app.sessions import Session, Sessions
from hyperstyle.errors import ConfigError, HyperStyleError, InversionError
from hyperstyle.images import example_photo
from hyperstyle.inverter import HyperStyleInverter

Upload = Mapping[str, Any] | None
"""An uploaded file as Gradio describes it, not opened: "path" and "orig_name". It is checked to be an upload."""


@dataclass(frozen=True)
class Handlers:
    """The answers, with what they share.

    Attributes:
        inverter: the model.
        sessions: what visitors have open.
        folder: for files to download.
        limits: of what one visitor may ask for.
        names: of the edits, in the order of their sliders.
        work: which visitors wait for an inversion or a drag.
    """

    inverter: HyperStyleInverter
    sessions: Sessions
    folder: Path
    limits: Limits
    names: Sequence[str] = field(default_factory=tuple)
    work: Work = field(default_factory=Work)

    def uploaded(self, file: Mapping[str, Any]) -> tuple[str, str]:
        """(path, the name that its owner gave it) of an uploaded file, which only the library opens.

        Raises ConfigError for a file that was not uploaded here.
        """
        path = Path(file.get("path") or "").resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise ConfigError("This is no file that was uploaded here: upload it.")
        return str(path), file.get("orig_name") or path.name

    # ---- a photo comes in ----

    def load_photo(
        self, request: gr.Request, photo: Upload, is_crop: bool, method: str, steps: str | None
    ) -> Iterator[dict[str, Any]]:
        """Finds the faces of an uploaded photo and inverts the largest, with a preview of every step."""
        if photo is not None:
            yield from self._load(*self.uploaded(photo), is_crop, method, steps, request)

    def load_example(
        self, request: gr.Request, event: gr.SelectData, method: str, steps: str | None
    ) -> Iterator[dict[str, Any]]:
        """The same for one of the example portraits."""
        number = int(event.index)
        yield from self._load(example_photo(number), f"example_{number + 1}.png", False, method, steps, request)

    def _load(
        self, source: Any, name: str, is_crop: bool, method: str, steps: str | None, request: gr.Request
    ) -> Iterator[dict[str, Any]]:
        yield {"status": words.progress("Looking for the face")}
        align: Any = False if is_crop else "auto"
        try:
            session = actions.open_photo(self.inverter, source, name, self.limits, align=align)
        except HyperStyleError as error:
            yield {"status": words.done(words.error_text(error)), "photo": gr.update(value=None)}
            raise
        self.sessions.put(session_key(request), session)
        yield {"outlined": views.outlined(session), **_faces_update(session)}
        yield from self._invert(session, None, method, steps, request)

    def choose_face(self, request: gr.Request, chosen: str, method: str, steps: str | None) -> Iterator[dict[str, Any]]:
        """Inverts another face of the photo."""
        session = self.sessions.get(session_key(request))
        number = int(chosen.rpartition(" ")[2]) - 1
        yield from self._invert(session, number, method, steps, request)

    def click_face(
        self, request: gr.Request, event: gr.SelectData, method: str, steps: str | None
    ) -> Iterator[dict[str, Any]]:
        """Inverts the face that was clicked, unless it is the one that is open."""
        session = self.sessions.get(session_key(request))
        number = views.face_at(session, *event.index)
        if number is not None and number != session.face:
            yield from self._invert(session, number, method, steps, request)

    def invert_again(self, request: gr.Request, method: str, steps: str | None) -> Iterator[dict[str, Any]]:
        """Inverts the same face with another method."""
        yield from self._invert(self.sessions.get(session_key(request)), None, method, steps, request)

    def _invert(
        self, session: Session, face: int | None, method: str, steps: str | None, request: gr.Request
    ) -> Iterator[dict[str, Any]]:
        """Inverts a face; yields the image of each step, then everything that depends on the inversion."""

        def work(report: Callable[..., None]) -> Session:
            return actions.invert(
                self.inverter,
                session,
                face=face,
                method=method or None,
                steps=words.count(steps),
                limits=self.limits,
                callback=report,
            )

        try:
            for kind, value in in_background(work, self.work.begin(session_key(request))):
                if kind == "step":
                    step, count, image = value
                    yield {"status": words.progress("Rebuilding the face", step, count), "result": (image, image)}
                else:
                    self.sessions.put(session_key(request), value)
                    yield self._opened(value)
        except HyperStyleError as error:
            yield {"status": words.done(words.error_text(error))}
            raise

    def open_file(self, request: gr.Request, file: Upload) -> dict[str, Any]:
        """Shows a saved inversion."""
        if file is None:
            return {}
        try:
            before = self.sessions.get(session_key(request))
        except InversionError:
            before = None
        session = actions.open_inversion(self.inverter, *self.uploaded(file), before)
        self.sessions.put(session_key(request), session)
        return self._opened(session)

    def _opened(self, session: Session) -> dict[str, Any]:
        """All that changes when there is a new inversion to edit."""
        inversion = session.inversion
        photo = {"outlined": views.outlined(session)} if session.faces else self.another_photo()
        return {
            **photo,
            **_faces_update(session),
            "status": words.done(words.quality(inversion) or f"{session.name} is open.", words.figures(inversion)),
            "notes": words.notes(session.warnings),
            "result": views.before_and_after(session, inversion),
            "view": gr.update(value="face", visible=views.has_photo(session)),
            "download_photo": gr.update(visible=views.has_photo(session)),
            "again": gr.update(interactive=bool(session.faces)),
            "moves": "",
            "canvas": points.marked(inversion, ()),
            "area": "",
            "painting": gr.update(value=None, visible=False),
            "paint": gr.update(visible=False),
            "is_open": True,
        }

    # ---- edits ----

    def show(self, request: gr.Request, view: views.View, *values: Any) -> dict[str, Any]:
        """The image for the positions of the sliders."""
        session = self.sessions.get(session_key(request))
        with collected_warnings() as warnings:
            inversion = self._edited(session, values)
            pair = views.before_and_after(session, inversion, view)
        return {"result": pair, "notes": words.notes((*session.warnings, *warnings))}

    def _edited(self, session: Session, values: Sequence[Any]) -> Any:
        """The inversion for an area, a text, its strength and the positions of the sliders."""
        area, text, strength, *positions = values
        edits = {name: float(value) for name, value in zip(self.names, positions, strict=True)}
        return actions.edited(session, edits, (text or "", float(strength or 0)), area=area)

    def keep(self, request: gr.Request, view: views.View, *values: Any) -> dict[str, Any]:
        """Takes what is shown as what is edited next; the sliders go back to 0."""
        session = self.sessions.get(session_key(request))
        return self._changed(actions.continued_with(session, self._edited(session, values)), view, request)

    def undo(self, request: gr.Request, view: views.View) -> dict[str, Any]:
        """Goes back to what was edited before the last `keep` or drag."""
        return self._changed(actions.undone(self.sessions.get(session_key(request))), view, request)

    def reset(self, request: gr.Request, view: views.View) -> dict[str, Any]:
        """All sliders back to 0."""
        return self._changed(self.sessions.get(session_key(request)), view, request)

    def another_photo(self) -> dict[str, Any]:
        """Asks for a photo again; the face that is open stays until there is one."""
        hidden = gr.update(visible=False)
        return {"photo": gr.update(value=None, visible=True), "outlined": hidden, "faces": hidden, "another": hidden}

    def start_over(self, request: gr.Request, view: views.View) -> dict[str, Any]:
        """Goes back to the inversion of the photo."""
        return self._changed(actions.started_over(self.sessions.get(session_key(request))), view, request)

    def _changed(
        self, session: Session, view: views.View, request: gr.Request, warnings: Sequence[str] = ()
    ) -> dict[str, Any]:
        """All that changes when there is another inversion to edit of the same photo."""
        self.sessions.put(session_key(request), session)
        return {
            "notes": words.notes((*session.warnings, *warnings)),
            "moves": "",
            "canvas": points.marked(session.inversion, ()),
            "result": views.before_and_after(session, session.inversion, view),
            "is_open": True,
            "undo": gr.update(interactive=len(session.history) > 1),
        }

    # ---- areas and points ----

    def choose_area(self, request: gr.Request, area: str, *values: Any) -> dict[str, Any]:
        """Shows the brush, or hides it and shows the edits within the area."""
        session = self.sessions.get(session_key(request))
        if area == actions.PAINTED and session.painted is None:
            image = points.marked(session.inversion, ())
            return {"painting": gr.update(value=image, visible=True), "paint": gr.update(visible=True)}
        hidden = gr.update(visible=area == actions.PAINTED)
        view, *rest = values
        return {**self.show(request, view, area, *rest), "painting": hidden, "paint": hidden}

    def paint(self, request: gr.Request, painting: Mapping[str, Any] | None, *values: Any) -> dict[str, Any]:
        """Takes what was painted as the area."""
        session = self.sessions.get(session_key(request))
        layers = [self.uploaded(layer)[0] for layer in (painting or {}).get("layers") or [] if layer]
        session = actions.with_painted(session, layers, self.limits)
        self.sessions.put(session_key(request), session)
        view, *rest = values
        return self.show(request, view, actions.PAINTED, *rest)

    def show_points(self, request: gr.Request, moves: str, *values: Any) -> dict[str, Any]:
        """The image to click on, with the points so far."""
        session = self.sessions.get(session_key(request))
        return {"canvas": points.marked(self._edited(session, values), points.parse(moves))}

    def open_points(self, request: gr.Request, moves: str, *values: Any) -> dict[str, Any]:
        """The same when their tab is opened, which a visitor without a face may do."""
        if not self.sessions.has_face(session_key(request)):
            return {}
        return self.show_points(request, moves, *values)

    def click_point(self, request: gr.Request, event: gr.SelectData, moves: str, *values: Any) -> dict[str, Any]:
        """Adds the point that was clicked: where one is, or where the last one is to go."""
        size = max(self.inverter.model.domain.content_size)
        text = points.with_point(moves, *points.from_shown(event.index, size))
        return {"moves": text, **self.show_points(request, text, *values)}

    def drag(self, request: gr.Request, moves: str, view: views.View, *values: Any) -> Iterator[dict[str, Any]]:
        """Moves the points, with a preview of every step."""
        session = self.sessions.get(session_key(request))
        pairs = points.pairs(points.parse(moves))
        inversion = self._edited(session, values)

        def work(report: Callable[..., None]) -> tuple[Session, list[str]]:
            return actions.dragged(session, inversion, pairs, area=values[0], limits=self.limits, callback=report)

        yield {"drag_note": words.progress("Moving the points")}
        for kind, value in in_background(work, self.work.begin(session_key(request))):
            if kind == "step":
                step, count, image = value
                yield {"drag_note": words.progress("Moving the points", step, count), "canvas": image}
            else:
                yield {**self._changed(value[0], view, request, value[1]), "drag_note": ""}

    def cancel_drag(self, request: gr.Request, moves: str, *values: Any) -> dict[str, Any]:
        """Ends a drag and shows the image as it was before."""
        self.work.end(session_key(request))
        return {**self.show_points(request, moves, *values), "drag_note": ""}

    def clear_points(self, request: gr.Request, *values: Any) -> dict[str, Any]:
        """No points."""
        return {"moves": "", **self.show_points(request, "", *values)}

    # ---- images and files to take along ----

    def strip(self, request: gr.Request, name: str, *values: Any) -> Iterator[dict[str, Any]]:
        """A row of images over the range of an edit."""
        session = self.sessions.get(session_key(request))
        yield {"strip_note": words.progress("Making the strip")}
        image = views.edit_strip(self.inverter, self._edited(session, values), name)
        yield {"strip_note": "", "strip": gr.update(value=image, visible=True)}

    def animate(self, request: gr.Request, name: str, view: views.View, *values: Any) -> Iterator[dict[str, Any]]:
        """An animation over the range of an edit."""
        session = self.sessions.get(session_key(request))
        yield {"strip_note": words.progress("Making the animation")}
        path = views.new_file(self.folder, f"{session.stem}_{name}.webp")
        views.edit_animation(self.inverter, self._edited(session, values), name, path, view)
        yield {"strip_note": "", "strip": gr.update(value=str(path), visible=True)}

    def save_image(self, request: gr.Request, *values: Any) -> dict[str, Any]:
        """A file of the edited face."""
        return self._save(request, "image", values)

    def save_photo(self, request: gr.Request, *values: Any) -> dict[str, Any]:
        """A file of the whole photo with the edited face in it."""
        return self._save(request, "photo", values)

    def save_inversion(self, request: gr.Request, *values: Any) -> dict[str, Any]:
        """An inversion file."""
        return self._save(request, "inversion", values)

    def _save(self, request: gr.Request, kind: Any, values: Sequence[Any]) -> dict[str, Any]:
        session = self.sessions.get(session_key(request))
        path = views.saved(session, self._edited(session, values), kind, self.folder)
        return {"prepared": gr.update(value=str(path))}

    def leave(self, request: gr.Request) -> None:
        """Ends the work and forgets the session of a visitor who closed the page."""
        self.work.end(session_key(request))
        self.sessions.drop(session_key(request))


def session_key(request: gr.Request) -> str:
    """What tells sessions apart: Gradio's random text for each page that is open."""
    return str(request.session_hash)


def _faces_update(session: Session) -> dict[str, Any]:
    """The choice among several faces."""
    count = len(session.faces)
    choices = [f"Face {number}" for number in range(1, count + 1)]
    value = choices[session.face] if count else None
    return {"faces": gr.update(choices=choices, value=value, visible=count > 1)}


def thumbnail(number: int) -> Image.Image:
    """An example portrait, small."""
    photo = example_photo(number)
    return photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.LANCZOS)
