"""Domain-guided optimization (IDInvert: Zhu et al., ECCV 2020, Section 3.2): codes that stay where the encoder goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Loss, Schedule, StepCallback, check_integer, check_losses, constant, optimize
from hyperstyle.methods.base import BaseRefinement, Method, Remedy, StartingPoint, component, refine_by_optimization
from hyperstyle.metrics import l2
from hyperstyle.moved import renamed_field
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.gradients import with_gradients

__all__ = ["IDINVERT", "DomainGuided", "DomainGuidedRefinement", "domain_guided"]


@renamed_field("rate", "lr")
@dataclass(frozen=True)
class DomainGuided:
    """Numbers of the optimization; the defaults are the published ones.

    Attributes:
        steps: how many; 0 gives the codes of the start.
        lr: learning rate (Adam).
        feature_weight: of the mean squared difference of features; that of pixels has weight 1.
        code_weight: of the mean squared difference between the codes and the encoder's codes of their image.
    """

    steps: int = 100
    lr: float = 0.01
    feature_weight: float = 5e-5
    code_weight: float = 2.0

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)
        if not 0 < self.lr < math.inf:
            raise ConfigError(f"lr={self.lr}: expected a positive one.")


@with_gradients
def domain_guided(
    target: Tensor,
    w: Tensor,
    generator: StyleGenerator,
    encoder: nn.Module,
    features: nn.Module,
    settings: DomainGuided | None = None,
    *,
    to_input: Callable[[Tensor], Tensor],
    callback: StepCallback | None = None,
) -> Tensor:
    """Finds w = argmin |x - G(w)|² + c |F(x) - F(G(w))|² + d |w - E(G(w))|² (Eq. 5).

    The gradient goes through the encoder too. The images of a batch are optimized side by side, each as it would be
    alone. No network changes.

    Args:
        target: x, [B,3,h,w] in [-1,1].
        w: [B,L,D] codes to begin with, those of the encoder.
        generator: on the device where all happens.
        encoder: [B,3,h,w] -> [B,L,D], in eval mode.
        features: [B,3,h,w] -> [B,...].
        settings: None means `DomainGuided()`.
        to_input: the generator's image [B,3,size,size] -> [B,3,h,w].
        callback: called at every step.

    Returns:
        The codes [B,L,D].

    Raises:
        ConfigError: codes for another number of images, or a loss that is not finite.
    """
    settings = settings or DomainGuided()
    if len(w) != len(target):
        raise ConfigError(f"codes of shape {tuple(w.shape)} for {len(target)} image(s): expected one code for each.")
    # A copy with strides of its own: codes may be one row that was expanded.
    w = w.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    with torch.no_grad():
        target_features = features(target)

    def loss_at(step: int) -> Loss:
        image = generator(w)
        resized = to_input(image)
        # The three terms of Eq. 5: pixels, VGG features, and how far the encoder would put the image from w.
        pixel = l2(resized, target)  # [B]
        feature = _distance(features(resized), target_features)
        code = _distance(encoder(resized), w)  # gradients reach w directly, and through the encoder
        losses = pixel + settings.feature_weight * feature + settings.code_weight * code
        shown = {"w": w.detach().clone(), "pixel": pixel, "feature": feature, "code": code}
        return Loss(check_losses(losses, len(target), step), image, shown=shown)

    optimize([w], loss_at, Schedule(settings.steps, constant(settings.lr)), callback)
    return w.detach()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """[B] mean squared difference of each image."""
    return (a - b).square().flatten(1).mean(1)  # [B,N] -> [B]


@dataclass(frozen=True)
class DomainGuidedRefinement(BaseRefinement):
    """`domain_guided` as a refinement of inversions; it changes the codes and leaves offsets out of the loop.

    Attributes:
        settings: numbers of the optimization; the `steps` of a call come before theirs.
        features: images [B,3,h,w] -> features, for the loss; None is the model's VGG16.
    """

    settings: DomainGuided = field(default_factory=DomainGuided)
    features: nn.Module | None = None

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Takes `steps` steps (100 by default) from the inversion's codes.

        Raises:
            MethodError: the model lacks the encoder or the features; the inversion has offsets, style edits or
                overrides, which this method does not see; or an image is too much for the memory.
            ConfigError: a negative number of steps, or a model in half precision.
            ImageError: crops that are not finite.
        """
        model = inversion.model
        encoder, features = model.idinvert, self.features or model.vgg16
        if encoder is None or features is None:
            lacks = "encoder of IDInvert" if encoder is None else "VGG16, whose features are a part of the loss"
            raise MethodError(
                f"this model has no {lacks}. Convert its files again: hyperstyle convert GENERATOR.pth --encoder "
                "ENCODER.pth --vgg VGG16.pth --out FOLDER."
            )
        if inversion.offset_codes is not None or inversion.style_offsets or inversion.overrides:
            raise MethodError(
                "IDInvert refines codes without offsets: put it before what changes the generator, or start from "
                "Inversion.initial."
            )
        settings = self.settings if steps is None else replace(self.settings, steps=steps)

        def optimize_part(crops: Tensor, part: Inversion) -> Inversion:
            w = domain_guided(
                crops,
                part.w,
                model.generator,
                encoder,
                features,
                settings,
                to_input=model.domain.as_network_input,
                callback=callback,
            )
            return replace(part, w=w)

        return refine_by_optimization(IDINVERT.name, self, crop, inversion, optimize_part)


IDINVERT = Method(
    "idinvert",
    needs={"idinvert": "encoder of IDInvert", "vgg16": "VGG16"},
    start=StartingPoint("idinvert", component("idinvert")),
    refinement=lambda options: DomainGuidedRefinement(),
    optimizes=True,
    preferred=True,
    remedy=Remedy(
        "the encoder of IDInvert, and VGG16",
        "hyperstyle convert GENERATOR.pth --encoder ENCODER.pth --vgg VGG16.pth --out FOLDER",
    ),
)
