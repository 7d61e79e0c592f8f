"""What an edit does to its trait, to the person and to other traits, with and without offsets (paper, Section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.errors import ConfigError, EditError, MethodError, did_you_mean
from hyperstyle.evaluation.figures import Progress
from hyperstyle.evaluation.held_out import attribute_deviations
from hyperstyle.evaluation.images import given_crops
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model.parts import Model

_SHOWN = 2  # images kept for a contact sheet


@dataclass(frozen=True)
class EditPoint:
    """Means over the images at one strength; the evaluator reads everything.

    Attributes:
        strength: in the edit's own unit.
        trait, trait_std: what the evaluator reads of the edit's trait, about 0..1, and its deviation over the images.
        change: `trait` minus that at strength 0, in standard deviations of the population of avatars.
        identity: cosine similarity to the unedited inversion of the same kind.
        identity_to_crop: cosine similarity to the image that was inverted.
    """

    strength: float
    trait: float
    trait_std: float
    change: float
    identity: float
    identity_to_crop: float


@dataclass(frozen=True)
class EditCurve:
    """One edit over its range of strengths, on inversions of one kind.

    Attributes:
        edit, trait: the edit's name and the trait that the evaluator reads.
        offsets: whether the inversions have weight offsets; without, they are the plain G(w) of the same codes.
        points: by rising strength.
        monotone: share of images whose trait rises at every step.
        spearman: rank correlation of strength and trait, the mean over images.
        leak: for each trait of another edit, its mean absolute change for one unit of mean absolute change of the
            own trait, both in population standard deviations, over all strengths but 0.
    """

    edit: str
    trait: str
    offsets: bool
    points: tuple[EditPoint, ...]
    monotone: float
    spearman: float
    leak: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Editing:
    """What `evaluate_editing` found.

    Attributes:
        curves: two for each edit, with offsets and without (only the latter where the model has no hypernetwork).
        images: how many images the means are over.
        population_std: of each trait, over avatars as they are drawn.
        crops: the first images [P,3,h,w], for a contact sheet.
        shown: (edit, whether with offsets) -> these images [S,P,3,H,W] by rising strength.
    """

    curves: tuple[EditCurve, ...]
    images: int
    population_std: Mapping[str, float]
    crops: Tensor
    shown: Mapping[tuple[str, bool], Tensor]


def evaluate_editing(
    inverter: HyperStyleInverter,
    crops: Tensor,
    edits: Sequence[str] | None = None,
    *,
    points: int = 9,
    on_progress: Progress | None = None,
) -> Editing:
    """Edits the inversions of all crops at strengths over each edit's range and has the evaluator read the images.

    Args:
        inverter: a model with an evaluator.
        crops: [N,3,h,w] in [-1,1] at the domain's input size.
        edits: names; None is every edit of the model.
        points: strengths from the low to the high end of an edit's range; 0 comes on top where it is not one of them.
        on_progress: called while it goes on.

    Raises:
        MethodError: the model has no evaluator.
        EditError: an unknown edit, or some that do not name a trait that the evaluator reads.
        ConfigError: no images, or of another size; fewer than 2 points.
    """
    model = inverter.model
    names = measurable_edits(model, edits)
    check_points(points)
    trait_of = _measurable_traits(model)
    traits = list(dict.fromkeys(trait_of.values()))
    spread = {trait: attribute_deviations()[trait] for trait in traits}
    strengths = {name: strengths_of(model.edits[name].info.low, model.edits[name].info.high, points) for name in names}
    images = given_crops(model, crops)
    crops = torch.stack([images.load(i) for i in range(len(images))]).to(model.device)

    kinds = (True, False) if model.hypernetwork is not None else (False,)
    readings: dict[tuple[str, bool], list[_Readings]] = {(name, offsets): [] for name in names for offsets in kinds}
    shown: dict[tuple[str, bool], Tensor] = {}
    for first in range(0, len(crops), DEFAULT_BATCH_SIZE):
        batch = list(crops[first : first + DEFAULT_BATCH_SIZE])
        inversion = inverter.invert(batch, align=False, batch_size=DEFAULT_BATCH_SIZE)
        for name, offsets in readings:
            kind = inversion if offsets else inversion.initial
            read, edited = _sweep(kind, name, strengths[name], traits)
            readings[name, offsets].append(read)
            shown.setdefault((name, offsets), edited[:, :_SHOWN].cpu())
        if on_progress is not None:
            on_progress("editing", first + len(batch), len(crops))

    curves = []
    for (name, offsets), parts in readings.items():
        joined = _Readings(*(torch.cat(tensors, 1) for tensors in zip(*parts, strict=True)))
        curves.append(_curve(name, trait_of[name], offsets, strengths[name], joined, spread))
    return Editing(tuple(curves), len(crops), spread, crops[:_SHOWN].cpu(), shown)


def measurable_edits(model: Model, names: Sequence[str] | None = None) -> list[str]:
    """The named edits (None: all of the model), each once.

    Raises:
        MethodError: the model has no evaluator.
        EditError: none at all, an unknown one, or some whose trait the evaluator does not read.
    """
    if model.evaluator is None:
        raise MethodError("this model has no evaluator, so nothing reads traits and identity. Use a model with one.")
    names = list(model.edits if names is None else dict.fromkeys(names))
    if not names:
        raise EditError("no edit to measure. Name one, or use a model that has some.")
    for name in names:
        if name not in model.edits:
            raise EditError(f"no edit named {name!r} in this model. {did_you_mean(name, model.edits)}")
    measurable = _measurable_traits(model)
    unread = [f"{name} (trait {model.edits[name].info.trait!r})" for name in names if name not in measurable]
    if unread:
        raise EditError(
            f"the evaluator reads no trait of these edits: {', '.join(unread)}. An edit's info names the trait it "
            f"moves; edits of this model that can be measured: {', '.join(measurable) or 'none'}."
        )
    return names


def _measurable_traits(model: Model) -> dict[str, str]:
    """Edit -> the trait that it names, for edits whose trait the evaluator reads and whose population is known."""
    read = () if model.evaluator is None else model.evaluator.config.traits
    traits = {name: edit.info.trait or "" for name, edit in model.edits.items()}
    return {name: trait for name, trait in traits.items() if trait in read and trait in attribute_deviations()}


def check_points(points: int) -> None:
    """Raises ConfigError for fewer than 2 strengths."""
    if points < 2:
        raise ConfigError(f"points={points}: expected 2 strengths or more.")


def strengths_of(low: float, high: float, points: int) -> tuple[float, ...]:
    """`points` strengths from `low` to `high`, and 0, which changes are measured against."""
    even = [low + (high - low) * i / (points - 1) for i in range(points)]
    return tuple(sorted({0.0, *(s for s in even if abs(s) > 1e-9 * (high - low))}))


def monotone_share(values: Tensor) -> float:
    """Share of the columns of values [S,N] that rise at every step."""
    return (values[1:] > values[:-1]).all(0).double().mean().item()


def spearman(strengths: Sequence[float], values: Tensor) -> float:
    """Rank correlation of strengths [S] with every column of values [S,N], the mean; equal values share a rank.

    A column whose values are all equal counts as 0.
    """

    from scipy.stats import rankdata

    ranks = torch.from_numpy(rankdata(values.numpy(), axis=0))  # [S,N]
    order = torch.from_numpy(rankdata(strengths))[:, None]  # [S,1]
    # Not scipy's spearmanr, which has no value for a column of equal ranks.
    return F.cosine_similarity(order - order.mean(0), ranks - ranks.mean(0), dim=0).mean().item()


class _Readings(NamedTuple):
    """What the evaluator reads of B images at S strengths: traits [S,B,K] and two cosine similarities [S,B]."""

    traits: Tensor
    identity: Tensor
    to_crop: Tensor


def _sweep(
    inversion: Inversion, edit: str, strengths: Sequence[float], traits: Sequence[str]
) -> tuple[_Readings, Tensor]:
    """The readings at every strength, and the edited images [S,B,3,H,W]."""
    evaluator, domain = inversion.model.evaluator, inversion.model.domain
    if evaluator is None or inversion.crop is None:
        raise MethodError("editing is measured by an evaluator, on inversions of known crops.")
    columns = [evaluator.config.traits.index(trait) for trait in traits]
    edited = torch.stack([inversion.edit(edit, strength).tensor for strength in strengths])
    with torch.no_grad():
        images = [domain.resize_to_input(batch) for batch in edited]
        values = torch.stack([evaluator(batch)[:, columns] for batch in images])  # [S,B,K]
        people = torch.stack([evaluator.embedding(batch) for batch in images])  # [S,B,E]
        original = evaluator.embedding(inversion.crop)
    unedited = people[list(strengths).index(0.0)]
    similar = [F.cosine_similarity(people, embedding[None], dim=2).cpu() for embedding in (unedited, original)]
    return _Readings(values.cpu(), *similar), edited


def _curve(
    edit: str, trait: str, offsets: bool, strengths: Sequence[float], readings: _Readings, spread: Mapping[str, float]
) -> EditCurve:
    traits, zero = list(spread), list(strengths).index(0.0)
    column = traits.index(trait)
    values = readings.traits.double()  # [S,N,K]
    trait_values = values[:, :, column]  # [S,N]
    change = (values - values[zero]) / torch.tensor(list(spread.values()), dtype=torch.float64)
    moved = change[[i for i in range(len(strengths)) if i != zero]].abs().mean((0, 1))  # [K]
    figures = (trait_values, change[:, :, column], readings.identity.double(), readings.to_crop.double())
    value, mean_change, identity, to_crop = (figure.mean(1).tolist() for figure in figures)  # S numbers each
    deviation = [row.std(correction=0).item() for row in trait_values]
    columns = (strengths, value, deviation, mean_change, identity, to_crop)
    leak = {name: (moved[k] / moved[column]).item() for k, name in enumerate(traits) if k != column}
    return EditCurve(
        edit,
        trait,
        offsets,
        tuple(EditPoint(*point) for point in zip(*columns, strict=True)),
        monotone_share(trait_values),
        spearman(strengths, trait_values),
        leak if float(moved[column]) > 0 else {},
    )
