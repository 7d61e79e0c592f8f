"""Inversion by optimization (HyperStyle, Eq. 1): the projector of StyleGAN2 (Karras et al., 2020, appendix D)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.errors import ConfigError, ImageError, QualityWarning, warn
from hyperstyle.moved import renamed_field
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.gradients import with_gradients

__all__ = [
    "MAX_SEED",
    "ImageLoss",
    "ProjectStep",
    "Projected",
    "Projection",
    "check_target",
    "check_whole",
    "code_statistics",
    "finite",
    "freeze_finished",
    "identity",
    "measured",
    "noise_regularizer",
    "project",
    "ramped",
    "warn_of_many_steps",
]

MAX_SEED = 2**32 - 1
"""The largest that NumPy's generator of chance takes."""

ImageLoss = Callable[[Tensor, Tensor], Tensor]
"""(image, target) [B,3,h,w] each -> [B]; no image of a batch changes the number of another."""


@renamed_field("optimise_noise", "optimize_noise")
@renamed_field("rate", "lr")
@dataclass(frozen=True)
class Projection:
    """Numbers of the projector. The defaults are the published ones for W.

    Others in print: `Projection(steps=450, lr=0.01, samples=600)` for the pivots of PTI (Roich et al., 2021), and
    `Projection(steps=2000, lr=0.01, space="w+")`. The weight of the noise term belongs to a loss that sums squared
    features over the image, in the thousands at first.

    Attributes:
        steps: how many; 0 gives the codes of the start.
        lr: the highest learning rate (Adam).
        space: one row for all layers ("w"), or a row of its own for each ("w+").
        optimize_noise: fit noise maps beside the codes; otherwise the generator's own are used.
        initial_noise: what is added to the codes at the first step, in standard deviations of W.
        noise_ramp: the fraction of the steps after which nothing is added any more.
        rampdown, rampup: the fractions of the steps, at the end and at the start, in which the rate falls and rises.
        noise_weight: of the term that keeps the noise maps free of patterns.
        samples: of W, for its mean and standard deviation.
        seed: of the noise maps and of what is added to the codes.
        threshold: an image stays as it is as soon as its loss is no larger; None takes all steps, as published.
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
        check_whole("steps", self.steps)
        check_whole("seed", self.seed, MAX_SEED)
        check_whole("samples", self.samples)
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
        """The learning rate of step 0 <= `step` < `steps`: 0 at the first, as published."""
        return ramped(step, self.steps, self.lr, rampup=self.rampup, rampdown=self.rampdown)

    def noise_at(self, step: int) -> float:
        """What is added to the codes at this step, in standard deviations of W."""
        return self.initial_noise * max(0.0, 1.0 - step / self.steps / self.noise_ramp) ** 2


@dataclass(frozen=True)
class ProjectStep:
    """What a callback of `project` sees at each step, before the codes are changed.

    Attributes:
        step: how many changes there were before: 0 at first.
        steps: how many there will be.
        w: [B,L,D] codes so far.
        image: [B,3,size,size] of these codes with the noise that is added to them.
        losses: [B] of this image.
    """

    step: int
    steps: int
    w: Tensor
    image: Tensor
    losses: Tensor

    @property
    def loss(self) -> float:
        """The mean of `losses`."""
        return self.losses.mean().item()


@dataclass(frozen=True)
class Projected:
    """What `project` found.

    Attributes:
        w: [B,L,D] codes.
        noise: maps [B,1,r,r] for `Generator.synthesize(noise=...)`; None where they were not optimized.
        losses: [B,steps] of each image before each step that was taken, without the noise term.
    """

    w: Tensor
    noise: tuple[Tensor, ...] | None
    losses: Tensor


def identity(image: Tensor) -> Tensor:
    """The image as it is: the `to_input` of targets that have the generator's size."""
    return image


def ramped(step: int, steps: int, lr: float, *, rampup: float = 0.05, rampdown: float = 0.25) -> float:
    """The learning rate of step 0 <= `step` < `steps`: it rises linearly from 0 and falls along a cosine at the end.

    `rampup` and `rampdown` are the fractions of the steps in which it does.
    """
    t = step / steps
    fall = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1.0 - t) / rampdown))
    return lr * fall * min(1.0, t / rampup)


def check_whole(name: str, value: object, most: float = math.inf) -> None:
    """Raises ConfigError unless the value is a whole number from 0 to `most`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not 0 <= int(value) <= most:
        raise ConfigError(
            f"{name}={value!r}: expected a whole number, " + ("0 or more." if most == math.inf else f"0 to {most}.")
        )


def warn_of_many_steps(method: str, steps: int, trained: int, instead: str) -> None:
    """Warns of so many steps of a network that reconstructions get worse: twice as many as it was trained with.

    The bundled hypernetwork (5) is best at 5 to 9 of them, depending on the metric; see docs/methods.md.

    Args:
        method: its name.
        steps: their number, those of earlier calls included.
        trained: the number that it was trained with.
        instead: a sentence that says what gives better reconstructions.
    """
    if steps >= 2 * max(trained, 1):
        warn(
            f"{steps} steps of {method!r}, whose network was trained with {trained}: with twice "
            f"as many or more, reconstructions become worse. {instead}",
            QualityWarning,
        )


def check_target(target: Tensor) -> None:
    """Raises ImageError for images [B,3,h,w] with values that are not finite: better now than as a loss of NaN."""
    if odd := int((~torch.isfinite(target)).sum()):
        raise ImageError(
            f"{odd} of the {target.numel()} values of a target {list(target.shape)} are not finite (NaN or infinite). "
            "Expected [-1, 1]: check what it was computed from."
        )


@contextmanager
def freeze_finished(variables: Sequence[Tensor], done: Tensor) -> Iterator[None]:
    """Whatever a step does to the variables [B,...], those of the images that are `done` [B] stay as they were."""
    before = [value.detach()[done] for value in variables]
    yield
    with torch.no_grad():
        for value, kept in zip(variables, before, strict=True):
            value[done] = kept


def measured(loss: ImageLoss, image: Tensor, target: Tensor, step: int) -> Tensor:
    """The loss [B] of a step, checked.

    Raises:
        ImageError: target and reconstruction differ in shape, or are no images [B,3,h,w].
        ConfigError: the loss is not one finite number per image, or has no gradient.
    """
    if image.shape != target.shape or target.ndim != 4:
        raise ImageError(
            f"a target of shape {tuple(target.shape)} and a reconstruction of shape {tuple(image.shape)}: expected the "
            "same [B, 3, h, w]. Pass a to_input that brings the reconstruction to the size of the target."
        )
    losses = finite(loss(image, target), len(target), step)
    if not losses.requires_grad:
        raise ConfigError(
            "no gradient flows from the loss to the image. Compute it with PyTorch, outside torch.no_grad() and "
            "torch.inference_mode()."
        )
    return losses


def finite(losses: Tensor, batch: int, step: int) -> Tensor:
    """The losses [B] of a step. Raises ConfigError where they are not one finite number per image."""
    if not isinstance(losses, Tensor):
        raise ConfigError(f"a loss of type {type(losses).__name__}: expected one number per image, [{batch}].")
    if tuple(losses.shape) != (batch,):
        raise ConfigError(f"a loss of shape {tuple(losses.shape)}: expected one number per image, [{batch}].")
    if not torch.isfinite(losses).all():
        raise ConfigError(f"the loss became NaN or infinite at step {step}. Check the target, or use a lower lr.")
    return losses


@torch.no_grad()
def code_statistics(generator: StyleGenerator, samples: int) -> tuple[Tensor, float]:
    """Mean [D] of W and its standard deviation over all D at once (a length), from the published sample of z."""
    z = np.random.RandomState(123).randn(samples, generator.config.latent_width)
    w = generator.mapping(torch.from_numpy(z).to(generator.latent_avg)).double()
    mean = w.mean(0)
    return mean.to(generator.latent_avg.dtype), math.sqrt(float((w - mean).square().sum()) / samples)


def noise_regularizer(maps: Sequence[Tensor]) -> Tensor:
    """Squared autocorrelation at a distance of one pixel, at every size down to 8 px: maps [B,1,r,r] -> [B]."""
    total = maps[0].new_zeros(maps[0].shape[0])
    for noise in maps:
        while True:
            for axis in (3, 2):
                total = total + (noise * noise.roll(1, axis)).mean((1, 2, 3)).square()
            if noise.shape[2] <= 8:
                break
            noise = F.avg_pool2d(noise, 2)
    return total


@with_gradients
def project(
    target: Tensor,
    generator: StyleGenerator,
    loss: ImageLoss,
    settings: Projection | None = None,
    *,
    to_input: Callable[[Tensor], Tensor] = identity,
    start: Tensor | None = None,
    maps: Sequence[Tensor] = (),
    draw: Callable[[Tensor, Sequence[Tensor]], Tensor] | None = None,
    callback: Callable[[ProjectStep], None] | None = None,
) -> Projected:
    """Finds the codes, and noise maps, whose image is nearest to the target: w = argmin L(G(w, n), x) + c R(n).

    Adam moves codes and maps together; a falling amount of noise is added to the codes, which makes the search wide at
    first, and after every step each map is brought back to mean 0 and mean square 1. The images of a batch are
    optimized side by side, each as it would be alone: chance, which `settings.seed` decides, is the same for all.
    The generator stays as it is.

    Args:
        target: [B,3,h,w] in [-1,1].
        generator: on the device where all happens.
        loss: (image, target) -> [B].
        settings: None means `Projection()`.
        to_input: the generator's image [B,3,size,size] -> [B,3,h,w].
        start: [B,L,D] or [B,D] codes to begin with in place of the mean code.
        maps: noise maps [1 or B,1,r,r] to begin with in place of random ones.
        draw: (codes [B,L,D], noise maps or none) -> the generator's image, where it is more than codes and noise.
        callback: called at every step, before the codes are changed.

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

    def randn(*shape: int) -> Tensor:  # on the CPU, so that it is the same on every device
        return torch.randn(shape, generator=random).to(target)

    def plain(codes: Tensor, noise: Sequence[Tensor]) -> Tensor:
        image: Tensor = generator(codes, noise=noise or "const", modulation="activations")
        return image

    draw = draw or plain
    noises: list[Tensor] = []
    if settings.optimize_noise and (settings.steps or maps):  # 0 steps leave the generator's own
        first = [randn(*m.shape) for m in generator.noises.buffers()]
        noises = [m.detach().expand(batch, -1, -1, -1).clone().requires_grad_() for m in maps or first]
    variables = [w, *noises]
    optimizer = torch.optim.Adam(variables, lr=settings.lr)
    history: list[Tensor] = []
    done = torch.zeros(batch, dtype=torch.bool, device=target.device)
    for step in range(settings.steps):
        optimizer.param_groups[0]["lr"] = settings.lr_at(step)
        around = w + randn(1, *w.shape[1:]) * (spread * settings.noise_at(step))  # [B,1 or L,D]
        image = draw(around.expand(-1, rows, -1), noises)
        losses = measured(loss, to_input(image), target, step)
        history.append(losses.detach())
        if callback is not None:
            codes = w.detach().expand(-1, rows, -1).clone()
            callback(ProjectStep(step, settings.steps, codes, image.detach(), losses.detach()))
        if settings.threshold is not None:
            done = done | (losses.detach() <= settings.threshold)
            if done.all():
                break
        total = losses + settings.noise_weight * noise_regularizer(noises) if noises else losses
        optimizer.zero_grad()
        torch.autograd.backward(total.sum(), inputs=variables)
        with freeze_finished(variables, done):
            optimizer.step()
            with torch.no_grad():
                for noise in noises:
                    noise -= noise.mean((2, 3), keepdim=True)
                    mean_square = noise.square().mean((2, 3), keepdim=True)
                    noise *= torch.where(mean_square > 0, mean_square, 1.0).rsqrt()  # a map without noise stays so
    found = w.detach().expand(-1, rows, -1).contiguous()
    losses = torch.stack(history, 1) if history else target.new_empty(batch, 0)
    return Projected(found, tuple(noise.detach() for noise in noises) if noises else None, losses)


def _first_codes(codes: Tensor, generator: StyleGenerator, settings: Projection, batch: int) -> Tensor:
    """Codes [B,L,D] or [B,D] -> a leaf to optimize: [B,1,D] in W, [B,L,D] in W+."""
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
