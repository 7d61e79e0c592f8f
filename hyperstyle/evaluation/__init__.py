"""Measuring, over held-out images: how near inversions come, and what edits do."""

from __future__ import annotations

from hyperstyle.evaluation.editing import EditCurve, Editing, EditPoint, evaluate_editing
from hyperstyle.evaluation.figures import HELD_OUT_SEED, Point, Row, machine
from hyperstyle.evaluation.held_out import HELD_OUT, held_out_avatars
from hyperstyle.evaluation.optimized import Equivalence, Optimization, Optimized
from hyperstyle.evaluation.reconstruction import Reconstruction, evaluate_reconstruction

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
