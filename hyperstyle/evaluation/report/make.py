"""`make_report`: measures, into `rows.jsonl`, and writes the page and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.distribution import Features, distances, features_of
from hyperstyle.evaluation.editing import measurable_edits
from hyperstyle.evaluation.engine import Job, Study, invert_one, is_feed_forward, measure_all
from hyperstyle.evaluation.equal_effect import EffectCurve, effect_curves
from hyperstyle.evaluation.figures import Progress, machine
from hyperstyle.evaluation.images import EvaluationImages
from hyperstyle.evaluation.journal import Journal
from hyperstyle.evaluation.measures import choose_measures
from hyperstyle.evaluation.plots import COLORS, effect_plots, has_matplotlib, over_time_plots
from hyperstyle.evaluation.report import galleries, tables
from hyperstyle.evaluation.report.options import ReportOptions, jobs_of
from hyperstyle.evaluation.tables import Table, to_csv
from hyperstyle.evaluation.trials import Trial
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import make_folder, write_text
from hyperstyle.model.parts import Model

_FOLDER = Path(__file__).parent


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
    options, ablations, model = options or ReportOptions(), ablations or {}, inverter.model
    optimized = options.optimized if options.optimized is not None else 4 * (model.perceptual is not None)
    for name, value, least in (
        ("points", options.points, 2),
        ("edited", options.edited, 0),
        ("shown", options.shown, 1),
        ("optimized", optimized, 0),
    ):
        if value < least:
            raise ConfigError(f"{name}={value}: expected {least} or more.")
    measures = choose_measures(model, lpips=options.lpips, identity=options.identity, mtcnn=options.mtcnn)
    features = features_of(model, options.inception) if options.fid else None
    edits = _edits(model, options)
    counts = {"images": len(images), "optimized": optimized, "edited": options.edited if edits else 0}
    jobs = jobs_of(inverter, options.methods, ablations, **counts)
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
    study = Study(images, measures, Journal(out / "rows.jsonl", about), out, edits=edits, points=options.points)
    measure_all(study, jobs, on_progress)

    own_jobs = sorted((job for job in jobs if job.inverter is inverter), key=lambda job: job.is_optimization)
    all_tables = {"table1_parts": tables.parameter_table(model)} | _method_tables(study, own_jobs, features)
    if ablations:
        best = [job for job in own_jobs if job.method == inverter.methods[0] and not job.is_optimization]
        variants = best + [job for job in jobs if job.inverter is not inverter]
        all_tables["table3"] = tables.variants_table(study, variants)
    effects = _effects(study, jobs, model)
    sheets = _galleries(study, own_jobs, inverter, options.shown)
    if photos is not None and is_feed_forward(model, inverter.methods[0]):
        shown = galleries.shown_edits(model)
        sheets["out_of_domain"], all_tables["out_of_domain"] = galleries.out_of_domain(study, inverter, photos, shown)
    missing = tables.not_measured(
        inverter,
        options,
        images=len(images),
        optimized=optimized,
        edits=edits,
        ablations=bool(ablations),
        photos=photos is not None,
    )
    page = render_page(
        {
            "title": options.title or f"How well {model.domain.name} are inverted",
            "jobs": own_jobs,
            "model": model,
            "machine": machine(model),
            "measures": measures.chosen,
            "images": images,
            "photos": photos,
            "command": options.command,
            "tables": all_tables,
            "effects": effects,
            "kept_identity": {name: tables.kept_identity_table(curves) for name, curves in effects.items()},
            "galleries": sheets,
            "plots": _plots(all_tables, effects),
            "colors": COLORS,
            "missing": missing,
        }
    )
    settings = asdict(options)
    settings["optimised"] = settings.pop("optimized")  # as version 0.1 spelled it
    content = {
        "machine": machine(model),
        "pictures": _about_images(images),
        "photos": None if photos is None else _about_images(photos),
        "options": settings,
        "tables": {key: [dict(row) for row in table.rows] for key, table in all_tables.items()},
        "effects": {name: [_plain_curve(curve) for curve in curves] for name, curves in effects.items()},
        "not_measured": [dict(row) for row in missing.rows],
    }
    write_text(out / "report.json", json.dumps(content, indent=1, allow_nan=False, default=str) + "\n")
    for key, table in {**all_tables, **tables.effect_tables(effects)}.items():
        if table.rows:
            write_text(out / f"{key}.csv", to_csv(table))
    write_text(out / "report.html", page)  # last: a page says that all is there
    return out / "report.html"


def render_page(content: Mapping[str, Any]) -> str:
    """The page: one file that refers to nothing outside itself, from `report.html.j2` and `report.css`.

    Args:
        content: what the template names; a name that it lacks is an error. All text is escaped but for that of plots,
            which are SVG.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((_FOLDER / "report.css").read_text(encoding="utf-8"))
    return environment.get_template("report.html.j2").render(content, style=style)


def _edits(model: Model, options: ReportOptions) -> tuple[str, ...]:
    if options.edits is not None:
        return tuple(measurable_edits(model, options.edits))
    if model.evaluator is None or not options.edited:
        return ()
    return tuple(name for name, edit in model.edits.items() if edit.info.trait in model.evaluator.config.traits)


def _method_tables(study: Study, jobs: Sequence[Job], features: tuple[Features, str] | None) -> dict[str, Table]:
    """Table 2: of networks on all images, and of all methods on those that were optimized; and the paper's."""
    result, measures = {}, study.measures
    networks = [job for job in jobs if not job.is_optimization]
    if networks:
        rows = [measures.row(job.label, study.rows(job.label, job.count)) for job in networks]
        if features is not None and len(study.images) > 1:
            for row, both in zip(rows, distances(study, networks, features[0], study.images.load), strict=True):
                row |= {"fid": both.fid, "kid": both.kid}
        result["table2"] = tables.methods_table(rows, measures, distances=features[1] if features else "")
    if len(networks) < len(jobs):
        few = min(job.count for job in jobs)
        rows = [measures.row(job.label, study.rows(job.label, few)) for job in jobs]
        result["table2_optimised"] = tables.methods_table(rows, measures)
    if (paper := tables.paper_table(jobs)).rows:
        result["table2_paper"] = paper
    return result


def _effects(study: Study, jobs: Sequence[Job], model: Model) -> dict[str, tuple[EffectCurve, ...]]:
    """Figure 6: of the networks on all edited images, and of all methods on those that were optimized."""
    edited = [job for job in jobs if job.edited]
    networks = [job for job in edited if not job.is_optimization]
    groups = {"networks": networks, "all": edited if len(networks) < len(edited) else []}
    effects = {}
    for name, group in groups.items():
        if group:
            count = min(job.edited for job in group)
            rows = {job.label: study.rows(job.label, count) for job in group}
            effects[name] = effect_curves(model, rows, study.edits, points=study.points)
    return effects


def _plots(all_tables: Mapping[str, Table], effects: Mapping[str, Sequence[EffectCurve]]) -> dict[str, list[str]]:
    """Quality over time, and identity over the effect of edits; none without matplotlib."""
    if not has_matplotlib():
        return {}
    compared = all_tables.get("table2_optimised", all_tables.get("table2"))
    over_time = [] if compared is None else over_time_plots(compared.rows)
    return {"over_time": over_time} | {name: effect_plots(curves) for name, curves in effects.items()}


def _galleries(study: Study, jobs: Sequence[Job], inverter: HyperStyleInverter, shown: int) -> dict[str, Any]:
    """Reconstructions by all methods; edits and interpolation by the model's best one."""
    result: dict[str, Any] = {
        "reconstructions": galleries.reconstructions(study, jobs, min(shown, *(job.count for job in jobs)))
    }
    best, count = Trial(inverter.methods[0]), min(max(shown, 2), len(study.images))
    if is_feed_forward(inverter.model, best.method) and count > 1:
        crops = [study.images.load(i) for i in range(count)]
        inversions = [invert_one(inverter, crop, best) for crop in crops]
        edits = galleries.shown_edits(inverter.model)
        result["edits"] = {name: galleries.edit_strips(crops, inversions, name) for name in edits}
        result["interpolation"] = galleries.interpolation(crops, inversions)
    return result


def _about_images(images: EvaluationImages) -> dict[str, Any]:
    return {
        "source": images.source,
        "count": len(images),
        "failures": images.failures,
        "taken_as_crops": images.without_face,
    }


def _plain_curve(curve: EffectCurve) -> dict[str, Any]:
    """What the file has of a curve: its points as pairs of change and identity."""
    return {
        "edit": curve.edit,
        "trait": curve.trait,
        "method": curve.method,
        "points": [(point.change, point.identity) for point in curve.points],
        "mean": curve.mean,
        "reach": curve.change_range,
        "pictures": len(curve.changes),
    }
