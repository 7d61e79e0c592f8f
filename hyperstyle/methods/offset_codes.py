"""Offset codes by optimization: what the hypernetwork predicts, moved further through its own frozen heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import ImageLoss, Loss, StepCallback, image_losses, optimize
from hyperstyle.inversion.synthesis import render
from hyperstyle.methods import hyperstyle
from hyperstyle.methods.base import BaseRefinement, Method, refine_by_optimization
from hyperstyle.methods.losses import add_l2, perceptual_loss
from hyperstyle.methods.offsets import short_schedule
from hyperstyle.moved import renamed_field
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.runtime.gradients import with_gradients

__all__ = ["OFFSET_CODES", "OffsetCodeTuner"]


@renamed_field("rate", "lr")
@dataclass(frozen=True)
class OffsetCodeTuner(BaseRefinement):
    """Finds codes c = argmin L(G(w; θ (1 + Δ(c))), x) for each image.

    Δ(c) are the offsets that the hypernetwork's heads give for codes c (Eq. 5). The search begins with the
    inversion's offset codes, or with zeros. The result consists of the same few numbers, and its
    offsets are among those that the heads can express. A layer's steps are measured in the root mean square of its
    code, so that a learning rate means the same whatever the scale of the codes. Dense offsets are computed layer by
    layer, and so are their gradients.

    Attributes:
        steps: how many, unless the call says so.
        lr: learning rate, where it is highest: it rises over five steps, and falls to zero over the second half.
        loss: (image, target) -> [B], to which L2 is added; None is the model's perceptual network, or LPIPS.
        threshold: an image stays as it is as soon as L2 + loss is no larger; None takes all steps.
    """

    steps: int = 100
    lr: float = 0.2
    loss: ImageLoss | None = None
    threshold: float | None = None

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Takes `steps` steps.

        Raises:
            MethodError: the model has no hypernetwork; its heads are not affine and the inversion has no codes to begin
                with; no perceptual loss can be had; or an image is too much for the memory.
            ConfigError: a number of steps or an lr that cannot be used.
            ImageError: crops that are not finite.
        """
        model = inversion.model
        if model.hypernetwork is None:
            raise MethodError(
                "method 'offset-codes' needs a hypernetwork, which this model lacks. Use method='offsets', or a model "
                "with one."
            )
        network = model.hypernetwork
        schedule = short_schedule(self.steps if steps is None else steps, self.lr, self.threshold)
        loss = add_l2(self.loss or perceptual_loss(model))

        @with_gradients
        def optimize_part(crops: Tensor, part: Inversion) -> Inversion:
            first, scales = _first(network, crops, part)
            moves = {name: torch.zeros_like(code).requires_grad_() for name, code in _codes(first).items()}

            def moved() -> Inversion:
                """With the codes first + scale * move; every move begins at zero."""
                # Adam's steps are as long as the learning rate whatever the gradient is: the scale makes them relative.
                sums, terms = (
                    {name: code + scales[name] * moves[name] for name, code in group.items()}
                    for group in (first.sums, first.terms)
                )
                return replace(part, offset_codes=OffsetCodes(sums, terms, first.weights, first.dense))

            def loss_at(step: int) -> Loss:
                image = render(model, moved().state, differentiable=True)
                return Loss(image_losses(loss, model.domain.as_network_input(image), crops, step), image)

            optimize(list(moves.values()), loss_at, schedule, callback)
            with torch.no_grad():
                return moved()

        return refine_by_optimization(OFFSET_CODES.name, self, crop, inversion, optimize_part)


def _codes(codes: OffsetCodes) -> Mapping[str, Tensor]:
    """The codes of all layers: [B,C], of heads that are not affine [B,K,C]."""
    return {**codes.sums, **codes.terms}


@torch.no_grad()
def _first(network: Hypernetwork, crops: Tensor, inversion: Inversion) -> tuple[OffsetCodes, dict[str, Tensor]]:
    """The codes to begin with, and the root mean square of each layer's code: that of a prediction where it is zero."""
    codes, model = inversion.offset_codes, inversion.model
    if codes is not None and codes.coded and all(code.any() for code in _codes(codes).values()):
        return codes, _scales(codes)
    # No codes, or zeros: a prediction tells how large codes are, and begins nowhere itself.
    image = render(model, inversion.state, differentiable=True)
    predicted = network(crops, model.domain.as_network_input(image))
    if predicted.terms:
        raise MethodError(
            "this hypernetwork's heads are not affine, so that no codes stand for zero offsets. Begin with its "
            "prediction: method='hyperstyle+offset-codes'."
        )
    zero = predicted * 0.0  # affine heads map zero codes of weight zero to Δ = 0
    return zero if codes is None else zero + codes, _scales(predicted)


def _scales(codes: OffsetCodes) -> dict[str, Tensor]:
    # [B,1] for codes [B,C], [B,K,1] for [B,K,C]; 1 where a code is zero, as nothing says how large it should be.
    scales = {name: code.square().mean(-1, keepdim=True).sqrt() for name, code in _codes(codes).items()}
    return {name: torch.where(scale > 0, scale, 1.0) for name, scale in scales.items()}


OFFSET_CODES = Method(
    "offset-codes",
    needs=hyperstyle.HYPERSTYLE.needs,
    refinement=lambda options: OffsetCodeTuner(),
    preceded_by=(("hyperstyle", hyperstyle.refiner),),
    optimizes=True,
    remedy=hyperstyle.HYPERSTYLE.remedy,
)
