"""Curves as PNG; the only file that needs matplotlib, an optional package."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperstyle.errors import MissingDependencyError
from hyperstyle.evaluation.editing import Editing
from hyperstyle.evaluation.equal_effect import EqualEffect
from hyperstyle.evaluation.figures import Point, Row
from hyperstyle.evaluation.reconstruction import Reconstruction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_matplotlib", "editing_plot", "equal_effect_plot", "reconstruction_plot"]

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

    A dashed line beside the steps of PTI is the mean of `hyperstyle` on the same pictures.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    shown = [key for key in _FIGURES if getattr(result.rows[0], key) is not None]
    curves: list[tuple[str, tuple[Point, ...], Row | None]] = []
    if result.curve:
        curves.append(("passes of the hypernetwork", result.curve, None))
    if result.optimised is not None:
        reference = next((row for row in result.optimised.rows if row.method == "hyperstyle"), None)
        curves.append(("steps of PTI", result.optimised.tuning, reference))
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
        axes.legend()
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
