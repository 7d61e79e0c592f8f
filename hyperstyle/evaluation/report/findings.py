"""What a report found, and the files that it is written to: `report.html`, `report.json`, and a CSV for each table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hyperstyle.evaluation.figures import machine
from hyperstyle.evaluation.report.effects import Effect, effect_tables
from hyperstyle.evaluation.report.images import TestImages
from hyperstyle.evaluation.report.missing import Missing
from hyperstyle.evaluation.report.options import ReportOptions
from hyperstyle.evaluation.report.orderings import Ordering, ordering_tables
from hyperstyle.evaluation.report.page import Section
from hyperstyle.evaluation.report.tables import Table, to_csv
from hyperstyle.io.files import write_text
from hyperstyle.model.parts import Model

__all__ = ["Findings", "write_report"]


@dataclass
class Findings:
    """What the files are written from.

    Attributes:
        tables: in the order of the page.
        orderings: those of the paper, here.
        effects: Figure 6, by the group of methods that are compared.
        missing: what is not measured.
        sections: of the page.
    """

    tables: list[Table] = field(default_factory=list)
    orderings: list[Ordering] = field(default_factory=list)
    effects: dict[str, tuple[Effect, ...]] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


def write_report(
    out: Path,
    html: str,
    found: Findings,
    model: Model,
    images: TestImages,
    photos: TestImages | None,
    options: ReportOptions,
) -> Path:
    """Writes `report.json`, a CSV for each table and figure, and last `report.html`, whose path it returns.

    Raises:
        HyperStyleError: a file cannot be written.
    """
    report: dict[str, Any] = {
        "machine": machine(model),
        "pictures": _about(images),
        "photos": None if photos is None else _about(photos),
        "options": _options(options),
        "tables": {table.key: [dict(row) for row in table.rows] for table in found.tables},
        "orderings": [asdict(one) for one in found.orderings],
        "effects": {name: [asdict(one) for one in group] for name, group in found.effects.items()},
        "not_measured": [asdict(one) for one in found.missing],
    }
    files = {"report.json": json.dumps(report, indent=1, allow_nan=False) + "\n"}
    tables = [*found.tables, *ordering_tables(found.orderings), *effect_tables(found.effects)]
    files |= {f"{table.key}.csv": to_csv(table) for table in tables}
    files["report.html"] = html  # last: a page says that all is there
    for name, text in files.items():
        write_text(out / name, text)
    return out / "report.html"


def _options(options: ReportOptions) -> dict[str, Any]:
    """As plain values, under the names that they have on disk since version 0.1."""
    values = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}
    return {"optimised" if key == "optimized" else key: value for key, value in values.items()}


def _about(images: TestImages) -> dict[str, Any]:
    return {
        "source": images.source,
        "count": len(images),
        "failures": images.failures,
        "taken_as_crops": images.uncut,
    }
