"""Curves as PNG, by matplotlib, an optional package."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hyperstyle.errors import MissingDependencyError
from hyperstyle.evaluation.editing import Editing
from hyperstyle.evaluation.equal_effect import EqualEffect
from hyperstyle.evaluation.figures import Point, Row
from hyperstyle.evaluation.methods import MethodRow, Methods
from hyperstyle.evaluation.reconstruction import Reconstruction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_matplotlib", "editing_plot", "equal_effect_plot", "methods_plot", "reconstruction_plot"]

_FIGURES = {"l2": "L2", "perceptual": "perceptual distance", "identity": "identity similarity"}


def check_matplotlib() -> None:
    """Raises MissingDependencyError where plots cannot be drawn: better before the measuring than after."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise MissingDependencyError(
            'plots need matplotlib, which is not installed. Run: pip install "hyperstyle-inversion[plots]".'
        ) from error


def reconstruction_plot(result: Reconstruction) -> bytes:
    """A PNG with a panel per figure over the passes of the hypernetwork, and one over the steps of PTI.

    A dashed line beside the steps of PTI is the mean of `hyperstyle` on the same images.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    shown = [key for key in _FIGURES if getattr(result.rows[0], key) is not None]
    curves: list[tuple[str, tuple[Point, ...], Row | None]] = []
    if result.curve:
        curves.append(("passes of the hypernetwork", result.curve, None))
    if result.optimized is not None:
        reference = next((row for row in result.optimized.rows if row.method == "hyperstyle"), None)
        curves.append(("steps of PTI", result.optimized.tuning, reference))
    figure = Figure(figsize=(4 * len(shown), 3.2 * max(1, len(curves))), layout="constrained")
    for i, (title, points, reference) in enumerate(curves):
        for j, key in enumerate(shown):
            axes = figure.add_subplot(len(curves), len(shown), i * len(shown) + j + 1)
            axes.plot([p.step for p in points], [getattr(p, key) for p in points], marker=".")
            if reference is not None:
                axes.axhline(getattr(reference, key), linestyle="--", color="gray", label="hyperstyle")
                axes.legend()
            axes.set_xlabel(title)
            axes.set_ylabel(_FIGURES[key])
    return _png(figure)


def methods_plot(result: Methods) -> bytes:
    """A PNG of quality over time: L2, and identity at equal measured effect of edits, over the seconds per image.

    A method at several numbers of steps is a line, its name in the margin beside its last point. A dotted line is a
    tenth of PTI's time.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    methods: dict[str, list[MethodRow]] = {}
    for one in sorted(result.rows, key=lambda one: one.trial.steps or 0):
        methods.setdefault(one.trial.method, []).append(one)
    panels = {"L2 (log scale)": {name: [one.row.l2 for one in rows] for name, rows in methods.items()}}
    if all(one.editability is not None for one in result.rows):
        edited = {name: [one.editability or 0.0 for one in rows] for name, rows in methods.items()}
        panels["identity to input at equal effect of edits"] = edited
    figure = Figure(figsize=(7.2 * len(panels), 4.8), layout="constrained")
    for i, (what, values) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), i + 1, xscale="log", yscale="linear" if i else "log")
        ends: dict[str, tuple[float, float]] = {}
        for name, rows in methods.items():
            seconds = [one.row.seconds for one in rows]
            axes.plot(seconds, values[name], marker="o", markersize=4, label=name)
            ends[name] = seconds[-1], values[name][-1]
        if "pti" in methods:
            tenth = methods["pti"][-1].row.seconds / 10
            axes.axvline(tenth, color="gray", linestyle=":", zorder=0)
            axes.annotate("a tenth of PTI", (tenth, 1.01), xycoords=axes.get_xaxis_transform(), ha="center", fontsize=8)
        axes.set_xlabel("seconds per image (log scale)")
        axes.set_ylabel(what)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.grid(alpha=0.25, which="both")
        _named(axes, ends)
    return _png(figure)


def _named(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Names of lines: beside their last points in the left half, and in the right margin, without overlaps."""
    gap = 0.055  # of the height, from one name to the next
    colors = {line.get_label(): line.get_color() for line in axes.lines}
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # as they are now
    at = {name: axes.transAxes.inverted().transform(axes.transData.transform(end)) for name, end in ends.items()}
    margin = sorted((name for name in ends if at[name][0] >= 0.5), key=lambda name: float(at[name][1]))
    place = -gap
    heights = []
    for name in margin:
        place = max(place + gap, float(at[name][1]))
        heights.append(place)
    for k, (name, reached) in enumerate(zip(margin, heights, strict=True)):
        height = min(reached, 1.0 - gap * (len(margin) - 1 - k))  # room for those above it
        axes.annotate(
            name,
            ends[name],
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            color=colors[name],
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": colors[name], "linewidth": 0.6, "alpha": 0.6},
        )
    for name in ends:
        if name not in margin:
            axes.annotate(name, ends[name], xytext=(6, 4), textcoords="offset points", color=colors[name], fontsize=9)


def editing_plot(result: Editing) -> bytes:
    """A PNG with a panel per edit: identity similarity over the measured change, with offsets and without."""
    kinds = {True: "with offsets", False: "without offsets"}
    lines = [(c.edit, c.trait, kinds[c.offsets], [(p.change, p.identity) for p in c.points]) for c in result.curves]
    return _over_change(lines, "identity similarity to unedited")


def equal_effect_plot(result: EqualEffect) -> bytes:
    """A PNG with a panel per edit: identity similarity to the input over the measured change, a curve per method."""
    lines = [(c.edit, c.trait, c.method, [(p.change, p.identity) for p in c.points]) for c in result.curves]
    return _over_change(lines, "identity similarity to input")


def _over_change(lines: Sequence[tuple[str, str, str, Sequence[tuple[float, float]]]], what: str) -> bytes:
    """A panel per edit; lines are (edit, trait, label, points of measured change and figure)."""
    check_matplotlib()
    from matplotlib.figure import Figure

    edits = list(dict.fromkeys(edit for edit, *_ in lines))
    across = min(4, len(edits))
    down = -(-len(edits) // across)
    figure = Figure(figsize=(4.2 * across, 3.6 * down), layout="constrained")
    panels = {edit: figure.add_subplot(down, across, i + 1) for i, edit in enumerate(edits)}
    for edit, trait, label, points in lines:
        axes = panels[edit]
        axes.plot([change for change, _ in points], [value for _, value in points], marker=".", label=label)
        axes.set_xlabel(f"measured change of {trait} (population std)")
    for edit, axes in panels.items():
        axes.set_title(edit)
        axes.set_ylabel(what)
    labels = list(dict.fromkeys(label for _, _, label, _ in lines))
    figure.legend(*panels[edits[0]].get_legend_handles_labels(), loc="outside lower center", ncols=len(labels))
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
