"""One optimization step per network, each readable on one screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork

__all__ = ["autocast", "compiled", "encoder_step", "hyperstyle_step", "passes"]

ImageLoss = Callable[[Tensor], Tensor]
_M = TypeVar("_M", bound=nn.Module)


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """Convolutions and matrix products in `dtype`; float32 is none at all."""
    half = dtype != torch.float32
    return torch.autocast(device.type, dtype=dtype if half else torch.bfloat16, enabled=half)


def compiled(module: _M, enabled: bool) -> _M:
    """The same module, its calls through `torch.compile` where `enabled` (needs a C++ compiler on CPUs)."""
    return cast("_M", torch.compile(module)) if enabled else module


def encoder_step(
    crop: Tensor,
    generator: nn.Module,
    encoder: nn.Module,
    loss: ImageLoss,
    *,
    to_input: Callable[[Tensor], Tensor],
    dtype: torch.dtype = torch.float32,
) -> tuple[float, Tensor]:
    """Adds the gradient of loss(G(E(x))) (HyperStyle, Eq. 2); returns the loss and the codes [B,L,D]."""
    with autocast(dtype, crop.device):
        w = encoder(crop)
        image = generator(w, modulation="activations")
    value = loss(to_input(image).float())
    value.backward()  # type: ignore[no-untyped-call]
    return value.item(), w.detach()


def hyperstyle_step(
    crop: Tensor,
    w: Tensor,
    generator: nn.Module,
    hypernetwork: Hypernetwork,
    loss: ImageLoss,
    *,
    to_input: Callable[[Tensor], Tensor],
    steps: int = 5,
    start: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[float]:
    """Adds the gradients of one batch: loss and backward at every pass, nothing flows between passes (Section 3.2).

    Args:
        crop: [B,3,h,w] in [-1,1].
        w: [B,L,D] initial codes, fixed.
        generator: frozen, (w, offsets, modulation=...) -> image; gradients flow through it to the offsets.
        hypernetwork: the network that learns.
        loss: reconstruction [B,3,h,w] -> scalar.
        to_input: the generator's image -> [B,3,h,w].
        steps: T.
        start: G(w) as `to_input` gives it, where it is known.
        dtype: of autocast.

    Returns:
        The loss after each pass.
    """
    if start is None:
        with torch.no_grad(), autocast(dtype, crop.device):
            start = to_input(generator(w, modulation="activations")).float()
    losses = []
    for image in passes(crop, w, start, generator, hypernetwork, to_input=to_input, steps=steps, dtype=dtype):
        value = loss(image)
        value.backward()  # type: ignore[no-untyped-call]
        losses.append(value.item())
    return losses


def passes(
    crop: Tensor,
    w: Tensor,
    start: Tensor,
    generator: nn.Module,
    hypernetwork: Hypernetwork,
    *,
    to_input: Callable[[Tensor], Tensor],
    steps: int,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Tensor]:
    """The reconstruction [B,3,h,w] after each pass, from `start` = G(w); gradients reach back to that pass alone."""
    current = start
    accumulated: Mapping[str, Tensor] = {}
    for _ in range(steps):
        with autocast(dtype, crop.device):
            new = hypernetwork.offsets(hypernetwork(crop, current))
            offsets = {k: d + accumulated[k] if k in accumulated else d for k, d in new.items()}
            image = generator(w, offsets, modulation="activations")
        image = to_input(image).to(crop.dtype)
        yield image
        current = image.detach()
        accumulated = {k: d.detach() for k, d in offsets.items()}
