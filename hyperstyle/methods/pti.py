"""Pivotal tuning (PTI: Roich et al., 2021; HyperStyle, Eq. 3): the weights of a copy move, the code stays."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import (
    ImageLoss,
    Loss,
    Schedule,
    StepCallback,
    check_integer,
    check_target,
    constant,
    image_losses,
    no_op,
    optimize,
)
from hyperstyle.inversion.synthesis import render
from hyperstyle.methods.base import (
    BaseRefinement,
    Method,
    Options,
    optimize_in_parts,
    refine_by_optimization,
    why_not_stylegan2,
)
from hyperstyle.methods.losses import perceptual_loss
from hyperstyle.methods.projector import MAX_SEED, PIVOT, Projector, mean_code, seeded
from hyperstyle.metrics import l2
from hyperstyle.moved import renamed_field
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.gradients import with_gradients

__all__ = ["PTI", "PivotalTuner", "PivotalTuning", "neighbor", "tune"]

LPIPS_THRESHOLD = 0.06
"""The published early stop, which belongs to LPIPS (AlexNet)."""

Renderer = Callable[[StyleGenerator, Tensor, Literal["const", "none"]], Tensor]
"""(generator, codes [1,L,D], noise) -> its image [1,3,size,size]."""


@renamed_field("rate", "lr")
@dataclass(frozen=True)
class PivotalTuning:
    """Numbers of pivotal tuning; the defaults are the published ones.

    Attributes:
        steps: at most so many.
        lr: learning rate (Adam).
        threshold: stop as soon as the perceptual part is no larger. None is `LPIPS_THRESHOLD` in `tune`; in
            `PivotalTuner` with LPIPS alone, and with any other loss it takes all steps.
        locality: ask that codes around the pivot keep their images (the paper's regularization).
        locality_interval: steps from one such demand to the next.
        locality_weight: of both its parts.
        locality_radius: distance from the pivot at which codes are compared, a length over all L x D values.
        locality_truncation: how far from the mean code the directions are sampled, 1 for all of W.
        seed: of these samples.
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
        check_integer("seed", self.seed, MAX_SEED)
        check_integer("locality_interval", self.locality_interval)
        if not 0 < self.lr < math.inf or self.locality_interval < 1:
            raise ConfigError(
                f"pivotal tuning of {self.steps} steps at lr={self.lr}, locality every {self.locality_interval}: "
                "expected a positive lr and an interval of at least 1."
            )


@with_gradients
def tune(
    target: Tensor,
    w: Tensor,
    generator: StyleGenerator,
    perceptual: ImageLoss,
    settings: PivotalTuning | None = None,
    *,
    to_input: Callable[[Tensor], Tensor] = no_op,
    render: Renderer | None = None,
    callback: StepCallback | None = None,
) -> StyleGenerator:
    """Tunes a copy of the generator until it renders the target at the pivot: θ' = argmin L2 + perceptual of G(w; θ).

    Every weight of synthesis moves, biases, affine layers, constant input and strength of noise included; mapping,
    noise maps and the mean code stay. The given generator stays as it is.

    Args:
        target: [1,3,h,w] in [-1,1].
        w: [1,L,D] or [1,D], the pivot: a code that can be edited, as of `project` in W.
        generator: on the device where all happens.
        perceptual: (image, target) -> [1]; LPIPS, as published, or another one with a threshold of its own.
        settings: None means `PivotalTuning()`.
        to_input: the generator's image [1,3,size,size] -> [1,3,h,w].
        render: how a generator renders codes, where its image depends on more than its parameters.
        callback: called at every step, before the weights are changed, and where tuning stops early.

    Returns:
        The tuned copy, frozen and in the mode (training or evaluation) of the original.

    Raises:
        ImageError: target and reconstruction differ in shape, or the target is not finite.
        ConfigError: more than one image or pivot, a pivot of another shape, or a loss that cannot be used.
    """
    settings = settings or PivotalTuning()
    if target.shape[0] != 1 or w.shape[0] != 1:
        raise ConfigError(
            f"{target.shape[0]} image(s) and {w.shape[0]} pivot(s): a generator is tuned to one image. Call tune "
            "for each."
        )
    check_target(target)
    render = render or _render
    threshold = LPIPS_THRESHOLD if settings.threshold is None else settings.threshold
    target, w = target.to(generator.latent_avg), generator.broadcast(w.detach().to(generator.latent_avg))
    tuned = copy.deepcopy(generator).requires_grad_(True)
    tuned.style.requires_grad_(False)  # the mapping network: the pivot is a code in W already
    random = np.random.RandomState(settings.seed)

    def locality() -> Tensor:
        """[1] how far the images of a random neighbor of the pivot are apart, in both generators, without noise."""
        # PTI, Section 3.3: the tuned generator should differ from the original at the pivot alone.
        z = torch.from_numpy(random.randn(1, generator.config.latent_width)).to(w)
        code = neighbor(w, z, generator, settings)
        with torch.no_grad():
            before = to_input(render(generator, code, "none"))
        after = to_input(render(tuned, code, "none"))
        return settings.locality_weight * (l2(after, before) + perceptual(after, before))

    def loss_at(step: int) -> Loss:
        image = render(tuned, w, "const")
        resized = to_input(image)  # [1,3,h,w]
        # HyperStyle, Eq. 3; PTI, Section 3.2: both terms have weight 1.
        error, distance = (image_losses(part, resized, target, step) for part in (l2, perceptual))
        losses = error + distance  # [1]
        if settings.locality and step % settings.locality_interval == 0:
            losses = losses + locality()
        shown = {"l2": error.item(), "perceptual": distance.item()}
        return Loss(losses, image, distances=distance, shown=shown)

    weights = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    optimize(weights, loss_at, Schedule(settings.steps, constant(settings.lr), threshold=threshold), callback)
    return tuned.requires_grad_(False)


def _render(generator: StyleGenerator, w: Tensor, noise: Literal["const", "none"]) -> Tensor:
    image: Tensor = generator(w, noise=noise)
    return image


@torch.no_grad()
def neighbor(w: Tensor, z: Tensor, generator: StyleGenerator, settings: PivotalTuning) -> Tensor:
    """The code [1,L,D] in the direction of a sampled one at the radius of the pivot `w`: z is [1,D]."""
    generator.check_has_w()
    sampled = generator.latent_avg.lerp(generator.mapping(z), settings.locality_truncation)
    direction = generator.broadcast(sampled) - w  # [1,L,D]; its length is over all L x D values
    code: Tensor = w + settings.locality_radius * direction / direction.norm()
    return code


@dataclass(frozen=True)
class PivotalTuner(BaseRefinement):
    """`tune` as a refinement: the inversion's codes are the pivots, and each image gets parameters of its own.

    Offset codes, residuals and noise maps stay; the weights beneath them move: W_tuned * (1 + Δ). One image after the
    other: each has a generator and an optimizer to itself.

    Attributes:
        settings: the numbers; the published ones by default.
        loss: (image, target) -> [1]; None is the model's perceptual network, or LPIPS where it has none.
    """

    settings: PivotalTuning = field(default_factory=PivotalTuning)
    loss: ImageLoss | None = None

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Takes at most `steps` steps for each image.

        Raises:
            ConfigError: a negative number of steps, another number of crops, or a loss that cannot be used.
            MethodError, MissingDependencyError: no perceptual loss can be had, or an image is too much for the memory.
            ImageError: crops that are not finite.
        """
        model = inversion.model
        settings = self.settings if steps is None else replace(self.settings, steps=steps)
        if settings.threshold is None and (self.loss is not None or model.perceptual is not None):
            settings = replace(settings, threshold=-math.inf)
        loss = self.loss or perceptual_loss(model)
        parameters = dict(model.generator.named_parameters())

        def tune_one(target: Tensor, single: Inversion) -> Inversion:
            tuned_before = single.overrides.tuned
            base = model.generator.with_parameters(tuned_before[0]) if tuned_before else model.generator

            def render_with(generator: StyleGenerator, w: Tensor, noise: Literal["const", "none"]) -> Tensor:
                state = replace(single.state, w=w)
                return render(model, state, differentiable=True, generator=generator, noise=noise)

            tuned = tune(
                target,
                single.w,
                base,
                loss,
                settings,
                to_input=model.domain.as_network_input,
                render=render_with,
                callback=callback,
            )
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


def _tuner(options: Options) -> PivotalTuner:
    return PivotalTuner(PivotalTuning() if options.seed is None else PivotalTuning(seed=options.seed))


PTI = Method(
    "pti",
    start=mean_code(PIVOT.samples),
    refinement=_tuner,
    # The pivots: published code drops the noise maps that were fitted with them.
    preceded_by=(("optimize-w", lambda options: Projector(seeded(PIVOT, options.seed), keep_noise=False)),),
    optimizes=True,
    unfit=why_not_stylegan2,
)
