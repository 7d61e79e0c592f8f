"""The landmark detector that a model's photos are aligned with."""

from __future__ import annotations

from hyperstyle.align.decision import LandmarkDetector
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.model.parts import ALIGNER, Model

__all__ = ["aligner_of"]


def aligner_of(model: Model) -> LandmarkDetector | None:
    """The detector of the model's own files, else dlib's; None where images of the domain are not aligned.

    It reads its files when it is first called.
    """
    if model.domain.aligner != "face":
        return None
    if model.aligner is None:
        return DlibDetector()
    detector, predictor = (model.aligner / name for name in ALIGNER)
    return DlibDetector(predictor, detector=detector)
