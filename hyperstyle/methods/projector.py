"""Inversion by optimization (HyperStyle, Eq. 1): the projector of StyleGAN2 (Karras et al., 2020, appendix D)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
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
    image_losses,
    no_op,
    optimize,
    ramped,
)
from hyperstyle.inversion.synthesis import render
from hyperstyle.methods.base import BaseRefinement, Method, StartingPoint, refine_by_optimization, why_not_stylegan2
from hyperstyle.methods.losses import add_l2, perceptual_loss
from hyperstyle.model.parts import Model
from hyperstyle.moved import renamed_field
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.gradients import with_gradients

__all__ = [
    "MAX_SEED",
    "OPTIMIZE_W",
    "OPTIMIZE_W_PLUS",
    "PIVOT",
    "W_PLUS",
    "Projected",
    "Projection",
    "Projector",
    "code_statistics",
    "noise_regularizer",
    "project",
    "start_at_mean",
]

MAX_SEED = 2**32 - 1
"""The largest seed that NumPy's random numbers take."""


@renamed_field("optimise_noise", "optimize_noise")
@renamed_field("rate", "lr")
@dataclass(frozen=True)
class Projection:
    """Settings of the projector. The defaults are the published ones for the space W.

    Other published settings are `PIVOT`, for the pivots of PTI (Roich et al., 2021), and `W_PLUS`. The default of
    `noise_weight` is meant for a loss that sums squared features over the image and so starts in the thousands.

    Attributes:
        steps: number of steps; with 0 the result is the codes that the search starts from.
        lr: the highest learning rate (Adam); see `lr_at`.
        space: "w" for one row of codes that all layers share, "w+" for a separate row for each.
        optimize_noise: fit noise maps together with the codes; else the generator's own maps are used.
        initial_noise: standard deviation of the noise added to the codes at the first step, as a fraction of the
            standard deviation of W; see `noise_at`.
        noise_ramp: fraction of the steps over which that noise falls to 0; none is added afterwards.
        rampdown, rampup: the learning rate rises over the first `rampup` and falls over the last `rampdown` of the
            steps; both are fractions.
        noise_weight: weight of `noise_regularizer`, which keeps the noise maps free of patterns.
        samples: number of samples of W from which its mean and standard deviation are estimated.
        seed: of the first noise maps and of the noise added to the codes.
        threshold: an image is not changed any more once its loss, without the noise term, is this or less, and the
            search stops once that holds for all images. None takes all steps, as published.
    """

    steps: int = 1000
    lr: float = 0.1
    space: Literal["w", "w+"] = "w"
    optimize_noise: bool = True
    initial_noise: float = 0.05
    noise_ramp: float = 0.75
    rampdown: float = 0.25
    rampup: float = 0.05
    noise_weight: float = 1e5
    samples: int = 10_000
    seed: int = 303
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)
        check_integer("seed", self.seed, MAX_SEED)
        check_integer("samples", self.samples)
        if not 0 < self.lr < math.inf or self.samples < 1:
            raise ConfigError(
                f"a projection of {self.steps} steps at lr={self.lr} from {self.samples} samples: expected a "
                "positive lr and at least 1 sample."
            )
        if self.space not in ("w", "w+"):
            raise ConfigError(f"space={self.space!r}: expected 'w' or 'w+'.")
        for name in ("noise_ramp", "rampdown", "rampup"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)}: expected a fraction of the steps, in (0, 1].")

    def lr_at(self, step: int) -> float:
        """The learning rate at `step`, 0 <= `step` < `steps`. It is 0 at step 0, as published."""
        return ramped(step, self.steps, self.lr, rampup=self.rampup, rampdown=self.rampdown)

    def noise_at(self, step: int) -> float:
        """Standard deviation of the noise added to the codes at `step`, as a fraction of the standard deviation of W.

        It falls quadratically from `initial_noise` to 0, see `noise_ramp`. The standard deviation of W is that of
        `code_statistics`.
        """
        return self.initial_noise * max(0.0, 1.0 - step / self.steps / self.noise_ramp) ** 2


@dataclass(frozen=True)
class Projected:
    """The result of `project`.

    Attributes:
        w: [B,L,D] latent codes; all rows of an image are equal in the space "w".
        noise: fitted noise maps [B,1,r,r] for `Generator.synthesize(noise=...)`; None if they were not optimized.
        losses: [B,S] the loss of each image, without the noise term, before the update of each of the S steps.
            S is `Projection.steps`, or less after an early stop.
    """

    w: Tensor
    noise: tuple[Tensor, ...] | None
    losses: Tensor


@torch.no_grad()
def code_statistics(generator: StyleGenerator, samples: int) -> tuple[Tensor, float]:
    """Mean [D] of W and its standard deviation as one number for all D dimensions: the root of E|w - mean|^2.

    Both are estimated from `samples` values of z, the same ones that the published projector draws (seed 123).
    """
    # The official projector takes these very samples of z: seed 123, NumPy's legacy generator.
    z = np.random.RandomState(123).randn(samples, generator.config.latent_width)  # [samples,D]
    w = generator.mapping(torch.from_numpy(z).to(generator.latent_avg)).double()
    mean = w.mean(0)  # [D]
    # The root of E|w - mean|^2: one length for all D dimensions, in which the noise on the codes is measured.
    return mean.to(generator.latent_avg.dtype), math.sqrt(float((w - mean).square().sum()) / samples)


def noise_regularizer(maps: Sequence[Tensor]) -> Tensor:
    """R(n), the noise term of StyleGAN2's appendix D: noise maps [B,1,r,r] -> [B], the sum over all maps.

    It sums the squares of the autocorrelations at a distance of one pixel, along rows and along columns, of each map
    and of its smaller versions, halved by averaging until they are 8 px or less.
    """
    total = maps[0].new_zeros(maps[0].shape[0])
    for noise in maps:
        while True:
            for axis in (3, 2):  # the neighbor in the row, then in the column; the last pixel's is the first
                total = total + (noise * noise.roll(1, axis)).mean((1, 2, 3)).square()
            if noise.shape[2] <= 8:
                break
            noise = F.avg_pool2d(noise, 2)  # [B,1,r/2,r/2]
    return total


@with_gradients
def project(
    target: Tensor,
    generator: StyleGenerator,
    loss: ImageLoss,
    settings: Projection | None = None,
    *,
    to_input: Callable[[Tensor], Tensor] = no_op,
    start: Tensor | None = None,
    maps: Sequence[Tensor] = (),
    render: Callable[[Tensor, Sequence[Tensor]], Tensor] | None = None,
    callback: StepCallback | None = None,
) -> Projected:
    """Finds the latent codes and noise maps whose image is nearest to the target: argmin L(G(w, n), x) + c R(n).

    L is `loss`, c `settings.noise_weight` and R the `noise_regularizer`. Adam changes codes and maps together. Noise
    that decreases over the steps is added to the codes, so that the search is wide at first, and after every step each
    map is normalized to mean 0 and mean square 1. All images of a batch get the same random numbers, which depend on
    `settings.seed`, so that each is optimized as it would be alone. The generator is not changed.

    Args:
        target: [B,3,h,w] in [-1,1].
        generator: its device is used for all computations.
        loss: (image, target) -> [B].
        settings: None means `Projection()`.
        to_input: function from the rendered image [B,3,size,size] to [B,3,h,w], the form of the target.
        start: [B,L,D] or [B,D] codes to start from instead of the mean code.
        maps: noise maps [1 or B,1,r,r] to start from instead of random ones; used only with
            `settings.optimize_noise`.
        render: (codes [B,L,D], noise maps) -> image [B,3,size,size], differentiable, for images that depend on more
            than these two. Without noise to optimize it gets an empty list and chooses the maps. None renders with
            `generator`.
        callback: called at every step, after the loss is computed and before the codes are changed.

    Raises:
        ImageError: target and reconstruction differ in shape, or the target is not finite.
        ConfigError: a start of another shape, or of different rows for the space "w"; a loss that cannot be used.
    """
    settings = settings or Projection()
    check_target(target)
    target = target.to(generator.latent_avg)
    batch, rows = target.shape[0], generator.config.rows
    mean, spread = code_statistics(generator, settings.samples)
    w = _first_codes(mean.expand(batch, -1) if start is None else start, generator, settings, batch)
    random = torch.Generator().manual_seed(int(settings.seed))

    def randn(*shape: int) -> Tensor:  # on the CPU, so that the numbers are the same on every device
        return torch.randn(shape, generator=random).to(target)

    def plain(codes: Tensor, noise: Sequence[Tensor]) -> Tensor:
        image: Tensor = generator(codes, noise=noise or "const", modulation="activations")
        return image

    synthesize = render or plain
    noises: list[Tensor] = []
    if settings.optimize_noise and (settings.steps or maps):  # 0 steps keep the generator's maps
        first = [randn(*stored.shape) for stored in generator.noises.buffers()]
        noises = [noise.detach().expand(batch, -1, -1, -1).clone().requires_grad_() for noise in maps or first]

    def loss_at(step: int) -> Loss:
        # The same noise for all images, so that each is optimized as it would be alone.
        near = w + randn(1, *w.shape[1:]) * (spread * settings.noise_at(step))  # [B,1,D] in W, [B,L,D] in W+
        codes = near.expand(-1, rows, -1)  # [B,L,D]
        image = synthesize(codes, noises)
        losses = image_losses(loss, to_input(image), target, step)  # HyperStyle, Eq. 1
        penalty = settings.noise_weight * noise_regularizer(noises) if noises else None
        return Loss(losses, image, penalty, shown={"w": w.detach().expand(-1, rows, -1).clone()})

    def normalize_noise() -> None:
        # Else the loss could grow the maps without bound: a map is brought back to mean 0 and mean square 1.
        for noise in noises:
            noise -= noise.mean((2, 3), keepdim=True)
            mean_square = noise.square().mean((2, 3), keepdim=True)
            noise *= torch.where(mean_square > 0, mean_square, 1.0).rsqrt()  # a map of zeros stays so

    schedule = Schedule(settings.steps, settings.lr_at, threshold=settings.threshold)
    losses = optimize([w, *noises], loss_at, schedule, callback, constrain=normalize_noise)
    codes = w.detach().expand(-1, rows, -1).contiguous()
    return Projected(codes, tuple(noise.detach() for noise in noises) if noises else None, losses)


def _first_codes(codes: Tensor, generator: StyleGenerator, settings: Projection, batch: int) -> Tensor:
    """Checks codes [B,L,D] or [B,D] and returns a copy that requires gradients: [B,1,D] in W, [B,L,D] in W+."""
    w = generator.broadcast(codes.detach().to(generator.latent_avg))
    expected = (batch, generator.config.rows, generator.config.latent_width)
    if tuple(w.shape) != expected:
        raise ConfigError(f"codes of shape {tuple(codes.shape)} to start from: expected {list(expected)}.")
    if settings.space == "w":
        if not torch.equal(w, w[:, :1].expand_as(w)):
            raise ConfigError(
                "codes to start from whose rows differ, for one row: use method 'optimize-w+' (space='w+'), or start "
                "with a W code."
            )
        w = w[:, :1]
    return w.clone(memory_format=torch.contiguous_format).requires_grad_()


# ---- as a refinement ----

W_PLUS = Projection(steps=2000, lr=0.01, space="w+")
"""Published settings for W+."""

PIVOT = Projection(steps=450, lr=0.01, samples=600)
"""Published settings for the pivots of PTI (Roich et al., 2021)."""


@dataclass(frozen=True)
class Projector(BaseRefinement):
    """`project` as a refinement: optimizes the latent codes of an inversion, starting from its own.

    The offsets and overrides of the inversion are part of the rendering and are not changed, except for noise maps. All
    images of a batch are optimized together, each as it would be alone.

    Attributes:
        settings: of the search; `Projection()` has the published values for W.
        loss: (image, target) -> [B]; None is the distance of the model's perceptual network, or LPIPS if the model has
            none.
        l2: weight of the mean squared error, which is added to the loss. None is 1 if the loss is that of the model's
            own perceptual network, else 0, as published.
        keep_noise: store the fitted noise maps in the inversion; the published code drops them. They are also dropped
            if the generator adds no noise (its strength is zero in all layers).
    """

    settings: Projection = field(default_factory=Projection)
    loss: ImageLoss | None = None
    l2: float | None = None
    keep_noise: bool = True

    @property
    def name(self) -> str:
        """Name of the method, which depends on `settings.space`: "optimize-w" or "optimize-w+"."""
        return f"optimize-{self.settings.space}"

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Runs `project` with `steps` in place of `settings.steps`, unless it is None.

        Raises:
            ConfigError: a negative number of steps, or codes whose rows differ in the space "w".
            MethodError, MissingDependencyError: no perceptual loss is available, or memory runs out for one image.
            ImageError: crops that are not finite.
        """
        model = inversion.model
        settings = self.settings if steps is None else replace(self.settings, steps=steps)
        by_own_network = self.loss is None and model.perceptual is not None
        loss = add_l2(self.loss or perceptual_loss(model), float(by_own_network) if self.l2 is None else self.l2)
        strengths = (value for name, value in model.generator.named_parameters() if name.endswith("noise.weight"))
        has_noise = any(bool(strength.any()) for strength in strengths)

        def optimize_part(crops: Tensor, part: Inversion) -> Inversion:
            overrides = part.overrides

            def render_with(codes: Tensor, noise: Sequence[Tensor]) -> Tensor:
                changed = replace(overrides, noise=tuple(noise) or overrides.noise)
                return render(model, replace(part.state, w=codes, overrides=changed), differentiable=True)

            result = project(
                crops,
                model.generator,
                loss,
                settings,
                to_input=model.domain.as_network_input,
                start=part.w,
                maps=overrides.noise,
                render=render_with,
                callback=callback,
            )
            noise = result.noise if result.noise is not None and self.keep_noise and has_noise else overrides.noise
            return replace(part, w=result.w, overrides=replace(overrides, noise=noise))

        return refine_by_optimization(self.name, self, crop, inversion, optimize_part)


# ---- as methods ----


def start_at_mean(samples: int) -> StartingPoint:
    """The starting point of methods that begin with the mean of W, estimated from this number of samples."""

    def start(model: Model) -> Callable[[Tensor], Tensor]:
        return lambda crops: code_statistics(model.generator, samples)[0].expand(len(crops), -1)

    return StartingPoint("mean", start)


def seeded(settings: Projection, seed: int | None) -> Projection:
    """The settings with this seed; unchanged if `seed` is None."""
    return settings if seed is None else replace(settings, seed=seed)


OPTIMIZE_W = Method(
    "optimize-w",
    start=start_at_mean(Projection().samples),
    refinement=lambda options: Projector(seeded(Projection(), options.seed)),
    optimizes=True,
    unfit=why_not_stylegan2,
)
OPTIMIZE_W_PLUS = Method(
    "optimize-w+",
    start=start_at_mean(W_PLUS.samples),
    refinement=lambda options: Projector(seeded(W_PLUS, options.seed)),
    optimizes=True,
    unfit=why_not_stylegan2,
)
