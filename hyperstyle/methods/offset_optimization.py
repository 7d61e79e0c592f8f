"""Relative weight offsets by optimization: what HyperStyle's hypernetwork predicts (Eq. 5), searched for instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.methods.optimising import add_l2, draw, perceptual_loss, refined
from hyperstyle.methods.optimization import ImageLoss, check_target, check_whole, freeze_finished, identity, measured
from hyperstyle.moved import renamed_argument, renamed_field
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import tuned_layers
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.gradients import with_gradients

__all__ = ["OffsetStep", "OffsetTuner", "descend", "optimize_offsets"]

_RISING = 5  # steps until the rate is whole


@dataclass(frozen=True)
class OffsetStep:
    """What a callback of `descend` sees at each step, before anything is changed.

    Attributes:
        step: how many changes there were before: 0 at first.
        steps: how many there will be.
        image: [B,3,size,size], the reconstructions so far.
        losses: [B] of them.
    """

    step: int
    steps: int
    image: Tensor
    losses: Tensor

    @property
    def loss(self) -> float:
        """The mean of `losses`."""
        return self.losses.mean().item()


@with_gradients
def descend(
    variables: Sequence[Tensor],
    draw: Callable[[], Tensor],
    target: Tensor,
    loss: ImageLoss,
    *,
    steps: int,
    lr: float,
    to_input: Callable[[Tensor], Tensor] = identity,
    threshold: float | None = None,
    callback: Callable[[OffsetStep], None] | None = None,
) -> None:
    """Moves the variables [B,...], in place, until what is drawn with them is near to the target.

    Adam with a short memory, for runs of few steps: betas 0.8 and 0.9. The rate rises over the first five steps, when
    the gradient's scale is hardly known, and falls linearly to zero over the last half. The images of a batch move
    side by side, each as it would alone.

    Args:
        variables: what moves; leaves that need gradients.
        draw: the generator's image [B,3,size,size] with them.
        target: [B,3,h,w] in [-1,1].
        loss: (image, target) -> [B].
        steps: at most so many.
        lr: learning rate, where it is highest.
        to_input: the generator's image -> [B,3,h,w].
        threshold: an image stays as it is as soon as its loss is no larger; None takes all steps.
        callback: called at every step, before the variables are changed, and where it stops early.

    Raises:
        ImageError: a target that is not finite or of another shape.
        ConfigError: a loss or a number of steps that cannot be used.
    """
    check_target(target)
    check_whole("steps", steps)
    optimizer = torch.optim.Adam(variables, lr=lr, betas=(0.8, 0.9))
    done = torch.zeros(len(target), dtype=torch.bool, device=target.device)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / _RISING, 2.0 * (1.0 - step / steps))
        image = draw()
        losses = measured(loss, to_input(image), target, step)
        if callback is not None:
            callback(OffsetStep(step, steps, image.detach(), losses.detach()))
        if threshold is not None:
            done = done | (losses.detach() <= threshold)
            if done.all():
                break
        optimizer.zero_grad()
        torch.autograd.backward(losses.sum(), inputs=list(variables))
        with freeze_finished(variables, done):
            optimizer.step()


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
    to_input: Callable[[Tensor], Tensor] = identity,
    start: Mapping[str, Tensor] | None = None,
    threshold: float | None = None,
    draw: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
    callback: Callable[[OffsetStep], None] | None = None,
) -> dict[str, Tensor]:
    """Finds Δ = argmin L(G(w; θ (1 + Δ)), x) for each image, with one value per (out, in) pair of each layer.

    A hypernetwork whose heads give one value per pair chooses among the same offsets, so
    this shows how near to the target such a network could come, as far as gradient descent (`descend`) finds it. The
    images of a batch are optimized side by side, each as it would be alone. The generator stays as it is.

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
        draw: offsets -> the generator's image, where it is more than codes and these offsets.
        callback: called at every step, before the offsets are changed.

    Returns:
        Layer name -> Δ [B,O,I,1,1], in the order of `layers`, for `Generator.synthesize`.

    Raises:
        ImageError: target and reconstruction differ in shape.
        ConfigError: no layer, an unknown one, a start for another layer or of another shape, codes for another number
            of images, or a loss, number of steps or lr that cannot be used.
    """
    specs = [generator.layer(name) for name in layers]
    if not specs or not 0 < lr < math.inf:
        raise ConfigError(f"offsets of {len(specs)} layers at lr={lr}: expected at least 1 layer and a positive lr.")
    target, batch = target.to(generator.latent_avg), target.shape[0]
    if w.shape[0] != batch:
        raise ConfigError(f"codes of shape {tuple(w.shape)} for {batch} image(s): expected one code for each.")
    styles = {name: style.detach() for name, style in generator.styles(w.detach().to(target)).items()}
    offsets = {s.name: target.new_zeros(batch, s.channels_out, s.channels_in, 1, 1) for s in specs}
    for name, value in (start or {}).items():
        if name not in offsets or value.shape != offsets[name].shape:
            raise ConfigError(
                f"a start of shape {tuple(value.shape)} for {name!r}: expected "
                f"{ {n: tuple(t.shape) for n, t in offsets.items()} }."
            )
        offsets[name].copy_(value.detach())
    variables = [value.requires_grad_() for value in offsets.values()]

    def drawn() -> Tensor:
        return generator.synthesize(styles, offsets, modulation="activations") if draw is None else draw(offsets)

    descend(
        variables,
        drawn,
        target,
        loss,
        steps=steps,
        lr=lr,
        to_input=to_input,
        threshold=threshold,
        callback=callback,
    )
    return {name: value.detach() for name, value in offsets.items()}


@renamed_field("rate", "lr")
@dataclass(frozen=True)
class OffsetTuner:
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

    def __call__(
        self,
        crop: Tensor,
        inversion: Inversion,
        *,
        steps: int | None = None,
        callback: Callable[..., None] | None = None,
    ) -> Inversion:
        """Takes `steps` steps; the callback sees an `OffsetStep` at each.

        Raises:
            ConfigError: an unknown layer, or steps or an lr that cannot be used.
            MethodError, MissingDependencyError: no perceptual loss can be had, or an image is too much for the memory.
            ImageError: crops that are not finite.
        """
        model = inversion.model
        network, wanted = model.hypernetwork, self.layers
        if wanted is None and network is not None:
            wanted = network.config.layers
        layers = tuned_layers(model.generator.config, wanted)
        loss = add_l2(self.loss or perceptual_loss(model))

        def optimize(crops: Tensor, part: Inversion) -> Inversion:
            def changed(offsets: Mapping[str, Tensor]) -> Inversion:
                dense = OffsetCodes.of_dense(offsets)
                return replace(part, offset_codes=dense if part.offset_codes is None else part.offset_codes + dense)

            found = optimize_offsets(
                crops,
                part.w,
                model.generator,
                layers,
                loss,
                steps=self.steps if steps is None else steps,
                lr=self.lr,
                to_input=model.domain.as_network_input,
                threshold=self.threshold,
                draw=lambda offsets: draw(changed(offsets)),
                callback=callback,
            )
            return changed(found)

        return refined("offsets", self, crop, inversion, optimize)
