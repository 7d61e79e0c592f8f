"""The page: sections of words, tables, images and charts in one file that refers to nothing outside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from hyperstyle.evaluation.report.gallery import Gallery
from hyperstyle.evaluation.report.svg import COLORS
from hyperstyle.evaluation.report.tables import Column, Table, Value

__all__ = ["Section", "chart_grid", "gallery_html", "legend", "page", "paragraph", "table_html"]

_STYLE = """
:root { --ink: #24262b; --soft: #6a6f78; --line: #dcdcd6; --paper: #fcfcfa; --good: #e8f1ea; --bad: #f9e9e4;
  --link: #2c5d9f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e5e1; --soft: #a0a4ac; --line: #3a3d43; --paper: #191b1f;
  --good: #20352a; --bad: #43271f; --link: #8db4ea; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.6 Georgia, "Source Serif Pro", serif; }
main { max-width: 1020px; margin: 0 auto; padding: 3.5rem 1.5rem 6rem; }
h1, h2, h3, table, figcaption, nav, .chart, .legend, .facts { font-family: system-ui, "Segoe UI", Helvetica, Arial,
  sans-serif; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.4rem; margin: 4rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 2rem 0 .4rem; }
p { max-width: 46rem; margin: .6rem 0; }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: .88rem; margin: 1.6rem 0 0; }
nav a { text-decoration: none; }
.lead { font-size: 1.12rem; } .facts { color: var(--soft); font-size: .88rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .8rem .38rem 0; text-align: right; white-space: nowrap; }
th { font-weight: 600; color: var(--soft); border-bottom: 1.5px solid var(--ink); vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); }
th.words, td.words { text-align: left; }
td.best { font-weight: 700; } td.yes { background: var(--good); } td.no { background: var(--bad); }
td.yes, td.no { padding-left: .6rem; }
figure { margin: 1rem 0 1.6rem; }
figcaption { color: var(--soft); font-size: .86rem; max-width: 46rem; margin: .4rem 0; }
.gallery { display: grid; gap: 5px; width: max-content; max-width: 100%; align-items: center; }
.gallery img { display: block; width: 100%; border-radius: 3px; }
.gallery span { font: .76rem/1.25 system-ui, sans-serif; color: var(--soft); text-align: center; align-self: end; }
.gallery span.side { text-align: right; align-self: center; padding-right: .5rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: 1rem; }
.charts.wide { grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); }
.chart { width: 100%; font-size: 10.5px; } .chart text { fill: var(--soft); }
.chart text.title { fill: var(--ink); font-size: 12px; font-weight: 600; } .chart .grid { stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .86rem; margin: .8rem 0; }
.legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: 50%; margin-right: .4rem;
  vertical-align: -.08rem; }
@media print { body { font-size: 11pt; } h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
"""


@dataclass
class Section:
    """A part of the page: its title, its place in links, and blocks of HTML in their order."""

    title: str
    anchor: str
    blocks: list[str] = field(default_factory=list)


def page(title: str, lead: str, facts: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole file."""
    links = "".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in sections)
    body = "".join(
        f'<section id="{s.anchor}"><h2>{escape(s.title)}</h2>{"".join(s.blocks)}</section>' for s in sections
    )
    lines = "<br>".join(escape(fact) for fact in facts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>"
        f'<h1>{escape(title)}</h1>{paragraph(lead, "lead")}<p class="facts">{lines}</p>'
        f"<nav>{links}</nav>{body}</main></body></html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Plain words; `kind` is "lead" for large ones, "facts" for small ones."""
    return f"<p{_class([kind] if kind else [])}>{escape(text)}</p>"


def table_html(table: Table, marks: Mapping[tuple[int, str], bool] | None = None) -> str:
    """The table with its title; the best value of a column is bold, marked cells are green (True) or red."""
    best = {column.key: _best(table, column) for column in table.columns}
    words = {c.key for c in table.columns if all(isinstance(r.get(c.key), str | None) for r in table.rows)}
    head = "".join(f"<th{_class(['words'] * (c.key in words))}>{escape(c.title)}</th>" for c in table.columns)
    rows = []
    for i, row in enumerate(table.rows):
        cells = []
        for c in table.columns:
            value, mark = row.get(c.key), (marks or {}).get((i, c.key))
            kinds = ["words"] * (c.key in words) + ["best"] * (value is not None and value == best[c.key])
            kinds += [] if mark is None else ["yes" if mark else "no"]
            cells.append(f"<td{_class(kinds)}>{escape(_text(value, c.digits))}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    title = f"<h3>{escape(table.title)}</h3>" if table.title else ""
    about = f"<figcaption>{escape(table.about)}</figcaption>" if table.about else ""
    return (
        f'{title}{about}<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def gallery_html(gallery: Gallery, cell: int = 128) -> str:
    """Images on a grid, `cell` pixels wide where there is room."""
    labelled = any(gallery.labels)
    columns = ("max-content " if labelled else "") + f"repeat({len(gallery.heads)}, minmax(0, {cell}px))"
    parts = ["<span></span>"] * labelled + [f"<span>{escape(head)}</span>" for head in gallery.heads]
    for label, row in zip(gallery.labels, gallery.rows, strict=True):
        parts += [f'<span class="side">{escape(label)}</span>'] * labelled
        for head, uri in zip(gallery.heads, row, strict=True):
            words = escape(f"{label} {head}".strip())
            parts.append(f'<img src="{uri}" alt="{words}">' if uri else "<span></span>")
    caption = f"<figcaption>{escape(gallery.caption)}</figcaption>" if gallery.caption else ""
    return (
        f'<figure>{caption}<div class="gallery" style="grid-template-columns:{columns}">{"".join(parts)}</div></figure>'
    )


def chart_grid(charts: Sequence[str], *, wide: bool = False) -> str:
    """Charts beside each other."""
    return f'<div class="charts{" wide" * wide}">{"".join(charts)}</div>'


def legend(names: Mapping[str, int]) -> str:
    """Names and their places among the colors."""
    dots = (
        f'<span><i style="background:{COLORS[place % len(COLORS)]}"></i>{escape(name)}</span>'
        for name, place in names.items()
    )
    return f'<div class="legend">{"".join(dots)}</div>'


def _class(kinds: Sequence[str]) -> str:
    return f' class="{" ".join(kinds)}"' if kinds else ""


def _best(table: Table, column: Column) -> Value:
    values = [v for row in table.rows if isinstance(v := row.get(column.key), int | float)]
    if not column.better or len(values) < 2:
        return None
    return min(values) if column.better == "low" else max(values)


def _text(value: Value, digits: int | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, str):
        return value
    return f"{value:,.{digits or 0}f}"
