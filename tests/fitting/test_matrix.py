"""The plot of the entanglement."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image

from hyperstyle.errors import EditError, MissingDependencyError
from hyperstyle.fitting import Measured
from hyperstyle.fitting.matrix import entanglement_plot


def measured(trait: str, *leaking_traits: str) -> Measured:
    steps = (-1.0, 0.0, 1.0)
    return Measured(trait, steps, steps, (), -1.0, 1.0, 1.0, dict.fromkeys(leaking_traits, -0.5))


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.size


def test_more_edits_make_it_higher_and_more_traits_wider() -> None:
    single = size_of(entanglement_plot({"age": measured("age", "smile")}))
    higher = size_of(entanglement_plot({"age": measured("age", "smile"), "grin": measured("smile", "age")}))
    wider = size_of(entanglement_plot({"age": measured("age", "smile", "pose", "beard")}))
    assert higher[0] == single[0]
    assert higher[1] > single[1]
    assert wider[0] > single[0]
    assert wider[1] == single[1]


def test_nothing_measured_is_refused() -> None:
    with pytest.raises(EditError, match="no matrix"):
        entanglement_plot({})


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install \"hyperstyle-inversion\[plots\]\""):
        entanglement_plot({"age": measured("age")})
