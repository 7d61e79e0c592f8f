"""The sections of a report: which words, tables, charts and images stand together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hyperstyle.evaluation.figures import Progress, machine
from hyperstyle.evaluation.report import sheets
from hyperstyle.evaluation.report.adaptation import tune_to
from hyperstyle.evaluation.report.effects import Effect
from hyperstyle.evaluation.report.filters import comic
from hyperstyle.evaluation.report.images import TestImages
from hyperstyle.evaluation.report.missing import Missing
from hyperstyle.evaluation.report.orderings import STANDS_FOR, Ordering, effect_verdict, summary
from hyperstyle.evaluation.report.out_of_domain import TOLD, out_of_domain
from hyperstyle.evaluation.report.page import Section, chart_grid, gallery_html, legend, paragraph, table_html
from hyperstyle.evaluation.report.study import Job, Study
from hyperstyle.evaluation.report.svg import Series, chart
from hyperstyle.evaluation.report.tables import Column, Table, Value
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model.parts import Model

__all__ = [
    "adaptation_section",
    "effects_section",
    "interpolation_section",
    "methods_section",
    "missing_section",
    "out_of_domain_section",
    "overview",
    "parameters_section",
    "switches_section",
]


def overview(
    model: Model,
    images: TestImages,
    photos: TestImages | None,
    jobs: Sequence[Job],
    found: Sequence[Ordering],
    command: str,
) -> tuple[str, list[str]]:
    """The lead sentence and the facts below it."""
    here = machine(model)
    own = [job for job in jobs if job.inverter.model is model]
    facts = [
        f"{len(images)} images: {images.source}. Crops of {' x '.join(map(str, model.domain.input_size))} px, "
        f"generator of {model.generator.config.size} px.",
        f"{here['cpu']}, device {here['device']}, {here['threads']} thread(s), {here['dtype']}, "
        f"PyTorch {here['torch']}; model {here['model']}.",
    ]
    if command:
        facts.append(f"Made by: {command}")
    for source in (images, *([] if photos is None else [photos])):
        for what, files in (("left out", source.failures), ("taken as crops", source.uncut)):
            if files:
                named = "; ".join(f"{name}: {reason}" for name, reason in files[:10])
                facts.append(f"{len(files)} file(s) of {source.source} {what}. {named}")
    lead = (
        f"{len(own)} ways to invert, measured as the papers of HyperStyle and HyperInverter measure. {summary(found)}"
    )
    return lead, facts


def parameters_section(tables: Sequence[Table]) -> Section:
    """Table 1."""
    return Section("Parameters", "parameters", [table_html(table) for table in tables])


def methods_section(
    study: Study,
    tables: Sequence[Table],
    rows: Sequence[Mapping[str, Value]],
    found: Sequence[Ordering],
    jobs: Sequence[Job],
    shown: int,
) -> Section:
    """Table 2, quality over time, the order of the paper, and images."""
    section = Section("Reconstruction", "reconstruction")
    how = "; ".join(f"{one.title}: {one.about}" for one in study.measures.chosen)
    section.blocks += [table_html(table) for table in tables] + [paragraph(f"{how}.", "facts")]
    section.blocks += ["<h3>Quality over time</h3>", _over_time(rows)] if len(rows) > 1 else []
    section.blocks.append("<h3>In the order of the paper?</h3>")
    section.blocks.append(paragraph(summary(found)))
    if found:
        section.blocks.append(_orderings_html(found))
    caption = "What the encoder sees, and what each method makes of it."
    section.blocks.append(gallery_html(sheets.reconstructions(study, jobs, shown, caption)))
    return section


def switches_section(table: Table) -> Section:
    """Table 3."""
    return Section("Switches", "switches", [table_html(table)])


def effects_section(model: Model, found: Mapping[str, Sequence[Effect]]) -> Section:
    """Figure 6, a chart for every edit."""
    section = Section("Editing", "editing")
    section.blocks.append(
        paragraph(
            "The same strength moves the images of one method more than those of another. So methods are compared "
            "where an edit has changed its trait by the same measured amount, in standard deviations of the "
            "population: how much of the person is left there, as identity to the image that was inverted (Figure 6 "
            "of HyperStyle). Higher is better, and a longer line reaches further."
        )
    )
    for name, group in found.items():
        count, methods = group[0].pictures, list(dict.fromkeys(one.method for one in group))
        title = "Methods that optimize, too" if name == "all" else "Networks"
        section.blocks.append(f"<h3>{title}, {count} images</h3>")
        section.blocks.append(paragraph(effect_verdict(group)))
        places = {method: place for place, method in enumerate(methods)}
        charts = []
        for edit in dict.fromkeys(one.edit for one in group):
            lines = [Series(o.method, places[o.method], o.points) for o in group if o.edit == edit and o.points]
            label = f"measured change of {model.edits[edit].info.trait}"
            charts.append(chart(lines, title=edit, x=label, y="identity"))
        section.blocks += [legend(places), chart_grid(charts)]
    return section


def interpolation_section(inversions: Sequence[Inversion]) -> Section:
    """Edits at their strengths, and ways between images."""
    section = Section("Edits and interpolation", "sheets")
    for name in sheets.shown_edits(inversions[0].model):
        section.blocks.append(f"<h3>{name}</h3>" + gallery_html(sheets.editing(inversions, name, ""), 118))
    caption = "From one image to another: codes and offsets move together, as HyperInverter shows it."
    section.blocks.append("<h3>Interpolation</h3>" + gallery_html(sheets.interpolation(inversions, caption), 100))
    return section


def adaptation_section(inversions: Sequence[Inversion], steps: int, on_progress: Progress | None) -> Section:
    """Figure 7: the generator is tuned to a comic, and the inversions move there."""
    model = inversions[0].model
    tuned = tune_to(
        model, comic, steps=steps, on_step=lambda done: on_progress and on_progress("domain adaptation", done, steps)
    )
    caption = (
        f"The generator, tuned in {steps} steps to draw comics of its own images, takes over codes and relative "
        "offsets of the inversions as they are. In the paper offsets carry details that the code alone loses."
    )
    made = sheets.adaptation(inversions, tuned, sheets.shown_edits(model), caption)
    return Section("Domain adaptation", "adaptation", [gallery_html(made)])


def out_of_domain_section(
    study: Study, inverter: HyperStyleInverter, count: int, photos: TestImages | None
) -> tuple[Section, Table]:
    """Figure 8: images that no training set held anything like, with its table."""
    caption = (
        "Images that the networks never saw the like of, the encoder's reconstruction before refinement and the one "
        "after it, and edits of it (Figure 8)."
    )
    edits = sheets.shown_edits(inverter.model)
    made, table = out_of_domain(study, inverter, count, photos, edits, caption)
    words = " ".join(
        _describe_refinement(table, one.key, one.title, one.better) for one in study.measures.chosen if one.key in TOLD
    )
    section = Section("Out of domain", "out-of-domain", [paragraph(words), gallery_html(made), table_html(table)])
    return section, table


def missing_section(found: Sequence[Missing]) -> Section:
    """What is not in the report, a line each."""
    return Section("Not measured", "not-measured", [paragraph(str(one)) for one in found])


def _describe_refinement(table: Table, key: str, title: str, better: str) -> str:
    """For how many kinds of images refinement improves a figure of the table, and for which it does not."""
    pairs = {str(row["kind"]): (row.get(f"{key}_before"), row.get(f"{key}_after")) for row in table.rows}
    numbers = {k: (a, b) for k, (a, b) in pairs.items() if isinstance(a, float) and isinstance(b, float)}
    if not numbers:
        return ""
    worse = [kind for kind, (before, after) in numbers.items() if (after < before) != (better == "low")]
    not_for = f", not for {', '.join(worse)}" if worse else ""
    return f"Refinement improves {title} for {len(numbers) - len(worse)} of {len(numbers)} kinds{not_for}."


def _over_time(rows: Sequence[Mapping[str, Value]]) -> str:
    """Charts of figures over seconds, a dot for each method."""
    charts = []
    titles = {"l2": "L2", "lpips": "LPIPS", "perceptual": "perceptual distance"}
    for key, title in titles.items():
        series = []
        for place, row in enumerate(rows):
            seconds, value = row["seconds"], row.get(key)
            if isinstance(seconds, float) and isinstance(value, float) and min(seconds, value) > 0:
                series.append(Series(str(row["method"]), place, [(seconds, value)]))
        if len(series) > 1:
            charts.append(
                chart(series, title=f"{title} over time", x="seconds per image", y=title, log=True, names=True)
            )
    return chart_grid(charts, wide=True)


def _orderings_html(found: Sequence[Ordering]) -> str:
    """A row for each pair of methods, a column for each figure, green where the paper's order holds."""
    figures = list(dict.fromkeys(one.figure for one in found))
    pairs = sorted({(min(o.better, o.worse), max(o.better, o.worse)) for o in found})
    rows: list[dict[str, Value]] = []
    marks: dict[tuple[int, str], bool] = {}
    for i, (a, b) in enumerate(pairs):
        row: dict[str, Value] = {"pair": f"{a} and {b}"}
        for one in found:
            if {one.better, one.worse} == {a, b}:
                here = one.here if one.better == a else one.here[::-1]
                paper = one.paper if one.better == a else one.paper[::-1]
                row["images"] = one.images
                row[one.figure] = f"{here[0]:.3g}, {here[1]:.3g} ({paper[0]:g}, {paper[1]:g})"
                marks[i, one.figure] = one.holds
        rows.append(row)
    stand_ins = [
        f"{stand_in} stands for {published}"
        for stand_in, published in STANDS_FOR.items()
        if any(stand_in in pair for pair in pairs)
    ]
    about = "Figures here, and those of the paper in brackets; green where both stand in the same order. " + (
        f"In the paper's figures {', '.join(stand_ins)}, an encoder alone as well." if stand_ins else ""
    )
    columns = (Column("pair", "methods"), Column("images", "images"), *(Column(figure, figure) for figure in figures))
    return table_html(Table("orderings", "", about, columns, rows), marks)
