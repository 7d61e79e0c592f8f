"""The card of a model: the README.md of its repository on the Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hyperstyle.model.parts import Model

_TEMPLATE = Path(__file__).with_name("card.md.jinja")

# Identifiers of the Hub for licences that allow commercial use, and for licences that restrict it or have conditions.
_PERMISSIVE = ("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "unlicense")
_RESTRICTED = ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-sa-4.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0")


def model_card(model: Model, repo: str, *, sha256: Mapping[str, str] | None = None) -> str:
    """Markdown with a YAML header, as the Hub shows it. It states only what the model itself records.

    Args:
        model: the parts; source, licence and numbers, where there are any, come from its `info`.
        repo: the repository `org/name` that the card is for.
        sha256: of the weights of the components as they are written; None takes those that the model was read with.
    """
    from huggingface_hub import ModelCard, ModelCardData

    domain = model.domain
    hashes: Mapping[str, str] = model.info.get("sha256", {}) if sha256 is None else sha256
    licence = str(model.info.get("licence") or "").strip()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.networks.items()}
    tags = ["hyperstyle", "stylegan2", "gan-inversion", "image-editing", domain.name]
    card = ModelCard.from_template(
        ModelCardData(
            license=_identifier(licence),
            library_name="hyperstyle",
            pipeline_tag="image-to-image",
            tags=list(dict.fromkeys(tags)),
        ),
        template_str=_TEMPLATE.read_text(encoding="utf-8"),
        name=repo.split("/")[-1],
        description=domain.description or f"Domain: {domain.name}.",
        usage=_usage(model, repo),
        facts=_facts(model),
        parts=[[name, f"{count:,}", hashes.get(name, "-")] for name, count in counts.items()],
        edits=[[n, f"{e.info.low:g} to {e.info.high:g}", e.info.unit, e.info.source] for n, e in model.edits.items()],
        licence=_consequences(licence),
        records=list(_flat({k: v for k, v in model.info.items() if k not in ("licence", "sha256")})),
        table=_table,
    )
    return str(card)


def _facts(model: Model) -> list[list[str]]:
    """Rows (property, value) of what kind of model it is."""
    generator, domain = model.generator.config, model.domain
    height, width = domain.content_size
    facts = [
        ["domain", domain.name],
        ["images", f"{width} x {height} px, from a generator of {generator.size} px"],
        ["input of the encoders", "{1} x {0} px".format(*domain.input_size)],
        ["codes", f"{generator.rows} rows of {generator.latent_width}"],
    ]
    if model.hypernetwork is not None:
        facts.append(["steps of the hypernetwork", str(model.steps)])
        facts.append(["tuned layers", ", ".join(model.hypernetwork.config.layers)])
    return facts


def _identifier(licence: str) -> str:
    """What the Hub calls the licence."""
    if not licence:
        return "unknown"
    identifier = licence.casefold().replace(" ", "-")
    return identifier if identifier in _PERMISSIVE + _RESTRICTED else "other"


def _usage(model: Model, repo: str) -> str:
    """A Python example that runs with this model."""
    lines = [
        "from hyperstyle import HyperStyleInverter",
        f"inverter = HyperStyleInverter.from_pretrained({json.dumps(repo)})",
    ]
    if not (model.encoder or model.restyle or model.psp or model.e4e):
        lines.append("generator = inverter.model.generator  # no encoder came with it: invert() needs start=...")
    elif model.edits:
        name, edit = next(iter(model.edits.items()))
        lines.append(f'inverter.invert("me.jpg").edit({json.dumps(name)}, {edit.info.high:g}).image.save("edited.png")')
    else:
        lines.append('inverter.invert("me.jpg").image.save("inverted.png")')
    return "\n".join(lines)


def _consequences(licence: str) -> str:
    """The licence and what it means for users of the weights."""
    if not licence:
        return (
            "**No licence is recorded for these weights.** Nobody has said that they may be used, changed, sold or "
            "passed on: ask their authors first. That the library's own code is MIT says nothing about them."
        )
    if licence.casefold().replace(" ", "-") in _PERMISSIVE:
        follows = "It allows use, changes and passing on, commercial use included; a notice that it asks for must stay."
    elif re.search(r"\bnc\b|non-?commercial|not for commercial", licence, re.IGNORECASE):
        follows = "**It excludes commercial use**, of the weights and of what is built from them."
    else:
        follows = "Read it before you use the weights, build on them or pass them on."
    return f"{_cell(licence).rstrip('.')}. {follows} The library's own code is MIT, whatever the weights are under."


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as rows ("a.b.c", value)."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value not in (None, "", [], ()):
            yield prefix + name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    """A value as text without line breaks and with `|` escaped, so that it stays in its cell."""
    return " ".join(str(value).split()).replace("|", "\\|")
