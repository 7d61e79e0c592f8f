"""The site of the documentation: every public name stands in the API reference once, and notebooks are clean."""

from __future__ import annotations

import importlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import hyperstyle

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGES = ("align", "bulk", "convert", "edits", "evaluation", "fitting", "images", "inversion", "model")
_DIRECTIVE = re.compile(r"^\.\. auto(\w+):: ([\w.]+)\n((?:   :.*\n)*)", re.MULTILINE)


def documented() -> Counter[int]:
    """id of each object of the API pages -> how often it stands there."""
    count: Counter[int] = Counter()
    for page in (DOCS / "api").glob("*.md"):
        for kind, target, options in _DIRECTIVE.findall(page.read_text(encoding="utf-8") + "\n"):
            if kind != "module":
                module, _, name = target.rpartition(".")
                objects = [getattr(importlib.import_module(module), name)]
            else:
                module = importlib.import_module(target)
                listed = re.search(r":members: (.+)", options)
                names = listed[1].split(", ") if listed else module.__all__
                objects = [getattr(module, name) for name in names]
            count.update(id(each) for each in objects)
    return count


def public() -> dict[str, Any]:
    """The public names with the objects that they mean."""
    names = {f"hyperstyle.{name}": getattr(hyperstyle, name) for name in hyperstyle.__all__ if name[0] != "_"}
    for package in PACKAGES:
        module = importlib.import_module(f"hyperstyle.{package}")
        names |= {f"hyperstyle.{package}.{name}": getattr(module, name) for name in module.__all__}
    return names


def test_every_public_name_stands_in_the_reference_once() -> None:
    count = documented()
    assert {name: count[id(value)] for name, value in public().items() if count[id(value)] != 1} == {}


def test_every_package_with_public_names_is_looked_at() -> None:
    folders = {path.parent.name for path in (ROOT / "hyperstyle").glob("*/__init__.py")}
    with_names = {
        name for name in folders if getattr(importlib.import_module(f"hyperstyle.{name}"), "__all__", None) is not None
    }
    assert with_names - {"cli"} == set(PACKAGES)  # the command line is documented by --help


def test_every_page_is_in_a_table_of_contents() -> None:
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    pages |= {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.ipynb")}
    listed = {"index"}
    for page in DOCS.rglob("*.md"):
        for block in re.findall(r"```{toctree}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            folder = page.parent.relative_to(DOCS)
            entries = [line for line in block.splitlines() if line and not line.startswith(":")]
            listed |= {(folder / re.sub(r".*<(.*)>", r"\1", entry)).as_posix() for entry in entries}
    assert pages == listed


@pytest.mark.parametrize("path", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_what_it_shows(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert cells[0]["source"][0].startswith("# ")
    for cell in cells:
        assert cell["cell_type"] in ("markdown", "code")
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
