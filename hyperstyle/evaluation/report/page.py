"""The page: one file that refers to nothing outside itself, from `report.html.j2` and `report.css`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

__all__ = ["render_page"]

_FOLDER = Path(__file__).parent


def render_page(content: Mapping[str, Any]) -> str:
    """The whole file.

    Args:
        content: what the template names; a name that it lacks is an error. All text is escaped but for that of plots,
            which are SVG.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((_FOLDER / "report.css").read_text(encoding="utf-8"))
    return environment.get_template("report.html.j2").render(content, style=style)
