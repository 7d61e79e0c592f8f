"""The tables of a report, as its template and its CSV files need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from hyperstyle.evaluation.engine import Job, Study, is_feed_forward
from hyperstyle.evaluation.equal_effect import EffectCurve
from hyperstyle.evaluation.measures import Measures
from hyperstyle.evaluation.plots import has_matplotlib
from hyperstyle.evaluation.report.options import ReportOptions
from hyperstyle.evaluation.tables import Column, Table, Value, missing_parts, published_table
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model.parts import Model

_PAPER = {
    "optimize-w+": (0.78, 0.90, 0.09, 0.020, 227.55),
    "pti": (0.85, 0.92, 0.09, 0.015, 55.715),
    "idinvert": (0.18, 0.68, 0.22, 0.061, 0.04),
    "psp": (0.56, 0.76, 0.17, 0.034, 0.106),
    "e4e": (0.50, 0.72, 0.20, 0.052, 0.106),
    "restyle-psp": (0.66, 0.79, 0.13, 0.030, 0.366),
    "restyle-e4e": (0.52, 0.74, 0.19, 0.041, 0.366),
    "hyperstyle": (0.76, 0.84, 0.09, 0.019, 1.234),
}
"""Reconstruction of human faces as HyperStyle's Table 2 has it, in the order of `_PAPER_COLUMNS`."""

_METHOD = Column("method", "method")
_SECONDS = Column("seconds", "seconds", ".2f", "low")
_PAPER_COLUMNS = (
    Column("identity", "identity", ".2f", "high"),
    Column("ms_ssim", "MS-SSIM", ".2f", "high"),
    Column("lpips", "LPIPS", ".2f", "low"),
    Column("l2", "L2", ".3f", "low"),
    _SECONDS,
)


def parameter_table(model: Model) -> Table:
    """Table 1: the number of parameters of each network."""
    rows: list[Mapping[str, Value]] = [
        {"part": name, "parameters": sum(p.numel() for p in network.parameters())}
        for name, network in model.networks.items()
    ]
    return Table((Column("part", "part"), Column("parameters", "parameters", ",.0f")), rows)


def methods_table(rows: Sequence[Mapping[str, Value]], measures: Measures, *, distances: str = "") -> Table:
    """Table 2, of rows as `Measures.row` gives them; `distances` names the network of FID and KID, "" without."""
    columns = [_METHOD, *measures.columns(rows)]
    if distances:
        columns += [
            Column("fid", f"FID ({distances})", ".4f", "low"),
            Column("kid", f"KID ({distances})", ".5f", "low"),
        ]
    return Table([*columns, _SECONDS, Column("memory", "peak MiB", ",.0f", "low")], rows)


def paper_table(jobs: Sequence[Job]) -> Table:
    """What the paper's Table 2 has of these methods, on human faces."""
    return published_table(_PAPER_COLUMNS, _PAPER, [job.method for job in jobs if isinstance(job.method, str)])


def variants_table(study: Study, jobs: Sequence[Job]) -> Table:
    """Table 3: the model's own best method, and that of each other model."""
    rows = []
    for job in jobs:
        row = study.measures.row(job.label, study.rows(job.label, job.count)) | {"passes": 0}
        network = job.inverter.model.hypernetwork
        if network is not None:
            steps = job.steps if isinstance(job.steps, int) else job.inverter.model.steps
            row |= {"passes": steps, "heads": network.config.heads}
            row |= {"layers": len(network.config.layers), "parameters": network.parameter_count()}
        rows.append(row)
    columns = [Column("method", "variant"), Column("heads", "heads"), Column("layers", "layers")]
    columns += [Column("passes", "steps"), Column("parameters", "parameters", ",.0f")]
    return Table([*columns, *study.measures.columns(rows), _SECONDS], rows)


def kept_identity_table(curves: Sequence[EffectCurve]) -> Table:
    """Identity at equal effect of edits: for each method the mean over the edits that could be compared."""
    means: dict[str, list[float]] = {}
    for curve in curves:
        if curve.mean is not None:
            means.setdefault(curve.method, []).append(curve.mean)
    rows: list[Mapping[str, Value]] = [
        {"method": name, "identity": fmean(values), "edits": len(values)} for name, values in means.items()
    ]
    return Table((_METHOD, Column("identity", "identity kept", ".3f", "high"), Column("edits", "edits")), rows)


def effect_tables(groups: Mapping[str, Sequence[EffectCurve]]) -> dict[str, Table]:
    """Figure 6 as numbers: a table of its points, and one of its means.

    Args:
        groups: curves by the group of methods that are compared.
    """
    points: list[Mapping[str, Value]] = []
    means: list[Mapping[str, Value]] = []
    for group, curves in groups.items():
        for curve in curves:
            about = {"group": group, "edit": curve.edit, "trait": curve.trait, "method": curve.method}
            points += [{**about, "change": point.change, "identity": point.identity} for point in curve.points]
            low, high = curve.change_range
            means.append({**about, "identity": curve.mean, "low": low, "high": high, "pictures": len(curve.changes)})
    return {"figure6": Table((), points), "figure6_means": Table((), means)}


def not_measured(
    inverter: HyperStyleInverter,
    options: ReportOptions,
    *,
    images: int,
    optimized: int,
    edits: Sequence[str],
    ablations: bool,
    photos: bool,
) -> Table:
    """All that a report of this model lacks; of several reasons why one thing is missing the first.

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
    no_evaluator, no_hypernetwork = model.evaluator is None, model.hypernetwork is None
    feed_forward = is_feed_forward(model, inverter.methods[0])
    unread = [name for name in model.edits if name not in edits] if options.edits is None else []
    lpips, unnamed_identity = "--lpips yes", no_evaluator and options.identity is None
    lpips_instead = ", with LPIPS in its place" if model.perceptual is None else ""
    identity_files = "--identity FILE --mtcnn FOLDER" if model.domain.similarity == "arcface" else "--identity FILE"
    fid, few = "FID and KID", images < 2
    search = "W+ optimization and PTI (Table 2b)"
    no_search = options.methods is None and not optimized
    search_off = "--optimized 0 was given" if options.optimized == 0 else "the model has no perceptual network for them"
    figure6 = "identity over edits (Figure 6)"
    unread_why = f"the evaluator reads no trait of {', '.join(unread)}"
    # whether it is missing, what, because, what would change it
    return missing_parts(
        (
            (not has_matplotlib(), "plots", "matplotlib is not installed", 'pip install "hyperstyle-inversion[plots]"'),
            (options.lpips is False, "LPIPS", "--lpips no was given", lpips),
            (
                options.lpips is None and not no_evaluator,
                "LPIPS",
                "the distance of the model's evaluator stands in its place",
                lpips,
            ),
            (
                unnamed_identity,
                "identity",
                "the model has no evaluator, and no network of identity was named",
                identity_files,
            ),
            (not options.fid, fid, "they were not asked for", "--fid FILE.pth" if no_evaluator else "--fid"),
            (few, fid, "there is one image", "more images"),
            (no_search, search, search_off, f"--optimized N{lpips_instead}"),
            (
                no_evaluator,
                figure6,
                "the model has no evaluator that reads traits and identity",
                "an evaluator in the model folder",
            ),
            (not options.edited, figure6, "--edited 0 was given", "--edited N"),
            (not model.edits, figure6, "the model has no edits", "edits in the model folder"),
            (bool(unread), figure6, unread_why, "the trait in the edit's info"),
            (no_hypernetwork, "HyperStyle", "the model has no hypernetwork", "hyperstyle train hyperstyle"),
            (not ablations, "other forms of the model (Table 3)", "none were named", "--ablation NAME=MODEL"),
            (not feed_forward, "the sheets", "the model has no network that inverts", "hyperstyle train encoder"),
            (feed_forward and few, "interpolation", "there is one image", "more images"),
            (
                feed_forward and not photos,
                "photos out of the domain (Figure 8)",
                "none were named",
                "--photos FOLDER",
            ),
        )
    )
