"""The figures of the documentation."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from examples.figures import main


def test_every_figure_of_the_pages_is_made(tmp_path: Path, checkout: Path) -> None:
    paths = main(tmp_path)
    pages = "".join(page.read_text(encoding="utf-8") for page in (checkout / "docs").rglob("*.md"))
    for path in paths:
        assert f"images/{path.name}" in pages
        with Image.open(path) as figure, Image.open(checkout / "docs" / "images" / path.name) as shown:
            assert figure.size == shown.size, "the page shows an older figure"
