"""Relative weight offsets by optimization: what HyperStyle's hypernetwork predicts (Eq. 5), searched for instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

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
)
from hyperstyle.inversion.synthesis import render
from hyperstyle.methods.base import BaseRefinement, Method, refine_by_optimization, why_not_stylegan2
from hyperstyle.methods.losses import add_l2, perceptual_loss
from hyperstyle.moved import renamed_argument, renamed_field
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import tuned_layers
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.gradients import with_gradients

__all__ = ["OFFSETS", "OffsetTuner", "optimize_offsets", "short_schedule"]

_RISING = 5  # steps until the learning rate is at its highest


def short_schedule(steps: int, lr: float, threshold: float | None = None) -> Schedule:
    """A schedule for runs of few steps: Adam with a short memory, betas 0.8 and 0.9.

    The learning rate rises over the first five steps, when the gradient's scale is hardly known, and falls linearly to
    zero over the last half.

    Args:
        steps: at most so many.
        lr: learning rate, where it is highest.
        threshold: an image stays as it is as soon as its loss is no larger; None takes all steps.

    Raises:
        ConfigError: a number of steps or an lr that cannot be used.
    """
    check_integer("steps", steps)
    if not 0 < lr < math.inf:
        raise ConfigError(f"lr={lr}: expected a positive one.")

    def lr_at(step: int) -> float:
        # The smallest of: the highest rate, the rise to it, and the line that reaches it at half of the steps.
        return lr * min(1.0, (step + 1) / _RISING, 2.0 * (1.0 - step / steps))

    return Schedule(steps, lr_at, betas=(0.8, 0.9), threshold=threshold)


@with_gradients
@renamed_argument("rate", "lr")
def optimize_offsets(
    target: Tensor,
    w: Tensor,
    generator: StyleGenerator,
    layers: Iterable[str | int],
    loss: ImageLoss,
    *,
    steps: int = 350,
    lr: float = 0.02,
    to_input: Callable[[Tensor], Tensor] = no_op,
    start: Mapping[str, Tensor] | None = None,
    threshold: float | None = None,
    render: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
    callback: StepCallback | None = None,
) -> dict[str, Tensor]:
    """Finds Δ = argmin L(G(w; θ (1 + Δ)), x) for each image, with one value per (out, in) pair of each layer.

    A hypernetwork whose heads give one value per pair chooses among the same offsets, so this shows how near to the
    target such a network could come, as far as gradient descent with `short_schedule` finds it. The images of a batch
    are optimized side by side, each as it would be alone. The generator stays as it is.

    Args:
        target: [B,3,h,w] in [-1,1].
        w: [B,L,D] or [B,D] latent codes, which stay.
        generator: on the device where all happens.
        layers: names or official indexes of the layers that may change.
        loss: (image, target) -> [B].
        steps: how many; 0 gives the start.
        lr: learning rate, where it is highest.
        to_input: the generator's image [B,3,size,size] -> [B,3,h,w].
        start: layer name -> [B,O,I,1,1] to begin with; zeros where it has none.
        threshold: an image stays as it is as soon as its loss is no larger; None takes all steps.
        render: offsets -> the generator's image, where it depends on more than codes and these offsets.
        callback: called at every step, before the offsets are changed.

    Returns:
        Layer name -> Δ [B,O,I,1,1], in the order of `layers`, for `Generator.synthesize`.

    Raises:
        ImageError: target and reconstruction differ in shape.
        ConfigError: no layer, an unknown one, a start for another layer or of another shape, codes for another number
            of images, or a loss, number of steps or lr that cannot be used.
    """
    check_target(target)
    schedule = short_schedule(steps, lr, threshold)
    specs = [generator.layer(name) for name in layers]
    if not specs:
        raise ConfigError("offsets of 0 layers: expected at least 1.")
    target, batch = target.to(generator.latent_avg), target.shape[0]
    if w.shape[0] != batch:
        raise ConfigError(f"codes of shape {tuple(w.shape)} for {batch} image(s): expected one code for each.")
    # The codes stay, and so do the styles of them: both are computed once.
    styles = {name: style.detach() for name, style in generator.styles(w.detach().to(target)).items()}
    # One value for each pair of channels, the same for all taps of a kernel: [B,O,I,1,1].
    offsets = {s.name: target.new_zeros(batch, s.channels_out, s.channels_in, 1, 1) for s in specs}
    for name, value in (start or {}).items():
        if name not in offsets or value.shape != offsets[name].shape:
            raise ConfigError(
                f"a start of shape {tuple(value.shape)} for {name!r}: expected "
                f"{ {n: tuple(t.shape) for n, t in offsets.items()} }."
            )
        offsets[name].copy_(value.detach())
    for value in offsets.values():
        value.requires_grad_()

    def plain(offsets: Mapping[str, Tensor]) -> Tensor:
        return generator.synthesize(styles, offsets, modulation="activations")

    render = render or plain

    def loss_at(step: int) -> Loss:
        image = render(offsets)
        return Loss(image_losses(loss, to_input(image), target, step), image)

    optimize(list(offsets.values()), loss_at, schedule, callback)
    return {name: value.detach() for name, value in offsets.items()}


@renamed_field("rate", "lr")
@dataclass(frozen=True)
class OffsetTuner(BaseRefinement):
    """`optimize_offsets` as a refinement: it adds dense offsets to those that the inversion has.

    Attributes:
        steps: how many, unless the call says so.
        lr: learning rate, where it is highest.
        layers: that may change; None is those of the model's hypernetwork, or all but toRGB.
        loss: (image, target) -> [B], to which L2 is added; None is the model's perceptual network, or LPIPS.
        threshold: an image stays as it is as soon as L2 + loss is no larger; None takes all steps.
    """

    steps: int = 100
    lr: float = 0.03
    layers: tuple[str | int, ...] | None = None
    loss: ImageLoss | None = None
    threshold: float | None = None

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Takes `steps` steps.

        Raises:
            ConfigError: an unknown layer, or steps or an lr that cannot be used.
            MethodError, MissingDependencyError: no perceptual loss can be had, or an image is too much for the memory.
            ImageError: crops that are not finite.
        """
        model = inversion.model
        network, names = model.hypernetwork, self.layers
        if names is None and network is not None:
            names = network.config.layers
        layers = tuned_layers(model.generator.config, names)
        loss = add_l2(self.loss or perceptual_loss(model))

        def optimize_part(crops: Tensor, part: Inversion) -> Inversion:
            def with_offsets(offsets: Mapping[str, Tensor]) -> Inversion:
                dense = OffsetCodes.of_dense(offsets)
                return replace(part, offset_codes=dense if part.offset_codes is None else part.offset_codes + dense)

            offsets = optimize_offsets(
                crops,
                part.w,
                model.generator,
                layers,
                loss,
                steps=self.steps if steps is None else steps,
                lr=self.lr,
                to_input=model.domain.as_network_input,
                threshold=self.threshold,
                render=lambda offsets: render(model, with_offsets(offsets).state, differentiable=True),
                callback=callback,
            )
            return with_offsets(offsets)

        return refine_by_optimization(OFFSETS.name, self, crop, inversion, optimize_part)


OFFSETS = Method("offsets", refinement=lambda options: OffsetTuner(), optimizes=True, unfit=why_not_stylegan2)
