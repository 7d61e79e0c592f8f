"""HyperStyle (Alaluf et al., CVPR 2022): iterative refinement of generator weights by a hypernetwork."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import StepCallback, check_integer
from hyperstyle.inversion.synthesis import render, synthesize
from hyperstyle.methods.base import (
    BaseRefinement,
    Method,
    Remedy,
    predict_in_steps,
    warn_of_many_steps,
    watch_images,
    with_image_metrics,
)
from hyperstyle.moved import renamed_argument
from hyperstyle.networks import cpu
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.stylegan2.base import StyleGenerator


@renamed_argument("draw", "render")
def refine(
    crop: Tensor,
    w: Tensor,
    generator: StyleGenerator,
    hypernetwork: Hypernetwork,
    to_input: Callable[[Tensor], Tensor],
    *,
    steps: int = 5,
    codes: OffsetCodes | None = None,
    render: Callable[[OffsetCodes | None], Tensor] | None = None,
    callback: StepCallback | None = None,
) -> tuple[OffsetCodes | None, Tensor]:
    """Predicts weight offsets in a loop while the latent code stays fixed (Eq. 4 to 6).

    Args:
        crop: [B,3,h,w] in [-1,1], the image as the hypernetwork sees it.
        w: [B,L,D] latent codes, from the W encoder.
        generator, hypernetwork: the networks.
        to_input: the generator's image [B,3,size,size] -> [B,3,h,w].
        steps: steps of the hypernetwork; 0 leaves the codes as they are.
        codes: accumulated codes to continue from.
        render: offset codes -> the generator's image, where it depends on more than `w` and these.
        callback: called with the state before the first step and after each.

    Returns:
        The accumulated offset codes (None if there are none) and the reconstruction with them.
    """

    def reconstruct(codes: OffsetCodes | None) -> Tensor:
        if render is not None:
            return render(codes)  # with what else changes the generator
        offsets = None if codes is None else cpu.offsets(hypernetwork, codes)  # Δ [B,O,I,k,k], computed layer by layer
        return synthesize(generator, generator.styles(w), offsets)  # Eq. 5: weights * (1 + Δ)

    def predict(codes: OffsetCodes | None, image: Tensor) -> OffsetCodes:
        new: OffsetCodes = hypernetwork(crop, to_input(image).to(crop.dtype))  # Eq. 4: H(x, y), codes [B,C] by layer
        return new if codes is None else codes + new  # Eq. 6: offsets add up, and so do their codes

    with cpu.reuse_memory():  # every step needs buffers of the same shapes
        return predict_in_steps(codes, reconstruct, predict, steps, callback, "codes")


@dataclass(frozen=True)
class HyperStyleRefinement(BaseRefinement):
    """`refine` as a refinement of inversions.

    Attributes:
        keep_intermediates: keep the reconstruction before and after each step in the inversion.
    """

    keep_intermediates: bool = False

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Adds `steps` steps (the model's own number by default) to the inversion's offset codes.

        Raises:
            MethodError: the model has no hypernetwork.
            ConfigError: steps that are no number from 0 on.

        Warns:
            QualityWarning: twice as many steps as the hypernetwork was trained with, or more, earlier ones included.
        """
        model = inversion.model
        if model.hypernetwork is None:
            raise MethodError(
                "this model has no hypernetwork, so it cannot refine. Use method='w-encoder', or a model with one."
            )
        steps = model.steps if steps is None else steps  # T, of the model's own training
        check_integer("steps", steps)
        if steps:
            # Codes are sums over steps, and their weights count these: T in Eq. 6.
            steps_before = 0.0 if inversion.offset_codes is None else float(inversion.offset_codes.count.max())
            better = "Gradient steps make it better: invert with method='hyperstyle+offsets', steps=50."
            warn_of_many_steps(HYPERSTYLE.name, round(steps_before) + steps, model.steps, better)

        def render_with(codes: OffsetCodes | None) -> Tensor:
            return render(model, replace(inversion.state, offset_codes=codes), differentiable=True)

        images: list[Tensor] | None = [] if self.keep_intermediates else None
        with torch.no_grad():
            codes, image = refine(
                crop.to(model.device, model.dtype),
                inversion.w,
                model.generator,
                model.hypernetwork,
                model.domain.as_network_input,
                steps=steps,
                codes=inversion.offset_codes,
                render=render_with if inversion.overrides else None,
                callback=watch_images(model, images, callback),
            )
        result = replace(
            inversion,
            crop=crop.to(model.device),
            offset_codes=codes,
            method=inversion.method if inversion.method.endswith("+hyperstyle") else "hyperstyle",
            intermediates=tuple(images or ()),
            refinement=self,
        )
        return with_image_metrics(result, image)


HYPERSTYLE = Method(
    "hyperstyle",
    needs={"hypernetwork": "hypernetwork"},
    refinement=lambda options: HyperStyleRefinement(options.keep_intermediates),
    remedy=Remedy(
        "a hypernetwork",
        "hyperstyle convert HYPERSTYLE.pt --encoder W_ENCODER.pt --out FOLDER",
        train="hyperstyle",
    ),
)
