"""ReStyle (Alaluf et al., ICCV 2021): iterative refinement of the latent codes by an encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hyperstyle.errors import MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import StepCallback, check_integer
from hyperstyle.inversion.synthesis import synthesize
from hyperstyle.methods.base import (
    BaseRefinement,
    Method,
    Remedy,
    Start,
    StartingPoint,
    predict_in_steps,
    warn_of_many_steps,
    watch_images,
    with_image_metrics,
)
from hyperstyle.model.parts import Model

_STEPS = 5  # of the paper, in training and inference


@dataclass(frozen=True)
class RestyleRefinement(BaseRefinement):
    """Adds what the model's ReStyle encoder predicts to the codes, in a loop (ReStyle, Section 3).

    Attributes:
        keep_intermediates: keep the reconstruction before and after each step in the inversion.
        done: steps that were taken before, where an inversion is refined further.
    """

    keep_intermediates: bool = False
    done: int = 0

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Adds `steps` steps (5 by default) to the inversion's codes.

        Raises:
            MethodError: the model has no ReStyle encoder, or the inversion changes the generator, which it does not
                see.
            ConfigError: steps that are no number from 0 on.

        Warns:
            QualityWarning: twice as many steps as the encoder was trained with, or more, earlier ones included.
        """
        model, encoder = inversion.model, inversion.model.restyle
        if encoder is None:
            raise MethodError("this model has no ReStyle encoder. Use another method, or a model with one.")
        if inversion.offset_codes is not None or inversion.style_offsets or inversion.overrides:
            raise MethodError(
                "ReStyle refines codes of the plain generator: put it before what changes that, or start from "
                "Inversion.initial."
            )
        steps = _STEPS if steps is None else steps
        check_integer("steps", steps)
        name, done = encoder.config.method, self.done + steps  # "restyle-e4e" or "restyle-psp"
        if steps:
            better = f"Gradient steps make it better: invert with method='{name}+offsets', steps=50."
            warn_of_many_steps(name, done, _STEPS, better)
        images: list[Tensor] | None = [] if self.keep_intermediates else None
        target = crop.to(model.device, model.dtype)

        def render(w: Tensor) -> Tensor:
            return synthesize(model.generator, model.generator.styles(w))  # [B,3,size,size]

        def predict(w: Tensor, image: Tensor) -> Tensor:
            # ReStyle, Section 3: E(x, y) is how far the codes should move, [B,L,D], not where they should be.
            move: Tensor = encoder(target, model.domain.as_network_input(image).to(target.dtype))
            return w + move

        with torch.no_grad():
            watch = watch_images(model, images, callback)
            w, image = predict_in_steps(inversion.w, render, predict, steps, watch, "w")
        result = replace(
            inversion,
            w=w,
            crop=crop.to(model.device),
            method=name,
            intermediates=tuple(images or ()),
            refinement=replace(self, done=done),
        )
        return with_image_metrics(result, image)


def _method(name: str) -> Method:
    def unfit(model: Model) -> str | None:
        kind = None if model.restyle is None else model.restyle.config.method
        return None if kind == name else f"the model's ReStyle encoder is for {kind!r}"

    def start(model: Model) -> Start:
        encoder: Any = model.restyle  # it is there, see `StartingPoint`
        return lambda crops: encoder.latent_avg.expand(len(crops), -1, -1)  # [L,D] -> [B,L,D]

    return Method(
        name,
        needs={"restyle": "ReStyle encoder"},
        start=StartingPoint("mean", start),
        refinement=lambda options: RestyleRefinement(options.keep_intermediates),
        unfit=unfit,
        remedy=Remedy("a ReStyle encoder of that kind", "hyperstyle convert FILE --encoder RESTYLE.pt --out FOLDER"),
    )


RESTYLE_E4E, RESTYLE_PSP = _method("restyle-e4e"), _method("restyle-psp")
