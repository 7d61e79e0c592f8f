"""Plots by matplotlib, an optional package: PNG files of the commands, and SVG inside the report."""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hyperstyle.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hyperstyle.evaluation.editing import Editing
    from hyperstyle.evaluation.equal_effect import EffectCurve
    from hyperstyle.evaluation.figures import Point, Row
    from hyperstyle.evaluation.journal import Record
    from hyperstyle.evaluation.methods import EqualEffect, MethodRow, Methods
    from hyperstyle.evaluation.reconstruction import Reconstruction
    from hyperstyle.evaluation.tables import Value

COLORS = ("#4a82cc", "#d1602b", "#3a8f5c", "#a067b5", "#c04a58", "#8a7a2f", "#2f8f96", "#6b6f76")
"""Of the lines in the report, legible on light and dark paper."""

Line = Sequence[tuple[float, float]]
"""Points (x, y) in their order."""

_FIGURES = {"l2": "L2", "perceptual": "perceptual distance", "identity": "identity similarity"}
_OVER_TIME = {"l2": "L2", "lpips": "LPIPS", "perceptual": "perceptual distance"}
_SCALING_AXES = {
    "steps": "steps of the hypernetwork",
    "batch": "images inverted together",
    "size": "side of the image, px",
    "edits": "edits of one image",
}


def has_matplotlib() -> bool:
    """Whether plots can be drawn."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        return False
    return True


def check_matplotlib() -> None:
    """Raises MissingDependencyError where plots cannot be drawn: better before the measuring than after."""
    if not has_matplotlib():
        raise MissingDependencyError(
            'plots need matplotlib, which is not installed. Run: pip install "hyperstyle-inversion[plots]".'
        )


# ---- PNG files of the commands ----


def reconstruction_plot(result: Reconstruction) -> bytes:
    """A PNG with a panel per figure over the steps of the hypernetwork, and one over the steps of PTI.

    A dashed line over the steps of PTI is the mean of `hyperstyle` on the same images.
    """
    shown = [key for key in _FIGURES if getattr(result.rows[0], key) is not None]
    curves: list[tuple[str, tuple[Point, ...], Row | None]] = []
    if result.curve:
        curves.append(("steps of the hypernetwork", result.curve, None))
    if result.optimized is not None:
        reference = next((row for row in result.optimized.rows if row.method == "hyperstyle"), None)
        curves.append(("steps of PTI", result.optimized.tuning, reference))
    figure, panels = _panels(len(shown), max(1, len(curves)), (4.0, 3.2))
    for (title, points, reference), row in zip(curves, panels, strict=False):
        for axes, key in zip(row, shown, strict=True):
            axes.plot([p.step for p in points], [getattr(p, key) for p in points], marker=".")
            if reference is not None:
                axes.axhline(getattr(reference, key), linestyle="--", color="gray", label="hyperstyle")
                axes.legend()
            axes.set_xlabel(title)
            axes.set_ylabel(_FIGURES[key])
    return _png(figure)


def methods_plot(result: Methods) -> bytes:
    """A PNG of quality over time: L2, and identity at equal measured effect of edits, over the seconds per image.

    A method at several numbers of steps is a line. A dotted line is a tenth of PTI's time.
    """
    methods: dict[str, list[MethodRow]] = {}
    for method in sorted(result.rows, key=lambda method: method.trial.steps or 0):
        methods.setdefault(method.trial.method, []).append(method)
    lines = {"L2 (log scale)": {name: [(o.row.seconds, o.row.l2) for o in rows] for name, rows in methods.items()}}
    if all(method.editability is not None for method in result.rows):
        lines["identity to input at equal effect of edits"] = {
            name: [(o.row.seconds, o.editability or 0.0) for o in rows] for name, rows in methods.items()
        }
    figure, panels = _panels(len(lines), 1, (7.2, 4.8))
    for i, (axes, what) in enumerate(zip(panels[0], lines, strict=True)):
        axes.set(xscale="log", yscale="linear" if i else "log", xlabel="seconds per image (log scale)", ylabel=what)
        for name, points in lines[what].items():
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
        if "pti" in methods:
            tenth = methods["pti"][-1].row.seconds / 10
            axes.axvline(tenth, color="gray", linestyle=":", zorder=0)
            axes.annotate("a tenth of PTI", (tenth, 1.01), xycoords=axes.get_xaxis_transform(), ha="center", fontsize=8)
        _plain_ticks(axes)
        axes.grid(alpha=0.25, which="both")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right center")
    return _png(figure)


def editing_plot(result: Editing) -> bytes:
    """A PNG with a panel per edit: identity similarity over the measured change, with offsets and without."""
    kinds = {True: "with offsets", False: "without offsets"}
    lines = [(c.edit, c.trait, kinds[c.offsets], [(p.change, p.identity) for p in c.points]) for c in result.curves]
    return _over_change(lines, "identity similarity to unedited")


def equal_effect_plot(result: EqualEffect) -> bytes:
    """A PNG with a panel per edit: identity similarity to the input over the measured change, a curve per method."""
    lines = [(c.edit, c.trait, c.method, _points(c)) for c in result.curves]
    return _over_change(lines, "identity similarity to input")


def scaling_plot(costs: Sequence[Record]) -> bytes:
    """A PNG: a column for what was varied, seconds above and, where they were measured, memory below.

    Args:
        costs: those of `measure_scaling`.
    """
    columns = list(dict.fromkeys(cost["over"] for cost in costs))
    with_memory = any(cost["peak"] is not None for cost in costs)
    figure, panels = _panels(len(columns), 1 + with_memory, (3.6, 3.0))
    for row, unit in zip(panels, ("seconds", "peak memory, GiB"), strict=False):
        for axes, over in zip(row, columns, strict=True):
            for way in dict.fromkeys(cost["way"] for cost in costs):
                line = [cost for cost in costs if (cost["over"], cost["way"]) == (over, way)]
                points = [(cost["value"], cost["seconds"]["median"]) for cost in line]
                if unit != "seconds":
                    points = [(cost["value"], cost["peak"] / 2**30) for cost in line if cost["peak"] is not None]
                axes.plot(*zip(*points, strict=True), marker=".", label={"fast": "library"}.get(way, way))
            axes.set(ylim=(0, 1.08 * axes.get_ylim()[1]), ylabel=unit, xlabel=_SCALING_AXES[over])
            axes.grid(alpha=0.25)
    panels[0][0].legend()
    return _png(figure)


# ---- SVG of the report ----


def over_time_plots(rows: Sequence[Mapping[str, Value]]) -> list[str]:
    """SVG of figures over seconds, both axes logarithmic, a dot for each method in the order of `COLORS`.

    Args:
        rows: of a table of methods: "method", "seconds" and figures.
    """
    plots = []
    for key, title in _OVER_TIME.items():
        dots = {
            i: [(seconds, value)]
            for i, row in enumerate(rows)
            if isinstance(seconds := row["seconds"], float) and isinstance(value := row.get(key), float)
            if min(seconds, value) > 0
        }
        if len(dots) > 1:
            plots.append(
                _report_plot(f"{title} over time", "seconds per image", title, dots, size=(4.8, 3.2), log=True)
            )
    return plots


def effect_plots(curves: Sequence[EffectCurve]) -> list[str]:
    """SVG of identity over the measured change, one for each edit, a line for each method in the order of `COLORS`."""
    methods = list(dict.fromkeys(curve.method for curve in curves))
    plots = []
    for edit, trait in dict.fromkeys((curve.edit, curve.trait) for curve in curves):
        lines = {methods.index(curve.method): _points(curve) for curve in curves if curve.edit == edit}
        plots.append(_report_plot(edit, f"measured change of {trait}", "identity", lines, size=(3.6, 2.7)))
    return plots


def _report_plot(
    title: str, x: str, y: str, lines: Mapping[int, Line], *, size: tuple[float, float], log: bool = False
) -> str:
    """A quiet panel: lines by the index of their color, seen on light and dark paper; text as the style sheet says."""
    figure, ((axes,),) = _panels(1, 1, size)
    for i, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=6 if log else 2.5, color=COLORS[i % len(COLORS)])
    axes.set_title(title, loc="left", fontsize=10, gid="title")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8.5, which="both", color="#8a9099", length=2)
    axes.grid(color="#8a9099", alpha=0.25, linewidth=0.7, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#8a9099")
    if log:
        axes.set(xscale="log", yscale="log")
        axes.margins(0.12)
        _plain_ticks(axes)
    return _svg(figure)


# ---- what they share ----


def _points(curve: EffectCurve) -> Line:
    return [(point.change, point.identity) for point in curve.points]


def _panels(columns: int, rows: int, size: tuple[float, float]) -> tuple[Figure, list[list[Axes]]]:
    """A figure with panels of so many inches (width, height) each, row by row."""
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False)]


def _over_change(lines: Sequence[tuple[str, str, str, Line]], what: str) -> bytes:
    """A panel per edit; lines are (edit, trait, label, points of measured change and figure)."""
    edits = list(dict.fromkeys(edit for edit, *_ in lines))
    columns = min(4, len(edits))
    figure, rows = _panels(columns, -(-len(edits) // columns), (4.2, 3.6))
    free = [axes for row in rows for axes in row]
    panels = dict(zip(edits, free, strict=False))
    for axes in free[len(edits) :]:
        axes.remove()
    for edit, trait, label, points in lines:
        axes = panels[edit]
        axes.plot(*zip(*points, strict=True), marker=".", label=label)
        axes.set(title=edit, xlabel=f"measured change of {trait} (population std)", ylabel=what)
    labels = list(dict.fromkeys(label for _, _, label, _ in lines))
    figure.legend(*panels[edits[0]].get_legend_handles_labels(), loc="outside lower center", ncols=len(labels))
    return _png(figure)


def _plain_ticks(axes: Axes) -> None:
    """0.05, not 5 x 10^-2; between powers of ten only where there is room."""
    from matplotlib.ticker import NullFormatter

    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}" if high < 20 * low else NullFormatter())


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _svg(figure: Figure) -> str:
    """An `<svg>` element that stands in a page among others: its text is text, and no name of it is taken twice."""
    from matplotlib import rc_context

    buffer, unsaid = io.StringIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "hyperstyle"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=unsaid)
    text = buffer.getvalue()
    head, _, body = text[text.index("<svg") :].strip().partition(">")
    head = re.sub(r' (xmlns(:\w+)?|version|width|height)="[^"]*"', "", head) + ' class="plot" role="img"'
    body = re.sub(r' id="[\w.]+_\d+"', "", body)  # of parts that nothing refers to; the others are hashes
    return head + ">" + body.replace('id="title"', 'class="title"')  # what `gid` names, for the style sheet
