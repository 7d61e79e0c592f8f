"""Measuring: reconstruction tables over held-out pictures."""

from __future__ import annotations

from hyperstyle.evaluation.reconstruction import Row, evaluate_reconstruction, held_out_avatars

__all__ = ["Row", "evaluate_reconstruction", "held_out_avatars"]
