"""Plots: PNGs of the curves, and a clear message where matplotlib is missing."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image

from hyperstyle import MissingDependencyError
from hyperstyle.evaluation import Optimized, Point, Reconstruction, Row
from hyperstyle.evaluation.plots import check_matplotlib, reconstruction_plot

ROW = Row("hyperstyle", 0.1, 0.2, 0.9, 0.9, 0.1, (0.1, 0.1), 1, 4)
CURVE = (Point(0, 0.2, 0.3, 0.7), Point(1, 0.1, 0.2, 0.9))


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.size


def test_a_panel_for_each_figure_and_a_row_for_each_curve() -> None:
    optimized = Optimized((ROW,), 1.0, CURVE, (), {})
    both = size_of(reconstruction_plot(Reconstruction((ROW,), CURVE, optimized, {})))
    curve_only = size_of(reconstruction_plot(Reconstruction((ROW,), CURVE, None, {})))
    unjudged = Row("hyperstyle", 0.1, None, None, 0.9, 0.1, (0.1, 0.1), 1, 4)
    single_panel = size_of(reconstruction_plot(Reconstruction((unjudged,), CURVE, None, {})))
    assert both == (curve_only[0], 2 * curve_only[1])
    assert curve_only == (3 * single_panel[0], single_panel[1])


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install \"hyperstyle-inversion\[plots\]\""):
        check_matplotlib()
