"""The tables of a report: parameters (Table 1), methods (Table 2), switches (Table 3)."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from hyperstyle.evaluation.report.journal import Record
from hyperstyle.evaluation.report.measures import Measures
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model.parts import Model
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig

__all__ = [
    "ONCE",
    "Column",
    "Table",
    "Value",
    "ablation_table",
    "measure_columns",
    "method_row",
    "methods_table",
    "parameter_tables",
    "to_csv",
]

Value = str | float | int | None

ONCE = "hyperstyle:1"
"""The row of Table 3 that is the model stopped after its first pass."""

_Heads = Literal["plain", "shared", "separable"]

_FORMS: tuple[tuple[_Heads, bool], ...] = (
    ("plain", True),
    ("shared", True),
    ("plain", False),
    ("shared", False),
    ("separable", False),
)
_PUBLISHED = {("plain", True): 3.07e9, ("shared", True): 1.40e9, ("plain", False): 367e6, ("shared", False): 332e6}


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key, title: its names in files and for people.
        digits: after the point; None for words and whole numbers.
        better: "low" or "high" marks the best value; "" marks none.
    """

    key: str
    title: str
    digits: int | None = None
    better: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of values by column key; None where there is no value."""

    key: str
    title: str
    about: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Value]]


def to_csv(table: Table) -> str:
    """The whole table, numbers in full: its columns, and what its rows have besides."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = dict.fromkeys([*(column.key for column in table.columns), *(key for row in table.rows for key in row)])
    writer.writerow(keys)
    for row in table.rows:
        writer.writerow(["" if (value := row.get(key)) is None else value for key in keys])
    return text.getvalue()


def parameter_tables(model: Model) -> list[Table]:
    """Table 1: of the parts of this model, of its hypernetwork in other forms, and of the published ones."""
    parts: list[Mapping[str, Value]] = [
        {"part": name, "parameters": sum(p.numel() for p in network.parameters())}
        for name, network in model.networks.items()
    ]
    columns = (Column("part", "part"), Column("parameters", "parameters"))
    tables = [Table("table1_parts", "Table 1a. Parameters of this model", "", columns, parts)]
    published = HypernetworkConfig.official(1024)
    rows: list[Mapping[str, Value]] = []
    for heads, per_tap in _FORMS:
        row: dict[str, Value] = {
            "shared": {"plain": "no", "shared": "yes", "separable": "yes; separable"}[heads],
            "per_channel": "no" if per_tap else "yes",
        }
        if model.hypernetwork is not None:
            row["here"] = _count(replace(model.hypernetwork.config, heads=heads, per_tap=per_tap))
        row["built"] = _count(replace(published, heads=heads, per_tap=per_tap))
        row["paper"] = _PUBLISHED.get((heads, per_tap))
        rows.append(row)
    forms = [Column("per_channel", "one offset per channel pair"), Column("shared", "shared refinement")]
    if model.hypernetwork is not None:
        forms.append(Column("here", "on this generator"))
    forms += [Column("built", "published configuration, 1024 px"), Column("paper", "paper")]
    about = (
        "The hypernetwork in the forms that the paper compares, counted without building their weights. The published "
        "code gives the paper's 332 M and 1.40 B exactly; its unshared heads are larger than those that the paper "
        "counted as 367 M and 3.07 B, which it cannot build."
    )
    if model.hypernetwork is not None and model.hypernetwork.config.heads == "compact":
        about += " This model's own form, compact heads, is none of these: it is the hypernetwork of Table 1a."
    tables.append(Table("table1_forms", "Table 1b. Parameters of the hypernetwork", about, tuple(forms), rows))
    return tables


def _count(config: HypernetworkConfig) -> int:
    with torch.device("meta"):
        return Hypernetwork(config).parameter_count()


def method_row(label: str, rows: Sequence[Record], measures: Measures) -> dict[str, Value]:
    """Means over the images, the median of the seconds, the largest memory.

    Where images have no number of a figure, `FIGURE_left_out` says how many.
    """
    row: dict[str, Value] = {"method": label, "images": len(rows)}
    for one in measures.chosen:
        values = [value for each in rows if (value := each["figures"][one.key]) is not None]
        row[one.key] = statistics.fmean(values) if values else None
        if len(values) < len(rows):
            row[f"{one.key}_left_out"] = len(rows) - len(values)
    row["seconds"] = statistics.median(each["seconds"] for each in rows)
    peaks = [each["memory"] for each in rows if each["memory"] is not None]
    row["memory"] = max(peaks) / 2**20 if peaks else None
    return row


def measure_columns(rows: Sequence[Mapping[str, Value]], measures: Measures) -> list[Column]:
    """A column for each figure, and one beside it where images were left out of its means."""
    columns = []
    for one in measures.chosen:
        columns.append(Column(one.key, one.title, one.digits, one.better))
        if any(f"{one.key}_left_out" in row for row in rows):
            columns.append(Column(f"{one.key}_left_out", "left out"))
    return columns


def methods_table(
    key: str, title: str, about: str, rows: Sequence[Mapping[str, Value]], measures: Measures, *, distances: str = ""
) -> Table:
    """Table 2; `distances` names the network of FID and KID, "" without."""
    columns = [Column("method", "method"), *measure_columns(rows, measures)]
    if distances:
        columns += [Column("fid", f"FID ({distances})", 4, "low"), Column("kid", f"KID ({distances})", 5, "low")]
    columns += [Column("seconds", "seconds", 2, "low"), Column("memory", "peak MiB", 0, "low")]
    return Table(key, title, about, tuple(columns), list(rows))


def ablation_table(
    rows: Sequence[Mapping[str, Value]],
    models: Sequence[HyperStyleInverter],
    passes: Sequence[int],
    measures: Measures,
    named: Sequence[str],
) -> Table:
    """Table 3, from rows as `method_row` makes them, the model of each, its passes, and the rows that are ablations."""
    made: list[Mapping[str, Value]] = []
    for row, inverter, count in zip(rows, models, passes, strict=True):
        network = inverter.model.hypernetwork
        switches: dict[str, Value] = {"passes": count if network is not None else 0}
        if network is not None:
            switches |= {
                "heads": network.config.heads,
                "layers": len(network.config.layers),
                "parameters": network.parameter_count(),
            }
        made.append({**row, **switches})
    columns = [Column("method", "variant"), Column("heads", "heads"), Column("layers", "layers")]
    columns += [Column("passes", "passes"), Column("parameters", "parameters")]
    columns += [*measure_columns(rows, measures), Column("seconds", "seconds", 2, "low")]
    about = "Variants of the hypernetwork on the same images."
    if any(row["method"] == ONCE for row in rows):
        about += f" {ONCE} is this model stopped after one pass; the paper trains a network of its own for that row."
    if named:
        about += f" Models of their own, named with --ablation: {', '.join(named)}."
    return Table("table3", "Table 3. Switches", about, tuple(columns), made)
