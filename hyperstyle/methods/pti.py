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
from hyperstyle.methods.optimising import draw, in_parts, perceptual_loss, refined
from hyperstyle.methods.optimization import MAX_SEED, ImageLoss, check_target, check_whole, identity, measured
from hyperstyle.metrics import l2
from hyperstyle.moved import renamed_field
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.gradients import with_gradients

__all__ = ["PivotalTuner", "PivotalTuning", "TuneStep", "neighbor", "tune"]

LPIPS_THRESHOLD = 0.06
"""The published early stop, which belongs to LPIPS (AlexNet)."""

Draw = Callable[[StyleGenerator, Tensor, Literal["const", "none"]], Tensor]
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
        check_whole("steps", self.steps)
        check_whole("seed", self.seed, MAX_SEED)
        check_whole("locality_interval", self.locality_interval)
        if not 0 < self.lr < math.inf or self.locality_interval < 1:
            raise ConfigError(
                f"pivotal tuning of {self.steps} steps at lr={self.lr}, locality every {self.locality_interval}: "
                "expected a positive lr and an interval of at least 1."
            )


@dataclass(frozen=True)
class TuneStep:
    """What a callback of `tune` sees at each step, before the weights are changed.

    Attributes:
        step: how many changes there were before: 0 at first.
        steps: how many there will be at most.
        image: [1,3,size,size], the reconstruction so far.
        l2, perceptual: the two parts of the loss.
        loss: their sum, and the locality term where there is one.
    """

    step: int
    steps: int
    image: Tensor
    l2: float
    perceptual: float
    loss: float


@with_gradients
def tune(
    target: Tensor,
    w: Tensor,
    generator: StyleGenerator,
    perceptual: ImageLoss,
    settings: PivotalTuning | None = None,
    *,
    to_input: Callable[[Tensor], Tensor] = identity,
    draw: Draw | None = None,
    callback: Callable[[TuneStep], None] | None = None,
) -> StyleGenerator:
    """Tunes a copy of the generator until it draws the target at the pivot: θ' = argmin L2 + perceptual of G(w; θ).

    Every weight of synthesis moves, biases, affine layers, constant input and strength of noise included; mapping,
    noise maps and the mean code stay. The given generator stays as it is.

    Args:
        target: [1,3,h,w] in [-1,1].
        w: [1,L,D] or [1,D], the pivot: a code that can be edited, as of `project` in W.
        generator: on the device where all happens.
        perceptual: (image, target) -> [1]; LPIPS, as published, or another one with a threshold of its own.
        settings: None means `PivotalTuning()`.
        to_input: the generator's image [1,3,size,size] -> [1,3,h,w].
        draw: how a generator draws codes, where more is changed of it than its parameters.
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
    draw = draw or _drawn
    threshold = LPIPS_THRESHOLD if settings.threshold is None else settings.threshold
    target, w = target.to(generator.latent_avg), generator.broadcast(w.detach().to(generator.latent_avg))
    tuned = copy.deepcopy(generator).requires_grad_(True)
    tuned.style.requires_grad_(False)  # mapping
    weights = [p for p in tuned.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=settings.lr)
    random = np.random.RandomState(settings.seed)
    for step in range(settings.steps):
        image = draw(tuned, w, "const")
        seen = to_input(image)
        error, distance = measured(l2, seen, target, step), measured(perceptual, seen, target, step)
        loss = error + distance  # [1]
        if settings.locality and step % settings.locality_interval == 0:
            z = torch.from_numpy(random.randn(1, generator.config.latent_width)).to(w)
            code = neighbor(w, z, generator, settings)
            with torch.no_grad():
                before = to_input(draw(generator, code, "none"))
            after = to_input(draw(tuned, code, "none"))
            loss = loss + settings.locality_weight * (l2(after, before) + perceptual(after, before))
        if callback is not None:
            callback(TuneStep(step, settings.steps, image.detach(), error.item(), distance.item(), loss.item()))
        if distance.item() <= threshold:
            break
        optimizer.zero_grad()
        torch.autograd.backward(loss.sum(), inputs=weights)
        optimizer.step()
    optimizer.zero_grad()
    return tuned.requires_grad_(False)


def _drawn(generator: StyleGenerator, w: Tensor, noise: Literal["const", "none"]) -> Tensor:
    image: Tensor = generator(w, noise=noise)
    return image


@torch.no_grad()
def neighbor(w: Tensor, z: Tensor, generator: StyleGenerator, settings: PivotalTuning) -> Tensor:
    """The code [1,L,D] in the direction of a sampled one at the radius of the pivot `w`: z is [1,D]."""
    generator.check_has_w()
    sampled = generator.latent_avg.lerp(generator.mapping(z), settings.locality_truncation)
    direction = generator.broadcast(sampled) - w
    code: Tensor = w + settings.locality_radius * direction / direction.norm()
    return code


@dataclass(frozen=True)
class PivotalTuner:
    """`tune` as a refinement: the inversion's codes are the pivots, and each image gets parameters of its own.

    Offset codes, residuals and noise maps stay; the weights beneath them move: W_tuned * (1 + Δ). One image after the
    other: each has a generator and an optimizer to itself.

    Attributes:
        settings: the numbers; the published ones by default.
        loss: (image, target) -> [1]; None is the model's perceptual network, or LPIPS where it has none.
    """

    settings: PivotalTuning = field(default_factory=PivotalTuning)
    loss: ImageLoss | None = None

    def __call__(
        self,
        crop: Tensor,
        inversion: Inversion,
        *,
        steps: int | None = None,
        callback: Callable[..., None] | None = None,
    ) -> Inversion:
        """Takes at most `steps` steps for each image; the callback sees a `TuneStep` at each.

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
        own = dict(model.generator.named_parameters())

        def tuned(target: Tensor, one: Inversion) -> Inversion:
            before = one.overrides.tuned
            base = model.generator.with_parameters(before[0]) if before else model.generator

            def drawn(generator: StyleGenerator, w: Tensor, noise: Literal["const", "none"]) -> Tensor:
                return draw(replace(one, w=w), plain_noise=noise == "none", generator=generator)

            made = tune(
                target,
                one.w,
                base,
                loss,
                settings,
                to_input=model.domain.as_network_input,
                draw=drawn,
                callback=callback,
            )
            moved = {name: value for name, value in made.named_parameters() if not torch.equal(value, own[name])}
            values = {name: value.detach() for name, value in moved.items()}
            return replace(one, overrides=replace(one.overrides, tuned=(values,)))

        def one_by_one(crops: Tensor, whole: Inversion) -> Inversion:
            return Inversion.cat([in_parts(tuned, crops[i : i + 1], one, "pti") for i, one in enumerate(whole)])

        return refined("pti", self, crop, inversion, one_by_one)
