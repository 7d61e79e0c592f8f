"""What is on the page and where: three columns, for the photo, the result and the tools."""

from __future__ import annotations

from typing import Any

import gradio as gr

from hyperstyle.app import actions, views, words
from hyperstyle.app.handlers import thumbnail
from hyperstyle.domain import REGIONS
from hyperstyle.images.load import EXAMPLES
from hyperstyle.inverter import HyperStyleInverter


def photo_column(inverter: HyperStyleInverter) -> dict[str, Any]:
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


def result_column() -> dict[str, Any]:
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
    # Holds the file that was written last, for the browser to download it.
    parts["prepared"] = gr.DownloadButton(visible="hidden", elem_id="prepared")
    return parts


def tools_column(inverter: HyperStyleInverter, groups: dict[str, list[str]]) -> dict[str, Any]:
    """What can be done with it."""
    parts: dict[str, Any] = {}
    sliders = []
    with gr.Row(elem_id="tools-head"):
        gr.HTML(words.heading("Change it"), padding=False)
        parts["area"] = gr.Dropdown(
            [
                ("Everywhere", ""),
                *((f"{region.capitalize()} only", region) for region in REGIONS),
                ("Painted area", actions.PAINTED),
            ],
            value="",
            show_label=False,
            label="Where it may change",
            container=False,
            min_width=150,
            interactive=False,
            elem_id="area",
        )
    parts["painting"] = gr.ImageEditor(
        visible=False,
        show_label=False,
        label="Paint where the face may change",
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(default_size=32, colors=["#6366f1"], color_mode="fixed"),
        eraser=gr.Eraser(default_size=32),
        canvas_size=(views.FACE_SIZE, views.FACE_SIZE),
        buttons=[],
        elem_id="painting",
    )
    parts["paint"] = gr.Button("Use the painted area", visible=False, size="sm", elem_id="paint")
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
                parts["reset"] = gr.Button(
                    "Reset all", size="sm", scale=1, min_width=90, interactive=False, elem_id="reset"
                )
            shared = words.shared_unit(inverter.edits)
            gr.HTML(words.slider_hint(shared), padding=False)
            with gr.Column(elem_id="sliders"):
                for title, names in groups.items():
                    with gr.Group(elem_classes="edit-group"):
                        gr.HTML(words.group_title(title), padding=False)
                        sliders += [_slider(inverter, name, has_unit=not shared) for name in names]
            with gr.Row(elem_id="history"):
                parts["keep"] = gr.Button("Keep changes", size="sm", min_width=80, interactive=False, elem_id="keep")
                parts["undo"] = gr.Button("Undo", size="sm", min_width=60, interactive=False, elem_id="undo")
                parts["start_over"] = gr.Button(
                    "Start over", size="sm", min_width=80, interactive=False, elem_id="start-over"
                )
        with gr.Tab("Move points", id="drag") as parts["drag_tab"]:
            gr.HTML(words.drag_hint(), padding=False)
            parts["canvas"] = gr.Image(
                interactive=False,
                show_label=False,
                label="The face, to click points on",
                alt_text="The face; red marks are points to move, blue ones where they go",
                buttons=[],
                format="jpeg",
                elem_id="canvas",
            )
            parts["moves"] = gr.Textbox(
                label="Points, from:to",
                placeholder="60,80:60,70",
                lines=1,
                interactive=False,
                elem_id="moves",
                info=None,
            )
            parts["drag_note"] = gr.HTML("", padding=False, elem_id="drag-note")
            with gr.Row():
                parts["drag"] = gr.Button(
                    "Move them", variant="primary", size="sm", min_width=80, interactive=False, elem_id="drag"
                )
                parts["cancel"] = gr.Button("Cancel", size="sm", min_width=60, interactive=False, elem_id="cancel")
                parts["clear"] = gr.Button("Clear", size="sm", min_width=60, interactive=False, elem_id="clear")
        with gr.Tab("Words", id="words", visible=inverter.model.text is not None):
            parts["text"] = gr.Textbox(
                label="What should it look like?",
                placeholder="a person with curly hair",
                interactive=False,
                elem_id="text",
            )
            parts["strength"] = gr.Slider(
                -10, 10, 0, label="How much", interactive=False, elem_id="strength", buttons=["reset"]
            )
        with gr.Tab("Series", id="strip"):
            parts["swept"] = gr.Dropdown(
                [(words.label(name), name) for name in inverter.edits],
                label="Over the range of",
                elem_id="swept",
            )
            with gr.Row():
                parts["make_strip"] = gr.Button("Make a strip", size="sm", interactive=False, elem_id="make-strip")
                parts["make_animation"] = gr.Button(
                    "Make an animation", size="sm", interactive=False, elem_id="make-animation"
                )
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
