"""Domain-guided optimization (IDInvert: Zhu et al., ECCV 2020, Section 3.2): codes that stay where the encoder goes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from hyperstyle.errors import MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Loss, Schedule, StepCallback, check_integer, check_losses, check_lr, optimize
from hyperstyle.methods.base import BaseRefinement, Method, Remedy, StartingPoint, encoder_start, refine_by_optimization
from hyperstyle.metrics import l2
from hyperstyle.moved import renamed_field


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
        check_lr(self.lr)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """[B] mean squared difference of each image."""
    return (a - b).square().flatten(1).mean(1)  # [B,N] -> [B]


@dataclass(frozen=True)
class DomainGuidedRefinement(BaseRefinement):
    """Finds w = argmin |x - G(w)|² + c |F(x) - F(G(w))|² + d |w - E(G(w))|² (Eq. 5).

    The gradient goes through the encoder E too. The images of a batch are optimized side by side, each as it would be
    alone. No network changes.

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
            # A copy with strides of its own: codes may be one row that was expanded.
            w = part.w.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
            with torch.no_grad():
                target_features = features(crops)  # F(x), which does not change

            def loss_at(step: int) -> Loss:
                image = model.generator(w)
                resized = model.domain.as_network_input(image)  # [B,3,h,w]
                # The three terms of Eq. 5: pixels, VGG features, and how far the encoder would put the image from w.
                pixel = l2(resized, crops)  # [B]
                feature = _distance(features(resized), target_features)  # [B]
                code = _distance(encoder(resized), w)  # gradients reach w directly, and through the encoder
                losses = pixel + settings.feature_weight * feature + settings.code_weight * code
                shown = {"w": w.detach().clone(), "pixel": pixel, "feature": feature, "code": code}
                return Loss(check_losses(losses, len(crops), step), image, shown=shown)

            optimize([w], loss_at, Schedule(settings.steps, lambda step: settings.lr), callback)
            return replace(part, w=w.detach())

        return refine_by_optimization(IDINVERT.name, self, crop, inversion, optimize_part)


IDINVERT = Method(
    "idinvert",
    needs={"idinvert": "encoder of IDInvert", "vgg16": "VGG16"},
    start=StartingPoint("idinvert", encoder_start("idinvert")),
    refinement=lambda options: DomainGuidedRefinement(),
    optimizes=True,
    preferred=True,
    remedy=Remedy(
        "the encoder of IDInvert, and VGG16",
        "hyperstyle convert GENERATOR.pth --encoder ENCODER.pth --vgg VGG16.pth --out FOLDER",
    ),
)
