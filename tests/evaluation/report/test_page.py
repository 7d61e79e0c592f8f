"""The page: words are escaped, marks are classes, links lead to sections."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from jinja2 import UndefinedError

from hyperstyle.evaluation.report.galleries import Gallery, uris
from hyperstyle.evaluation.report.make import render_page
from hyperstyle.evaluation.tables import Column, Table

TABLE = Table(
    (Column("method", "method"), Column("l2", "L2", ".2f", "low"), Column("n", "n", ",.0f")),
    [{"method": "<i>", "l2": 0.5, "n": 12345}, {"method": "b", "l2": 0.25}],
)


def content() -> dict[str, object]:
    """The variables of a page with little on it."""
    domain = SimpleNamespace(input_size=(32, 32))
    generator = SimpleNamespace(config=SimpleNamespace(size=32))
    sheet = Gallery(["in", "out"], [uris(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8))], ["row"])
    return {
        "title": "T & U",
        "jobs": [],
        "model": SimpleNamespace(domain=domain, generator=generator),
        "machine": dict.fromkeys(("cpu", "device", "threads", "dtype", "torch", "model"), "?"),
        "measures": [],
        "images": _Images(["a.png"], source="A < B", failures=[("a<b.png", "broken")], without_face=[]),
        "photos": None,
        "command": "",
        "tables": {"table1_parts": TABLE, "table2": TABLE},
        "effects": {},
        "kept_identity": {},
        "galleries": {"reconstructions": sheet},
        "plots": {"over_time": ["<svg></svg>", "<svg></svg>"]},
        "colors": ("#000000",),
        "missing": Table((), []),
    }


class _Images(list[str]):
    """Images with their source."""

    def __init__(self, names: list[str], **about: object) -> None:
        super().__init__(names)
        self.__dict__.update(about)


def test_the_best_value_is_marked_and_words_are_escaped() -> None:
    text = render_page(content())
    assert '<td class="best">0.25</td>' in text
    assert text.count('"best"') == 2  # once in each table
    assert "A &lt; B" in text
    assert "T &amp; U" in text
    assert '<td class="words">&lt;i&gt;</td>' in text
    assert "<td>12,345</td>" in text
    assert "<td>\N{EN DASH}</td>" in text
    assert "1 file(s) of A &lt; B left out. a&lt;b.png: broken" in text


def test_the_page_links_to_its_sections_only() -> None:
    text = render_page(content())
    assert '<a href="#reconstruction">Reconstruction</a>' in text
    assert '<section id="reconstruction">' in text
    assert "not-measured" not in text


def test_plots_stand_in_it_as_they_are_and_images_have_words() -> None:
    text = render_page(content())
    assert text.count("<svg></svg>") == 2
    assert 'alt="row out"' in text


def test_a_variable_that_is_missing_is_an_error() -> None:
    variables = content()
    del variables["measures"]
    with pytest.raises(UndefinedError, match="measures"):
        render_page(variables)
