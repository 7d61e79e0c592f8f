"""What `hyperstyle bench` prints."""

from __future__ import annotations

from collections.abc import Sequence

from hyperstyle.evaluation.journal import Record
from hyperstyle.evaluation.tables import Column, Table, to_text

_COSTS = tuple(Column(key, key) for key in ("over", "value", "path", "seconds", "GiB"))
_PAIRS = (
    Column("name", ""),
    Column("fast", "library"),
    Column("plain", "plain path"),
    Column("ratio", "times as fast"),
    Column("by_cpu", "by cpu", ".2f"),
    Column("gflops", "GFLOP/s", ".0f"),
    Column("arithmetic_share", "share", ".0%"),
)
_ERRORS = (
    Column("name", "error of"),
    Column("largest", "at most", ".4f"),
    Column("mean", "mean", ".5f"),
    Column("psnr", "PSNR in dB", ".1f"),
    Column("identity", "identity", ".4f"),
)
_RATES = (
    Column("dtype", "inversions"),
    Column("batch", "batch"),
    Column("pictures_per_second", "images/s", ".2f"),
    Column("seconds", "seconds a batch"),
    Column("networks", "of it the networks"),
)
_LOADING = {
    "seconds": ("load the model folder", 1, "s"),
    "official_seconds": ("torch.load of the official files", 1, "s"),
    "official_mapped_seconds": ("the same with mmap=True", 1, "s"),
    "imported": ("peak memory of the imports", 2**30, "GiB"),
    "loaded": ("peak memory after loading", 2**30, "GiB"),
    "inverted": ("peak memory after T={steps}, one image", 2**30, "GiB"),
}


def speed_text(report: Record) -> str:
    """A table for each kind of figure that there is, and a line for everything else."""
    pairs = [{**pair, "by_cpu": pair["cpu_ratio"]["median"]} for pair in report["pairs"]]
    errors = [{"name": f"{dtype}, {what}", **e} for dtype, both in report["errors"].items() for what, e in both.items()]
    parts = ["{size} px, T={steps}, batch {batch}, {weights}".format(**report)]
    if pairs:
        parts.append(f"seconds for each image, medians of {report['repeats']} pairs of runs, smallest and largest")
        parts.append(_table(_PAIRS, pairs))
    for pair in pairs:
        if not pair["together"]:
            at_once = f"{pair['pictures']} at once might not fit into memory"
            parts.append(f"{pair['name']}: the plain path one by one; {at_once}")
    parts += [f"{name}: not measured, {reason}" for name, reason in report["missing"].items()]
    for what, key in (("image", "agreement"), ("strip", "agreement_edit_strip")):
        if report[key] is not None:
            parts.append(f"largest difference in float32, {what}: {report[key]:.1e}")
    if errors:
        parts.append(_table(_ERRORS, errors))
    if report["memory"] is not None:
        peaks = {name: f"{size / 2**30:.2f}" for name, size in report["memory"].items()}
        ratio = report["memory_above_weights_ratio"]
        above = "" if ratio is None else f"; above the weights {ratio:.2f} of it"
        parts.append("peak memory in GiB: {built} built, {fast} library, {plain} plain path".format(**peaks) + above)
    if report["rates"]:
        parts.append(_table(_RATES, report["rates"]))
    for name, most in report["ceilings"].items():
        unit = "GB/s of copies" if name == "memory" else "GFLOP/s of a 3x3 convolution"
        parts.append(f"the most here, {name}: {most / 1e9:.0f} {unit}")
    return "\n".join([*parts, _machine(report)])


def scaling_text(report: Record) -> str:
    """A line for each cost."""
    rows: list[Record] = []
    for cost in report["costs"]:
        gib = None if cost["peak"] is None else f"{cost['peak'] / 2**30:.2f}"
        rows.append({**cost, "path": {"fast": "library"}.get(cost["way"], cost["way"]), "GiB": gib})
    head = f"{report['weights']}; seconds, medians of {report['repeats']}, smallest and largest; peak memory"
    return "\n".join([head, _table(_COSTS, rows), _machine(report)])


def loading_text(report: Record) -> str:
    """A line for each figure."""
    weights = f"{report['model']}: {report['weights'] / 2**30:.2f} GiB of weights"
    lines = [f"{weights}; medians of {report['repeats']}, smallest and largest"]
    for key, (name, unit, symbol) in _LOADING.items():
        if report[key] is not None:
            lines.append(f"  {name.format(**report):<34} {_spread(report[key], unit)} {symbol}")
        elif symbol == "GiB":
            lines.append(f"  {name.format(**report):<34} not known on this system")
    if report["share"] is not None:
        lines.append(f"  {'share of the weights in it':<34} {report['share']:.0%}")
    return "\n".join([*lines, _machine(report)])


def _table(columns: Sequence[Column], rows: Sequence[Record]) -> str:
    """Figures over the repeats are median, smallest and largest."""
    cells = [{key: _spread(value) if isinstance(value, dict) else value for key, value in row.items()} for row in rows]
    return to_text(Table(columns, cells))


def _machine(report: Record) -> str:
    return "machine: " + ", ".join(f"{name} {value}" for name, value in report["machine"].items())


def _spread(values: dict[str, float], unit: int = 1) -> str:
    return "{median:.2f} ({low:.2f} to {high:.2f})".format(**{name: value / unit for name, value in values.items()})
