"""What `hyperstyle evaluate` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from hyperstyle.evaluation.tables import Column, Table, Value, to_text

if TYPE_CHECKING:
    from hyperstyle.evaluation import EditCurve, Editing, Optimized, Point, Reconstruction, Row
    from hyperstyle.evaluation.alignment import Difference
    from hyperstyle.evaluation.equal_effect import EffectCurve
    from hyperstyle.evaluation.methods import EqualEffect, MethodRow, Methods

__all__ = [
    "differences_text",
    "editing_text",
    "equal_effect_text",
    "methods_text",
    "reconstruction_text",
]

_METHOD = Column("method", "method")
_L2 = Column("l2", "L2", ".4f")
_BY_EVALUATOR = (Column("perceptual", "perceptual", ".4f"), Column("identity", "identity", ".4f"))
_MS_SSIM = Column("ms_ssim", "MS-SSIM", ".4f")
_ROWS = (
    _METHOD,
    _L2,
    Column("ratio", "(ratio)", ".2f"),
    *_BY_EVALUATOR,
    _MS_SSIM,
    Column("seconds", "seconds", ".3f"),
    Column("quartiles", "quartiles"),
    Column("images", "images"),
)
_METHODS = (
    _METHOD,
    _L2,
    *_BY_EVALUATOR,
    _MS_SSIM,
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
_DIFFERENCES = (
    Column("photo", "photo"),
    Column("size", "size"),
    Column("faces", "faces"),
    Column("faces_mtcnn", "MTCNN's"),
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
        parts.append(_optimized(result.optimized))
    return "\n\n".join(parts)


def methods_text(result: Methods) -> str:
    """A line for each method, and what the columns mean."""
    seconds = next((method.row.seconds for method in result.rows if method.row.method == "pti"), None)
    edits = ", ".join(dict.fromkeys(curve.edit for curve in result.curves)) or "none measured"
    return _text(_METHODS, [_method(method, seconds) for method in result.rows]) + (
        f"\n\n{result.rows[0].row.images} images, one at a time. edited: identity to the input at equal measured "
        f"effect of edits ({edits}), the mean; / pti: seconds over those of pti; kB: of a saved inversion"
    )


def editing_text(result: Editing) -> str:
    """A table for every edit, with offsets and without."""
    return "\n\n".join(_edit(curve) for curve in result.curves) + f"\n\n{result.images} images"


def equal_effect_text(result: EqualEffect) -> str:
    """A table for every edit: identity at measured changes, a column for each method."""
    by_edit: dict[str, list[EffectCurve]] = {}
    for curve in result.curves:
        by_edit.setdefault(curve.edit, []).append(curve)
    parts = [f"at equal effect, {result.images} images: identity similarity to the input"]
    parts += [f"{edit}\n{_at_equal_effect(curves)}" for edit, curves in by_edit.items()]
    parts.append("images: those that the edit changes so far with every method; mean: over the changes but 0")
    return "\n\n".join(parts)


def differences_text(differences: Sequence[Difference]) -> str:
    """A line for each face that both detectors found, and for each photo without one."""
    rows: list[Mapping[str, Value]] = []
    for difference in differences:
        photo: dict[str, Value] = {
            "photo": difference.photo,
            "size": f"{difference.size[0]}x{difference.size[1]}",
            "faces": difference.faces[0],
            "faces_mtcnn": difference.faces[1],
        }
        faces = list(zip(difference.corners, difference.sides, strict=True))
        rows += [{**photo, "corners": corners, "side": side, "share": corners / side} for corners, side in faces]
        rows += [] if faces else [photo]
    return "distance of the crops' corners from MTCNN's\n" + _text(_DIFFERENCES, rows)


def _text(columns: Sequence[Column], rows: Sequence[Mapping[str, Value]]) -> str:
    return to_text(Table(columns, rows))


def _row(row: Row, digits: int) -> dict[str, Value]:
    """The values of a row; quartiles as "low-high"."""
    low, high = row.quartiles
    return {**asdict(row), "quartiles": f"{low:.{digits}f}-{high:.{digits}f}"}


def _rows(rows: Sequence[Row]) -> str:
    """The rows as text, with the ratio of each L2 to the first row's."""
    first = rows[0].l2 or float("nan")
    return _text(_ROWS, [{**_row(row, 3), "ratio": row.l2 / first} for row in rows])


def _method(method: MethodRow, pti_seconds: float | None) -> dict[str, Value]:
    over_pti = None if pti_seconds is None else method.row.seconds / pti_seconds
    return {
        **_row(method.row, 2),
        "editability": method.editability,
        "over_pti": over_pti,
        "kilobytes": method.bytes / 1000,
    }


def _points(step: str, points: Sequence[Point]) -> str:
    timed = any(point.seconds is not None for point in points)
    seconds = [Column("seconds", "seconds", ".3f")] if timed else []
    return _text([Column("step", step), _L2, *_BY_EVALUATOR, *seconds], [asdict(point) for point in points])


def _optimized(result: Optimized) -> str:
    lines = [f"the first {result.rows[0].images} of these images, and what optimization finds for each", ""]
    lines.append(_rows(result.rows))
    if any(row.method == "offsets" for row in result.rows):
        lines.append("offsets: not a rival but a bound, the best weight offsets that were found for each image")
    lines += ["", f"W encoder's L2 over that of W optimization: {result.encoder_over_optimization:.2f}", ""]
    lines += ["PTI after its steps (seconds without the search for the pivot)", _points("step", result.tuning)]
    if result.equivalence:
        rows: list[Mapping[str, Value]] = [
            {
                **asdict(equivalence),
                "name": "L2" if equivalence.figure == "l2" else equivalence.figure,
                "reached": "never" if equivalence.steps is None else f"{equivalence.steps:.1f}",
            }
            for equivalence in result.equivalence
        ]
        lines += ["", "PTI steps that are as good as hyperstyle", _text(_EQUIVALENCE, rows)]
    return "\n".join(lines)


def _edit(curve: EditCurve) -> str:
    kind = "with offsets" if curve.offsets else "without offsets"
    columns = (
        Column("strength", "strength", "+.2f"),
        Column("trait", curve.trait, ".3f"),
        Column("trait_std", "std", ".3f"),
        Column("change", "change", "+.3f"),
        Column("identity", "identity", ".4f"),
        Column("identity_to_crop", "to input", ".4f"),
    )
    leak = ", ".join(f"{name} {value:.3f}" for name, value in curve.leak.items()) or "-"
    return (
        f"{curve.edit}, {kind}\n{_text(columns, [asdict(point) for point in curve.points])}\n"
        f"monotone {curve.monotone:.3f}   Spearman {curve.spearman:.4f}   leak {leak}"
    )


def _at_equal_effect(curves: Sequence[EffectCurve]) -> str:
    methods = [Column(curve.method, curve.method, ".4f") for curve in curves]
    columns = (Column("change", f"change of {curves[0].trait}"), *methods, Column("images", "images"))
    rows: list[Mapping[str, Value]] = [
        {
            "change": f"{first.change:+.2f}",
            "images": first.pictures,
            **{curve.method: curve.points[i].identity for curve in curves},
        }
        for i, first in enumerate(curves[0].points)
    ]
    rows.append({"change": "mean", "images": "", **{curve.method: curve.mean for curve in curves}})
    return _text(columns, rows)
