"""`hyperstyle info`: what a model is made of and what it can do."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hyperstyle.cli.arguments import ModelArguments, load_inverter
from hyperstyle.cli.flags import command, switch


@dataclass(frozen=True, kw_only=True)
class InfoArguments(ModelArguments):
    """Shows what a model is made of, which methods it can do, and why it cannot do the others."""

    json: bool = switch("as JSON, for programs")


def run(args: InfoArguments) -> int:
    """Prints the description of the model."""
    description = load_inverter(args).describe()
    if args.json:
        print(json.dumps(description, indent=2))
        return 0
    ranges = {
        name: f"{edit['low']:g} to {edit['high']:g} {edit['unit']}" + (f" ({edit['source']})" if edit["source"] else "")
        for name, edit in description["edits"].items()
    }
    missing = description["missing_methods"] or "none"
    print("\n".join(_lines({**description, "missing_methods": missing, "edits": ranges or "none"})))
    return 0


add_parser = command(
    "info", InfoArguments, run, help="show a model: domain, sizes, methods, edits and their ranges, source, license"
)


def _lines(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Names and values in two columns, wrapped; nested values are indented below their name."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield indent + name
            yield from _lines(value, indent + "  ")
            continue
        yield from textwrap.wrap(
            _text(value),
            width=100,
            initial_indent=f"{indent}{name:<{width}}  ",
            subsequent_indent=" " * (len(indent) + width + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )


def _text(value: Any) -> str:
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)
