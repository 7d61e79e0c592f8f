"""The one loop of everything that optimizes: Adam, a schedule, what a callback sees of a step, and an early stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, ImageError
from hyperstyle.networks.hypernetworks.codes import OffsetCodes

__all__ = [
    "ImageLoss",
    "Loss",
    "Schedule",
    "Step",
    "StepCallback",
    "check_losses",
    "check_target",
    "check_whole",
    "constant",
    "image_losses",
    "no_op",
    "optimize",
    "ramped",
]

ImageLoss = Callable[[Tensor, Tensor], Tensor]
"""(image, target) [B,3,h,w] each -> [B]; no image of a batch changes the number of another."""


class Step:
    """What a callback sees of one step of a method.

    Optimizing methods call it before each change, with step 0 first; networks that predict call it with step 0 before
    they predict, and after each prediction.

    Attributes:
        step: how many changes, or predictions, there were before.
        steps: how many there will be, at most.
        image: [B,3,size,size] the generator's images so far; of `optimize_text` with content rows applied.
        losses: [B] of these images; only where a loss is minimized.
        w: [B,L,D] codes so far; of "optimize-w", "optimize-w+", "idinvert" and ReStyle.
        codes: accumulated codes of offsets or residuals, None before the first prediction; of "hyperstyle" and
            "hyperinverter".
        l2, perceptual: the two parts of the loss of "pti", without its locality term.
        pixel, feature, code: [B] the three parts of the loss of "idinvert", without their weights.
        distances: [B] 1 - cosine between image and text, 0 to 2; of `optimize_text`.
    """

    step: int
    steps: int
    image: Tensor
    losses: Tensor
    w: Tensor
    codes: OffsetCodes | None
    l2: float
    perceptual: float
    pixel: Tensor
    feature: Tensor
    code: Tensor
    distances: Tensor

    def __init__(self, step: int, steps: int, image: Tensor, **values: Any) -> None:
        self.step, self.steps, self.image = step, steps, image
        self.__dict__.update(values)

    @property
    def loss(self) -> float:
        """The mean of `losses`; no attribute where no loss is minimized."""
        return self.losses.mean().item()


StepCallback = Callable[[Step], None]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast an optimization runs.

    Attributes:
        steps: how many, at most.
        lr: the learning rate of step 0 <= i < steps.
        betas: of Adam.
        threshold: an image stays as it is as soon as its loss, or `Loss.distances`, is no larger; None takes all steps.
    """

    steps: int
    lr: Callable[[int], float]
    betas: tuple[float, float] = (0.9, 0.999)
    threshold: float | None = None


@dataclass(frozen=True)
class Loss:
    """The loss of one step.

    Attributes:
        losses: [B], with gradients to the variables.
        image: [B,3,size,size] the generator's images that they belong to.
        penalty: [B] minimized too, but neither shown to callbacks nor compared with a threshold.
        distances: [B] compared with the threshold in place of the losses.
        shown: further attributes of the `Step` that a callback sees.
    """

    losses: Tensor
    image: Tensor
    penalty: Tensor | None = None
    distances: Tensor | None = None
    shown: Mapping[str, Any] = field(default_factory=dict)


def optimize(
    variables: Sequence[Tensor],
    loss: Callable[[int], Loss],
    schedule: Schedule,
    callback: StepCallback | None = None,
    *,
    constrain: Callable[[], None] | None = None,
) -> Tensor:
    """Moves variables, in place, so that a loss falls; the images of a batch move side by side, each as it would alone.

    Args:
        variables: what moves, [B,...] where images may stop at different steps; leaves that need gradients.
        loss: of this step, with the variables as they are.
        schedule: number of steps, learning rate, early stop.
        callback: called at every step, before the variables are changed, and where it stops early.
        constrain: brings the variables back, in place and without gradients, to where they may be, after every step.

    Returns:
        [B,steps] the losses before each step that was taken, where the variables are [B,...].
    """
    optimizer = torch.optim.Adam(variables, lr=0.0, betas=schedule.betas)
    history: list[Tensor] = []
    finished: Tensor | None = None  # [B]
    for step in range(schedule.steps):
        optimizer.param_groups[0]["lr"] = schedule.lr(step)
        current = loss(step)
        history.append(current.losses.detach())
        if callback is not None:
            shown = {name: v.detach() if isinstance(v, Tensor) else v for name, v in current.shown.items()}
            callback(Step(step, schedule.steps, current.image.detach(), losses=current.losses.detach(), **shown))
        if schedule.threshold is not None:
            distances = current.losses if current.distances is None else current.distances
            near = distances.detach() <= schedule.threshold
            finished = near if finished is None else finished | near
            if finished.all():
                break
        total = current.losses if current.penalty is None else current.losses + current.penalty
        optimizer.zero_grad()
        torch.autograd.backward(total.sum(), inputs=list(variables))
        with _kept(variables, finished) if finished is not None and finished.any() else nullcontext():
            optimizer.step()
            if constrain is not None:
                with torch.no_grad():
                    constrain()
    optimizer.zero_grad()
    return torch.stack(history, 1) if history else variables[0].new_empty(len(variables[0]), 0)


@contextmanager
def _kept(variables: Sequence[Tensor], finished: Tensor) -> Iterator[None]:
    """Whatever a step does to the variables [B,...], those of the `finished` [B] images stay as they were."""
    before = [value.detach()[finished] for value in variables]
    yield
    with torch.no_grad():
        for value, old in zip(variables, before, strict=True):
            value[finished] = old


# ---- learning rates ----


def constant(lr: float) -> Callable[[int], float]:
    """The same learning rate at every step."""
    return lambda step: lr


def ramped(step: int, steps: int, lr: float, *, rampup: float = 0.05, rampdown: float = 0.25) -> float:
    """The learning rate of step 0 <= `step` < `steps`: it rises linearly from 0 and falls along a cosine at the end.

    `rampup` and `rampdown` are the fractions of the steps in which it does (StyleGAN2, appendix D).
    """
    t = step / steps
    fall = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1.0 - t) / rampdown))
    return lr * fall * min(1.0, t / rampup)


# ---- losses and what is checked ----


def no_op(image: Tensor) -> Tensor:
    """The image as it is: the `to_input` of targets that have the generator's size."""
    return image


def image_losses(loss: ImageLoss, image: Tensor, target: Tensor, step: int) -> Tensor:
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
    losses = check_losses(loss(image, target), len(target), step)
    if not losses.requires_grad:
        raise ConfigError(
            "no gradient flows from the loss to the image. Compute it with PyTorch, outside torch.no_grad() and "
            "torch.inference_mode()."
        )
    return losses


def check_losses(losses: Tensor, batch: int, step: int) -> Tensor:
    """The losses [B] of a step. Raises ConfigError where they are not one finite number per image."""
    if not isinstance(losses, Tensor):
        raise ConfigError(f"a loss of type {type(losses).__name__}: expected one number per image, [{batch}].")
    if tuple(losses.shape) != (batch,):
        raise ConfigError(f"a loss of shape {tuple(losses.shape)}: expected one number per image, [{batch}].")
    if not torch.isfinite(losses).all():
        raise ConfigError(f"the loss became NaN or infinite at step {step}. Check the target, or use a lower lr.")
    return losses


def check_target(target: Tensor) -> None:
    """Raises ImageError for images [B,3,h,w] with values that are not finite, before they make every loss NaN."""
    if odd := int((~torch.isfinite(target)).sum()):
        raise ImageError(
            f"{odd} of the {target.numel()} values of a target {list(target.shape)} are not finite (NaN or infinite). "
            "Expected [-1, 1]: check what it was computed from."
        )


def check_whole(name: str, value: object, most: float = math.inf) -> None:
    """Raises ConfigError unless the value is a whole number from 0 to `most`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not 0 <= int(value) <= most:
        raise ConfigError(
            f"{name}={value!r}: expected a whole number, " + ("0 or more." if most == math.inf else f"0 to {most}.")
        )
