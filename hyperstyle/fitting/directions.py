"""Edits fitted to scored or sampled codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.edits.ganspace import Components
from hyperstyle.edits.interfacegan import Boundary, fit_boundary
from hyperstyle.edits.interfacegan import conditional as conditional_direction
from hyperstyle.edits.sampling import deviations, principal_axes, sample_w
from hyperstyle.edits.statistics import Progress
from hyperstyle.errors import EditError, did_you_mean
from hyperstyle.fitting.measure import Measured
from hyperstyle.fitting.scores import Scores
from hyperstyle.model.parts import Model

_DEVIATION_SAMPLES = 5000
_RELIABLE = 0.9  # held-out accuracy from which a boundary counts as one


def fit_interfacegan(
    model: Model,
    scores: Scores,
    traits: Sequence[str] | None = None,
    *,
    conditional: bool = False,
    chosen: float | int = 0.02,
    split: float = 0.7,
    seed: int = 0,
    source: str = "",
    on_progress: Progress | None = None,
) -> dict[str, DirectionEdit]:
    """For every trait the normal of the boundary between codes of high and of low scores (InterFaceGAN).

    One unit of strength moves a code across the boundary by one standard deviation of the codes.

    Args:
        model: whose codes these are; the edits are for its generator.
        scores: codes and the scores of their images.
        traits: which of the scores; None is all.
        conditional: each edit is made orthogonal to the normals of all other traits whose boundaries are right for
            90 % of the held-out codes, so that it leaves those traits alone. (Its own boundary is unchanged.)
        chosen: how many codes with the highest scores, and as many with the lowest, a boundary is fitted to and tested
            on: a share of all as a float up to 0.5, or a number as an int.
        split: share of the chosen codes that it is fitted to; the rest are held out.
        seed: of the split.
        source: where the scores come from, such as ", scored by NAME".
        on_progress: called with the progress.

    Raises:
        EditError: no such trait, codes of another width, or no boundary can be found.
        MissingDependencyError: scikit-learn is not installed.
    """
    fitted = list(scores.values) if traits is None else list(dict.fromkeys(traits))
    for trait in fitted:
        if trait not in scores.values:
            raise EditError(f"no scores of {trait!r}. {did_you_mean(trait, scores.values)}")
    width = model.generator.config.latent_width
    if scores.codes.shape[1] != width:
        raise EditError(f"scored codes of width {scores.codes.shape[1]}, and the generator's codes have {width}.")
    needed = list(scores.values) if conditional else fitted
    boundaries: dict[str, Boundary] = {}
    for i, trait in enumerate(needed):
        try:
            boundaries[trait] = fit_boundary(scores.codes, scores.values[trait], chosen=chosen, split=split, seed=seed)
        except EditError as error:
            if trait in fitted:
                raise EditError(f"{trait}: {error}") from error
        if on_progress is not None:
            on_progress("fitting", i + 1, len(needed))
    edits = {}
    for trait in fitted:
        boundary = boundaries[trait]
        direction, avoided = boundary.normal, list[str]()
        if conditional:
            others = {other: b for other, b in boundaries.items() if other != trait}
            avoided = [other for other, b in others.items() if (b.held_out_accuracy or 0.0) >= _RELIABLE]
        if avoided:
            direction = conditional_direction(direction, *(boundaries[other].normal for other in avoided))
        deviation = deviations(boundary.normal[None], scores.codes)[0] / (direction @ boundary.normal)
        how = "InterFaceGAN, conditional" if avoided else "InterFaceGAN"
        info = EditInfo(
            trait,
            unit="standard deviations of the codes across the boundary",
            source=f"{how}: linear SVM on {boundary.chosen} codes of either end of {len(scores.codes)}{source}",
            model=model.generator_fingerprint,
            trait=trait,
            report={
                "accuracy": {
                    "train": boundary.train_accuracy,
                    "held_out": boundary.held_out_accuracy,
                    "remaining": boundary.remaining_accuracy,
                },
                "orthogonal_to": avoided,
            },
        )
        edits[trait] = DirectionEdit(direction.float() * deviation, info)
    return edits


def fit_components(
    model: Model,
    count: int = 80,
    *,
    samples: int = 1_000_000,
    seed: int = 0,
    truncation: float = 1.0,
    on_progress: Progress | None = None,
) -> Components:
    """Principal components of W (GANSpace), from `samples` random codes.

    The standard deviations along them are those of 5,000 other codes.

    Args:
        model: whose generator makes the codes.
        count: how many components.
        samples, seed, truncation: see `sample_w`.
        on_progress: called with the progress.

    Raises:
        EditError: more components than W is wide, or too few samples.
        ConfigError: see `sample_w`.
    """
    generator = model.generator

    def batches() -> Iterator[Tensor]:
        done = 0
        for batch in sample_w(generator, samples, seed=seed, truncation=truncation):
            yield batch
            done += len(batch)
            if on_progress is not None:
                on_progress("sampling", done, samples)

    mean, axes, _ = principal_axes(batches(), count)
    other_codes = torch.cat(list(sample_w(generator, _DEVIATION_SAMPLES, seed=seed + 1, truncation=truncation)))
    return Components(mean.cpu(), axes.cpu(), deviations(axes, other_codes).cpu())


def with_report(edit: DirectionEdit, measured: Measured) -> DirectionEdit:
    """A copy of the edit with the measurement in its report, and with the usable range as its range of strengths.

    Without a usable range (`low` = `high` = 0) the range stays as it was.
    """
    info = dataclasses.replace(edit.info, report={**edit.info.report, "trait": measured.trait, **measured.report()})
    if measured.low < measured.high:
        info = dataclasses.replace(info, low=measured.low, high=measured.high)
    return dataclasses.replace(edit, info=info)
