"""Measuring, over held-out images: how near inversions come, and what edits do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperstyle.runtime.lazy import lazy_names

__all__ = [
    "HELD_OUT",
    "HELD_OUT_SEED",
    "EditCurve",
    "EditPoint",
    "Editing",
    "Equivalence",
    "Optimization",
    "Optimized",
    "Point",
    "Reconstruction",
    "Row",
    "evaluate_editing",
    "evaluate_reconstruction",
    "held_out_avatars",
    "machine",
]

if TYPE_CHECKING:
    from hyperstyle.evaluation.editing import EditCurve, Editing, EditPoint, evaluate_editing
    from hyperstyle.evaluation.figures import HELD_OUT_SEED, Point, Row, machine
    from hyperstyle.evaluation.held_out import HELD_OUT, held_out_avatars
    from hyperstyle.evaluation.optimized import Equivalence, Optimization, Optimized
    from hyperstyle.evaluation.reconstruction import Reconstruction, evaluate_reconstruction
else:  # hidden from type checkers, which would accept any name
    __getattr__ = lazy_names(
        __name__,
        {
            "editing": (
                "EditCurve",
                "Editing",
                "EditPoint",
                "evaluate_editing",
            ),
            "figures": (
                "HELD_OUT_SEED",
                "Point",
                "Row",
                "machine",
            ),
            "held_out": (
                "HELD_OUT",
                "held_out_avatars",
            ),
            "optimized": (
                "Equivalence",
                "Optimization",
                "Optimized",
            ),
            "reconstruction": (
                "Reconstruction",
                "evaluate_reconstruction",
            ),
        },
    )
