"""`make_report`: measures, and writes `report.html`, `report.json`, a CSV for each table, and `rows.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.editing import measurable_edits
from hyperstyle.evaluation.figures import Progress, machine
from hyperstyle.evaluation.methods import Trial
from hyperstyle.evaluation.report.distribution import Features, distance, features_of
from hyperstyle.evaluation.report.effects import Effect, effects
from hyperstyle.evaluation.report.journal import Journal
from hyperstyle.evaluation.report.measures import choose_measures
from hyperstyle.evaluation.report.options import ReportOptions
from hyperstyle.evaluation.report.orderings import Ordering, orderings
from hyperstyle.evaluation.report.page import Section, page
from hyperstyle.evaluation.report.pictures import TestPictures
from hyperstyle.evaluation.report.sections import (
    adaptation_section,
    effects_section,
    interpolation_section,
    methods_section,
    out_of_domain_section,
    overview,
    parameters_section,
    switches_section,
)
from hyperstyle.evaluation.report.study import Job, Study, alone, invert_one, jobs_of, measure_all
from hyperstyle.evaluation.report.tables import (
    Table,
    Value,
    ablation_table,
    method_row,
    methods_table,
    parameter_tables,
    to_csv,
)
from hyperstyle.files import atomic_write, make_folder
from hyperstyle.images import load_image, to_tensor
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model import Model, fingerprint

__all__ = ["make_report"]


@dataclass
class _Found:
    """What the files are written from."""

    tables: list[Table] = field(default_factory=list)
    orderings: list[Ordering] = field(default_factory=list)
    effects: dict[str, tuple[Effect, ...]] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)


def make_report(
    inverter: HyperStyleInverter,
    pictures: TestPictures,
    out: Path,
    options: ReportOptions | None = None,
    *,
    ablations: Mapping[str, HyperStyleInverter] | None = None,
    photos: TestPictures | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Measures a model as the papers do and writes a page about it; the same call goes on where one was interrupted.

    Args:
        inverter: the model.
        pictures: to measure on.
        out: a folder; it is made.
        options: None is all defaults.
        ablations: other models by name, for Table 3.
        photos: pictures from outside the domain, for the sheet of these.
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
    optimised = options.optimised if options.optimised is not None else 4 * (model.perceptual is not None)
    if optimised < 0:
        raise ConfigError(f"optimised={optimised}: expected 0 or more.")
    measures = choose_measures(model, lpips=options.lpips, identity=options.identity, mtcnn=options.mtcnn)
    features = features_of(model, options.inception) if options.fid else None
    edits = _edits(model, options)
    jobs = jobs_of(
        inverter,
        options.methods,
        ablations or {},
        pictures=len(pictures),
        optimised=optimised,
        edited=options.edited if edits else 0,
    )
    make_folder(out)
    about = {
        "report": 1,
        "model": fingerprint(*model.networks.values()),
        "pictures": pictures.source,
        "size": model.domain.input_size,
        "measures": [one.key for one in measures.chosen],
        "identity": None if options.identity is None else options.identity.name,
        "edits": edits,
        "points": options.points,
    }
    journal = Journal(out / "rows.jsonl", about)
    study = Study(pictures, measures, journal, out / "reconstructions", edits, options.points)
    measure_all(study, jobs, on_progress)

    found = _Found(tables=parameter_tables(model))
    _methods(found, study, jobs, inverter, features, options)
    if edits:
        _effects(found, study, jobs, model)
    found.sections.append(parameters_section(found.tables[:2]))
    _sheets(found, study, inverter, options, photos, on_progress)
    lead, facts = overview(model, pictures, jobs, found.orderings, options.command)
    title = options.title or f"How well {model.domain.name} are inverted"
    return _write(out, page(title, lead, facts, found.sections), found, model, pictures, options)


def _edits(model: Model, options: ReportOptions) -> tuple[str, ...]:
    if options.edits is not None:
        return tuple(measurable_edits(model, options.edits))
    if model.judge is None or not options.edited:
        return ()
    return tuple(name for name, edit in model.edits.items() if edit.info.trait in model.judge.config.traits)


def _methods(
    found: _Found,
    study: Study,
    jobs: list[Job],
    inverter: HyperStyleInverter,
    features: tuple[Features, str] | None,
    options: ReportOptions,
) -> None:
    """Tables 2 and 3, and their sections."""
    own = [job for job in jobs if job.inverter is inverter]
    network = [job for job in own if not job.optimises and str(job.trial) != "hyperstyle:1"]
    searched = [job for job in own if job.optimises]
    rows = [_row(study, job, job.count, features) for job in network]
    seen = features[1] if features else ""
    tables = []
    if rows:
        count = len(study.pictures)
        about = f"Means over {count} pictures ({study.pictures.source}); seconds are medians, one picture at a time; "
        about += "memory is that of the whole process on a CPU, libraries included."
        tables.append(methods_table("table2", "Table 2. Reconstruction", about, rows, study.measures, distances=seen))
    compared = rows
    if searched:
        few = min(job.count for job in searched)
        compared = [method_row(job.label, study.rows(job.label, few), study.measures) for job in (*network, *searched)]
        about = f"The first {few} of these pictures, with the methods that search for each picture on its own."
        tables.append(methods_table("table2_optimised", "Table 2b. With optimisation", about, compared, study.measures))
    found.orderings = orderings(rows, compared)
    found.tables += tables
    labels = [job.label for job in (*network, *searched)]
    shown = min(options.shown, *(job.count for job in (*network, *searched)))
    found.sections.append(methods_section(study, tables, compared, found.orderings, labels, shown))

    variants = [job for job in jobs if job.inverter is not inverter or str(job.trial) == "hyperstyle:1"]
    best = [job for job in network if job.trial.method == inverter.methods[0]]
    if variants:
        every = [*best, *variants]
        passes = [job.trial.steps or job.inverter.model.steps for job in every]
        made = [method_row(job.label, study.rows(job.label, job.count), study.measures) for job in every]
        table = ablation_table(made, [job.inverter for job in every], passes, study.measures)
        found.tables.append(table)
        found.sections.append(switches_section(table))


def _row(study: Study, job: Job, count: int, features: tuple[Features, str] | None) -> dict[str, Value]:
    row = method_row(job.label, study.rows(job.label, count), study.measures)
    if features is not None and count > 1:
        device, see = job.inverter.model.device, features[0]
        real = torch.cat([see(study.pictures.load(i)[None].to(device)) for i in range(count)])
        files = [study.reconstruction(job.label, i) for i in range(count)]
        made = torch.cat([see(to_tensor(load_image(file))[None].to(device)) for file in files])
        apart = distance(real, made)
        row |= {"fid": apart.fid, "kid": apart.kid}
    return row


def _effects(found: _Found, study: Study, jobs: list[Job], model: Model) -> None:
    """Figure 6: of the networks on all edited pictures, and of all methods on those that were optimised."""
    edited = [job for job in jobs if job.edited]
    network = [job for job in edited if not job.optimises]
    groups = {"networks": network} | ({"all": edited} if len(network) < len(edited) else {})
    for name, group in groups.items():
        if group:
            count = min(job.edited for job in group)
            rows = {job.label: study.rows(job.label, count) for job in group}
            found.effects[name] = effects(model, rows, study.edits, points=study.points)
    if found.effects:
        found.sections.append(effects_section(model, found.effects))


def _sheets(
    found: _Found,
    study: Study,
    inverter: HyperStyleInverter,
    options: ReportOptions,
    photos: TestPictures | None,
    on_progress: Progress | None,
) -> None:
    """Interpolation, domain adaptation and out-of-domain pictures, by the model's best method."""
    best = Trial(inverter.methods[0])
    if not alone(inverter.model, best):
        return
    count = min(max(options.shown, 2), len(study.pictures))
    crops = torch.stack([study.pictures.load(i) for i in range(count)])
    inversions = [invert_one(inverter, crop, best) for crop in crops]
    if count > 1:
        found.sections.append(interpolation_section(inversions))
    own = {} if photos is None else {name: photos.load(i)[None] for i, name in enumerate(photos.names)}
    section, table = out_of_domain_section(inverter, study.measures, crops, own)
    found.sections.append(section)
    found.tables.append(table)
    if options.adapt and inverter.model.hypernetwork is not None:
        found.sections.append(adaptation_section(inversions[:3], options.adapt, on_progress))


def _write(out: Path, html: str, found: _Found, model: Model, pictures: TestPictures, options: ReportOptions) -> Path:
    report: dict[str, Any] = {
        "machine": machine(model),
        "pictures": {"source": pictures.source, "count": len(pictures), "failures": list(pictures.failures)},
        "options": {key: str(v) if isinstance(v, Path) else v for key, v in asdict(options).items()},
        "tables": {table.key: [dict(row) for row in table.rows] for table in found.tables},
        "orderings": [asdict(one) for one in found.orderings],
        "effects": {name: [asdict(one) for one in group] for name, group in found.effects.items()},
    }
    files = {"report.json": json.dumps(report, indent=1, allow_nan=False) + "\n"}
    files |= {f"{table.key}.csv": to_csv(table) for table in found.tables}
    files["report.html"] = html  # last: a page says that all is there
    for name, text in files.items():
        with atomic_write(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return out / "report.html"
