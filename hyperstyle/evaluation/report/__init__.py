"""The papers' tables and figures for any model, as one page that a person reads."""

from __future__ import annotations

from hyperstyle.evaluation.report.make import make_report
from hyperstyle.evaluation.report.options import ReportOptions

__all__ = ["ReportOptions", "make_report"]
