"""Whether methods stand in the order that the paper found (Table 2), figure by figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from hyperstyle.evaluation.report.effects import Effect
from hyperstyle.evaluation.report.tables import Column, Table, Value

__all__ = ["PAPER", "STANDS_FOR", "Ordering", "effect_verdict", "ordering_tables", "orderings", "summary"]

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
    found: dict[tuple[str, frozenset[str]], Ordering] = {}
    for rows in tables:
        known: dict[str, Mapping[str, Value]] = {}
        for row in rows:
            name = str(row["method"]).partition(":")[0]
            if name in PAPER or name in STANDS_FOR:
                known.setdefault(name, row)  # of one method at several numbers of steps the first
        for figure in _TITLES:
            for a, b in combinations(known, 2):
                made = _ordering(figure, (a, known[a]), (b, known[b]))
                if made is not None:
                    found.setdefault((figure, frozenset((a, b))), made)
    return list(found.values())


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


def ordering_tables(found: Sequence[Ordering]) -> list[Table]:
    """All of them as a table; none where there are none."""
    rows: list[dict[str, Value]] = [
        {
            "better": one.better,
            "worse": one.worse,
            "figure": one.figure,
            "paper_better": one.paper[0],
            "paper_worse": one.paper[1],
            "here_better": one.here[0],
            "here_worse": one.here[1],
            "holds": one.holds,
            "images": one.images,
        }
        for one in found
    ]
    return [Table("orderings", "Orderings", "", tuple(Column(k, k) for k in rows[0]), rows)] if rows else []


def summary(found: Sequence[Ordering]) -> str:
    """How many hold, on how many images, and which do not, in words."""
    if not found:
        return "No two of the methods measured are told apart by the paper, so there is no ordering to compare."
    sentences = []
    for images in dict.fromkeys(one.images for one in found):
        group = [one for one in found if one.images == images]
        failed = [one for one in group if not one.holds]
        summary_line = (
            f"On {images} image(s), {len(group) - len(failed)} of {len(group)} orderings of the paper are reproduced"
        )
        named = "; ".join(f"{one.better} better than {one.worse} by {one.figure}" for one in failed)
        sentences.append(f"{summary_line}, but not: {named}." if failed else f"{summary_line}.")
    return " ".join(sentences)


def effect_verdict(found: Sequence[Effect]) -> str:
    """What edits of HyperStyle's inversions keep of the person, beside those of each other method.

    The paper's claim that is judged is the one about encoders.
    """
    means: dict[str, dict[str, float]] = {}
    for one in found:
        if one.mean is not None:
            means.setdefault(one.method, {})[one.edit] = one.mean
    hyperstyle_means = means.pop("hyperstyle", {})
    if not hyperstyle_means or not means:
        return "There is no other method to compare HyperStyle's edits with."
    sentences = []
    for method, other_means in means.items():
        shared = [edit for edit in hyperstyle_means if edit in other_means]
        if not shared:
            continue
        won = sum(hyperstyle_means[edit] > other_means[edit] for edit in shared)
        average = [sum(one[edit] for edit in shared) / len(shared) for one in (hyperstyle_means, other_means)]
        summary_line = f"{average[0]:.3f} with HyperStyle and {average[1]:.3f} with {method}"
        sentences.append(
            f"Identity, the mean over edits: {summary_line}; HyperStyle keeps more in {won} of {len(shared)} edits."
        )
        if method in (*_ENCODERS, *STANDS_FOR):
            sentences.append(f"The paper's order is {'' if 2 * won > len(shared) else 'not '}reproduced.")
    return " ".join(sentences)
