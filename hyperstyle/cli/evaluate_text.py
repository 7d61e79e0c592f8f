"""What `hyperstyle evaluate` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hyperstyle.evaluation import EditCurve, Editing, Optimized, Point, Reconstruction, Row
    from hyperstyle.evaluation.alignment import Difference
    from hyperstyle.evaluation.equal_effect import EffectCurve, EqualEffect
    from hyperstyle.evaluation.methods import Methods

__all__ = [
    "differences_text",
    "editing_text",
    "equal_effect_text",
    "methods_text",
    "reconstruction_text",
]

_NAMES = {"l2": "L2", "perceptual": "perceptual", "identity": "identity"}


def reconstruction_text(result: Reconstruction) -> str:
    """Tables of the rows and curves."""
    parts = [_rows(result.rows)]
    if result.curve:
        parts.append("hyperstyle after T passes\n" + _points("T", result.curve))
    if result.optimized is not None:
        parts.append(_optimized(result.optimized))
    return "\n\n".join(parts)


def methods_text(result: Methods) -> str:
    """A line for each method, and what the columns mean."""
    whole = next((one.row.seconds for one in result.rows if one.row.method == "pti"), None)
    titles = ("method", "L2", "perceptual", "identity", "MS-SSIM", "edited", "seconds", "quartiles", "/ pti", "kB")
    cells = []
    for one in result.rows:
        row, (low, high) = one.row, one.row.quartiles
        cells.append(
            (
                row.method,
                f"{row.l2:.4f}",
                _number(row.perceptual),
                _number(row.identity),
                f"{row.ms_ssim:.4f}",
                _number(one.editability),
                f"{row.seconds:.2f}",
                f"{low:.2f}-{high:.2f}",
                _number(None if whole is None else row.seconds / whole, 3),
                f"{one.bytes / 1000:.1f}",
            )
        )
    edits = ", ".join(dict.fromkeys(curve.edit for curve in result.curves)) or "none measured"
    return _table(titles, cells) + (
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
    parts += [_at_equal_effect(edit, curves) for edit, curves in by_edit.items()]
    parts.append("images: those that the edit changes so far with every method; mean: over the changes but 0")
    return "\n\n".join(parts)


def differences_text(apart: Sequence[Difference]) -> str:
    """A line for each face that both detectors found, and for each photo without one."""
    titles = ("photo", "size", "faces", "MTCNN's", "corners px", "of side px", "share")
    cells = []
    for one in apart:
        about = (one.photo, f"{one.size[0]}x{one.size[1]}", *map(str, one.faces))
        if not one.corners:
            cells.append((*about, "-", "-", "-"))
        for corners, side in zip(one.corners, one.sides, strict=True):
            cells.append((*about, f"{corners:.1f}", f"{side:.0f}", _share(corners / side)))
    return "distance of the crops' corners from MTCNN's\n" + _table(titles, cells)


def _rows(rows: Sequence[Row]) -> str:
    """The rows as text, with the ratio of each L2 to the first row's."""
    titles = ("method", "L2", "(ratio)", "perceptual", "identity", "MS-SSIM", "seconds", "quartiles", "images")
    cells = []
    for row in rows:
        ratio = row.l2 / rows[0].l2 if rows[0].l2 else float("nan")
        low, high = row.quartiles
        cells.append(
            (
                row.method,
                f"{row.l2:.4f}",
                f"{ratio:.2f}",
                _number(row.perceptual),
                _number(row.identity),
                f"{row.ms_ssim:.4f}",
                f"{row.seconds:.3f}",
                f"{low:.3f}-{high:.3f}",
                str(row.images),
            )
        )
    return _table(titles, cells)


def _points(step: str, points: Sequence[Point]) -> str:
    timed = any(point.seconds is not None for point in points)
    titles = (step, "L2", "perceptual", "identity", *(("seconds",) if timed else ()))
    cells = []
    for p in points:
        seconds = (_number(p.seconds, 3),) if timed else ()
        cells.append((str(p.step), f"{p.l2:.4f}", _number(p.perceptual), _number(p.identity), *seconds))
    return _table(titles, cells)


def _optimized(found: Optimized) -> str:
    lines = [f"the first {found.rows[0].images} of these images, and what optimization finds for each", ""]
    lines.append(_rows(found.rows))
    if any(row.method == "offsets" for row in found.rows):
        lines.append("offsets: not a rival but a bound, the best weight offsets that were found for each image")
    lines += ["", f"W encoder's L2 over that of W optimization: {found.encoder_over_optimization:.2f}", ""]
    lines += ["PTI after its steps (seconds without the search for the pivot)", _points("step", found.tuning)]
    if found.equivalence:
        titles = ("hyperstyle's", "mean", "PTI steps", "seconds", "x its time", "with pivot")
        cells = [
            (
                _NAMES[one.figure],
                f"{one.target:.4f}",
                "never" if one.steps is None else f"{one.steps:.1f}",
                _number(one.seconds, 2),
                _number(one.times, 1),
                _number(one.times_with_pivot, 1),
            )
            for one in found.equivalence
        ]
        lines += ["", "PTI steps that are as good as hyperstyle", _table(titles, cells)]
    return "\n".join(lines)


def _edit(curve: EditCurve) -> str:
    kind = "with offsets" if curve.offsets else "without offsets"
    titles = ("strength", curve.trait, "std", "change", "identity", "to input")
    cells = [
        (
            f"{p.strength:+.2f}",
            f"{p.trait:.3f}",
            f"{p.trait_std:.3f}",
            f"{p.change:+.3f}",
            f"{p.identity:.4f}",
            f"{p.identity_to_crop:.4f}",
        )
        for p in curve.points
    ]
    leak = ", ".join(f"{name} {value:.3f}" for name, value in curve.leak.items()) or "-"
    return (
        f"{curve.edit}, {kind}\n{_table(titles, cells)}\n"
        f"monotone {curve.monotone:.3f}   Spearman {curve.spearman:.4f}   leak {leak}"
    )


def _at_equal_effect(edit: str, curves: Sequence[EffectCurve]) -> str:
    titles = (f"change of {curves[0].trait}", *(curve.method for curve in curves), "images")
    rows = [
        (f"{first.change:+.2f}", *(f"{c.points[i].identity:.4f}" for c in curves), str(first.pictures))
        for i, first in enumerate(curves[0].points)
    ]
    rows.append(("mean", *(_number(curve.mean) for curve in curves), ""))
    return f"{edit}\n{_table(titles, rows)}"


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be, the first one to the left."""
    lines = [titles, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    return "\n".join(
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )
