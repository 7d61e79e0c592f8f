"""The card of a model: the README.md of its repository on the Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hyperstyle.model.parts import Model

__all__ = ["model_card"]

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
    generator, domain = model.generator.config, model.domain
    hashes: Mapping[str, str] = model.info.get("sha256", {}) if sha256 is None else sha256
    licence = str(model.info.get("licence") or "").strip()
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
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.networks.items()}
    parts = [[name, f"{count:,}", hashes.get(name, "-")] for name, count in counts.items()]
    edits = [[n, f"{e.info.low:g} to {e.info.high:g}", e.info.unit, e.info.source] for n, e in model.edits.items()]
    records = [list(row) for row in _flat({k: v for k, v in model.info.items() if k not in ("licence", "sha256")})]
    sections = [
        _head(domain.name, licence),
        f"# {repo.split('/')[-1]}",
        f"{domain.description or f'Domain: {domain.name}.'} A model for the Python library `hyperstyle`, which puts "
        "images into StyleGAN2 after [HyperStyle](https://arxiv.org/abs/2111.15666) and edits them.",
        "## Use",
        _usage(model, repo),
        "## What it is",
        _table(["", ""], facts),
        "## Parts",
        _table(["part", "parameters", "sha256 of model.safetensors"], parts),
        *(["## Edits", _table(["edit", "strengths", "one unit is", "source"], edits)] if edits else []),
        "## Licence",
        _consequences(licence),
        *(["## On record", _table(["", ""], records)] if records else []),
    ]
    return "\n\n".join(sections) + "\n"


def _head(domain: str, licence: str) -> str:
    """The YAML header that the Hub reads."""
    identifier = licence.casefold().replace(" ", "-")
    if not licence:
        identifier = "unknown"
    elif identifier not in _PERMISSIVE + _RESTRICTED:
        identifier = "other"
    tags = ["hyperstyle", "stylegan2", "gan-inversion", "image-editing", domain]
    lines = [
        f"license: {identifier}",
        "library_name: hyperstyle",
        "pipeline_tag: image-to-image",
        "tags:",
        *(f"- {json.dumps(tag)}" for tag in dict.fromkeys(tags)),
    ]
    return "\n".join(["---", *lines, "---"])


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
    return "\n".join(["```python", *lines, "```"])


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


def _table(titles: list[str], rows: list[list[Any]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    """A value as text without line breaks and with `|` escaped, so that it stays in its cell."""
    return " ".join(str(value).split()).replace("|", "\\|")
