"""`make_report`: measures, into `rows.jsonl`, and writes the page and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.distribution import Features, distance, features_of
from hyperstyle.evaluation.editing import measurable_edits
from hyperstyle.evaluation.engine import Job, Study, Trial, invert_one, is_feed_forward, measure_all
from hyperstyle.evaluation.equal_effect import EffectCurve, effect_curves
from hyperstyle.evaluation.figures import Progress, machine
from hyperstyle.evaluation.images import EvaluationImages
from hyperstyle.evaluation.journal import Journal
from hyperstyle.evaluation.measures import choose_measures
from hyperstyle.evaluation.plots import COLORS, effect_plots, has_matplotlib, over_time_plots
from hyperstyle.evaluation.report import galleries
from hyperstyle.evaluation.report.adaptation import tune_to
from hyperstyle.evaluation.report.filters import comic
from hyperstyle.evaluation.report.jobs import ONE_STEP, jobs_of
from hyperstyle.evaluation.report.missing import Missing, missing_table, not_measured
from hyperstyle.evaluation.report.options import ReportOptions
from hyperstyle.evaluation.report.orderings import (
    Ordering,
    agreements,
    kept_identity_table,
    ordering_table,
    orderings,
    pair_table,
)
from hyperstyle.evaluation.report.out_of_domain import out_of_domain
from hyperstyle.evaluation.report.page import render_page
from hyperstyle.evaluation.report.tables import ablation_table, effect_tables, methods_table, parameter_tables
from hyperstyle.evaluation.tables import Table, Value, to_csv
from hyperstyle.images import load_image, to_tensor
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import make_folder, write_text
from hyperstyle.model.parts import Model

__all__ = ["make_report"]


@dataclass
class _Report:
    """What the files are written from.

    Attributes:
        tables: in the order of the page, for `report.json` and the CSV files.
        orderings: those of the paper, here.
        effects: Figure 6, by the group of methods that are compared.
        missing: what is not measured.
        content: more variables of the template.
    """

    tables: list[Table] = field(default_factory=list)
    orderings: list[Ordering] = field(default_factory=list)
    effects: dict[str, tuple[EffectCurve, ...]] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    content: dict[str, Any] = field(default_factory=dict)


def make_report(
    inverter: HyperStyleInverter,
    images: EvaluationImages,
    out: Path,
    options: ReportOptions | None = None,
    *,
    ablations: Mapping[str, HyperStyleInverter] | None = None,
    photos: EvaluationImages | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Measures a model as the papers do and writes a page about it; the same call goes on where one was interrupted.

    Args:
        inverter: the model.
        images: to measure on.
        out: a folder; it is made.
        options: None is all defaults.
        ablations: other models by name, for Table 3.
        photos: images from outside the domain, for the gallery of these.
        on_progress: called while it goes on.

    Returns:
        The path of the page.

    Raises:
        ConfigError: numbers or names that do not go together, or a folder with rows of another report.
        MethodError, EditError: a method or an edit that the model does not have.
        MissingDependencyError: FID without torch-fidelity, LPIPS without lpips.
        HyperStyleError: a file cannot be written; what was measured before is kept.
    """
    options = options or ReportOptions()
    model = inverter.model
    for name, least in (("points", 2), ("edited", 0), ("shown", 1), ("adapt", 0)):
        if getattr(options, name) < least:
            raise ConfigError(f"{name}={getattr(options, name)}: expected {least} or more.")
    optimized = options.optimized if options.optimized is not None else 4 * (model.perceptual is not None)
    if optimized < 0:
        raise ConfigError(f"optimized={optimized}: expected 0 or more.")
    measures = choose_measures(model, lpips=options.lpips, identity=options.identity, mtcnn=options.mtcnn)
    features = features_of(model, options.inception) if options.fid else None
    edits = _edits(model, options)
    jobs = jobs_of(
        inverter,
        options.methods,
        ablations or {},
        images=len(images),
        optimized=optimized,
        edited=options.edited if edits else 0,
    )
    make_folder(out)
    about = {
        "report": 2,
        "model": jobs[0].model,
        "pictures": images.source,
        "size": model.domain.input_size,
        "measures": [measure.key for measure in measures.chosen],
        "identity": None if options.identity is None else options.identity.name,
        "edits": edits,
        "points": options.points,
    }
    journal = Journal(out / "rows.jsonl", about)
    study = Study(images, measures, journal, out, edits=edits, points=options.points)
    measure_all(study, jobs, on_progress)

    report = _Report()
    report.content |= {"switches": None, "interpolation": None, "out_of_domain": None, "adaptation": None}
    _add_parameters(report, model)
    _add_methods(report, study, jobs, inverter, features, options)
    _add_effects(report, study, jobs, model)
    _add_galleries(report, study, inverter, options, photos, on_progress)
    report.missing = not_measured(
        inverter,
        options,
        images=len(images),
        optimized=optimized,
        edits=edits,
        ablations=bool(ablations),
        photos=photos is not None,
        plots=has_matplotlib(),
    )
    content = report.content | {
        "title": options.title or f"How well {model.domain.name} are inverted",
        "methods_count": sum(job.inverter is inverter for job in jobs),
        "agreements": agreements(report.orderings),
        "pairs": pair_table(report.orderings),
        "missing": missing_table(report.missing) if report.missing else None,
        "model": model,
        "machine": machine(model),
        "measures": measures.chosen,
        "images": images,
        "photos": photos,
        "options": options,
    }
    return _write(out, render_page(content), report, model, images, photos, options)


def _edits(model: Model, options: ReportOptions) -> tuple[str, ...]:
    if options.edits is not None:
        return tuple(measurable_edits(model, options.edits))
    if model.evaluator is None or not options.edited:
        return ()
    return tuple(name for name, edit in model.edits.items() if edit.info.trait in model.evaluator.config.traits)


def _add_parameters(report: _Report, model: Model) -> None:
    """Table 1."""
    tables = parameter_tables(model)
    report.tables += tables
    report.content["parameters"] = tables


def _add_methods(
    report: _Report,
    study: Study,
    jobs: Sequence[Job],
    inverter: HyperStyleInverter,
    features: tuple[Features, str] | None,
    options: ReportOptions,
) -> None:
    """Tables 2 and 3, quality over time, and reconstructions."""
    own_jobs = [job for job in jobs if job.inverter is inverter]
    networks = [job for job in own_jobs if not job.is_optimization and job.label != ONE_STEP]
    optimizations = [job for job in own_jobs if job.is_optimization]
    rows = [_row(study, job, features) for job in networks]
    tables = []
    if rows:
        about = f"Means over {len(study.images)} images ({study.images.source}); seconds are medians, one image at a "
        about += "time; memory is that of the whole process on a CPU, libraries included."
        distances = features[1] if features else ""
        tables.append(
            methods_table("table2", "Table 2. Reconstruction", about, rows, study.measures, distances=distances)
        )
    compared = rows
    if optimizations:
        few = min(job.count for job in optimizations)
        about = f"The first {few} of these images, with the methods that search for each image on its own."
        compared = [study.measures.row(job.label, study.rows(job.label, few)) for job in (*networks, *optimizations)]
        tables.append(methods_table("table2_optimised", "Table 2b. With optimization", about, compared, study.measures))
    report.tables += tables
    report.orderings = orderings(rows, compared)
    methods = [*networks, *optimizations]
    shown = min(options.shown, *(job.count for job in methods))
    report.content |= {
        "methods": tables,
        "over_time": over_time_plots(compared) if has_matplotlib() else [],
        "reconstructions": galleries.reconstructions(study, methods, shown),
    }
    variants = [job for job in jobs if job.inverter is not inverter or job.label == ONE_STEP]
    if variants:
        variants = [*(job for job in networks if job.method == inverter.methods[0]), *variants]
        means = [study.measures.row(job.label, study.rows(job.label, job.count)) for job in variants]
        named = [job.label for job in variants if job.inverter is not inverter]
        table = ablation_table(means, variants, study.measures, named)
        report.tables.append(table)
        report.content["switches"] = table


def _row(study: Study, job: Job, features: tuple[Features, str] | None) -> dict[str, Value]:
    """The means of a method and, with features, FID and KID of its reconstructions."""
    row = study.measures.row(job.label, study.rows(job.label, job.count))
    if features is not None and job.count > 1:
        device, see = job.inverter.model.device, features[0]
        real = torch.cat([see(study.images.load(i)[None].to(device)) for i in range(job.count)])
        files = [study.reconstruction(job, i) for i in range(job.count)]
        rebuilt = torch.cat([see(to_tensor(load_image(file))[None].to(device)) for file in files])
        distances = distance(real, rebuilt)
        row |= {"fid": distances.fid, "kid": distances.kid}
    return row


def _add_effects(report: _Report, study: Study, jobs: Sequence[Job], model: Model) -> None:
    """Figure 6: of the networks on all edited images, and of all methods on those that were optimized."""
    edited = [job for job in jobs if job.edited]
    networks = [job for job in edited if not job.is_optimization]
    groups = {"networks": networks} | ({"all": edited} if len(networks) < len(edited) else {})
    sections = []
    for name, group in groups.items():
        if not group:
            continue
        count = min(job.edited for job in group)
        rows = {job.label: study.rows(job.label, count) for job in group}
        curves = effect_curves(model, rows, study.edits, points=study.points)
        report.effects[name] = curves
        sections.append(
            {
                "title": "Methods that optimize, too" if name == "all" else "Networks",
                "images": count,
                "kept": kept_identity_table(curves),
                "legend": {label: COLORS[i % len(COLORS)] for i, label in enumerate(rows)},
                "plots": effect_plots(curves) if has_matplotlib() else [],
            }
        )
    report.content["effects"] = sections


def _add_galleries(
    report: _Report,
    study: Study,
    inverter: HyperStyleInverter,
    options: ReportOptions,
    photos: EvaluationImages | None,
    on_progress: Progress | None,
) -> None:
    """Edits, interpolation, images out of the domain and domain adaptation, by the model's best method."""
    model, best = inverter.model, Trial(inverter.methods[0])
    if not is_feed_forward(model, best.method):
        return
    count = min(max(options.shown, 2), len(study.images))
    inversions = [invert_one(inverter, study.images.load(i), best) for i in range(count)]
    edits = galleries.shown_edits(model)
    if count > 1:
        report.content["edit_strips"] = {name: galleries.edit_strips(inversions, name) for name in edits}
        report.content["interpolation"] = galleries.interpolation(inversions)
    gallery, table = out_of_domain(study, inverter, count, photos, edits)
    report.tables.append(table)
    report.content["out_of_domain"] = {"gallery": gallery, "table": table}
    if options.adapt and model.hypernetwork is not None:

        def on_step(done: int) -> None:
            if on_progress is not None:
                on_progress("domain adaptation", done, options.adapt)

        tuned = tune_to(model, comic, steps=options.adapt, on_step=on_step)
        report.content["adaptation"] = galleries.adaptation(inversions[:3], tuned, edits)


def _write(
    out: Path,
    html: str,
    report: _Report,
    model: Model,
    images: EvaluationImages,
    photos: EvaluationImages | None,
    options: ReportOptions,
) -> Path:
    """Writes `report.json`, a CSV for each table and figure, and last `report.html`, whose path it returns.

    Raises:
        HyperStyleError: a file cannot be written.
    """
    content: dict[str, Any] = {
        "machine": machine(model),
        "pictures": _about_images(images),
        "photos": None if photos is None else _about_images(photos),
        "options": _plain_options(options),
        "tables": {table.key: [dict(row) for row in table.rows] for table in report.tables},
        "orderings": [asdict(entry) for entry in report.orderings],
        "effects": {name: [_plain_curve(curve) for curve in curves] for name, curves in report.effects.items()},
        "not_measured": [asdict(entry) for entry in report.missing],
    }
    files = {"report.json": json.dumps(content, indent=1, allow_nan=False) + "\n"}
    tables = [*report.tables, ordering_table(report.orderings), *effect_tables(report.effects)]
    files |= {f"{table.key}.csv": to_csv(table) for table in tables if table.rows}
    files["report.html"] = html  # last: a page says that all is there
    for name, text in files.items():
        write_text(out / name, text)
    return out / "report.html"


def _about_images(images: EvaluationImages) -> dict[str, Any]:
    return {
        "source": images.source,
        "count": len(images),
        "failures": images.failures,
        "taken_as_crops": images.uncut,
    }


def _plain_options(options: ReportOptions) -> dict[str, Any]:
    """As plain values, under the names that they have on disk since version 0.1."""
    values = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}
    return {"optimised" if key == "optimized" else key: value for key, value in values.items()}


def _plain_curve(curve: EffectCurve) -> dict[str, Any]:
    """What the file has of a curve: its points as pairs of change and identity."""
    return {
        "edit": curve.edit,
        "trait": curve.trait,
        "method": curve.method,
        "points": [(point.change, point.identity) for point in curve.points],
        "mean": curve.mean,
        "reach": curve.reach,
        "pictures": len(curve.changes),
    }
