"""How near the reconstruction is to the image, for each way to invert (the form of the paper's Table 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.evaluation.figures import (
    Figures,
    Point,
    Progress,
    Row,
    cat,
    checked,
    mean_point,
    mean_row,
    measure,
    now,
)
from hyperstyle.evaluation.optimized import Known, Optimization, Optimized, evaluate_optimized, perceptual_network
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE, synthesize
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.hyperstyle import refine
from hyperstyle.model.parts import Model

__all__ = ["SHOWN", "Reconstruction", "evaluate_reconstruction"]

SHOWN = 8
"""Images that are kept for a contact sheet."""

_SHOWN_PASSES = (1, 3, 5)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What `evaluate_reconstruction` found.

    Attributes:
        rows: on all images: `w-encoder`, and `hyperstyle` with the model's number of passes where it has a
            hypernetwork. Neither saw these images in training; nothing is optimized for them.
        curve: the figures of `hyperstyle` after 0, 1, ... passes; empty without a hypernetwork, or not asked for.
        optimized: the rows that optimize each image on its own, on the first few images; None if not asked for.
        images: what a contact sheet shows of the first images: title -> [at most SHOWN,3,h,w].
    """

    rows: tuple[Row, ...]
    curve: tuple[Point, ...]
    optimized: Optimized | None
    shown: Mapping[str, Tensor]


def evaluate_reconstruction(
    inverter: HyperStyleInverter,
    crops: Tensor,
    *,
    curve: int = 10,
    optimized: Optimization | None = None,
    timed: int = 16,
    on_progress: Progress | None = None,
) -> Reconstruction:
    """Inverts all crops with the W encoder and the hypernetwork, and the first ones by optimization too.

    Args:
        inverter: the model.
        crops: [N,3,h,w] in [-1,1] at the domain's input size.
        curve: passes of the hypernetwork to measure one by one; 0 leaves the curve out.
        optimized: numbers of the rows that optimize each image on its own; None leaves them out.
        timed: how many images are also inverted one at a time, for the seconds of the first two rows.
        on_progress: called while it goes on.

    Raises:
        ConfigError: no images, or of another size; numbers that cannot be used.
        MethodError: a model without an encoder; or `optimized` with a model without a perceptual network.
    """
    model = inverter.model
    if curve < 0 or timed < 1:
        raise ConfigError(f"curve={curve}, timed={timed}: expected 0 or more passes and 1 or more images.")
    if optimized is not None:
        perceptual_network(model)  # better now than after the first rows
    crops = checked(model, crops)
    refines = model.hypernetwork is not None
    passes = max(model.steps, curve) if refines else 0
    methods = {"w-encoder": 0, "hyperstyle": model.steps} if refines else {"w-encoder": 0}  # name -> passes

    codes: list[Tensor] = []
    found: list[list[Figures]] = [[] for _ in range(passes + 1)]
    shown: dict[str, Tensor] = {}
    for first in range(0, len(crops), DEFAULT_BATCH_SIZE):
        batch = crops[first : first + DEFAULT_BATCH_SIZE]
        w, images = _invert(model, batch, passes)
        codes.append(w)
        for t, image in enumerate(images):
            found[t].append(measure(model, image, batch, ms_ssim=t in methods.values()))
        if not shown:
            titles = {"input": batch, "W encoder": images[0]}
            titles |= {f"T = {t}": images[t] for t in _SHOWN_PASSES if t <= passes}
            shown = {title: image[:SHOWN].float().cpu() for title, image in titles.items()}
        if on_progress is not None:
            on_progress("inverting", min(first + DEFAULT_BATCH_SIZE, len(crops)), len(crops))

    figures = [cat(parts) for parts in found]
    seconds = {name: _seconds(model, crops[:timed], t, name, on_progress) for name, t in methods.items()}
    known = {name: Known(figures[t], seconds[name]) for name, t in methods.items()}
    result = None
    if optimized is not None:
        result = evaluate_optimized(model, crops, torch.cat(codes), known, optimized, on_progress)
        shown |= {title: image[:SHOWN] for title, image in result.shown.items()}
    return Reconstruction(
        tuple(mean_row(name, one.figures, one.seconds) for name, one in known.items()),
        tuple(mean_point(t, figures[t]) for t in range(curve + 1)) if refines and curve else (),
        result,
        shown,
    )


def _invert(model: Model, crop: Tensor, passes: int) -> tuple[Tensor, list[Tensor]]:
    """The W encoder's codes [B,L,D], and the reconstructions [B,3,H,W] after 0, 1, ... passes."""
    if model.encoder is None:
        raise MethodError("this model has no encoder to start from. Use a model folder with one.")
    images: list[Tensor] = []
    with torch.no_grad():
        w = model.generator.broadcast(model.encoder(crop.to(model.dtype)))
        if model.hypernetwork is None:
            images.append(synthesize(model.generator, model.generator.styles(w)))
        else:
            refine(
                crop.to(model.dtype),
                w,
                model.generator,
                model.hypernetwork,
                model.domain.as_network_input,
                steps=passes,
                callback=lambda step: images.append(step.image),
            )
    return w, [model.domain.content(image) for image in images]


def _seconds(model: Model, crops: Tensor, passes: int, name: str, on_progress: Progress | None) -> list[float]:
    """Wall times of inverting one image, after one that is not counted."""
    taken = []
    for i, crop in enumerate([crops[0], *crops]):
        began = now(model.device)
        _invert(model, crop[None], passes)
        taken.append(now(model.device) - began)
        if on_progress is not None:
            on_progress(f"timing {name}", i, len(crops))
    return taken[1:]
