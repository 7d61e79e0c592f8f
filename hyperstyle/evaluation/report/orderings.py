"""Whether methods stand in the order that the paper found (Table 2), figure by figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from hyperstyle.evaluation.equal_effect import EffectCurve
from hyperstyle.evaluation.tables import Column, Table, Value

__all__ = [
    "PAPER",
    "STANDS_FOR",
    "Agreement",
    "Ordering",
    "agreements",
    "kept_identity_table",
    "ordering_table",
    "orderings",
    "pair_table",
]

PAPER: Mapping[str, Mapping[str, float]] = {
    name: dict(zip(("identity", "ms_ssim", "lpips", "l2", "seconds"), figures, strict=True))
    for name, figures in {
        "optimize-w+": (0.78, 0.90, 0.09, 0.020, 227.55),
        "pti": (0.85, 0.92, 0.09, 0.015, 55.715),
        "idinvert": (0.18, 0.68, 0.22, 0.061, 0.04),
        "psp": (0.56, 0.76, 0.17, 0.034, 0.106),
        "e4e": (0.50, 0.72, 0.20, 0.052, 0.106),
        "restyle-psp": (0.66, 0.79, 0.13, 0.030, 0.366),
        "restyle-e4e": (0.52, 0.74, 0.19, 0.041, 0.366),
        "hyperstyle": (0.76, 0.84, 0.09, 0.019, 1.234),
    }.items()
}
"""Reconstruction of human faces as HyperStyle's Table 2 has it."""

STANDS_FOR = {"w-encoder": "e4e"}
"""Methods that are not in the table, and the one in it that comes nearest: an encoder alone."""

_TITLES = {
    "l2": "L2",
    "lpips": "LPIPS",
    "ms_ssim": "MS-SSIM",
    "identity": "identity",
    "seconds": "seconds",
}
_HIGHER = ("ms_ssim", "identity")
_ENCODERS = ("psp", "e4e", "restyle-psp", "restyle-e4e", "idinvert")


@dataclass(frozen=True)
class Ordering:
    """Two methods by one figure.

    Attributes:
        better, worse: in the paper.
        figure: its title.
        paper, here: the figures of both, in this order.
        holds: whether the better one is better here too.
        images: images that the figures here are means over.
    """

    better: str
    worse: str
    figure: str
    paper: tuple[float, float]
    here: tuple[float, float]
    holds: bool
    images: int


def orderings(*tables: Sequence[Mapping[str, Value]]) -> list[Ordering]:
    """Every two methods that the paper has too, by every figure in which it tells them apart.

    The perceptual distance of an evaluator takes the place of LPIPS where that was not measured.

    Args:
        tables: rows of tables, each on images of its own; two methods are compared in the first that has both.
    """
    compared: dict[tuple[str, frozenset[str]], Ordering] = {}
    for rows in tables:
        known: dict[str, Mapping[str, Value]] = {}
        for row in rows:
            name = str(row["method"]).partition(":")[0]
            if name in PAPER or name in STANDS_FOR:
                known.setdefault(name, row)  # of one method at several numbers of steps the first
        for figure in _TITLES:
            for a, b in combinations(known, 2):
                ordering = _ordering(figure, (a, known[a]), (b, known[b]))
                if ordering is not None:
                    compared.setdefault((figure, frozenset((a, b))), ordering)
    return list(compared.values())


def _ordering(figure: str, a: tuple[str, Mapping[str, Value]], b: tuple[str, Mapping[str, Value]]) -> Ordering | None:
    """The two in the paper's order; None where it does not tell them apart, or one was not measured."""
    paper = {name: PAPER[STANDS_FOR.get(name, name)][figure] for name, _ in (a, b)}
    instead = figure == "lpips" and a[1].get("lpips") is None
    here = {name: row.get("perceptual" if instead else figure) for name, row in (a, b)}
    sign = -1 if figure in _HIGHER else 1
    better, worse = sorted(paper, key=lambda name: sign * paper[name])
    first, second = here[better], here[worse]
    if paper[better] == paper[worse] or not isinstance(first, float) or not isinstance(second, float):
        return None
    title = "perceptual for LPIPS" if instead else _TITLES[figure]
    images = int(a[1].get("images") or 0)
    holds = sign * first < sign * second
    return Ordering(better, worse, title, (paper[better], paper[worse]), (first, second), holds, images)


def ordering_table(compared: Sequence[Ordering]) -> Table:
    """All of them as a table, a row for each."""
    keys = ("better", "worse", "figure", "paper_better", "paper_worse", "here_better", "here_worse", "holds", "images")
    values = [(o.better, o.worse, o.figure, *o.paper, *o.here, o.holds, o.images) for o in compared]
    rows: list[dict[str, Value]] = [dict(zip(keys, row, strict=True)) for row in values]
    return Table("orderings", "Orderings", "", tuple(Column(key, key) for key in keys), rows)


@dataclass(frozen=True)
class Agreement:
    """How many orderings of the paper are reproduced on so many images, and which are not."""

    images: int
    held: int
    total: int
    failed: tuple[Ordering, ...]


def agreements(compared: Sequence[Ordering]) -> list[Agreement]:
    """One for each number of images that figures are means over."""
    groups: dict[int, list[Ordering]] = {}
    for ordering in compared:
        groups.setdefault(ordering.images, []).append(ordering)
    result = []
    for images, group in groups.items():
        failed = tuple(ordering for ordering in group if not ordering.holds)
        result.append(Agreement(images, len(group) - len(failed), len(group), failed))
    return result


def pair_table(compared: Sequence[Ordering]) -> Table:
    """A row for each pair of methods, a column for each figure, green where the paper's order holds."""
    figures = list(dict.fromkeys(ordering.figure for ordering in compared))
    pairs = sorted(
        {(min(ordering.better, ordering.worse), max(ordering.better, ordering.worse)) for ordering in compared}
    )
    rows: list[dict[str, Value]] = [{"pair": f"{a} and {b}"} for a, b in pairs]
    marks: dict[tuple[int, str], bool] = {}
    for ordering in compared:
        i = pairs.index(_pair(ordering))
        sign = 1 if ordering.better == pairs[i][0] else -1  # figures stand in the order of the pair's names
        (here_a, here_b), (paper_a, paper_b) = ordering.here[::sign], ordering.paper[::sign]
        rows[i] |= {
            "images": ordering.images,
            ordering.figure: f"{here_a:.3g}, {here_b:.3g} ({paper_a:g}, {paper_b:g})",
        }
        marks[i, ordering.figure] = ordering.holds
    stand_ins = [f"{name} stands for {published}" for name, published in STANDS_FOR.items() if _is_in(name, pairs)]
    about = "Figures here, and those of the paper in brackets; green where both stand in the same order." + (
        f" In the paper's figures {', '.join(stand_ins)}, an encoder alone as well." if stand_ins else ""
    )
    columns = (Column("pair", "methods"), Column("images", "images"), *(Column(figure, figure) for figure in figures))
    return Table("orderings", "", about, columns, rows, marks)


def _pair(ordering: Ordering) -> tuple[str, str]:
    """The two methods by name."""
    first, second = sorted((ordering.better, ordering.worse))
    return first, second


def _is_in(name: str, pairs: Sequence[tuple[str, str]]) -> bool:
    return any(name in pair for pair in pairs)


def kept_identity_table(curves: Sequence[EffectCurve]) -> Table:
    """What edits of HyperStyle's inversions keep of the person, against those of each other method.

    A row for each method: identity, the mean over the edits that both have, and in how many of them HyperStyle keeps
    more. The claim of the paper that is judged, by a mark, is the one about encoders. No row where there is nothing
    to compare with.
    """
    means: dict[str, dict[str, float]] = {}
    for curve in curves:
        if curve.mean is not None:
            means.setdefault(curve.method, {})[curve.edit] = curve.mean
    hyperstyle = means.pop("hyperstyle", {})
    rows: list[dict[str, Value]] = []
    marks: dict[tuple[int, str], bool] = {}
    for method, identities in means.items():
        edits = [edit for edit in hyperstyle if edit in identities]
        if not edits:
            continue
        won = sum(hyperstyle[edit] > identities[edit] for edit in edits)
        if method in (*_ENCODERS, *STANDS_FOR):
            marks[len(rows), "won"] = 2 * won > len(edits)
        rows.append(
            {
                "method": method,
                "hyperstyle": sum(hyperstyle[edit] for edit in edits) / len(edits),
                "other": sum(identities[edit] for edit in edits) / len(edits),
                "won": f"{won} of {len(edits)}",
            }
        )
    columns = (
        Column("method", "method"),
        Column("other", "identity kept", ".3f"),
        Column("hyperstyle", "by HyperStyle", ".3f"),
        Column("won", "edits in which HyperStyle keeps more"),
    )
    about = "Identity at equal effect, the mean over edits. Green where an encoder keeps less, as in the paper."
    return Table("kept_identity", "", about, columns, rows, marks)
