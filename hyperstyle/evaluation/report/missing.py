"""What a report does not measure, why, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperstyle.evaluation.engine import is_feed_forward
from hyperstyle.evaluation.report.options import ReportOptions
from hyperstyle.evaluation.tables import Column, Table
from hyperstyle.inverter import HyperStyleInverter

__all__ = ["Missing", "missing_table", "not_measured"]


@dataclass(frozen=True)
class Missing:
    """Something that a report can have and this one has not.

    Attributes:
        what: the figure, table or sheet.
        because: why.
        change: the flag or file that would change it.
    """

    what: str
    because: str
    change: str


def not_measured(
    inverter: HyperStyleInverter,
    options: ReportOptions,
    *,
    images: int,
    optimized: int,
    edits: Sequence[str],
    ablations: bool,
    photos: bool,
    plots: bool = True,
) -> list[Missing]:
    """All that a report of this model lacks; of several reasons why one thing is missing the first.

    Args:
        inverter: the model.
        options: of the report.
        images: how many it is about.
        optimized: how many of them the methods that optimize take.
        edits: names of those that are measured.
        ablations: whether there are any.
        photos: whether there are images from outside the domain.
        plots: whether plots can be drawn.
    """
    model = inverter.model
    no_evaluator = model.evaluator is None
    feed_forward = is_feed_forward(model, inverter.methods[0])
    unread = [name for name in model.edits if name not in edits] if options.edits is None else []
    figure6 = "identity over edits (Figure 6)"
    lpips_instead = ", with LPIPS in its place" if model.perceptual is None else ""
    identity_files = "--identity FILE --mtcnn FOLDER" if model.domain.similarity == "arcface" else "--identity FILE"
    searched = options.methods is not None or bool(optimized)
    # (whether it is missing, what, because, what would change it)
    table: tuple[tuple[bool, str, str, str], ...] = (
        (not plots, "plots", "matplotlib is not installed", 'pip install "hyperstyle-inversion[plots]"'),
        (options.lpips is False, "LPIPS", "--lpips no was given", "--lpips yes"),
        (
            options.lpips is None and not no_evaluator,
            "LPIPS",
            "the distance of the model's evaluator stands in its place",
            "--lpips yes",
        ),
        (
            no_evaluator and options.identity is None,
            "identity",
            "the model has no evaluator, and no network of identity was named",
            identity_files,
        ),
        (not options.fid, "FID and KID", "they were not asked for", "--fid FILE.pth" if no_evaluator else "--fid"),
        (images < 2, "FID and KID", "there is one image", "more images"),
        (
            not searched,
            "W+ optimization and PTI (Table 2b)",
            "--optimized 0 was given" if options.optimized == 0 else "the model has no perceptual network for them",
            f"--optimized N{lpips_instead}",
        ),
        (
            no_evaluator,
            figure6,
            "the model has no evaluator that reads traits and identity",
            "an evaluator in the model folder",
        ),
        (not options.edited, figure6, "--edited 0 was given", "--edited N"),
        (not model.edits, figure6, "the model has no edits", "edits in the model folder"),
        (
            bool(unread),
            figure6,
            f"the evaluator reads no trait of {', '.join(unread)}",
            "the trait in the edit's info",
        ),
        (
            model.hypernetwork is None,
            "HyperStyle, its switches and domain adaptation",
            "the model has no hypernetwork",
            "hyperstyle train hyperstyle",
        ),
        (
            model.hypernetwork is not None and not options.adapt,
            "domain adaptation (Figure 7)",
            "--adapt 0 was given",
            "--adapt STEPS",
        ),
        (not ablations, "other forms of the model (Table 3)", "none were named", "--ablation NAME=MODEL"),
        (
            not feed_forward,
            "the sheets, and images out of the domain",
            "the model has no network that inverts",
            "hyperstyle train encoder",
        ),
        (feed_forward and images < 2, "interpolation", "there is one image", "more images"),
        (feed_forward and not photos, "photos out of the domain (Figure 8)", "none were named", "--photos FOLDER"),
    )
    first: dict[str, Missing] = {}
    for is_missing, what, because, change in table:
        if is_missing:
            first.setdefault(what, Missing(what, because, change))
    return list(first.values())


def missing_table(missing: Sequence[Missing]) -> Table:
    """A line for each."""
    columns = (Column("what", "not measured"), Column("because", "because"), Column("change", "what would change it"))
    rows = [
        {"what": missing_part.what, "because": missing_part.because, "change": missing_part.change}
        for missing_part in missing
    ]
    return Table("not_measured", "", "", columns, rows)
