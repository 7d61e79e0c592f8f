"""Named endpoints for programs, called by `gradio_client`: /invert, /edit, /drag and /paste_back.

A client has a session of its own, as an open page has: `/invert` opens a photo in it, and the others work on that.
Images come back as PNG files in their own size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from hyperstyle.app import actions
from hyperstyle.app.answers import readable
from hyperstyle.app.handlers import Handlers, Upload, session_key
from hyperstyle.errors import ConfigError


@dataclass(frozen=True)
class Endpoints:
    """The answers to programs, which share model and sessions with the page."""

    handlers: Handlers

    def invert(
        self, request: gr.Request, photo: Upload, face: float | None, method: str, steps: float | None
    ) -> tuple[Image.Image, dict[str, Any]]:
        """Inverts a face of a photo: its reconstruction, and {metrics, faces, face, warnings, edits}."""
        inverter, limits = self.handlers.inverter, self.handlers.limits
        if photo is None:
            raise ConfigError("/invert needs a photo: pass photo=handle_file('me.jpg').")
        session = actions.open_photo(inverter, *self.handlers.uploaded(photo), limits)
        session = actions.invert(
            inverter,
            session,
            face=_whole("face", face),
            method=method or None,
            steps=_whole("steps", steps),
            limits=limits,
        )
        self.handlers.sessions.put(session_key(request), session)
        report = {
            "metrics": {name: values[0] for name, values in session.inversion.stored_metrics.items()},
            "faces": len(session.faces),
            "face": session.face,
            "warnings": list(session.warnings),
            "edits": {name: [edit.info.low, edit.info.high] for name, edit in inverter.edits.items()},
        }
        return session.inversion.image, report

    def edit(self, request: gr.Request, edits: Any, area: str) -> Image.Image:
        """The face after edits, {"age": 2, "smile": -1}, everywhere or in an area such as "mouth"."""
        session = self.handlers.sessions.get(session_key(request))
        return actions.edited(session, _strengths(edits), area=area or "").image

    def paste_back(self, request: gr.Request, edits: Any, area: str) -> Image.Image:
        """The whole photo with the edited face in it."""
        session = self.handlers.sessions.get(session_key(request))
        return actions.edited(session, _strengths(edits), area=area or "").paste_back()

    def drag(
        self, request: gr.Request, moves: Any, area: str, steps: float | None
    ) -> tuple[Image.Image, dict[str, Any]]:
        """The face after points of it were moved, which the session goes on with, and {warnings}."""
        session = self.handlers.sessions.get(session_key(request))
        session, warnings = actions.dragged(
            session,
            session.inversion,
            moves or (),
            area=area or "",
            steps=_whole("steps", steps),
            limits=self.handlers.limits,
        )
        self.handlers.sessions.put(session_key(request), session)
        return session.inversion.image, {"warnings": warnings}


def add(handlers: Handlers) -> None:
    """Adds the endpoints to the page that is being built; nothing of them is seen on it."""
    api = Endpoints(handlers)
    with gr.Group(visible=False):
        photo = gr.Image(label="photo")
        face = gr.Number(None, label="face", precision=0)
        method = gr.Textbox("", label="method")
        steps = gr.Number(None, label="steps", precision=0)
        edits, moves = gr.JSON({}, label="edits"), gr.JSON([], label="moves")
        area = gr.Textbox("", label="area")
        image, report = gr.Image(label="image", format="png", interactive=False), gr.JSON(label="report")
        calls: Sequence[tuple[str, Callable[..., Any], Sequence[Any], Sequence[Any], str]] = (
            ("invert", api.invert, [photo, face, method, steps], [image, report], "heavy"),
            ("edit", api.edit, [edits, area], [image], "light"),
            ("paste_back", api.paste_back, [edits, area], [image], "light"),
            ("drag", api.drag, [moves, area, steps], [image, report], "heavy"),
        )
        for name, answer, inputs, outputs, queue in calls:
            gr.Button(name).click(
                readable(answer), inputs, outputs, preprocess=False, api_name=name, concurrency_id=queue
            )


def _strengths(edits: Any) -> Mapping[str, float]:
    """Edits of a request as names and numbers. Raises ConfigError for anything else."""
    if not isinstance(edits, dict) or not all(isinstance(value, int | float) for value in edits.values()):
        raise ConfigError('edits: expected names and numbers, as in {"age": 2, "smile": -1}.')
    return edits


def _whole(name: str, value: Any) -> int | None:
    """A whole number of a request; None for none. Raises ConfigError for anything else."""
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or value % 1 != 0:  # that of NaN and infinity is NaN
        raise ConfigError(f"{name}: expected a whole number, but got {value!r}.")
    return int(value)
