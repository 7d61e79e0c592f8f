"""Relative weight offsets by optimization: what HyperStyle's hypernetwork predicts (Eq. 5), searched for.

Either dense ones, or the offset codes of the hypernetwork, moved further through its own frozen heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import (
    ImageLoss,
    Loss,
    Schedule,
    StepCallback,
    check_integer,
    check_lr,
    image_losses,
    optimize,
)
from hyperstyle.inversion.synthesis import render
from hyperstyle.methods.base import BaseRefinement, Method, refine_by_optimization, why_not_stylegan2
from hyperstyle.methods.hyperstyle import HYPERSTYLE, HyperStyleRefinement
from hyperstyle.methods.losses import add_l2, perceptual_loss
from hyperstyle.moved import renamed_field
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, tuned_layers

_RISING = 5  # steps until the learning rate is at its highest


def short_schedule(steps: int, lr: float, threshold: float | None = None) -> Schedule:
    """A schedule for runs of few steps: Adam with a short memory, betas 0.8 and 0.9.

    The learning rate rises over the first five steps, when the gradient's scale is hardly known, and falls linearly to
    zero over the last half.

    Args:
        steps: the largest number of steps.
        lr: the highest learning rate.
        threshold: as of `Schedule`.

    Raises:
        ConfigError: a number of steps or an lr that cannot be used.
    """
    check_integer("steps", steps)
    check_lr(lr)

    def lr_at(step: int) -> float:
        # The smallest of: the highest rate, the rise to it, and the line that reaches it at half of the steps.
        return lr * min(1.0, (step + 1) / _RISING, 2.0 * (1.0 - step / steps))

    # Adam averages 5 gradients and 10 squares: with betas of 0.9 and 0.999 a short run would end before they settle.
    return Schedule(steps, lr_at, betas=(0.8, 0.9), threshold=threshold)


@renamed_field("rate", "lr")
@dataclass(frozen=True)
class OffsetTuner(BaseRefinement):
    """Finds Δ = argmin L(G(w; θ (1 + Δ)), x) for each image: [B,O,I,1,1], a value per pair of channels of each layer.

    They are dense, and added to the offsets that the inversion has. A hypernetwork whose heads give one value per pair
    chooses among the same offsets, so this shows how near to the target such a network could come, as far as gradient
    descent with `short_schedule` finds it. The images of a batch are optimized side by side, each as it would be alone.
    Codes and generator stay as they are.

    Attributes:
        steps: how many, unless the call says so.
        lr: learning rate, where it is highest.
        layers: that may change; None is those of the model's hypernetwork, or all but toRGB.
        loss: (image, target) -> [B], to which L2 is added; None is the model's perceptual network, or LPIPS.
        threshold: an image stays as it is as soon as L2 + loss is no larger; None takes all steps.
    """

    steps: int = 100
    lr: float = 0.03
    layers: tuple[str | int, ...] | None = None
    loss: ImageLoss | None = None
    threshold: float | None = None

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Takes `steps` steps.

        Raises:
            ConfigError: an unknown layer, or steps or an lr that cannot be used.
            MethodError, MissingDependencyError: no perceptual loss can be had, or an image is too much for the memory.
            ImageError: crops that are not finite.
        """
        model = inversion.model
        network, names = model.hypernetwork, self.layers
        if names is None and network is not None:
            names = network.config.layers
        specs = [model.generator.layer(name) for name in tuned_layers(model.generator.config, names)]
        schedule = short_schedule(self.steps if steps is None else steps, self.lr, self.threshold)
        loss = add_l2(self.loss or perceptual_loss(model))

        def optimize_part(crops: Tensor, part: Inversion) -> Inversion:
            # One value for each pair of channels, the same for all taps of a kernel: [B,O,I,1,1].
            shapes = {spec.name: (len(crops), spec.channels_out, spec.channels_in, 1, 1) for spec in specs}
            offsets = {name: crops.new_zeros(shape).requires_grad_() for name, shape in shapes.items()}

            def added() -> OffsetCodes:
                # Eq. 6: offsets add up. W (1 + Δ + Δ') has one Δ' for all taps, so it is broadcast over k x k.
                dense = OffsetCodes.of_dense(offsets)
                return dense if part.offset_codes is None else part.offset_codes + dense

            def loss_at(step: int) -> Loss:
                image = render(model, replace(part.state, offset_codes=added()), differentiable=True)
                return Loss(image_losses(loss, model.domain.as_network_input(image), crops, step), image)

            optimize(list(offsets.values()), loss_at, schedule, callback)
            return replace(part, offset_codes=added().apply(Tensor.detach))

        return refine_by_optimization(OFFSETS.name, self, crop, inversion, optimize_part)


OFFSETS = Method("offsets", refinement=lambda options: OffsetTuner(), optimizes=True, unfit=why_not_stylegan2)


@renamed_field("rate", "lr")
@dataclass(frozen=True)
class OffsetCodeTuner(BaseRefinement):
    """Finds codes c = argmin L(G(w; θ (1 + Δ(c))), x) for each image.

    Δ(c) are the offsets that the hypernetwork's heads give for codes c (Eq. 5). The search begins with the inversion's
    offset codes; if it has none, with codes of zero, which stand for no offsets. The result consists of the same few
    numbers, and its offsets are among those that the heads can express. The learning rate counts in units of the root
    mean square of a layer's first code, so that it means the same whatever the scale of the codes. If codes are absent
    or zero, the hypernetwork's prediction gives that unit. Dense offsets are computed layer by layer, and so are their
    gradients.

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

        def optimize_part(crops: Tensor, part: Inversion) -> Inversion:
            first, scales = _initial_codes(network, crops, part)  # by layer: codes [B,C] (or [B,K,C]), units [B,1]
            moves = {name: torch.zeros_like(code).requires_grad_() for name, code in _codes(first).items()}

            def moved() -> Inversion:
                """With the codes first + scale * move; every move begins at zero."""
                # Adam's steps are as long as the learning rate whatever the gradient is: the scale makes them relative.
                # An affine head's code is [B,C]; the others keep one for each of K steps, [B,K,C].
                sums, terms = (
                    {name: code + scales[name] * moves[name] for name, code in group.items()}
                    for group in (first.sums, first.terms)
                )
                return replace(part, offset_codes=OffsetCodes(sums, terms, first.weights, first.dense))

            def loss_at(step: int) -> Loss:
                image = render(model, moved().state, differentiable=True)  # G(w; θ (1 + Δ(c))), Eq. 5
                return Loss(image_losses(loss, model.domain.as_network_input(image), crops, step), image)

            optimize(list(moves.values()), loss_at, schedule, callback)
            with torch.no_grad():
                return moved()

        return refine_by_optimization(OFFSET_CODES.name, self, crop, inversion, optimize_part)


def _codes(codes: OffsetCodes) -> Mapping[str, Tensor]:
    """The codes of all layers: [B,C], of heads that are not affine [B,K,C]."""
    return {**codes.sums, **codes.terms}


@torch.no_grad()
def _initial_codes(network: Hypernetwork, crops: Tensor, inversion: Inversion) -> tuple[OffsetCodes, dict[str, Tensor]]:
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
    needs=HYPERSTYLE.needs,
    refinement=lambda options: OffsetCodeTuner(),
    preceded_by=(("hyperstyle", lambda options: HyperStyleRefinement(options.keep_intermediates)),),
    optimizes=True,
    remedy=HYPERSTYLE.remedy,
)
