"""ReStyle (Alaluf et al., ICCV 2021): iterative refinement of the latent codes by an encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE, synthesize
from hyperstyle.methods.optimization import check_whole, warn_of_many_steps
from hyperstyle.networks.encoders.restyle import RestyleEncoder
from hyperstyle.networks.stylegan2.base import StyleGenerator

__all__ = ["RestyleRefinement", "RestyleStep", "restyle"]

_STEPS = 5  # of the paper, in training and inference


@dataclass(frozen=True)
class RestyleStep:
    """What a callback of `restyle` sees after each step.

    Attributes:
        step: 1 after the first step; 0 before any.
        steps: how many steps there will be.
        w: [B,L,D] the codes so far.
        image: the reconstruction with them [B,3,size,size].
    """

    step: int
    steps: int
    w: Tensor
    image: Tensor


def restyle(
    crop: Tensor,
    encoder: RestyleEncoder,
    generator: StyleGenerator,
    to_input: Callable[[Tensor], Tensor],
    *,
    steps: int = _STEPS,
    w: Tensor | None = None,
    callback: Callable[[RestyleStep], None] | None = None,
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
    if w is None:
        w = encoder.latent_avg.expand(len(crop), -1, -1)
    image = synthesize(generator, generator.styles(w))
    if callback is not None:
        callback(RestyleStep(0, steps, w, image))
    for step in range(1, steps + 1):
        w = w + encoder(crop, to_input(image).to(crop.dtype))
        image = synthesize(generator, generator.styles(w))
        if callback is not None:
            callback(RestyleStep(step, steps, w, image))
    return w, image


@dataclass(frozen=True)
class RestyleRefinement:
    """`restyle` as a refinement of inversions; it changes the codes and leaves offsets out of the loop.

    Attributes:
        keep_intermediates: keep the reconstruction before and after each step in the inversion.
        done: steps that were taken before, where an inversion is refined further.
    """

    keep_intermediates: bool = False
    done: int = 0

    def __call__(
        self,
        crop: Tensor,
        inversion: Inversion,
        *,
        steps: int | None = None,
        callback: Callable[..., None] | None = None,
    ) -> Inversion:
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
        check_whole("steps", steps)
        name, done = model.restyle.config.method, self.done + steps
        if steps:
            better = f"Gradient steps make it better: invert with method='{name}+offsets', steps=50."
            warn_of_many_steps(name, done, _STEPS, better)
        seen: list[Tensor] = []

        def watch(step: RestyleStep) -> None:
            if self.keep_intermediates:
                seen.append(model.domain.content(step.image).float())
            if callback is not None:
                callback(step)

        with torch.no_grad():
            w, image = restyle(
                crop.to(model.device, model.dtype),
                model.restyle,
                model.generator,
                model.domain.as_network_input,
                steps=steps,
                w=inversion.w,
                callback=watch,
            )
        refined = replace(
            inversion,
            w=w,
            crop=crop.to(model.device),
            method=name,
            intermediates=tuple(seen),
            refinement=replace(self, done=done),
        )
        # The image of the loop is `tensor`: the same operations on the same batch.
        is_tensor = len(refined) <= DEFAULT_BATCH_SIZE
        return with_metrics(refined, model.domain.content(image).float() if is_tensor else None)
