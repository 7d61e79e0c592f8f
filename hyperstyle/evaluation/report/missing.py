"""What a report does not measure, why, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperstyle.evaluation.methods import Trial
from hyperstyle.evaluation.report.options import ReportOptions
from hyperstyle.evaluation.report.study import alone
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model.parts import Model

__all__ = ["Missing", "not_measured"]


@dataclass(frozen=True)
class Missing:
    """Something that a report can have and this one has not.

    Attributes:
        what: the figure, table or sheet.
        because: why, after "because".
        change: the flag or file that would change it.
    """

    what: str
    because: str
    change: str

    def __str__(self) -> str:
        return f"{self.what}: not measured, because {self.because} ({self.change})."


def not_measured(
    inverter: HyperStyleInverter,
    options: ReportOptions,
    *,
    images: int,
    optimized: int,
    edits: Sequence[str],
    ablations: bool,
    photos: bool,
) -> list[Missing]:
    """All that a report of this model lacks.

    Args:
        inverter: the model.
        options: of the report.
        images: how many it is about.
        optimized: how many of them the methods that optimize take.
        edits: names of those that are measured.
        ablations: whether there are any.
        photos: whether there are images from outside the domain.
    """
    model = inverter.model
    found = _figures(model, options, images)
    if options.methods is None and not optimized:
        why = "--optimized 0 was given" if options.optimized == 0 else "the model has no perceptual network for them"
        flag = "--optimized N" + ", with LPIPS in its place" * (model.perceptual is None)
        found.append(Missing("W+ optimization and PTI (Table 2b)", why, flag))
    found += _editing(model, options, edits)
    if model.hypernetwork is None:
        why = "the model has no hypernetwork"
        found.append(Missing("HyperStyle, its switches and domain adaptation", why, "hyperstyle train hyperstyle"))
    elif not options.adapt:
        found.append(Missing("domain adaptation (Figure 7)", "--adapt 0 was given", "--adapt STEPS"))
    if not ablations:
        found.append(Missing("other forms of the model (Table 3)", "none were named", "--ablation NAME=MODEL"))
    if not alone(model, Trial(inverter.methods[0])):
        why = "the model has no network that inverts"
        found.append(Missing("the sheets, and images out of the domain", why, "hyperstyle train encoder"))
    else:
        if images < 2:
            found.append(Missing("interpolation", "there is one image", "more images"))
        if not photos:
            found.append(Missing("photos out of the domain (Figure 8)", "none were named", "--photos FOLDER"))
    return found


def _figures(model: Model, options: ReportOptions, images: int) -> list[Missing]:
    """Of a reconstruction."""
    found = []
    if options.lpips is False:
        found.append(Missing("LPIPS", "--lpips no was given", "--lpips yes"))
    elif options.lpips is None and model.evaluator is not None:
        found.append(Missing("LPIPS", "the distance of the model's evaluator stands in its place", "--lpips yes"))
    if model.evaluator is None and options.identity is None:
        files = "--identity FILE" + " --mtcnn FOLDER" * (model.domain.similarity == "arcface")
        found.append(Missing("identity", "the model has no evaluator, and no network of identity was named", files))
    if not options.fid:
        flag = "--fid FILE.pth" if model.evaluator is None else "--fid"
        found.append(Missing("FID and KID", "they were not asked for", flag))
    elif images < 2:
        found.append(Missing("FID and KID", "there is one image", "more images"))
    return found


def _editing(model: Model, options: ReportOptions, edits: Sequence[str]) -> list[Missing]:
    """Of Figure 6."""
    what, evaluator = "identity over edits (Figure 6)", "an evaluator in the model folder"
    if model.evaluator is None:
        return [Missing(what, "the model has no evaluator that reads traits and identity", evaluator)]
    if not options.edited:
        return [Missing(what, "--edited 0 was given", "--edited N")]
    if not model.edits:
        return [Missing(what, "the model has no edits", "edits in the model folder")]
    unread = [] if options.edits is not None else [name for name in model.edits if name not in edits]
    if unread:
        why = f"the evaluator reads no trait of {', '.join(unread)}"
        return [Missing(what, why, "the trait in the edit's info")]
    return []
