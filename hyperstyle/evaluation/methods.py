"""All methods and hybrids side by side: how near, how editable, how long, how large (quality over time)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.equal_effect import EffectCurve, compare
from hyperstyle.evaluation.figures import Figures, Progress, Row, cat, checked, mean_row, measure, now
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.registry import by_networks, resolve_method
from hyperstyle.model.parts import Model

__all__ = ["EDITS", "MethodRow", "Methods", "Trial", "all_trials", "evaluate_methods"]

EDITS = ("age", "smile", "pose")
"""Edits that tell how editable inversions are, where the model has them and its evaluator reads their traits."""

_HYBRIDS = ("hyperstyle+offsets", "hyperstyle+offset-codes", "hyperstyle+pti", "w-encoder+offsets")
_HYBRID_STEPS = (10, 25, 50, 100)
_SHOWN = 4  # images kept for a contact sheet


@dataclass(frozen=True)
class Trial:
    """A method as `invert` knows it, and how many steps its last part takes; None is that part's own number."""

    method: str
    steps: int | None = None

    def __str__(self) -> str:
        return self.method if self.steps is None else f"{self.method}:{self.steps}"

    @classmethod
    def of(cls, text: str) -> Trial:
        """Reads "METHOD" or "METHOD:STEPS".

        Raises:
            ConfigError: steps that are no number.
        """
        method, colon, steps = text.partition(":")
        if colon and not steps.isdecimal():
            raise ConfigError(f"method {text!r}: expected METHOD or METHOD:STEPS, as in hyperstyle+offsets:50.")
        return cls(method, int(steps) if colon else None)


def all_trials(model: Model) -> tuple[Trial, ...]:
    """Every method of the model's networks, the optimizations, and hybrids at several numbers of steps.

    W optimization takes 300 steps in both spaces, fewer than published, as in the rows that optimize; PTI takes its
    published numbers, 450 of W optimization and 350 of tuning.
    """
    alone = by_networks(model)
    hybrids = [name for name in _HYBRIDS if name.partition("+")[0] in alone]
    return (
        *(Trial(name) for name in alone),
        *(Trial(name, 300) for name in ("optimize-w", "optimize-w+")),
        Trial("pti"),
        *(Trial(name, steps) for name in hybrids for steps in _HYBRID_STEPS),
    )


@dataclass(frozen=True)
class MethodRow:
    """What was found of one trial.

    Attributes:
        trial: the method and its steps.
        row: means over the images; its method is the trial in words, its seconds are those of `invert`.
        bytes: of the file of one saved inversion, the mean.
        editability: identity similarity to the input where an edit has had the same measured effect with every trial,
            the mean over changes and edits; None without an evaluator, without such edits, or without such changes.
    """

    trial: Trial
    row: Row
    bytes: float
    editability: float | None


@dataclass(frozen=True, eq=False)
class Methods:
    """What `evaluate_methods` found, on the same images for all.

    Attributes:
        rows: in the order of the trials.
        curves: for every edit and trial, what `editability` is the mean of.
        images: title -> [at most 4,3,H,W], the input and the reconstructions.
    """

    rows: tuple[MethodRow, ...]
    curves: tuple[EffectCurve, ...]
    shown: Mapping[str, Tensor]


def evaluate_methods(
    inverter: HyperStyleInverter,
    crops: Tensor,
    trials: Sequence[Trial] | None = None,
    *,
    points: int = 5,
    on_progress: Progress | None = None,
) -> Methods:
    """Inverts every crop with every method, one at a time and as anyone would: `inverter.invert(crop, method=...)`.

    Those that optimize use the model's perceptual network; the evaluator only measures.

    Args:
        inverter: the model.
        crops: [N,3,h,w] in [-1,1] at the domain's input size.
        trials: methods and their steps; None is `all_trials`.
        points: strengths over the range of each edit of `EDITS`.
        on_progress: called with the trial, images done, and images.

    Raises:
        ConfigError: no images, or of another size; no trial, or one twice; fewer than 2 points.
        MethodError: an unknown method, one whose weights the model lacks, or steps of one that takes none: before
            anything is measured.
    """
    model = inverter.model
    crops = checked(model, crops)
    chosen = tuple(all_trials(model) if trials is None else trials)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError(f"{len(chosen)} methods, {len(set(chosen))} different ones: expected 1 or more, each once.")
    if points < 2:
        raise ConfigError(f"points={points}: expected 2 strengths or more.")
    for trial in chosen:
        resolve_method(model, trial.method, steps=trial.steps)

    if by_networks(model):
        inverter.invert(crops[0], align=False)  # not counted: it warms up
    found = {str(trial): _Found() for trial in chosen}
    made = {str(t): _inverted(inverter, crops, t, found[str(t)], on_progress) for t in chosen}
    edits = _edits(model)
    if edits:
        curves = compare(model, made, edits, points=points)
    else:
        curves = ()
        for inversions in made.values():
            for _ in inversions:
                pass
    rows = []
    for trial in chosen:
        name, one = str(trial), found[str(trial)]
        means = [curve.mean for curve in curves if curve.method == name and curve.mean is not None]
        rows.append(
            MethodRow(
                trial,
                mean_row(name, cat(one.figures), one.seconds),
                sum(one.sizes) / len(one.sizes),
                sum(means) / len(means) if means else None,
            )
        )
    shown = {"input": crops[:_SHOWN].cpu()}
    shown |= {name: torch.cat(one.shown[:_SHOWN]) for name, one in found.items()}
    return Methods(tuple(rows), curves, shown)


@dataclass
class _Found:
    """What is collected of a trial, an image at a time."""

    figures: list[Figures] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)


def _inverted(
    inverter: HyperStyleInverter, crops: Tensor, trial: Trial, found: _Found, on_progress: Progress | None
) -> Iterator[Inversion]:
    """Inversions of one image each, measured as they are made."""
    model = inverter.model
    for i, crop in enumerate(crops):
        began = now(model.device)
        inversion = inverter.invert(crop, method=trial.method, steps=trial.steps, align=False)
        found.seconds.append(now(model.device) - began)
        rendered = inversion.tensor
        found.figures.append(measure(model, rendered, crop[None], ms_ssim=True))
        found.sizes.append(_bytes(inversion))
        if i < _SHOWN:
            found.shown.append(rendered.cpu())
        if on_progress is not None:
            on_progress(str(trial), i + 1, len(crops))
        yield inversion


def _bytes(inversion: Inversion) -> int:
    """Of its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inversion.safetensors"
        inversion.save(path)
        return path.stat().st_size


def _edits(model: Model) -> list[str]:
    """Those of `EDITS` that the model has and that its evaluator can measure."""
    read = () if model.evaluator is None else model.evaluator.config.traits
    return [name for name in EDITS if name in model.edits and model.edits[name].info.trait in read]
