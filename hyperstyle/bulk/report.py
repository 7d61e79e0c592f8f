"""What is in shards, in figures: failures by kind, quality, and rows for a sheet of images."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperstyle.bulk.load import load_shards

_EXAMPLES = 3  # images that are named for a kind of failure
_LARGEST = 1_000_000  # figures of each kind that are kept for the percentiles
_COLUMNS = ("id", "error", "error_kind", "doubt", "quality", "method", "note")


@dataclass(frozen=True)
class Failures:
    """Images that failed alike: the class of the error, its sentence without names and numbers, and some ids."""

    kind: str
    sentence: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Quality:
    """A figure over all images: its mean, and the 5th, 50th and 95th percentile."""

    mean: float
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class BulkReport:
    """Figures of shards.

    Attributes:
        rows, failed, doubtful: numbers of images.
        failures: by kind, the most frequent first.
        quality: name of a figure -> its distribution.
        methods: method -> how many images were inverted by it.
    """

    rows: int
    failed: int
    doubtful: int
    failures: tuple[Failures, ...]
    quality: Mapping[str, Quality]
    methods: Mapping[str, int]


def make_report(shards: Iterable[Path]) -> BulkReport:
    """Reads all rows once, without their codes. Raises what `load_shards` raises."""
    rows = doubtful = 0
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], list[str]] = {}
    figures: dict[str, list[float]] = {}
    methods: Counter[str] = Counter()
    for row in load_shards(shards, columns=_COLUMNS):
        rows += 1
        if row.error is not None:
            key = str(row.values["error_kind"]), without_names(row.error)
            counts[key] += 1
            if counts[key] <= _EXAMPLES:
                examples.setdefault(key, []).append(row.id)
            continue
        doubtful += row.values["doubt"] is not None
        methods[str(row.values["method"])] += 1
        for name, value in row.values["quality"]:
            if len(values := figures.setdefault(name, [])) < _LARGEST:
                values.append(value)
    failures = (Failures(*key, count, tuple(examples[key])) for key, count in counts.most_common())
    return BulkReport(
        rows=rows,
        failed=counts.total(),
        doubtful=doubtful,
        failures=tuple(failures),
        quality={name: _quality(values) for name, values in figures.items()},
        methods=dict(methods.most_common()),
    )


def without_names(sentence: str) -> str:
    """A sentence with "NAME" for what stands in quotes, and "N" for numbers, so that those of one kind are equal."""
    return re.sub(r"\d[\d,.]*\d|\d", "N", re.sub(r"'[^']*'", "NAME", sentence))


def _quality(values: list[float]) -> Quality:
    low, median, high = np.percentile(values, (5, 50, 95)).tolist()
    return Quality(float(np.mean(values)), low, median, high)
