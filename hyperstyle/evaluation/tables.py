"""Tables of figures: as text, Markdown, CSV, JSON rows, and cells of an HTML page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Value = str | float | int | None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key, title: its names in files and for people.
        form: how a number is written, as in ".4f"; "" for words and whole numbers.
        better: "low" or "high" marks the best value; "" marks none.
    """

    key: str
    title: str
    form: str = ""
    better: str = ""

    def text(self, row: Mapping[str, Value], *, missing: str = "-") -> str:
        """The value of this column in a row as text; `missing` where there is none."""
        value = row.get(self.key)
        if value is None:
            return missing
        return value if isinstance(value, str) else format(value, self.form)


@dataclass(frozen=True)
class Table:
    """Rows of values by column key; None where there is no value.

    Attributes:
        columns: what people see; rows may hold more, for files.
        rows: from the top.
    """

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Value]]

    def is_words(self, column: Column) -> bool:
        """Whether no cell of this column is a number. A column without values counts as words."""
        return all(isinstance(row.get(column.key), str | None) for row in self.rows)

    def is_best(self, row: Mapping[str, Value], column: Column) -> bool:
        """Whether the row has the best value of the column. Of equal ones, all are best; a single value never is."""
        values = [value for each in self.rows if isinstance(value := each.get(column.key), int | float)]
        if not column.better or len(values) < 2:
            return False
        return row.get(column.key) == (min(values) if column.better == "low" else max(values))


def missing_parts(checks: Iterable[tuple[bool, str, str, str]]) -> Table:
    """What was not measured, why, and what would change it; of several reasons for one thing, the first.

    Args:
        checks: whether it is missing, what, because of what, and the flag or file that would change it.
    """
    keys = {"what": "not measured", "because": "because", "change": "what would change it"}
    first: dict[str, Mapping[str, Value]] = {}
    for is_missing, *texts in checks:
        if is_missing:
            first.setdefault(texts[0], dict(zip(keys, texts, strict=True)))
    return Table([Column(key, title) for key, title in keys.items()], list(first.values()))


def published_table(columns: Sequence[Column], figures: Mapping[str, Sequence[Value]], methods: Iterable[str]) -> Table:
    """What a publication has of some methods.

    Args:
        columns: those of the figures; one for the method comes before them.
        figures: method -> its figures in the order of the columns.
        methods: names, of which the table has those that were published.
    """
    rows = [
        {"method": name, **{column.key: value for column, value in zip(columns, figures[name], strict=True)}}
        for name in dict.fromkeys(methods)
        if name in figures
    ]
    return Table((Column("method", "method"), *columns), rows)


def to_text(table: Table) -> str:
    """Aligned plain text: the first column flush left, the others flush right."""
    lines = [tuple(column.title for column in table.columns), *_cells(table)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    return "\n".join(
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def to_markdown(table: Table) -> str:
    """GitHub Markdown: words flush left, numbers flush right."""
    sides = [":--" if table.is_words(column) else "--:" for column in table.columns]
    lines = [[column.title for column in table.columns], sides, *_cells(table)]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def to_csv(table: Table) -> str:
    """CSV with unrounded numbers, under column keys: those of `columns`, then the other keys of the rows."""
    text = io.StringIO()
    keys = dict.fromkeys([*(column.key for column in table.columns), *(key for row in table.rows for key in row)])
    writer = csv.DictWriter(text, list(keys), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.rows)  # None is written as ""
    return text.getvalue()


def to_json(table: Table) -> str:
    """A JSON list of one object for each row: all its keys, unrounded numbers, null for None."""
    return json.dumps([dict(row) for row in table.rows], indent=2, allow_nan=False)


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "csv": to_csv,
    "json": to_json,
}
"""Ways to write a table, by name."""


def _cells(table: Table) -> list[tuple[str, ...]]:
    return [tuple(column.text(row) for column in table.columns) for row in table.rows]
