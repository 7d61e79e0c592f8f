"""What `hyperstyle evaluate` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

from hyperstyle.evaluation.journal import Record
from hyperstyle.evaluation.tables import Column, Table, Value, to_text

if TYPE_CHECKING:
    from hyperstyle.evaluation import Editing, Optimized, Point, Reconstruction, Row
    from hyperstyle.evaluation.methods import EqualEffect, Methods

_METHOD = Column("method", "method")
_L2 = Column("l2", "L2", ".4f")
_BY_EVALUATOR = (Column("perceptual", "perceptual", ".4f"), Column("identity", "identity", ".4f"))
_MS_SSIM = Column("ms_ssim", "MS-SSIM", ".4f")
_ROWS = (
    *(_METHOD, _L2, Column("ratio", "(ratio)", ".2f"), *_BY_EVALUATOR, _MS_SSIM),
    Column("seconds", "seconds", ".3f"),
    Column("quartiles", "quartiles"),
    Column("images", "images"),
)
_METHODS = (
    *(_METHOD, _L2, *_BY_EVALUATOR, _MS_SSIM),
    Column("editability", "edited", ".4f"),
    Column("seconds", "seconds", ".2f"),
    Column("quartiles", "quartiles"),
    Column("over_pti", "/ pti", ".3f"),
    Column("kilobytes", "kB", ".1f"),
)
_EQUIVALENCE = (
    Column("name", "hyperstyle's"),
    Column("target", "mean", ".4f"),
    Column("reached", "PTI steps"),
    Column("seconds", "seconds", ".2f"),
    Column("times", "x its time", ".1f"),
    Column("times_with_pivot", "with pivot", ".1f"),
)
_EDITING = (
    Column("change", "change", "+.3f"),
    Column("identity", "identity", ".4f"),
    Column("identity_to_crop", "to input", ".4f"),
)
_DIFFERENCES = (
    Column("photo", "photo"),
    Column("size", "size"),
    Column("first", "faces"),
    Column("second", "MTCNN's"),
    Column("corners", "corners px", ".1f"),
    Column("side", "of side px", ".0f"),
    Column("share", "share", ".2%"),
)


def reconstruction_text(result: Reconstruction) -> str:
    """Tables of the rows and curves."""
    parts = [_rows(result.rows)]
    if result.curve:
        parts.append("hyperstyle after T steps\n" + _points("T", result.curve))
    if result.optimized is not None:
        parts += _optimized(result.optimized)
    return "\n\n".join(parts)


def _optimized(result: Optimized) -> Iterator[str]:
    bound = "\noffsets: not a rival but a bound, the best weight offsets that were found for each image"
    yield f"the first {result.rows[0].images} of these images, and what optimization finds for each"
    yield _rows(result.rows) + (bound if any(row.method == "offsets" for row in result.rows) else "")
    yield f"W encoder's L2 over that of W optimization: {result.encoder_over_optimization:.2f}"
    yield "PTI after its steps (seconds without the search for the pivot)\n" + _points("step", result.tuning)
    rows: list[Record] = [asdict(equivalence) for equivalence in result.equivalence]
    for row in rows:
        row["name"] = {"l2": "L2"}.get(row["figure"], row["figure"])
        row["reached"] = "never" if row["steps"] is None else f"{row['steps']:.1f}"
    if rows:
        yield "PTI steps that are as good as hyperstyle\n" + _text(_EQUIVALENCE, rows)


def methods_text(result: Methods) -> str:
    """A line for each method, and what the columns mean."""
    seconds = next((method.row.seconds for method in result.rows if method.row.method == "pti"), None)
    edits = ", ".join(dict.fromkeys(curve.edit for curve in result.curves)) or "none measured"
    rows: list[Record] = []
    for method in result.rows:
        over_pti = None if seconds is None else method.row.seconds / seconds
        size, editability = method.bytes / 1000, method.editability
        rows.append({**_row(method.row, 2), "editability": editability, "over_pti": over_pti, "kilobytes": size})
    return _text(_METHODS, rows) + (
        f"\n\n{result.rows[0].row.images} images, one at a time. edited: identity to the input at equal measured "
        f"effect of edits ({edits}), the mean; / pti: seconds over those of pti; kB: of a saved inversion"
    )


def editing_text(result: Editing) -> str:
    """A table for every edit, with offsets and without."""
    parts = []
    for curve in result.curves:
        trait = (Column("trait", curve.trait, ".3f"), Column("trait_std", "std", ".3f"))
        points = [asdict(point) for point in curve.points]
        leak = ", ".join(f"{name} {value:.3f}" for name, value in curve.leak.items()) or "-"
        parts.append(
            f"{curve.edit}, {'with' if curve.offsets else 'without'} offsets\n"
            f"{_text((Column('strength', 'strength', '+.2f'), *trait, *_EDITING), points)}\n"
            f"monotone {curve.monotone:.3f}   Spearman {curve.spearman:.4f}   leak {leak}"
        )
    return "\n\n".join([*parts, f"{result.images} images"])


def equal_effect_text(result: EqualEffect) -> str:
    """A table for every edit: identity at measured changes, a column for each method."""
    parts = [f"at equal effect, {result.images} images: identity similarity to the input"]
    for edit, group in groupby(result.curves, lambda curve: curve.edit):
        curves = list(group)
        methods = [Column(curve.method, curve.method, ".4f") for curve in curves]
        columns = (Column("change", f"change of {curves[0].trait}"), *methods, Column("images", "images"))
        rows: list[Record] = [
            {"change": f"{point.change:+.2f}", "images": point.pictures} for point in curves[0].points
        ]
        for curve in curves:
            for row, point in zip(rows, curve.points, strict=True):
                row[curve.method] = point.identity
        rows.append({"change": "mean", "images": "", **{curve.method: curve.mean for curve in curves}})
        parts.append(f"{edit}\n{_text(columns, rows)}")
    parts.append("images: those that the edit changes so far with every method; mean: over the changes but 0")
    return "\n\n".join(parts)


def differences_text(differences: Sequence[Record]) -> str:
    """A line for each face that both detectors found, and for each photo without one."""
    rows: list[Record] = []
    for photo in differences:
        row = {"photo": photo["photo"], "size": "{}x{}".format(*photo["size"])}
        row["first"], row["second"] = photo["faces"]
        faces = list(zip(photo["corners"], photo["sides"], strict=True))
        rows += [{**row, "corners": corners, "side": side, "share": corners / side} for corners, side in faces] or [row]
    return "distance of the crops' corners from MTCNN's\n" + _text(_DIFFERENCES, rows)


def _text(columns: Sequence[Column], rows: Sequence[Mapping[str, Value]]) -> str:
    return to_text(Table(columns, rows))


def _row(row: Row, digits: int) -> Record:
    """The values of a row; quartiles as "low-high"."""
    low, high = row.quartiles
    return {**asdict(row), "quartiles": f"{low:.{digits}f}-{high:.{digits}f}"}


def _rows(rows: Sequence[Row]) -> str:
    """The rows as text, with the ratio of each L2 to the first row's."""
    first = rows[0].l2 or float("nan")
    return _text(_ROWS, [{**_row(row, 3), "ratio": row.l2 / first} for row in rows])


def _points(step: str, points: Sequence[Point]) -> str:
    timed = any(point.seconds is not None for point in points)
    seconds = [Column("seconds", "seconds", ".3f")] if timed else []
    return _text([Column("step", step), _L2, *_BY_EVALUATOR, *seconds], [asdict(point) for point in points])
