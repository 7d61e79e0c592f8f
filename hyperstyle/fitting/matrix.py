"""The entanglement matrix as PNG, the only file of fitting that needs matplotlib, an optional package."""

from __future__ import annotations

import io
from collections.abc import Mapping

from hyperstyle.errors import EditError, MissingDependencyError
from hyperstyle.fitting.measure import Measured

_CELL = 0.17  # inches
_MARGINS = (1.7, 1.5)


def entanglement_plot(measured: Mapping[str, Measured]) -> bytes:
    """A PNG with a row for each edit and a column for each trait: the mean change for one unit of the own trait's.

    The own trait is 1; blue goes up with it, red goes down.

    Raises:
        EditError: nothing was measured.
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            'plots need matplotlib, which is not installed. Run: pip install "hyperstyle-inversion[plots]".'
        ) from error
    if not measured:
        raise EditError("no edit was measured, so there is no matrix to draw.")
    names = list(dict.fromkeys(name for result in measured.values() for name in (result.trait, *result.leak)))
    own_traits = list(dict.fromkeys(result.trait for result in measured.values()))
    traits = [*own_traits, *(name for name in names if name not in own_traits)]
    rows = [
        [1.0 if name == result.trait else result.leak.get(name, 0.0) for name in traits] for result in measured.values()
    ]
    size = (_MARGINS[0] + _CELL * len(traits), _MARGINS[1] + _CELL * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(rows, cmap="RdBu", vmin=-1, vmax=1)
    axes.set_xticks(range(len(traits)), traits, rotation=90, fontsize=6)
    axes.set_yticks(range(len(rows)), list(measured), fontsize=6)
    axes.set_xlabel("trait that the evaluator reads", fontsize=7)
    axes.set_ylabel("edit", fontsize=7)
    figure.colorbar(image, ax=axes, shrink=0.6).ax.tick_params(labelsize=6)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
