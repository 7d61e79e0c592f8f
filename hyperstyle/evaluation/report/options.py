"""What goes into a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperstyle.evaluation.methods import Trial

__all__ = ["ReportOptions"]


@dataclass(frozen=True)
class ReportOptions:
    """What goes into a report.

    Attributes:
        methods: None is all of the model's networks and, with `optimized`, W+ optimization and PTI.
        optimized: images, the first ones, for methods that optimize each on its own; None is 4 where the model has a
            perceptual network for them, else 0.
        edits: names; None is every edit whose trait the model's evaluator reads.
        points: strengths over the range of each edit.
        edited: images, the first ones, that are edited for Figure 6; 0 leaves it out.
        shown: images on each sheet.
        adapt: steps of tuning the generator to a comic for the sheet of domain adaptation; 0 leaves it out.
        lpips, identity, mtcnn: see `choose_measures`.
        fid: whether FID and KID are measured; see `features_of`.
        inception: the file of its weights.
        title: of the page.
        command: what made it, for the page.
    """

    methods: tuple[Trial, ...] | None = None
    optimized: int | None = None
    edits: tuple[str, ...] | None = None
    points: int = 5
    edited: int = 16
    shown: int = 4
    adapt: int = 32
    lpips: bool | None = None
    identity: Path | None = None
    mtcnn: Path | None = None
    fid: bool = False
    inception: Path | None = None
    title: str = ""
    command: str = ""
