"""ReStyle (Alaluf et al., ICCV 2021): iterative refinement of the latent codes by an encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hyperstyle.errors import MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Step, StepCallback, check_integer
from hyperstyle.inversion.synthesis import synthesize
from hyperstyle.methods.base import (
    BaseRefinement,
    Method,
    Remedy,
    Start,
    StartingPoint,
    warn_of_many_steps,
    watch_images,
    with_image_metrics,
)
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.pyramid import RestyleEncoder
from hyperstyle.networks.stylegan2.base import StyleGenerator

__all__ = ["RESTYLE_E4E", "RESTYLE_PSP", "RestyleRefinement", "restyle"]

_STEPS = 5  # of the paper, in training and inference


def restyle(
    crop: Tensor,
    encoder: RestyleEncoder,
    generator: StyleGenerator,
    to_input: Callable[[Tensor], Tensor],
    *,
    steps: int = _STEPS,
    w: Tensor | None = None,
    callback: StepCallback | None = None,
) -> tuple[Tensor, Tensor]:
    """Adds what the encoder predicts to the codes, in a loop (ReStyle, Section 3).

    Args:
        crop: [B,3,h,w] in [-1,1], the image as the encoder sees it.
        encoder: the network.
        generator: the one that the encoder was trained with.
        to_input: the generator's image [B,3,size,size] -> [B,3,h,w].
        steps: steps of the encoder; 0 leaves the codes as they are.
        w: [B,L,D] codes to continue from; None is the encoder's mean code, whose image is the average image.
        callback: called with the state before the first step and after each.

    Returns:
        The codes [B,L,D] and the reconstruction with them.
    """
    if w is None:  # the encoder was trained to begin with its mean code
        w = encoder.latent_avg.expand(len(crop), -1, -1)
    image = synthesize(generator, generator.styles(w))
    if callback is not None:
        callback(Step(0, steps, image, w=w))
    for step in range(1, steps + 1):
        # The encoder sees crop and reconstruction, and predicts how far the codes should move: [B,L,D].
        w = w + encoder(crop, to_input(image).to(crop.dtype))
        image = synthesize(generator, generator.styles(w))
        if callback is not None:
            callback(Step(step, steps, image, w=w))
    return w, image


@dataclass(frozen=True)
class RestyleRefinement(BaseRefinement):
    """`restyle` as a refinement of inversions; it changes the codes and leaves offsets out of the loop.

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
        model = inversion.model
        if model.restyle is None:
            raise MethodError("this model has no ReStyle encoder. Use another method, or a model with one.")
        if inversion.offset_codes is not None or inversion.style_offsets or inversion.overrides:
            raise MethodError(
                "ReStyle refines codes of the plain generator: put it before what changes that, or start from "
                "Inversion.initial."
            )
        steps = _STEPS if steps is None else steps
        check_integer("steps", steps)
        name, done = model.restyle.config.method, self.done + steps
        if steps:
            better = f"Gradient steps make it better: invert with method='{name}+offsets', steps=50."
            warn_of_many_steps(name, done, _STEPS, better)
        images: list[Tensor] | None = [] if self.keep_intermediates else None
        with torch.no_grad():
            w, image = restyle(
                crop.to(model.device, model.dtype),
                model.restyle,
                model.generator,
                model.domain.as_network_input,
                steps=steps,
                w=inversion.w,
                callback=watch_images(model, images, callback),
            )
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
        return lambda crops: encoder.latent_avg.expand(len(crops), -1, -1)

    return Method(
        name,
        needs={"restyle": "ReStyle encoder"},
        start=StartingPoint("mean", start),
        refinement=lambda options: RestyleRefinement(options.keep_intermediates),
        unfit=unfit,
        remedy=Remedy("a ReStyle encoder of that kind", "hyperstyle convert FILE --encoder RESTYLE.pt --out FOLDER"),
    )


RESTYLE_E4E, RESTYLE_PSP = _method("restyle-e4e"), _method("restyle-psp")
