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
from hyperstyle.app.handlers import Handlers, readable, thumbnail
from hyperstyle.app.sessions import Sessions
from hyperstyle.images.load import EXAMPLES
from hyperstyle.inverter import HyperStyleInverter

_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")  # of the visitor's machine: none is fetched
_MONO = ("ui-monospace", "monospace")


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
    search: Any
    reset: Any
    keep: Any
    undo: Any
    start_over: Any
    text: Any
    strength: Any
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
        """What `Handlers` takes as the values of an edit: a text, its strength, and the sliders."""
        return [self.text, self.strength, *self.sliders]


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
                first = _photo_column(inverter)
            with gr.Column(scale=5, min_width=340, elem_id="result-column"):
                second = _result_column()
            with gr.Column(scale=4, min_width=320, elem_id="tools-column"):
                third = _tools_column(inverter, groups)
        parts = Parts(**first, **second, **third)
        _connect(parts, handlers, is_rendered=inverter.model.domain.is_rendered)
        endpoints.add(handlers)
        page.unload(handlers.leave)
    return page


def _photo_column(inverter: HyperStyleInverter) -> dict[str, Any]:
    """Where a photo comes in."""
    is_rendered = inverter.model.domain.is_rendered
    gr.HTML(words.heading("Your photo"), padding=False)
    parts: dict[str, Any] = {
        "photo": gr.Image(
            show_label=False,
            label="Your photo",
            sources=["upload", "webcam", "clipboard"],
            placeholder="# Drop a portrait here\nor click to choose one",
            height=230,
            elem_id="photo",
            buttons=[],
        ),
        "outlined": gr.Image(
            visible=False,
            interactive=False,
            show_label=False,
            label="Your photo",
            alt_text="Your photo; a frame marks each face that was found",
            buttons=[],
            format="jpeg",
            height=270,
            elem_id="outlined",
        ),
        "faces": gr.Radio(visible=False, label="Which face?", elem_id="faces"),
        "another": gr.Button("Use another photo", visible=False, size="sm", elem_id="another"),
    }
    if is_rendered:
        gr.HTML(words.heading("Or try one of these"), padding=False)
    parts["examples"] = gr.Gallery(
        [(thumbnail(number), f"Portrait {number + 1}") for number in range(EXAMPLES)] if is_rendered else None,
        columns=5,
        rows=1,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        show_label=False,
        label="Example portraits",
        buttons=[],
        interactive=False,
        format="jpeg",
        visible=is_rendered,
        elem_id="examples",
    )
    if is_rendered:
        gr.HTML(words.model_note(), padding=False)
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        parts["method"] = gr.Dropdown(
            [("Recommended", ""), *((name, name) for name in inverter.methods)],
            value="",
            label="Method",
            info="How the face is rebuilt. Those that optimize take minutes.",
            elem_id="method",
        )
        parts["steps"] = gr.Textbox(
            "", label="Steps", placeholder="as many as the method usually takes", elem_id="steps"
        )
        parts["is_crop"] = gr.Checkbox(
            label="Use the whole picture", info="It is cut out around the face already.", elem_id="is_crop"
        )
        parts["again"] = gr.Button("Rebuild the face", size="sm", interactive=False, elem_id="again")
        parts["file"] = gr.UploadButton(
            "Open a saved face (.safetensors)", file_types=[".safetensors"], size="sm", elem_id="open"
        )
    return parts


def _result_column() -> dict[str, Any]:
    """What was made of it."""
    parts: dict[str, Any] = {
        "welcome": gr.HTML(words.welcome(), elem_id="welcome", padding=False),
        "status": gr.HTML("", elem_id="status", padding=False),
        "result": gr.ImageSlider(
            visible=False,
            interactive=False,
            show_label=False,
            label="Before and after",
            format="jpeg",
            buttons=["fullscreen"],
            slider_position=50,
            max_height=520,
            elem_id="result",
        ),
        "notes": gr.HTML("", elem_id="notes", padding=False),
    }
    parts["view"] = gr.Radio(
        [("Face", "face"), ("Whole photo", "photo")],
        value="face",
        show_label=False,
        label="What is shown",
        container=False,
        visible=False,
        elem_id="view",
    )
    with gr.Row(visible=False, elem_id="downloads") as parts["downloads"]:
        parts["download_image"] = gr.Button("Save face", size="sm", min_width=90, elem_id="save-image")
        parts["download_photo"] = gr.Button("Save photo", size="sm", min_width=90, elem_id="save-photo")
        parts["download_inversion"] = gr.Button("Save for later", size="sm", min_width=90, elem_id="save-inversion")
    # The browser clicks it once the file is written.
    parts["prepared"] = gr.DownloadButton(visible="hidden", elem_id="prepared")
    return parts


def _tools_column(inverter: HyperStyleInverter, groups: dict[str, list[str]]) -> dict[str, Any]:
    """What can be done with it."""
    parts: dict[str, Any] = {}
    sliders = []
    gr.HTML(words.heading("Change it"), padding=False)
    with gr.Tabs(elem_id="tools") as parts["tools"]:
        with gr.Tab("Sliders", id="sliders"):
            with gr.Row(elem_id="slider-bar"):
                parts["search"] = gr.Textbox(
                    placeholder="Search",
                    show_label=False,
                    label="Search the sliders",
                    container=False,
                    scale=3,
                    min_width=120,
                    elem_id="search",
                )
                parts["reset"] = gr.Button("Reset all", size="sm", scale=1, min_width=90, elem_id="reset")
            shared = words.shared_unit(inverter.edits)
            gr.HTML(words.slider_hint(shared), padding=False)
            with gr.Column(elem_id="sliders"):
                for title, names in groups.items():
                    with gr.Group(elem_classes="edit-group"):
                        gr.HTML(words.group_title(title), padding=False)
                        sliders += [_slider(inverter, name, has_unit=not shared) for name in names]
            with gr.Row(elem_id="history"):
                parts["keep"] = gr.Button("Keep changes", size="sm", min_width=80, elem_id="keep")
                parts["undo"] = gr.Button("Undo", size="sm", min_width=60, interactive=False, elem_id="undo")
                parts["start_over"] = gr.Button("Start over", size="sm", min_width=80, elem_id="start-over")
        with gr.Tab("Words", id="words", visible=inverter.model.text is not None):
            parts["text"] = gr.Textbox(
                label="What should it look like?", placeholder="a person with curly hair", elem_id="text"
            )
            parts["strength"] = gr.Slider(-10, 10, 0, label="How much", elem_id="strength", buttons=["reset"])
        with gr.Tab("Strip and animation", id="strip"):
            parts["swept"] = gr.Dropdown(
                [(words.label(name), name) for name in inverter.edits],
                label="Over the range of",
                elem_id="swept",
            )
            with gr.Row():
                parts["make_strip"] = gr.Button("Make a strip", size="sm", elem_id="make-strip")
                parts["make_animation"] = gr.Button("Make an animation", size="sm", elem_id="make-animation")
            parts["strip_note"] = gr.HTML("", padding=False)
            parts["strip"] = gr.Image(
                visible=False,
                interactive=False,
                show_label=False,
                label="Strip or animation",
                alt_text="The face over the range of the chosen change",
                buttons=["download", "fullscreen"],
                format="png",
                elem_id="strip",
            )
    return {**parts, "sliders": tuple(sliders)}


def _slider(inverter: HyperStyleInverter, name: str, *, has_unit: bool) -> Any:
    """The slider of an edit; it does nothing until there is a face."""
    info = inverter.edits[name].info
    return gr.Slider(
        info.low,
        info.high,
        0,
        step=0.05,
        label=words.label(name),
        info=words.unit(info) if has_unit else None,
        interactive=False,
        buttons=["reset"],
        elem_id=f"edit-{name}",
        elem_classes="edit",
    )


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
            everything if outputs is None else outputs,
            preprocess=False,
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

    on([parts.make_strip.click], handlers.strip, [parts.swept, *parts.edits], **heavy)
    on([parts.make_animation.click], handlers.animate, [parts.swept, *edits], **heavy)
    for button, answer in (
        (parts.download_image, handlers.save_image),
        (parts.download_photo, handlers.save_photo),
        (parts.download_inversion, handlers.save_inversion),
    ):
        written = on([button.click], answer, parts.edits, **heavy)
        written.success(fn=None, js="() => hyperstyle.download()", api_visibility="private")
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
            result |= {slider: gr.update(value=0, interactive=True) for slider in parts.sliders}
        return result | {parts.single[name]: value for name, value in named.items()}

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
