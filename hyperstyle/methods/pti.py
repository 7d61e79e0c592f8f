"""Pivotal tuning (PTI: Roich et al., 2021; HyperStyle, Eq. 3): the weights of a copy move, the code stays."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

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
from hyperstyle.methods.base import BaseRefinement, Method, optimize_in_parts, refine_by_optimization, why_not_stylegan2
from hyperstyle.methods.losses import perceptual_loss
from hyperstyle.methods.projector import MAX_SEED, PIVOT, Projector, start_at_mean
from hyperstyle.metrics import l2
from hyperstyle.moved import renamed_field
from hyperstyle.networks.stylegan2.base import StyleGenerator

LPIPS_THRESHOLD = 0.06
"""The published early stop, which belongs to LPIPS (AlexNet)."""


@renamed_field("rate", "lr")
@dataclass(frozen=True)
class PivotalTuning:
    """Settings of pivotal tuning; the defaults are the published ones.

    Attributes:
        steps: maximum number of steps.
        lr: learning rate (Adam).
        threshold: stop once the perceptual part of the loss is this or less. None means `LPIPS_THRESHOLD` if the loss
            is LPIPS by default, and no early stop if it is the model's perceptual network or was passed.
        locality: add the paper's locality regularization, which keeps the images of codes near the pivot as they were.
        locality_interval: that term is added only at every step that is a multiple of this number.
        locality_weight: weight of that term, the sum of L2 and perceptual distance.
        locality_radius: distance of those codes from the pivot, the norm over all L x D values.
        locality_truncation: truncation ψ of the random codes that give their directions; 1 for no truncation.
        seed: of these random codes.
    """

    steps: int = 350
    lr: float = 3e-4
    threshold: float | None = None
    locality: bool = False
    locality_interval: int = 1
    locality_weight: float = 0.1
    locality_radius: float = 30.0
    locality_truncation: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)
        check_integer("seed", self.seed, most=MAX_SEED)
        check_integer("locality_interval", self.locality_interval, least=1)
        check_lr(self.lr)


@torch.no_grad()
def neighbor(w: Tensor, z: Tensor, generator: StyleGenerator, settings: PivotalTuning) -> Tensor:
    """A code [1,L,D] at the distance `settings.locality_radius` from the pivot `w` [1,L,D].

    It lies in the direction from the pivot to the code of z [1,D], truncated with `settings.locality_truncation`.
    """
    generator.check_has_w()
    # Truncation: the code of z is moved towards the mean code, w_mean + ψ (f(z) - w_mean), [1,D].
    sampled = generator.latent_avg.lerp(generator.mapping(z), settings.locality_truncation)
    direction = generator.broadcast(sampled) - w  # [1,L,D]; its length is over all L x D values
    code: Tensor = w + settings.locality_radius * direction / direction.norm()
    return code


@dataclass(frozen=True)
class PivotalTuner(BaseRefinement):
    """Tunes a copy of the generator until it renders the crop at the pivot: argmin over θ of L2 + perceptual.

    Both terms compare G(w; θ) with the crop. θ is every parameter of the synthesis network: convolutions, biases,
    affine layers, constant input and noise strengths. The mapping network, the noise maps and the mean code stay as
    they are, and so does the model's generator.

    The latent codes of the inversion are the pivots: preferably codes that can be edited well, as `Projector` finds in
    the space "w". Each image gets its own tuned parameters, `GeneratorOverrides.tuned`; tuning starts from those that
    it already has. Images are tuned one after another. Latent codes, offset codes, residuals and noise maps are not
    changed: they apply to the tuned weights, as in W_tuned * (1 + Δ).

    Attributes:
        settings: of the tuning; the published ones by default.
        loss: the perceptual part of the loss, (image, target) -> [1]; None is the distance of the model's perceptual
            network, or LPIPS if the model has none.
    """

    settings: PivotalTuning = field(default_factory=PivotalTuning)
    loss: ImageLoss | None = None

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Takes at most `steps` steps for each image, or `settings.steps` if it is None.

        Raises:
            ConfigError: a negative number of steps, another number of crops, or a loss that cannot be used.
            MethodError, MissingDependencyError: no perceptual loss is available, or memory runs out for one image.
            ImageError: crops that are not finite, or of another size than the domain's input.
        """
        model, to_input = inversion.model, inversion.model.domain.as_network_input
        settings = self.settings if steps is None else replace(self.settings, steps=steps)
        perceptual, threshold = self.loss or perceptual_loss(model), settings.threshold
        if threshold is None and self.loss is None and model.perceptual is None:
            threshold = LPIPS_THRESHOLD
        parameters = dict(model.generator.named_parameters())

        def tune_one(target: Tensor, single: Inversion) -> Inversion:
            """The inversion of a crop [1,3,h,w] with tuned parameters."""
            before, w = single.overrides.tuned, single.w
            base = model.generator.with_parameters(before[0]) if before else model.generator
            tuned = copy.deepcopy(base).requires_grad_(True)  # θ of Eq. 3
            tuned.style.requires_grad_(False)  # the mapping network: the pivot is a code in W already
            random = np.random.RandomState(settings.seed)  # NumPy's legacy generator, as published

            def image_of(generator: StyleGenerator, w: Tensor, noise: Literal["const", "none"] = "const") -> Tensor:
                state = replace(single.state, w=w)
                return render(model, state, differentiable=True, generator=generator, noise=noise)

            def locality() -> Tensor:
                """[1] how far the images of a random neighbor of the pivot are apart, in both generators, no noise."""
                # PTI, Section 3.3: the tuned generator should differ from the original at the pivot alone.
                z = torch.from_numpy(random.randn(1, model.generator.config.latent_width)).to(w)
                code = neighbor(w, z, model.generator, settings)
                with torch.no_grad():
                    original = to_input(image_of(base, code, "none"))
                changed = to_input(image_of(tuned, code, "none"))  # the only one that θ depends on
                return settings.locality_weight * (l2(changed, original) + perceptual(changed, original))

            def loss_at(step: int) -> Loss:
                image = image_of(tuned, w)
                resized = to_input(image)  # [1,3,h,w]
                # HyperStyle, Eq. 3; PTI, Section 3.2: both terms have weight 1.
                error, distance = (image_losses(part, resized, target, step) for part in (l2, perceptual))
                losses = error + distance  # [1]
                if settings.locality and step % settings.locality_interval == 0:
                    losses = losses + locality()
                shown = {"l2": error.item(), "perceptual": distance.item()}
                return Loss(losses, image, distances=distance, shown=shown)

            weights = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
            schedule = Schedule(settings.steps, lambda step: settings.lr, threshold=threshold)
            optimize(weights, loss_at, schedule, callback)
            # Only what moved is kept: the rest is the model's own.
            values = {
                name: value.detach()
                for name, value in tuned.named_parameters()
                if not torch.equal(value, parameters[name])
            }
            return replace(single, overrides=replace(single.overrides, tuned=(values,)))

        def tune_each(crops: Tensor, batch: Inversion) -> Inversion:
            pairs = zip(torch.split(crops, 1), batch, strict=True)
            return Inversion.cat([optimize_in_parts(tune_one, target, single, PTI.name) for target, single in pairs])

        return refine_by_optimization(PTI.name, self, crop, inversion, tune_each)


PTI = Method(
    "pti",
    start=start_at_mean(PIVOT.samples),
    refinement=lambda options: PivotalTuner(options.seeded(PivotalTuning())),
    # The pivots: published code drops the noise maps that were fitted with them.
    preceded_by=(("optimize-w", lambda options: Projector(options.seeded(PIVOT), keep_noise=False)),),
    optimizes=True,
    unfit=why_not_stylegan2,
)
