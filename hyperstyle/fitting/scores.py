"""Scores of the images of codes, and tables of such scores on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hyperstyle.edits.statistics import Progress
from hyperstyle.errors import CheckpointError, EditError, MissingFileError, did_you_mean, with_article
from hyperstyle.inversion.state import InversionState
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE, render
from hyperstyle.io.npy_objects import save_npz
from hyperstyle.io.opening import check_file
from hyperstyle.io.torch_files import load_npz
from hyperstyle.model.parts import Model
from hyperstyle.networks.perception.attributes import AttributeNetwork

Scorer = Callable[[Tensor], Tensor | Mapping[str, Tensor]]
"""Images [B,3,h,w] in [-1,1] at the domain's input size -> scores [B], or trait -> scores [B]. NaN: unreadable."""

_CODES = "codes"
_UNNAMED = "score"


@dataclass(frozen=True, eq=False)
class Scores:
    """W codes and the scores of their images.

    Attributes:
        codes: [N,D].
        values: trait -> [N]; NaN where an image could not be read.
    """

    codes: Tensor
    values: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        wrong = [name for name, values in self.values.items() if values.shape != self.codes.shape[:1]]
        if self.codes.ndim != 2 or not self.values or wrong:
            raise EditError(
                f"a table of codes {tuple(self.codes.shape)} and "
                f"{ {name: tuple(values.shape) for name, values in self.values.items()} }: expected codes [N, D] and, "
                "for one trait or more, scores [N]."
            )


def network_scorer(network: AttributeNetwork) -> Scorer:
    """A scorer of all traits that the network predicts."""

    def scorer(images: Tensor) -> Mapping[str, Tensor]:
        return dict(zip(network.config.traits, network(images).unbind(1), strict=True))

    return scorer


def score_images(scorer: Scorer, images: Tensor) -> dict[str, Tensor]:
    """Scores images [B,3,h,w]: trait -> [B], float32 on the CPU, without gradients.

    Scores that the scorer gives no name are called "score". Raises EditError where it gives other than [B].
    """
    with torch.no_grad():
        output = scorer(images)
    named = output if isinstance(output, Mapping) else {_UNNAMED: output}
    scores: dict[str, Tensor] = {}
    for name, values in named.items():
        if not isinstance(values, Tensor) or values.numel() != len(images):
            kind = f"of shape {tuple(values.shape)}" if isinstance(values, Tensor) else with_article(type(values))
            raise EditError(f"the scorer gave {kind} as {name!r} for {len(images)} images: expected a tensor [B].")
        scores[name] = values.detach().float().flatten().cpu()
    return scores


def render_batches(
    model: Model, codes: Tensor, offsets: Mapping[str, Tensor], *, on_progress: Progress | None = None, what: str = ""
) -> Iterator[Tensor]:
    """Renders the images of latent codes, in batches [b,3,h,w] in [-1,1] of the domain's input size.

    Args:
        model: generator and domain are used.
        codes: [N,D] or [N,L,D].
        offsets: style offsets, layer name -> [N,I] for I channels, see `InversionState`; {} for none.
        on_progress: called after each batch, see `Progress`.
        what: what is being done, for `on_progress`.
    """
    w = model.generator.broadcast(codes.to(model.generator.latent_avg))
    state = InversionState(w, style_offsets=offsets)
    for first in range(0, len(w), DEFAULT_BATCH_SIZE):
        batch = slice(first, first + DEFAULT_BATCH_SIZE)
        yield model.domain.as_network_input(render(model, state.take(batch)).float())
        if on_progress is not None:
            on_progress(what, min(batch.stop, len(w)), len(w))


def score_codes(
    model: Model,
    codes: Tensor,
    scorer: Scorer,
    *,
    needed: Sequence[str] = (),
    on_progress: Progress | None = None,
) -> Scores:
    """Scores the image of every code.

    Args:
        model: generator and domain are used.
        codes: W codes [N,D].
        scorer: see `Scorer`.
        needed: traits that must be among the scores; checked on the first images.
        on_progress: called with the progress.

    Raises:
        EditError: no codes, or what the scorer gives is no score for each image, or not of each needed trait.
    """
    parts: list[dict[str, Tensor]] = []
    for images in render_batches(model, codes, {}, on_progress=on_progress, what="scoring"):
        parts.append(score_images(scorer, images))
        for trait in needed:
            if trait not in parts[-1]:
                raise EditError(f"the scorer gives no {trait!r}. {did_you_mean(trait, parts[-1])}")
    if not parts:
        raise EditError("no codes to score: expected W codes [N, D], N >= 1.")
    return Scores(codes.float().cpu(), {name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def save_scores(scores: Scores, path: str | Path) -> None:
    """Writes, atomically, an `.npz` file with the array `codes` and one for each trait. Raises HyperStyleError."""
    if _CODES in scores.values:
        raise EditError(f"a trait cannot be called {_CODES!r} in a table, which has its codes there.")
    arrays = {_CODES: scores.codes, **scores.values}
    save_npz(path, {name: tensor.numpy() for name, tensor in arrays.items()})


def load_scores(path: str | Path) -> Scores:
    """Reads a table: an `.npz` file with an array `codes` [N,D] and, under the name of each trait, scores [N].

    Raises:
        MissingFileError: there is no such file.
        EditError: it is no such table.
    """
    check_file(path, "table of scores, an .npz file", error=EditError, missing=MissingFileError)
    try:
        arrays = {name: torch.from_numpy(array.astype(np.float32)) for name, array in load_npz(path).items()}
    except (CheckpointError, ValueError, TypeError) as error:
        raise EditError(f"{path} is no table of scores: expected an .npz file of numbers ({error}).") from error
    if _CODES not in arrays:
        raise EditError(f"{path} has no array {_CODES!r}. Found: {', '.join(arrays) or 'nothing'}.")
    codes = arrays.pop(_CODES)
    return Scores(codes, arrays)
