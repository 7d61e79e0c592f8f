"""Features by optimization: what is added to the output of one layer, for each image.

In the spirit of inversion in the feature space F (Kang et al., ICCV 2021; Yao et al., ECCV 2022): such a residual keeps
the place of what it shows, and follows edits only as far as the maps beneath it do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import MethodError
from hyperstyle.inversion.features import Features
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import ImageLoss, Loss, StepCallback, image_losses, optimize
from hyperstyle.inversion.synthesis import own_maps, render
from hyperstyle.methods.base import BaseRefinement, Method, refine_by_optimization, why_not_stylegan2
from hyperstyle.methods.losses import add_l2, perceptual_loss
from hyperstyle.methods.offsets import short_schedule
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.features import FeatureMaps, feature_layer


@dataclass(frozen=True)
class FeatureTuner(BaseRefinement):
    """Finds R = argmin L(G(w; x + R), x0) for each image, with x the output of a layer and x0 the crop.

    Codes, offsets and all else stay as they are. Features that the inversion has already, such as StyleFeatureEditor's,
    are moved themselves, through the feature editor where they have a guide. The learning rate counts in units of the
    root mean square of the generator's own maps.

    Attributes:
        steps: how many, unless the call says so.
        lr: learning rate, where it is highest (`short_schedule`).
        layer: the layer; None is that of the inversion's features, else `default_layer`.
        loss: (image, target) -> [B], to which L2 is added; None is the model's perceptual network, or LPIPS.
        threshold: an image stays as it is as soon as L2 + loss is no larger; None takes all steps.
    """

    steps: int = 100
    lr: float = 0.1
    layer: str | None = None
    loss: ImageLoss | None = None
    threshold: float | None = None

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Takes `steps` steps.

        Raises:
            ConfigError: a layer that features cannot stand for, or steps or an lr that cannot be used.
            MethodError: the inversion has features of another layer than `layer`; no perceptual loss can be had, or an
                image is too much for the memory.
            ImageError: crops that are not finite.
        """
        model, features = inversion.model, inversion.overrides.features
        current = None if features is None else features.maps.layer
        name = feature_layer(model.generator.layers, self.layer or current or default_layer(model)).name
        if current not in (None, name):
            raise MethodError(
                f"the inversion has features of {current}, and those of {name} are to be tuned: a generator takes "
                "those of one layer. Leave layer= out, or begin with Inversion.initial."
            )
        schedule = short_schedule(self.steps if steps is None else steps, self.lr, self.threshold)
        loss = add_l2(self.loss or perceptual_loss(model))

        def optimize_part(crops: Tensor, part: Inversion) -> Inversion:
            generated = own_maps(model.generator, model.generator.styles(part.w), name)  # [B,C,r,r]
            scale = generated.square().mean((1, 2, 3), keepdim=True).sqrt()
            first = part.overrides.features
            if first is None:
                ones = generated.new_ones(len(crops), 2)  # the generator's own maps and these
                first = Features(FeatureMaps(name, torch.zeros_like(generated), ones))
            moves = torch.zeros_like(generated).requires_grad_()

            def moved() -> Inversion:
                maps = replace(first.maps, maps=first.maps.maps + scale * moves)
                return replace(part, overrides=replace(part.overrides, features=replace(first, maps=maps)))

            def loss_at(step: int) -> Loss:
                image = render(model, moved().state, differentiable=True)
                return Loss(image_losses(loss, model.domain.as_network_input(image), crops, step), image)

            optimize([moves], loss_at, schedule, callback)
            with torch.no_grad():
                return moved()

        return refine_by_optimization(FEATURES.name, self, crop, inversion, optimize_part)


def default_layer(model: Model) -> str:
    """The layer whose features are tuned where nothing says it.

    That of a quarter of the generator's size, the best of the bundled model (docs/methods.md), but at most 64 px, where
    published methods have theirs.
    """
    return f"b{min(64, model.generator.config.size // 4)}.conv1"


FEATURES = Method("features", refinement=lambda options: FeatureTuner(), optimizes=True, unfit=why_not_stylegan2)
