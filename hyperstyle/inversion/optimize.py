"""The optimization loop that all methods share: Adam, a learning-rate schedule, callbacks, and an early stop."""

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

ImageLoss = Callable[[Tensor, Tensor], Tensor]
"""(image, target), [B,3,h,w] each -> [B] losses; the loss of an image does not depend on the others of the batch."""


class Step:
    """What a callback sees of one step of a method.

    Methods that optimize call the callback before each update: with step 0, 1, ... up to `steps` - 1. Methods whose
    networks predict call it before the first prediction, with step 0, and after each one: up to `steps`.

    Only `step`, `steps` and `image` are always set. Each other attribute is set by the methods named with it; reading
    it for another method raises AttributeError.

    Attributes:
        step: number of updates, or predictions, made so far.
        steps: how many there will be in all, at most.
        image: [B,3,size,size] the generator's current images; with `optimize_text` only their content rows (see
            `Domain.content`).
        losses: [B] the losses of these images; of all methods that optimize.
        w: [B,L,D] the current latent codes; of "optimize-w", "optimize-w+", "idinvert", ReStyle and `Inversion.drag`.
        codes: accumulated codes of offsets or residuals, None before the first prediction; of "hyperstyle" and
            "hyperinverter".
        l2, perceptual: the two parts of the loss, as numbers, without the locality term; of "pti".
        pixel, feature, code: [B] the three parts of the loss, before they are weighted; of "idinvert".
        distances: [B] 1 - cosine between image and text, 0 to 2; of `optimize_text`.
        points: [N,2] where the dragged points are, in pixel indices of `image`; of `Inversion.drag`.
    """

    step: int
    steps: int
    losses: Tensor
    w: Tensor
    codes: OffsetCodes | None
    l2: float
    perceptual: float
    pixel: Tensor
    feature: Tensor
    code: Tensor
    distances: Tensor
    points: Tensor

    def __init__(self, step: int, steps: int, image: Tensor | Callable[[], Tensor], **values: Any) -> None:
        self.step, self.steps, self._image = step, steps, image
        self.__dict__.update(values)

    @property
    def image(self) -> Tensor:
        """[B,3,size,size]; methods that need no images themselves render one when it is first read."""
        if not isinstance(self._image, Tensor):
            self._image = self._image()
        return self._image.detach()

    @property
    def loss(self) -> float:
        """The mean of `losses`. Raises AttributeError where the method minimizes no loss."""
        return self.losses.mean().item()


StepCallback = Callable[[Step], None]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast an optimization runs.

    Attributes:
        steps: maximum number of steps.
        lr: step i, 0 <= i < steps -> its learning rate.
        betas: of Adam.
        threshold: an image is not changed any more once its loss (its `Loss.distances` where these are given) is this
            or less, and the loop stops once that holds for all images. None takes all steps.
    """

    steps: int
    lr: Callable[[int], float]
    betas: tuple[float, float] = (0.9, 0.999)
    threshold: float | None = None


@dataclass(frozen=True)
class Loss:
    """The loss of one step.

    Attributes:
        losses: [B], differentiable with respect to the variables.
        image: [B,3,size,size] the generator's images, for which the losses were computed; or a function that renders
            them, which a callback may call later.
        penalty: [B] added to the losses that are minimized, but neither shown to callbacks nor compared with
            `Schedule.threshold`.
        distances: [B] compared with `Schedule.threshold` in place of the losses.
        shown: further attributes of the `Step` that a callback sees, by name.
    """

    losses: Tensor
    image: Tensor | Callable[[], Tensor]
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
) -> None:
    """Minimizes the sum of the losses with Adam, in place. Variables [B,...] move for each image as for it alone.

    An image whose loss has reached `Schedule.threshold` keeps its variables while the others go on.

    Args:
        variables: leaf tensors that require gradients. Where a batch has a threshold, they must be [B,...], since its
            images may stop at different steps; else they may have any shape, such as that of a generator's weights.
        loss: step i -> its loss, for the current variables.
        schedule: number of steps, learning rate, early stop.
        callback: called at every step after the loss is computed and before the variables change; also at the step
            at which the loop stops early, where they do not change any more.
        constrain: called after every update, without gradients, to project the variables in place onto what is
            allowed.
    """
    optimizer = torch.optim.Adam(variables, lr=0.0, betas=schedule.betas)
    finished: Tensor | None = None  # [B]
    for step in range(schedule.steps):
        optimizer.param_groups[0]["lr"] = schedule.lr(step)
        current = loss(step)
        if callback is not None:
            shown = {name: v.detach() if isinstance(v, Tensor) else v for name, v in current.shown.items()}
            callback(Step(step, schedule.steps, current.image, losses=current.losses.detach(), **shown))
        if schedule.threshold is not None:
            distances = current.losses if current.distances is None else current.distances
            near = distances.detach() <= schedule.threshold
            finished = near if finished is None else finished | near
            if finished.all():
                break
        # The sum, not the mean, over the batch: the gradient of an image does not depend on the size of its batch.
        total = current.losses if current.penalty is None else current.losses + current.penalty  # [B]
        optimizer.zero_grad()
        torch.autograd.backward(total.sum(), inputs=list(variables))
        with _kept(variables, finished) if finished is not None and finished.any() else nullcontext():
            optimizer.step()
            if constrain is not None:
                with torch.no_grad():
                    constrain()
    optimizer.zero_grad()


@contextmanager
def _kept(variables: Sequence[Tensor], finished: Tensor) -> Iterator[None]:
    """Restores the variables [B,...] of the `finished` images, a mask [B], after the body has changed all of them."""
    before = [value.detach()[finished] for value in variables]
    yield
    with torch.no_grad():
        for value, old in zip(variables, before, strict=True):
            value[finished] = old


# ---- learning rates ----


def ramped(step: int, steps: int, lr: float, *, rampup: float = 0.05, rampdown: float = 0.25) -> float:
    """The learning rate of `step`, 0 <= `step` < `steps`, with warm-up and cosine decay (StyleGAN2, appendix D).

    It rises linearly from 0 at step 0 to `lr` over the first `rampup` of the steps, and falls towards 0 along a cosine
    over the last `rampdown` of them; both are fractions of `steps`.
    """
    t = step / steps  # 0 <= t < 1
    # 1/2 - 1/2 cos(pi x), where x is 1 before the fall and then falls to 0 with the rest 1 - t of the run.
    fall = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1.0 - t) / rampdown))
    return lr * fall * min(1.0, t / rampup)


# ---- losses and what is checked ----


def image_losses(loss: ImageLoss, image: Tensor, target: Tensor, step: int) -> Tensor:
    """Computes the losses [B] of a step, `loss(image, target)`, and checks them. `step` is for the message.

    Raises:
        ImageError: target and reconstruction differ in shape, or have not four axes [B,3,h,w].
        ConfigError: the loss is not one finite number per image, or has no gradient.
    """
    if image.shape != target.shape or target.ndim != 4:
        raise ImageError(
            f"a target of shape {tuple(target.shape)} and a reconstruction of shape {tuple(image.shape)}: expected the "
            "same [B, 3, h, w]. Crops have the input size of the model's domain."
        )
    losses = check_losses(loss(image, target), len(target), step)
    if not losses.requires_grad:
        raise ConfigError(
            "no gradient flows from the loss to the image. Compute it with PyTorch, outside torch.no_grad() and "
            "torch.inference_mode()."
        )
    return losses


def check_losses(losses: Tensor, batch: int, step: int) -> Tensor:
    """Returns `losses`. Raises ConfigError unless they are a tensor [batch] of finite numbers, one per image."""
    if not isinstance(losses, Tensor):
        raise ConfigError(f"a loss of type {type(losses).__name__}: expected one number per image, [{batch}].")
    if tuple(losses.shape) != (batch,):
        raise ConfigError(f"a loss of shape {tuple(losses.shape)}: expected one number per image, [{batch}].")
    if not torch.isfinite(losses).all():
        raise ConfigError(f"the loss became NaN or infinite at step {step}. Check the target, or use a lower lr.")
    return losses


def check_target(target: Tensor) -> None:
    """Raises ImageError if a target [B,3,h,w] has NaN or infinite values, which would make every loss NaN."""
    if odd := int((~torch.isfinite(target)).sum()):
        raise ImageError(
            f"{odd} of the {target.numel()} values of a target {list(target.shape)} are not finite (NaN or infinite). "
            "Expected [-1, 1]: check what it was computed from."
        )


def check_lr(lr: float) -> None:
    """Raises ConfigError unless a learning rate is a positive number."""
    if not 0 < lr < math.inf:
        raise ConfigError(f"lr={lr}: expected a positive one.")


def check_integer(name: str, value: object, *, least: int = 0, most: float = math.inf) -> None:
    """Raises ConfigError unless the value is an integer, no bool, from `least` to `most`; `name` is for the message."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not least <= int(value) <= most:
        limits = f"{least} or more" if most == math.inf else f"{least} to {most}"
        raise ConfigError(f"{name}={value!r}: expected a whole number, {limits}.")
