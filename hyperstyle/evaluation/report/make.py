"""`make_report`: measures, into `rows.jsonl`, and writes the page and its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.editing import measurable_edits
from hyperstyle.evaluation.figures import Progress
from hyperstyle.evaluation.methods import Trial
from hyperstyle.evaluation.report.distribution import Features, distance, features_of
from hyperstyle.evaluation.report.effects import effects
from hyperstyle.evaluation.report.findings import Findings, write_report
from hyperstyle.evaluation.report.images import TestImages
from hyperstyle.evaluation.report.journal import Journal
from hyperstyle.evaluation.report.measures import choose_measures
from hyperstyle.evaluation.report.missing import not_measured
from hyperstyle.evaluation.report.options import ReportOptions
from hyperstyle.evaluation.report.orderings import orderings
from hyperstyle.evaluation.report.page import page
from hyperstyle.evaluation.report.sections import (
    adaptation_section,
    effects_section,
    interpolation_section,
    methods_section,
    missing_section,
    out_of_domain_section,
    overview,
    parameters_section,
    switches_section,
)
from hyperstyle.evaluation.report.study import Job, Study, alone, invert_one, jobs_of, measure_all
from hyperstyle.evaluation.report.tables import (
    ONCE,
    Value,
    ablation_table,
    method_row,
    methods_table,
    parameter_tables,
)
from hyperstyle.images import load_image, to_tensor
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import make_folder
from hyperstyle.model.parts import Model

__all__ = ["make_report"]


def make_report(
    inverter: HyperStyleInverter,
    images: TestImages,
    out: Path,
    options: ReportOptions | None = None,
    *,
    ablations: Mapping[str, HyperStyleInverter] | None = None,
    photos: TestImages | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Measures a model as the papers do and writes a page about it; the same call goes on where one was interrupted.

    Args:
        inverter: the model.
        images: to measure on.
        out: a folder; it is made.
        options: None is all defaults.
        ablations: other models by name, for Table 3.
        photos: images from outside the domain, for the sheet of these.
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
        "measures": [one.key for one in measures.chosen],
        "identity": None if options.identity is None else options.identity.name,
        "edits": edits,
        "points": options.points,
    }
    journal = Journal(out / "rows.jsonl", about)
    study = Study(images, measures, journal, out, edits, options.points)
    measure_all(study, jobs, on_progress)

    found = Findings(tables=parameter_tables(model))
    _methods(found, study, jobs, inverter, features, options)
    if edits:
        _effects(found, study, jobs, model)
    found.sections.append(parameters_section(found.tables[:2]))
    _sheets(found, study, inverter, options, photos, on_progress)
    found.missing = not_measured(
        inverter,
        options,
        images=len(images),
        optimized=optimized,
        edits=edits,
        ablations=bool(ablations),
        photos=photos is not None,
    )
    if found.missing:
        found.sections.append(missing_section(found.missing))
    lead, facts = overview(model, images, photos, jobs, found.orderings, options.command)
    title = options.title or f"How well {model.domain.name} are inverted"
    return write_report(out, page(title, lead, facts, found.sections), found, model, images, photos, options)


def _edits(model: Model, options: ReportOptions) -> tuple[str, ...]:
    if options.edits is not None:
        return tuple(measurable_edits(model, options.edits))
    if model.evaluator is None or not options.edited:
        return ()
    return tuple(name for name, edit in model.edits.items() if edit.info.trait in model.evaluator.config.traits)


def _methods(
    found: Findings,
    study: Study,
    jobs: list[Job],
    inverter: HyperStyleInverter,
    features: tuple[Features, str] | None,
    options: ReportOptions,
) -> None:
    """Tables 2 and 3, and their sections."""
    own = [job for job in jobs if job.inverter is inverter]
    network = [job for job in own if not job.is_optimization and str(job.trial) != ONCE]
    searched = [job for job in own if job.is_optimization]
    rows = [_row(study, job, job.count, features) for job in network]
    seen = features[1] if features else ""
    tables = []
    if rows:
        count = len(study.images)
        about = f"Means over {count} images ({study.images.source}); seconds are medians, one image at a time; "
        about += "memory is that of the whole process on a CPU, libraries included."
        tables.append(methods_table("table2", "Table 2. Reconstruction", about, rows, study.measures, distances=seen))
    compared = rows
    if searched:
        few = min(job.count for job in searched)
        compared = [method_row(job.label, study.rows(job.label, few), study.measures) for job in (*network, *searched)]
        about = f"The first {few} of these images, with the methods that search for each image on its own."
        tables.append(methods_table("table2_optimised", "Table 2b. With optimization", about, compared, study.measures))
    found.orderings = orderings(rows, compared)
    found.tables += tables
    methods = [*network, *searched]
    shown = min(options.shown, *(job.count for job in methods))
    found.sections.append(methods_section(study, tables, compared, found.orderings, methods, shown))

    variants = [job for job in jobs if job.inverter is not inverter or str(job.trial) == ONCE]
    best = [job for job in network if job.trial.method == inverter.methods[0]]
    if variants:
        every = [*best, *variants]
        passes = [job.trial.steps or job.inverter.model.steps for job in every]
        made = [method_row(job.label, study.rows(job.label, job.count), study.measures) for job in every]
        named = [job.label for job in variants if job.inverter is not inverter]
        table = ablation_table(made, [job.inverter for job in every], passes, study.measures, named)
        found.tables.append(table)
        found.sections.append(switches_section(table))


def _row(study: Study, job: Job, count: int, features: tuple[Features, str] | None) -> dict[str, Value]:
    row = method_row(job.label, study.rows(job.label, count), study.measures)
    if features is not None and count > 1:
        device, see = job.inverter.model.device, features[0]
        real = torch.cat([see(study.images.load(i)[None].to(device)) for i in range(count)])
        files = [study.reconstruction(job, i) for i in range(count)]
        made = torch.cat([see(to_tensor(load_image(file))[None].to(device)) for file in files])
        apart = distance(real, made)
        row |= {"fid": apart.fid, "kid": apart.kid}
    return row


def _effects(found: Findings, study: Study, jobs: list[Job], model: Model) -> None:
    """Figure 6: of the networks on all edited images, and of all methods on those that were optimized."""
    edited = [job for job in jobs if job.edited]
    network = [job for job in edited if not job.is_optimization]
    groups = {"networks": network} | ({"all": edited} if len(network) < len(edited) else {})
    for name, group in groups.items():
        if group:
            count = min(job.edited for job in group)
            rows = {job.label: study.rows(job.label, count) for job in group}
            found.effects[name] = effects(model, rows, study.edits, points=study.points)
    if found.effects:
        found.sections.append(effects_section(model, found.effects))


def _sheets(
    found: Findings,
    study: Study,
    inverter: HyperStyleInverter,
    options: ReportOptions,
    photos: TestImages | None,
    on_progress: Progress | None,
) -> None:
    """Interpolation, domain adaptation and out-of-domain images, by the model's best method."""
    best = Trial(inverter.methods[0])
    if not alone(inverter.model, best):
        return
    count = min(max(options.shown, 2), len(study.images))
    crops = torch.stack([study.images.load(i) for i in range(count)])
    inversions = [invert_one(inverter, crop, best) for crop in crops]
    if count > 1:
        found.sections.append(interpolation_section(inversions))
    section, table = out_of_domain_section(study, inverter, count, photos)
    found.sections.append(section)
    found.tables.append(table)
    if options.adapt and inverter.model.hypernetwork is not None:
        found.sections.append(adaptation_section(inversions[:3], options.adapt, on_progress))
