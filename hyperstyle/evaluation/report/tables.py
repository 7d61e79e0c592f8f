"""The tables of a report: parameters (Table 1), methods (Table 2), switches (Table 3), edits (Figure 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch

from hyperstyle.evaluation.engine import Job
from hyperstyle.evaluation.equal_effect import EffectCurve
from hyperstyle.evaluation.measures import Measures
from hyperstyle.evaluation.report.jobs import ONE_STEP
from hyperstyle.evaluation.tables import Column, Table, Value
from hyperstyle.model.parts import Model
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig

__all__ = [
    "ablation_table",
    "effect_tables",
    "methods_table",
    "parameter_tables",
]

_Heads = Literal["plain", "shared", "separable"]

_FORMS: tuple[tuple[_Heads, bool], ...] = (
    ("plain", True),
    ("shared", True),
    ("plain", False),
    ("shared", False),
    ("separable", False),
)
_PUBLISHED = {("plain", True): 3.07e9, ("shared", True): 1.40e9, ("plain", False): 367e6, ("shared", False): 332e6}


def parameter_tables(model: Model) -> list[Table]:
    """Table 1: of the parts of this model, of its hypernetwork in other forms, and of the published ones."""
    parts: list[Mapping[str, Value]] = [
        {"part": name, "parameters": sum(p.numel() for p in network.parameters())}
        for name, network in model.networks.items()
    ]
    columns = (Column("part", "part"), Column("parameters", "parameters", ",.0f"))
    tables = [Table("table1_parts", "Table 1a. Parameters of this model", "", columns, parts)]
    published = HypernetworkConfig.official(1024)
    rows: list[Mapping[str, Value]] = []
    for heads, per_tap in _FORMS:
        row: dict[str, Value] = {
            "shared": {"plain": "no", "shared": "yes", "separable": "yes; separable"}[heads],
            "per_channel": "no" if per_tap else "yes",
        }
        if model.hypernetwork is not None:
            row["here"] = _count(replace(model.hypernetwork.config, heads=heads, per_tap=per_tap))
        row["built"] = _count(replace(published, heads=heads, per_tap=per_tap))
        row["paper"] = _PUBLISHED.get((heads, per_tap))
        rows.append(row)
    forms = [Column("per_channel", "one offset per channel pair"), Column("shared", "shared refinement")]
    if model.hypernetwork is not None:
        forms.append(Column("here", "on this generator", ",.0f"))
    forms += [Column("built", "published configuration, 1024 px", ",.0f"), Column("paper", "paper", ",.0f")]
    about = (
        "The hypernetwork in the forms that the paper compares, counted without building their weights. The published "
        "code gives the paper's 332 M and 1.40 B exactly; its unshared heads are larger than those that the paper "
        "counted as 367 M and 3.07 B, which it cannot build."
    )
    if model.hypernetwork is not None and model.hypernetwork.config.heads == "compact":
        about += " This model's own form, compact heads, is none of these: it is the hypernetwork of Table 1a."
    tables.append(Table("table1_forms", "Table 1b. Parameters of the hypernetwork", about, tuple(forms), rows))
    return tables


def _count(config: HypernetworkConfig) -> int:
    with torch.device("meta"):
        return Hypernetwork(config).parameter_count()


def methods_table(
    key: str, title: str, about: str, rows: Sequence[Mapping[str, Value]], measures: Measures, *, distances: str = ""
) -> Table:
    """Table 2; `distances` names the network of FID and KID, "" without."""
    columns = [Column("method", "method"), *measures.columns(rows)]
    if distances:
        columns += [
            Column("fid", f"FID ({distances})", ".4f", "low"),
            Column("kid", f"KID ({distances})", ".5f", "low"),
        ]
    columns += [Column("seconds", "seconds", ".2f", "low"), Column("memory", "peak MiB", ",.0f", "low")]
    return Table(key, title, about, tuple(columns), list(rows))


def ablation_table(
    rows: Sequence[Mapping[str, Value]], jobs: Sequence[Job], measures: Measures, named: Sequence[str]
) -> Table:
    """Table 3, from rows as `Measures.row` gives them, the job of each, and the labels of those that are ablations."""
    variants: list[Mapping[str, Value]] = []
    for row, job in zip(rows, jobs, strict=True):
        model = job.inverter.model
        network = model.hypernetwork
        switches: dict[str, Value] = {"passes": 0}
        if network is not None:
            switches = {
                "passes": job.steps if isinstance(job.steps, int) else model.steps,
                "heads": network.config.heads,
                "layers": len(network.config.layers),
                "parameters": network.parameter_count(),
            }
        variants.append({**row, **switches})
    columns = [Column("method", "variant"), Column("heads", "heads"), Column("layers", "layers")]
    columns += [Column("passes", "steps"), Column("parameters", "parameters", ",.0f")]
    columns += [*measures.columns(rows), Column("seconds", "seconds", ".2f", "low")]
    about = "Variants of the hypernetwork on the same images."
    if any(row["method"] == ONE_STEP for row in rows):
        about += f" {ONE_STEP} is this model stopped after one step; the paper trains another network for that row."
    if named:
        about += f" Models of their own, named with --ablation: {', '.join(named)}."
    return Table("table3", "Table 3. Switches", about, tuple(columns), variants)


def effect_tables(groups: Mapping[str, Sequence[EffectCurve]]) -> list[Table]:
    """Figure 6 as numbers: a table of its points, and one of its means; none where nothing was edited.

    Args:
        groups: curves by the group of methods that are compared.
    """
    points: list[dict[str, Value]] = []
    means: list[dict[str, Value]] = []
    for group, curves in groups.items():
        for curve in curves:
            about: dict[str, Value] = {
                "group": group,
                "edit": curve.edit,
                "trait": curve.trait,
                "method": curve.method,
            }
            points += [{**about, "change": point.change, "identity": point.identity} for point in curve.points]
            low, high = curve.reach
            means.append({**about, "identity": curve.mean, "low": low, "high": high, "pictures": len(curve.changes)})
    tables = {"figure6": points, "figure6_means": means}
    return [
        Table(key, "Figure 6", "", tuple(Column(k, k) for k in rows[0]), rows) for key, rows in tables.items() if rows
    ]
