"""Relative weight offsets by optimisation: what HyperStyle's hypernetwork predicts (Eq. 5), searched for instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.methods.optimization import ImageLoss, identity, measured
from hyperstyle.networks.generator import Generator

__all__ = ["OffsetStep", "optimize_offsets"]


@dataclass(frozen=True)
class OffsetStep:
    """What a callback of `optimize_offsets` sees at each step, before the offsets are changed.

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


@torch.enable_grad()
def optimize_offsets(
    target: Tensor,
    w: Tensor,
    generator: Generator,
    layers: Iterable[str | int],
    loss: ImageLoss,
    *,
    steps: int = 350,
    rate: float = 0.02,
    to_input: Callable[[Tensor], Tensor] = identity,
    start: Mapping[str, Tensor] | None = None,
    callback: Callable[[OffsetStep], None] | None = None,
) -> dict[str, Tensor]:
    """Finds Δ = argmin L(G(w; θ (1 + Δ)), x) for each picture, with one value per (out, in) pair of each layer.

    A hypernetwork whose heads give one value per pair chooses among the same offsets, so
    this shows how near to the target such a network could come, as far as gradient descent finds it. Adam; the rate
    falls linearly to zero over the last half of the steps. The pictures of a batch are optimised side by side, each as
    it would be alone. The generator stays as it is.

    Args:
        target: [B,3,h,w] in [-1,1].
        w: [B,L,D] or [B,D] latent codes, which stay.
        generator: on the device where all happens.
        layers: names or official indexes of the layers that may change.
        loss: (picture, target) -> [B].
        steps: how many; 0 gives the start.
        rate: learning rate of the first half.
        to_input: the generator's picture [B,3,size,size] -> [B,3,h,w].
        start: layer name -> [B,O,I,1,1] to begin with; zeros where it has none.
        callback: called at every step, before the offsets are changed.

    Returns:
        Layer name -> Δ [B,O,I,1,1], in the order of `layers`, for `Generator.synthesize`.

    Raises:
        ImageError: target and reconstruction differ in shape.
        ConfigError: no layer, an unknown one, a start for another layer or of another shape, codes for another number
            of pictures, or a loss, number of steps or rate that cannot be used.
    """
    specs = [generator.layer(name) for name in layers]
    if not specs or steps < 0 or rate <= 0:
        raise ConfigError(
            f"offsets of {len(specs)} layers in {steps} steps at rate {rate}: expected at least 1 layer, 0 or more "
            "steps and a positive rate."
        )
    target, batch = target.to(generator.latent_avg), target.shape[0]
    if w.shape[0] != batch:
        raise ConfigError(f"codes of shape {tuple(w.shape)} for {batch} picture(s): expected one code for each.")
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
    optimizer = torch.optim.Adam(variables, lr=rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, 2.0 * (1.0 - step / steps))
        image = generator.synthesize(styles, offsets, modulation="activations")
        losses = measured(loss, to_input(image), target, step)
        if callback is not None:
            callback(OffsetStep(step, steps, image.detach(), losses.detach()))
        optimizer.zero_grad()
        torch.autograd.backward(losses.sum(), inputs=variables)
        optimizer.step()
    return {name: value.detach() for name, value in offsets.items()}
