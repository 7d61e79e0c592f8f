"""Modulated convolutions as ordinary ones, without gradients: style, offset, demodulation are fused into the weight."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperstyle.networks.cpu import winograd
from hyperstyle.networks.cpu.workspace import Workspace
from hyperstyle.networks.stylegan2.layers import Change, ModulatedConv, StyledConv, ToRGB
from hyperstyle.networks.stylegan2.ops import effective_weight

__all__ = ["FusedConv", "SharedConv", "fuse", "share_weight", "sharing_is_faster"]

_GAIN = math.sqrt(2.0)  # of the activation


@dataclass(frozen=True)
class FusedConv:
    """The convolution of one image, and what is added to its output.

    All are written as transposed convolutions, whose weights have output channels innermost, the order in which offsets
    are computed fastest; the taps of those that keep the size are reversed for it.

    Attributes:
        weight: [I,O,k,k] of a transposed convolution, in channels-last order.
        bias: [O], times the gain of the activation (none for toRGB).
        noise: [1,1,r,r], times its strength and that gain, or None.
        style: [I], factors of the input; None where they are in the weight.
        scale: [O], factors of the output before bias and noise; None where they are in the weight.
        transformed: `winograd.transform_weight(weight)`, where it has been computed already.
    """

    weight: Tensor
    bias: Tensor
    noise: Tensor | None = None
    style: Tensor | None = None
    scale: Tensor | None = None
    transformed: list[Tensor] | None = None


@dataclass(frozen=True)
class SharedConv:
    """A convolution whose weight W / sqrt(I * k * k) several images share; style and demodulation act on the maps.

    Attributes:
        weight: as in `FusedConv`.
        squares: [I,O], the weight's squares, summed over its taps.
        transformed: as in `FusedConv`.
    """

    weight: Tensor
    squares: Tensor
    transformed: list[Tensor] | None


def sharing_is_faster(channels: int, width: int, dtype: torch.dtype) -> bool:
    """Whether one weight for several images is faster: where the maps of a layer are smaller than its weight.

    Not in half precision, where styles would be rounded with the maps.
    """
    return width**2 <= 9 * channels and dtype in (torch.float32, torch.float64)


def share_weight(conv: ModulatedConv) -> SharedConv | None:
    """The shared form of a layer; None for toRGB, and where one weight for each image is faster."""
    spec, weight = conv.spec, conv.weight[0]  # [O,I,k,k]
    if spec.torgb or not sharing_is_faster(spec.channels_out, spec.resolution, weight.dtype):
        return None
    packed = _pack(weight) / math.sqrt(weight[0].numel())  # [I,k*k,O]
    transposed = _unpack(packed if spec.up else packed.flip(1), weight)
    use_winograd = not spec.up and winograd.is_faster(len(weight), spec.resolution, weight.dtype)
    transformed = winograd.transform_weight(transposed) if use_winograd else None
    return SharedConv(transposed, packed.square().sum(1), transformed)


def fuse(
    layer: StyledConv | ToRGB,
    style: Tensor,
    change: Change,
    noise: Tensor | None,
    workspace: Workspace,
    shared: SharedConv | None = None,
) -> FusedConv:
    """A layer of the generator for one image -> one convolution.

    Args:
        layer: its weight, bias and strength of noise.
        style: [I].
        change: offset and residual, each broadcastable to [1,O,I,k,k], or None.
        noise: [1,1,r,r], the map itself; None for no noise and for `ToRGB`.
        workspace: memory of the weight, which the next layer of the same kind overwrites.
        shared: the weight that several images share, in place of one for this image; `change` must be empty.

    Returns:
        In the type of the layer's weight; computed in float32 or wider.
    """
    if isinstance(layer, ToRGB):
        return FusedConv(_fused_weight(layer.conv, style, change, workspace), layer.bias.flatten())
    # Leaky ReLU f is positively homogeneous, gain * f(x) = f(gain * x): all that is added before it takes the gain.
    bias = layer.activate.bias * _GAIN
    noise = None if noise is None else layer.noise.weight * noise * _GAIN
    if shared is None:
        return FusedConv(_fused_weight(layer.conv, style, change, workspace), bias, noise)
    # StyleGAN2, Eq. 3 for W' = s_i * W_oi: the sum over input channels and taps of W'^2 is s^2 @ squares, [O].
    scale = _GAIN * torch.rsqrt(style.square() @ shared.squares + 1e-8)
    return FusedConv(shared.weight, bias, noise, style, scale, shared.transformed)


def _fused_weight(conv: ModulatedConv, style: Tensor, change: Change, workspace: Workspace) -> Tensor:
    """The weight [I,O,k,k] of a transposed convolution with everything in it; see `FusedConv`.

    W' = (W * (1 + Δ) + residual) * style / sqrt(I * k * k), where demodulated scaled to filters of norm sqrt(2).
    """
    spec, weight = conv.spec, conv.weight  # [1,O,I,k,k]
    packed = workspace.packed_weight(spec.name, weight)  # [I,k*k,O]
    slot = "up weight" if spec.up else "toRGB weight" if spec.torgb else "scratch weight"
    fused = workspace.buffer(slot, packed, packed.shape)
    offset, residual = (None if t is None else _pack(_expand(t, weight[0])).to(packed) for t in change)
    # StyleGAN2, Eq. 1, of HyperStyle's Eq. 5; the constant is that of the equalized learning rate.
    scale = style.to(fused) / math.sqrt(weight[0, 0].numel())
    torch.mul(effective_weight(packed, offset, residual, out=fused), scale[:, None, None], out=fused)
    if not spec.torgb:
        # StyleGAN2, Eq. 3: one norm for each output channel, over input channels and taps: [O].
        other = workspace.buffer("scratch weight" if spec.up else "conv weight", packed, packed.shape)
        norms = _GAIN * torch.rsqrt(torch.mul(fused, fused, out=other).sum((0, 1)) + 1e-8)
        if spec.up:
            fused *= norms
        else:
            # A convolution is the transposed one with its taps reversed: tap t goes to place k*k - 1 - t.
            for tap, opposite in zip(fused.unbind(1), reversed(other.unbind(1)), strict=True):
                torch.mul(tap, norms, out=opposite)
            fused = other
    return _unpack(fused.to(weight.dtype), weight[0])


def _pack(weight: Tensor) -> Tensor:
    """[O,I,k,k] -> [I,k*k,O]: without a copy for shared offsets, which `offsets.FastOffsets` computes in this order."""
    return weight.flatten(1).t().contiguous().view(weight.shape[1], -1, len(weight))


def _unpack(packed: Tensor, weight: Tensor) -> Tensor:
    """[I,k*k,O] as the weight [I,O,k,k] of a transposed convolution, in channels-last order; a view."""
    # [I,k*k,O] -> [I,k,k,O] -> [I,O,k,k]
    return packed.view(len(packed), *weight.shape[2:], -1).permute(0, 3, 1, 2)


def _expand(change: Tensor, weight: Tensor) -> Tensor:
    """An offset or residual of one image with the four axes of the weight [O,I,k,k]; taps stay 1x1 where they are."""
    if change.ndim == 5:
        change = change[0]
    change = change[(None,) * (4 - change.ndim)]
    if change.shape[2:] == (1, 1) and change.shape[:2] == weight.shape[:2]:
        return change  # one value for all taps, [O,I,1,1]: broadcast as [I,1,O] in the packed order
    return change.expand_as(weight)
