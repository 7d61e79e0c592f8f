"""The page: what is on it, where, and which answer belongs to which event."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from hyperstyle.app import endpoints, words
from hyperstyle.app.actions import Limits
from hyperstyle.app.answers import readable
from hyperstyle.app.handlers import Handlers
from hyperstyle.app.layout import photo_column, result_column, tools_column
from hyperstyle.app.sessions import Sessions
from hyperstyle.inverter import HyperStyleInverter

_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")  # of the visitor's machine: none is fetched
_MONO = ("ui-monospace", "monospace")
_TOOLS_OF_A_FACE = (  # and the sliders: what cannot be used before there is a face
    *("area", "text", "strength", "moves", "keep", "start_over", "reset", "drag", "cancel", "clear"),
    *("make_strip", "make_animation"),
)


def head() -> str:
    """Style and script of the page, for its head: Gradio's own argument for styles rewrites their selectors."""
    style, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    return f"<style>{style}</style><script>{script}</script>"


def theme() -> Any:
    """Colors and fonts."""
    base = gr.themes.Base(
        primary_hue="indigo", neutral_hue="slate", radius_size="lg", font=list(_FONTS), font_mono=list(_MONO)
    )
    # Text of at least 4.5:1 against its background (WCAG 2.2, 1.4.3).
    return base.set(body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300")


@dataclass(frozen=True, eq=False)
class Parts:
    """The components that answers change or read; `sliders` are those of the edits, in the order of `names`."""

    photo: Any
    outlined: Any
    faces: Any
    another: Any
    examples: Any
    file: Any
    is_crop: Any
    method: Any
    steps: Any
    again: Any
    welcome: Any
    status: Any
    result: Any
    view: Any
    notes: Any
    downloads: Any
    download_image: Any
    download_photo: Any
    download_inversion: Any
    prepared: Any
    tools: Any
    area: Any
    painting: Any
    paint: Any
    search: Any
    reset: Any
    keep: Any
    undo: Any
    start_over: Any
    text: Any
    strength: Any
    drag_tab: Any
    canvas: Any
    moves: Any
    drag_note: Any
    drag: Any
    cancel: Any
    clear: Any
    swept: Any
    make_strip: Any
    make_animation: Any
    strip_note: Any
    strip: Any
    sliders: tuple[Any, ...]

    @property
    def single(self) -> dict[str, Any]:
        """All but the sliders, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "sliders"}

    @property
    def edits(self) -> list[Any]:
        """What `Handlers` takes as the values of an edit: an area, a text, its strength, and the sliders."""
        return [self.area, self.text, self.strength, *self.sliders]


def build(
    inverter: HyperStyleInverter, folder: Path, *, sessions: Sessions | None = None, limits: Limits | None = None
) -> Any:
    """The page as a `gr.Blocks`, to be launched.

    Args:
        inverter: the model that it shows.
        folder: for files to download; whoever serves the page removes it.
        sessions: hold what visitors have open.
        limits: of what one visitor may ask for.
    """
    groups = words.grouped(inverter.edits)
    names = [name for members in groups.values() for name in members]
    handlers = Handlers(inverter, sessions or Sessions(), folder, limits or Limits(), names)
    with gr.Blocks(title="HyperStyle", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML(words.header(inverter.model.domain), elem_id="header", padding=False)
        with gr.Row(elem_id="studio"):
            with gr.Column(scale=3, min_width=280, elem_id="photo-column"):
                first = photo_column(inverter)
            with gr.Column(scale=5, min_width=340, elem_id="result-column"):
                second = result_column()
            with gr.Column(scale=4, min_width=320, elem_id="tools-column"):
                third = tools_column(inverter, groups)
        parts = Parts(**first, **second, **third)
        _connect(parts, handlers, is_rendered=inverter.model.domain.is_rendered)
        endpoints.add(handlers)
        page.unload(handlers.leave)
    return page


def _connect(parts: Parts, handlers: Handlers, *, is_rendered: bool) -> None:
    """Every event of the page with its answer.

    Inverting and what takes as long goes one at a time for all visitors ("heavy"). Moving a slider asks at once; while
    an answer is on its way only the newest position waits (`trigger_mode="always_last"`).
    """
    how = [parts.method, parts.steps]
    everything = [*parts.single.values(), *parts.sliders]
    heavy: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "heavy", "show_progress": "hidden"}
    light: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "light", "show_progress": "hidden"}

    def on(
        triggers: Any,
        answer: Callable[..., Any],
        inputs: Sequence[Any],
        outputs: Sequence[Any] = everything,
        **options: Any,
    ) -> Any:
        # Not preprocessed: what is uploaded is opened by the library alone, with its formats, limits and messages.
        return gr.on(
            triggers,
            _as_updates(answer, parts),
            inputs,
            outputs,
            preprocess=False,
            api_name=f"page_{answer.__name__}",
            api_visibility="private",
            **options,
        )

    on([parts.photo.input], handlers.load_photo, [parts.photo, parts.is_crop, *how], **heavy)
    if is_rendered:
        on([parts.examples.select], handlers.load_example, how, **heavy)
    on([parts.faces.input], handlers.choose_face, [parts.faces, *how], **heavy)
    on([parts.outlined.select], handlers.click_face, how, **heavy)
    on([parts.again.click], handlers.invert_again, how, **heavy)
    on([parts.file.upload], handlers.open_file, [parts.file], **heavy)
    on([parts.another.click], handlers.another_photo, [], **light)

    edits = [parts.view, *parts.edits]
    moved = [*(slider.input for slider in parts.sliders), parts.view.input, parts.strength.input, parts.text.submit]
    shown = [parts.result, parts.notes, parts.welcome]
    on(moved, handlers.show, edits, shown, trigger_mode="always_last", **light)
    on([parts.keep.click], handlers.keep, edits, **light)
    on([parts.undo.click], handlers.undo, [parts.view], **light)
    on([parts.start_over.click], handlers.start_over, [parts.view], **light)
    on([parts.reset.click], handlers.reset, [parts.view], **light)

    on([parts.area.input], handlers.choose_area, [parts.area, parts.view, *parts.edits[1:]], **light)
    on([parts.paint.click], handlers.paint, [parts.painting, parts.view, *parts.edits[1:]], **light)
    pointed = [parts.moves, *parts.edits]
    on([parts.drag_tab.select], handlers.open_points, pointed, **light)
    on([parts.moves.submit], handlers.show_points, pointed, **light)
    on([parts.canvas.select], handlers.click_point, pointed, **light)
    on([parts.clear.click], handlers.clear_points, parts.edits, **light)
    dragging = on([parts.drag.click], handlers.drag, [parts.moves, *edits], **heavy)
    on([parts.cancel.click], handlers.cancel_drag, pointed, cancels=[dragging], **light)

    on([parts.make_strip.click], handlers.strip, [parts.swept, *parts.edits], **heavy)
    on([parts.make_animation.click], handlers.animate, [parts.swept, *edits], **heavy)
    for button, answer in (
        (parts.download_image, handlers.save_image),
        (parts.download_photo, handlers.save_photo),
        (parts.download_inversion, handlers.save_inversion),
    ):
        written = on([button.click], answer, parts.edits, **heavy)
        written.success(None, [parts.prepared], js="(file) => hyperstyle.download(file)", api_visibility="private")
    gr.on([parts.search.input], None, [parts.search], js="(text) => hyperstyle.search(text)", api_visibility="private")


def _as_updates(answer: Callable[..., Any], parts: Parts) -> Callable[..., Any]:
    """An answer that names what changes, as one of Gradio's: {component: its new value}."""

    def updates(changes: dict[str, Any]) -> dict[Any, Any]:
        named = dict(changes)
        result: dict[Any, Any] = {}
        if "result" in named:
            named.setdefault("welcome", gr.update(visible=False))
            named["result"] = gr.update(value=named["result"], visible=True)
        if isinstance(named.get("outlined"), Image.Image):
            named["outlined"] = gr.update(value=named["outlined"], visible=True)
            named |= {"photo": gr.update(value=None, visible=False), "another": gr.update(visible=True)}
        if named.pop("is_open", False):
            named.setdefault("undo", gr.update(interactive=False))
            named |= {"text": "", "strength": 0, "downloads": gr.update(visible=True)}
            named.setdefault("again", gr.update(interactive=True))
            for name in _TOOLS_OF_A_FACE:
                named[name] = gr.update(interactive=True, **({"value": named[name]} if name in named else {}))
            result |= {slider: gr.update(value=0, interactive=True) for slider in parts.sliders}
        result |= {parts.single[name]: value for name, value in named.items()}
        return result or {parts.status: gr.skip()}  # Gradio takes an empty answer for one that lacks its parts

    readable_answer = readable(answer)
    if inspect.isgeneratorfunction(answer):

        @functools.wraps(readable_answer)
        def answer_in_parts(*args: Any) -> Any:
            for changes in readable_answer(*args):
                yield updates(changes)

        return answer_in_parts

    @functools.wraps(readable_answer)
    def answer_at_once(*args: Any) -> Any:
        return updates(readable_answer(*args))

    return answer_at_once
