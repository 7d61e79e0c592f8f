"""The texts of the page: names and groups of edits, qualities in plain words, errors without Python."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

from hyperstyle.domain import Domain
from hyperstyle.edits import Edit, EditInfo
from hyperstyle.errors import AlignmentError, ConfigError, HyperStyleError, MissingDependencyError, NoFaceError
from hyperstyle.inversion.inversion import Inversion

_LABELS = {
    "eye_open": "Open eyes",
    "gaze": "Direction of gaze",
    "light": "Light from the side",
    "light_elevation": "Light from above",
    "light_warmth": "Warm light",
    "mouth_open": "Open mouth",
    "pitch": "Nod",
    "pose": "Turn the head",
    "roll": "Tilt the head",
    "skin": "Skin tone",
    "skin_warmth": "Warm skin",
}
_GROUPS = (  # the first whose word occurs in the name of an edit
    ("Most used", re.compile(r"^(age|smile|smiling|pose|gender|yaw)$")),
    ("Hair and beard", re.compile(r"hair|beard|bald|bangs|goatee|sideburns|bowl")),
    ("Eyes and brows", re.compile(r"eye|brow|gaze|glasses|mascara")),
    ("Expression", re.compile(r"smil|mouth|grin|lipstick|displeased|disgusted|awe|scream|teeth|happy")),
    ("Light and color", re.compile(r"light|skin|color|bright|exposed|vibrant|background|\bdark")),
    ("Pose", re.compile(r"pose|pitch|roll|yaw|angle|head|rotat")),
    ("Face", re.compile(r"face|jaw|nose|chin|cheek|age|wrinkle|boy|elderly|lip|ear")),
)
_REST = "More"
_CLOSE, _FAIR = 0.02, 0.04  # L2 of the bundled model on portraits of its kind, and `inverter.L2_WARN_THRESHOLD`


def label(name: str) -> str:
    """What a slider is called: `eye_size` -> "Eye size"."""
    return _LABELS.get(name, name.replace("_", " ").strip().capitalize())


def unit(info: EditInfo) -> str:
    """The unit of an edit in few words: "standard deviations of the codes across the boundary" -> without the codes."""
    return re.sub(r"^population |( of .*)", "", info.unit)


def shared_unit(edits: Mapping[str, Edit]) -> str:
    """The unit of all edits where they have the same one, else ""."""
    units = {unit(edit.info) for edit in edits.values()}
    return units.pop() if len(units) == 1 else ""


def grouped(edits: Mapping[str, Edit]) -> dict[str, list[str]]:
    """Names of edits under the titles of their groups, in the order of the page; no group is empty."""
    groups: dict[str, list[str]] = {title: [] for title in (*(title for title, _ in _GROUPS), _REST)}
    for name in edits:
        groups[next((title for title, words in _GROUPS if words.search(name)), _REST)].append(name)
    return {title: names for title, names in groups.items() if names}


def quality(inversion: Inversion) -> str:
    """How close a reconstruction is to what was inverted, in a sentence; "" where nothing was measured."""
    metrics = {name: values[0] for name, values in inversion.stored_metrics.items() if values}
    if "l2" not in metrics:
        return ""
    closeness = "very close to" if metrics["l2"] <= _CLOSE else "close to" if metrics["l2"] <= _FAIR else "far from"
    sentence = f"The rebuilt face is {closeness} the original"
    if (identity := metrics.get("identity")) is not None:
        sentence += f"; likeness {max(identity, 0.0):.0%}"
    return f"{sentence}."


def figures(inversion: Inversion) -> list[str]:
    """The same as numbers, one to a line; [] where nothing was measured."""
    names = {
        "l2": "Mean squared error: {:.4f} (0 is best)",
        "ms_ssim": "Structural similarity: {:.2f} (1 is best)",
        "perceptual": "Perceptual distance: {:.3f} (0 is best)",
        "identity": "Identity: {:.2f} (1 is best)",
    }
    metrics = inversion.stored_metrics
    return [text.format(metrics[name][0]) for name, text in names.items() if metrics.get(name)]


def readable(message: str, file: object, name: str) -> str:
    """A message of the library with the name that the visitor knows in place of the path of the uploaded file."""
    if not isinstance(file, str):
        return message
    return message.replace(repr(file), repr(name)).replace(file, name)


def count(text: str | None) -> int | None:
    """A number of steps as it is typed; None for none. Raises ConfigError for anything else."""
    text = (text or "").strip()  # a field that was never shown has None
    if text and not text.isdecimal():
        raise ConfigError(f"{text!r} steps: expected a number, 0, 1, 2, ..., or nothing for the usual one.")
    return int(text[:9]) if text else None


def error_text(error: HyperStyleError) -> str:
    """What the page says of an error of the library."""
    if isinstance(error, NoFaceError):
        return (
            "No face was found in this photo. Try one in which the face is larger, upright and in full view. If the "
            'picture shows nothing but a face, choose "Use the whole picture" under "Advanced".'
        )
    if isinstance(error, AlignmentError) and not isinstance(error, MissingDependencyError):
        return f"The face cannot be cut out of this photo. {error}"
    return str(error)


# ---- pieces of HTML ----


def progress(what: str, step: int = 0, steps: int = 0) -> str:
    """A line that says what is being done, and a bar once it is known how far it is."""
    if not steps:
        return f'<div class="status">{html.escape(what)} …</div>'
    return (
        f'<div class="status">{html.escape(what)}: step {step} of {steps}'
        f'<progress value="{step}" max="{steps}" aria-label="{html.escape(what)}"></progress></div>'
    )


def done(sentence: str, details: Sequence[str] = ()) -> str:
    """A line of what was reached, with figures to unfold below it."""
    line = f'<div class="status">{html.escape(sentence)}</div>'
    items = "".join(f"<li>{html.escape(detail)}</li>" for detail in details)
    return f"{line}<details><summary>Figures</summary><ul>{items}</ul></details>" if items else line


def notes(warnings: Iterable[str]) -> str:
    """Warnings of the library as paragraphs; "" for none."""
    return "".join(f'<p class="note">{html.escape(text[:1].upper() + text[1:])}</p>' for text in warnings)


def header(domain: Domain) -> str:
    """The title of the page."""
    return (
        "<header><h1>HyperStyle</h1><p>Rebuild a portrait so that it can be changed, then move the sliders.</p>"
        f'<span class="model">model: {html.escape(domain.name)}</span></header>'
    )


def heading(text: str) -> str:
    """A heading of a column."""
    return f"<h2>{html.escape(text)}</h2>"


def group_title(text: str) -> str:
    """The heading of a group of sliders."""
    return f"<h3>{html.escape(text)}</h3>"


def slider_hint(unit: str) -> str:
    """What the numbers at the sliders mean; `unit` is that of all of them, or ""."""
    numbers = f" The numbers are {html.escape(unit)}." if unit else ""
    return f'<p class="hint">At 0 nothing is changed.{numbers}</p>'


def drag_hint() -> str:
    """How points are moved."""
    return '<p class="hint">Click a point of the face, then where it is to go. Several are moved together.</p>'


def model_note() -> str:
    """What the bundled model is made for."""
    return (
        '<p class="hint">This small model knows rendered portraits like these. For photos of people, install the '
        "published one and start <code>hyperstyle app --model faces</code>.</p>"
    )


def welcome() -> str:
    """What is shown before there is a face."""
    steps = (
        ("Choose a portrait", "Drop a photo, take one with your camera, or click an example."),
        ("Watch it being rebuilt", "The face is found, cut out and rebuilt in a few steps."),
        ("Change it", "Move a slider, then save the face or put it back into the whole photo."),
    )
    items = "".join(f"<li><strong>{title}</strong><span>{text}</span></li>" for title, text in steps)
    return f"<ol>{items}</ol>"
