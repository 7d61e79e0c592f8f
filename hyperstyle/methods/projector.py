"""Inversion by optimization (HyperStyle, Eq. 1): the projector of StyleGAN2 (Karras et al., 2020, appendix D)."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    check_lr,
    image_losses,
    optimize,
    ramped,
)
from hyperstyle.inversion.synthesis import render
from hyperstyle.methods.base import (
    BaseRefinement,
    Method,
    Start,
    StartingPoint,
    refine_by_optimization,
    why_not_stylegan2,
)
from hyperstyle.methods.losses import add_l2, perceptual_loss
from hyperstyle.model.parts import Model
from hyperstyle.moved import renamed_field
from hyperstyle.networks.stylegan2.base import StyleGenerator

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
        check_integer("seed", self.seed, most=MAX_SEED)
        check_integer("samples", self.samples, least=1)
        check_lr(self.lr)
        if self.space not in ("w", "w+"):
            raise ConfigError(f"space={self.space!r}: expected 'w' or 'w+'.")
        for name in ("noise_ramp", "rampdown", "rampup"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)}: expected a fraction of the steps, in (0, 1].")

    def lr_at(self, step: int) -> float:
        """The learning rate at `step`, 0 <= `step` < `steps`. It is 0 at step 0, as published."""
        # StyleGAN2, appendix D: a warm-up, then a cosine.
        return ramped(step, self.steps, self.lr, rampup=self.rampup, rampdown=self.rampdown)

    def noise_at(self, step: int) -> float:
        """Standard deviation of the noise added to the codes at `step`, as a fraction of the standard deviation of W.

        It falls quadratically from `initial_noise` to 0, see `noise_ramp`. The standard deviation of W is that of
        `code_statistics`.
        """
        # StyleGAN2, appendix D: 0.05 sigma_w t², where t falls from 1 to 0 over `noise_ramp` of the steps.
        return self.initial_noise * max(0.0, 1.0 - step / self.steps / self.noise_ramp) ** 2


@torch.no_grad()
def code_statistics(generator: StyleGenerator, samples: int) -> tuple[Tensor, float]:
    """Mean [D] of W, and its standard deviation as one length: the root of E|w - mean|^2, summed over all D dimensions.

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
    total = maps[0].new_zeros(maps[0].shape[0])  # [B]
    for noise in maps:
        while True:
            for axis in (3, 2):  # the neighbor in the row, then in the column; the last pixel's is the first
                total = total + (noise * noise.roll(1, axis)).mean((1, 2, 3)).square()
            if noise.shape[2] <= 8:
                break
            noise = F.avg_pool2d(noise, 2)  # [B,1,r/2,r/2]
    return total


W_PLUS = Projection(steps=2000, lr=0.01, space="w+")
"""Published settings for W+."""

PIVOT = Projection(steps=450, lr=0.01, samples=600)
"""Published settings for the pivots of PTI (Roich et al., 2021)."""


@dataclass(frozen=True)
class Projector(BaseRefinement):
    """Finds the latent codes and noise maps whose image is nearest to the crop: argmin L(G(w, n), x) + c R(n).

    L is the loss, c `Projection.noise_weight` and R the `noise_regularizer`. Adam changes codes and maps together.
    Noise that decreases over the steps is added to the codes, so that the search is wide at first, and after every step
    each map is normalized to mean 0 and mean square 1. All images of a batch are optimized together and get the same
    random numbers, which depend on `Projection.seed`, so that each is optimized as it would be alone. The generator is
    not changed.

    The search starts from the codes and noise maps of the inversion. Its offsets and overrides are part of the
    rendering and are not changed, except for noise maps.

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
        """Takes `steps` steps, or `settings.steps` if it is None.

        Raises:
            ConfigError: a negative number of steps, codes whose rows differ in the space "w", or a loss that cannot be
                used.
            MethodError, MissingDependencyError: no perceptual loss is available, or memory runs out for one image.
            ImageError: crops that are not finite, or of another size than the domain's input.
        """
        model, generator = inversion.model, inversion.model.generator
        settings = self.settings if steps is None else replace(self.settings, steps=steps)
        by_own_network = self.loss is None and model.perceptual is not None
        loss = add_l2(self.loss or perceptual_loss(model), float(by_own_network) if self.l2 is None else self.l2)
        strengths = (value for name, value in generator.named_parameters() if name.endswith("noise.weight"))
        has_noise = any(bool(strength.any()) for strength in strengths)  # else the maps change no image

        def optimize_part(crops: Tensor, part: Inversion) -> Inversion:
            spread, overrides = code_statistics(generator, settings.samples)[1], part.overrides
            w, random = _first_codes(part.w, settings.space), torch.Generator().manual_seed(int(settings.seed))

            def randn(*shape: int) -> Tensor:  # on the CPU, so that the numbers are the same on every device
                return torch.randn(shape, generator=random).to(crops)

            noises: list[Tensor] = []
            if settings.optimize_noise and (settings.steps or overrides.noise):  # 0 steps keep the generator's maps
                sampled = [randn(*stored.shape) for stored in generator.noises.buffers()]
                first = overrides.noise or sampled
                noises = [noise.detach().expand(len(crops), -1, -1, -1).clone().requires_grad_() for noise in first]

            def loss_at(step: int) -> Loss:
                # The same noise for all images, so that each is optimized as it would be alone.
                near = w + randn(1, *w.shape[1:]) * (spread * settings.noise_at(step))  # [B,1,D] in W, [B,L,D] in W+
                changed = replace(overrides, noise=tuple(noises) or overrides.noise)
                state = replace(part.state, w=near.expand_as(part.w), overrides=changed)
                image = render(model, state, differentiable=True)
                losses = image_losses(loss, model.domain.as_network_input(image), crops, step)  # HyperStyle, Eq. 1
                penalty = settings.noise_weight * noise_regularizer(noises) if noises else None
                return Loss(losses, image, penalty, shown={"w": w.detach().expand_as(part.w).clone()})

            def normalize_noise() -> None:
                # Else the loss could grow the maps without bound: a map is brought back to mean 0 and mean square 1.
                for noise in noises:
                    noise -= noise.mean((2, 3), keepdim=True)
                    mean_square = noise.square().mean((2, 3), keepdim=True)
                    noise *= torch.where(mean_square > 0, mean_square, 1.0).rsqrt()  # a map of zeros stays so

            schedule = Schedule(settings.steps, settings.lr_at, threshold=settings.threshold)
            optimize([w, *noises], loss_at, schedule, callback, constrain=normalize_noise)
            codes = w.detach().expand_as(part.w).contiguous()  # [B,L,D]
            if noises and self.keep_noise and has_noise:
                overrides = replace(overrides, noise=tuple(noise.detach() for noise in noises))
            return replace(part, w=codes, overrides=overrides)

        return refine_by_optimization(self.name, self, crop, inversion, optimize_part)


def _first_codes(w: Tensor, space: str) -> Tensor:
    """A copy of codes [B,L,D] that requires gradients: [B,1,D] in W, [B,L,D] in W+."""
    if space == "w":
        if not torch.equal(w, w[:, :1].expand_as(w)):
            raise ConfigError(
                "codes to start from whose rows differ, for one row: use method 'optimize-w+' (space='w+'), or start "
                "with a W code."
            )
        w = w[:, :1]
    return w.detach().clone(memory_format=torch.contiguous_format).requires_grad_()


def start_at_mean(samples: int) -> StartingPoint:
    """The starting point of methods that begin with the mean of W, estimated from this number of samples."""

    def start(model: Model) -> Start:
        return lambda crops: code_statistics(model.generator, samples)[0].expand(len(crops), -1)

    return StartingPoint("mean", start)


def _method(settings: Projection) -> Method:
    return Method(
        Projector(settings).name,
        start=start_at_mean(settings.samples),
        refinement=lambda options: Projector(options.seeded(settings)),
        optimizes=True,
        unfit=why_not_stylegan2,
    )


OPTIMIZE_W, OPTIMIZE_W_PLUS = _method(Projection()), _method(W_PLUS)
