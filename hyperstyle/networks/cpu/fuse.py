"""Modulated convolutions as ordinary ones, without gradients: style, offset, demodulation are fused into the weight."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperstyle.networks.cpu import winograd
from hyperstyle.networks.cpu.workspace import Workspace
from hyperstyle.networks.stylegan2.layers import ModulatedConv, StyledConv, ToRGB
from hyperstyle.networks.stylegan2.ops import Change, effective_weight

_GAIN = math.sqrt(2.0)  # of the activation


@dataclass(frozen=True)
class FusedConv:
    """A layer for one image: an ordinary convolution, and what is added to its output.

    Every convolution is stored as a transposed one, because such weights keep output channels innermost in memory, the
    order in which offsets are computed fastest. For layers that do not upsample, the kernel is flipped along both axes,
    which turns a convolution into the equivalent transposed one.

    All that is added is multiplied by the gain sqrt(2) of the activation (toRGB has none), so that the activation is
    leaky ReLU alone: f(scale * conv(style * x, weight) + bias + noise), with the low-pass filter of an upsampling layer
    right after the convolution.

    Attributes:
        weight: [I,O,k,k] of a transposed convolution, in channels-last order. With `style` and `scale` None it contains
            style, offset, residual, demodulation and gain; else it is that of a `SharedConv`.
        bias: [O], with the gain.
        noise: [1,1,r,r], with the noise strength and the gain; None without noise.
        style: [I] factors for the input channels: the style. None if they are in the weight.
        scale: [O] factors for the output channels: demodulation and gain. None if they are in the weight.
        transformed: `winograd.transform_weight(weight)` if it has been computed already, else None.
    """

    weight: Tensor
    bias: Tensor
    noise: Tensor | None = None
    style: Tensor | None = None
    scale: Tensor | None = None
    transformed: list[Tensor] | None = None


@dataclass(frozen=True)
class SharedConv:
    """A convolution whose weight is the same for several images; style and demodulation scale the feature maps instead.

    Attributes:
        weight: [I,O,k,k], W / sqrt(I * k * k) in the layout of `FusedConv.weight`.
        squares: [I,O], squares of `weight`, summed over the k * k taps; for demodulation.
        transformed: `winograd.transform_weight(weight)` where that form is faster, else None.
    """

    weight: Tensor
    squares: Tensor
    transformed: list[Tensor] | None


def share_weight(conv: ModulatedConv) -> SharedConv | None:
    """The weight of a layer, to be shared by several images; None for toRGB, or if a weight per image is faster.

    Sharing costs a scaling of the feature maps, so it is faster where these are smaller than the 3x3 weight. It is not
    for half precision, in which scaling the feature maps by the styles would lose accuracy.
    """
    spec, weight = conv.spec, conv.weight[0]  # [O,I,k,k]
    is_faster = not spec.torgb and spec.resolution**2 <= 9 * spec.channels_out
    if not is_faster or weight.dtype not in (torch.float32, torch.float64):
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
    """Turns a layer of the generator, with the style of one image, into one ordinary convolution.

    Args:
        layer: gives weight, bias and noise strength.
        style: [I].
        change: (offset, residual) of the weight, each broadcastable to [1,O,I,k,k], or None.
        noise: [1,1,r,r], not yet multiplied by the noise strength; None for no noise and for `ToRGB`.
        workspace: holds the memory of the resulting weight. The next layer of the same kind (upsampling, toRGB or
            other) overwrites it.
        shared: if given, its weight is used instead of a weight for this image; then `change` must be (None, None).

    Returns:
        The convolution, in the dtype of the layer's weight; computed in float32 or wider.
    """
    if isinstance(layer, ToRGB):
        return FusedConv(_fused_weight(layer.conv, style, change, workspace), layer.bias.flatten())
    # Leaky ReLU f is positively homogeneous, gain * f(x) = f(gain * x): all that is added before it takes the gain.
    bias = layer.activate.bias * _GAIN
    noise = None if noise is None else layer.noise.weight * noise * _GAIN
    if shared is None:
        return FusedConv(_fused_weight(layer.conv, style, change, workspace), bias, noise)
    # StyleGAN2, Eq. 3 for W'_oi = s_i * W_oi: the sum over input channels and taps of W'^2 is s^2 @ squares, [O].
    scale = _GAIN * torch.rsqrt(style.square() @ shared.squares + 1e-8)
    return FusedConv(shared.weight, bias, noise, style, scale, shared.transformed)


def _fused_weight(conv: ModulatedConv, style: Tensor, change: Change, workspace: Workspace) -> Tensor:
    """The weight [I,O,k,k] of `FusedConv`, with style, offset, residual and demodulation applied.

    W' = (W * (1 + Δ) + residual) * style / sqrt(I * k * k). Except in toRGB, each output filter of W' is then scaled
    to norm sqrt(2): demodulation to norm 1, times the gain of the activation.
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
    """[O,I,k,k] -> [I,k*k,O].

    Not a copy for offsets of the hypernetwork's shared heads: `offsets.FastOffsets` already stores them in this order.
    """
    # [O,I,k,k] -> [O,I*k*k] -> [I*k*k,O] -> [I,k*k,O]
    return weight.flatten(1).t().contiguous().view(weight.shape[1], -1, len(weight))


def _unpack(packed: Tensor, weight: Tensor) -> Tensor:
    """[I,k*k,O] -> [I,O,k,k], a view in channels-last order; `weight` [O,I,k,k] gives the kernel size."""
    # [I,k*k,O] -> [I,k,k,O] -> [I,O,k,k]
    return packed.view(len(packed), *weight.shape[2:], -1).permute(0, 3, 1, 2)


def _expand(change: Tensor, weight: Tensor) -> Tensor:
    """An offset or residual of one image, expanded to the shape [O,I,k,k] of the weight.

    One of shape [O,I,1,1], with the same value for all taps, is left so: it still broadcasts after `_pack`.
    """
    if change.ndim == 5:
        change = change[0]
    change = change[(None,) * (4 - change.ndim)]
    if change.shape[2:] == (1, 1) and change.shape[:2] == weight.shape[:2]:
        return change  # one value for all taps, [O,I,1,1]: broadcast as [I,1,O] in the packed order
    return change.expand_as(weight)
