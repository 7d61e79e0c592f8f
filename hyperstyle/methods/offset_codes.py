"""Offset codes by optimization: what the hypernetwork predicts, moved further through its own frozen heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.methods.offset_optimization import descend
from hyperstyle.methods.optimising import add_l2, draw, perceptual_loss, refined
from hyperstyle.methods.optimization import ImageLoss, check_whole
from hyperstyle.moved import renamed_field
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork

__all__ = ["OffsetCodeTuner"]


@renamed_field("rate", "lr")
@dataclass(frozen=True)
class OffsetCodeTuner:
    """Finds codes c = argmin L(G(w; θ (1 + Δ(c))), x), Δ(c) being what the hypernetwork's heads make of them (Eq. 5).

    It begins with the inversion's offset codes, or with zeros. The result is made of the same few numbers, and its
    offsets are among those that the heads can express. A layer's steps are measured in the root mean square of its
    code, so that the rate means the same whatever the scale of the codes. Dense offsets are made layer by layer, and
    so are their gradients.

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

    def __call__(
        self,
        crop: Tensor,
        inversion: Inversion,
        *,
        steps: int | None = None,
        callback: Callable[..., None] | None = None,
    ) -> Inversion:
        """Takes `steps` steps; the callback sees an `OffsetStep` at each.

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
        network, count = model.hypernetwork, self.steps if steps is None else steps
        check_whole("steps", count)
        if not 0 < self.lr < math.inf:
            raise ConfigError(f"lr={self.lr}: expected a positive one.")
        loss = add_l2(self.loss or perceptual_loss(model))

        def optimize(crops: Tensor, part: Inversion) -> Inversion:
            first, scales = _first(network, crops, part)
            moves = {name: torch.zeros_like(code).requires_grad_() for name, code in _codes(first).items()}

            def changed() -> Inversion:
                sums, terms = (
                    {name: code + scales[name] * moves[name] for name, code in group.items()}
                    for group in (first.sums, first.terms)
                )
                return replace(part, offset_codes=OffsetCodes(sums, terms, first.weights, first.dense))

            descend(
                list(moves.values()),
                lambda: draw(changed()),
                crops,
                loss,
                steps=count,
                lr=self.lr,
                to_input=model.domain.as_network_input,
                threshold=self.threshold,
                callback=callback,
            )
            with torch.no_grad():
                return changed()

        return refined("offset-codes", self, crop, inversion, optimize)


def _codes(codes: OffsetCodes) -> Mapping[str, Tensor]:
    """All that moves, by layer: [B,C], of heads that are not affine [B,K,C]."""
    return {**codes.sums, **codes.terms}


@torch.no_grad()
def _first(network: Hypernetwork, crops: Tensor, inversion: Inversion) -> tuple[OffsetCodes, dict[str, Tensor]]:
    """The codes to begin with, and the root mean square of each layer's code: that of a prediction where it is zero."""
    own = inversion.offset_codes
    if own is not None and own.coded and all(code.any() for code in _codes(own).values()):
        return own, _scales(own)
    predicted = network(crops, inversion.model.domain.as_network_input(draw(inversion)))
    if predicted.terms:
        raise MethodError(
            "this hypernetwork's heads are not affine, so that no codes stand for zero offsets. Begin with its "
            "prediction: method='hyperstyle+offset-codes'."
        )
    zero = predicted * 0.0
    return zero if own is None else zero + own, _scales(predicted)


def _scales(codes: OffsetCodes) -> dict[str, Tensor]:
    scales = {name: code.square().mean(-1, keepdim=True).sqrt() for name, code in _codes(codes).items()}
    return {name: torch.where(scale > 0, scale, 1.0) for name, scale in scales.items()}
