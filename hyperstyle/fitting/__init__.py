"""Fitting edits: codes are sampled and scored, directions are found among them, and what they do is measured."""

from __future__ import annotations

from hyperstyle.edits.sampling import sample_w
from hyperstyle.fitting.directions import fit_components, fit_interfacegan, with_report
from hyperstyle.fitting.measure import Evaluator, Measured, measure_edits
from hyperstyle.fitting.scores import Scorer, Scores, load_scores, network_scorer, save_scores, score_codes

__all__ = [
    "Evaluator",
    "Measured",
    "Scorer",
    "Scores",
    "fit_components",
    "fit_interfacegan",
    "load_scores",
    "measure_edits",
    "network_scorer",
    "sample_w",
    "save_scores",
    "score_codes",
    "with_report",
]
