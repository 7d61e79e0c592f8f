"""Modulated convolutions as ordinary ones, without gradients: style, offset, demodulation are fused into the weight."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperstyle.networks.cpu import winograd
from hyperstyle.networks.cpu.workspace import Workspace
from hyperstyle.networks.stylegan2.layers import Change, ModulatedConv, StyledConv, ToRGB

__all__ = ["FusedConv", "SharedConv", "fuse", "fuse_layer"]

_GAIN = math.sqrt(2.0)  # of the activation


@dataclass(frozen=True)
class FusedConv:
    """The convolution of one image, and what is added to its output.

    All are written as transposed convolutions, whose weights have output channels innermost, as the fastest way to make
    offsets leaves them; those that keep the size have their taps in reverse for it.

    Attributes:
        weight: [I,O,k,k] of a transposed convolution, in channels-last order.
        bias: [O], times the gain of the activation (none for toRGB).
        noise: [1,1,r,r], times its strength and that gain, or None.
        style: [I], what the input is multiplied with; None where it is in the weight.
        scale: [O], what the output is multiplied with before bias and noise; None where it is in the weight.
        transformed: what `winograd.transform_weight` makes of the weight, where that is at hand.
    """

    weight: Tensor
    bias: Tensor
    noise: Tensor | None = None
    style: Tensor | None = None
    scale: Tensor | None = None
    transformed: list[Tensor] | None = None


@dataclass(frozen=True)
class SharedConv:
    """A convolution whose weight W / sqrt(I * k * k) several images share.

    Style and demodulation stay on the maps, which pays where these are smaller than the weight.

    Attributes:
        weight: as in `FusedConv`.
        power: [I,O], sums of its squares over the taps.
        transformed: as in `FusedConv`.
    """

    weight: Tensor
    squares: Tensor
    transformed: list[Tensor] | None

    @classmethod
    def of_layer(cls, conv: ModulatedConv) -> SharedConv | None:
        """The shared form of a layer; None for toRGB, and where one weight per image is faster."""
        spec, weight = conv.spec, conv.weight
        if spec.torgb or not cls.is_faster(spec.channels_out, spec.resolution, weight.dtype):
            return None
        return cls.of(weight[0], spec.resolution, up=spec.up)

    @classmethod
    def of(cls, weight: Tensor, width: int, *, up: bool) -> SharedConv:
        """Of the raw weight [O,I,k,k] of a layer whose output has this width."""
        made = _packed(weight) / math.sqrt(weight[0].numel())
        whole = _unpacked(made if up else made.flip(1), weight)
        quick = not up and winograd.is_faster(len(weight), width, weight.dtype)
        return cls(whole, made.square().sum(1), winograd.transform_weight(whole) if quick else None)

    @staticmethod
    def is_faster(channels: int, width: int, dtype: torch.dtype) -> bool:
        """Whether maps are smaller than the weight, and styles are not rounded to half precision with them."""
        return width**2 <= 9 * channels and dtype in (torch.float32, torch.float64)

    def fuse(self, style: Tensor, bias: Tensor, noise: Tensor | None) -> FusedConv:
        """Of one image: style [I], bias [O], noise [1,1,r,r] times its strength."""
        scale = _GAIN * torch.rsqrt(style.square() @ self.squares + 1e-8)
        noise = None if noise is None else noise * _GAIN
        return FusedConv(self.weight, bias * _GAIN, noise, style, scale, self.transformed)


def fuse_layer(
    layer: StyledConv | ToRGB,
    style: Tensor,
    change: Change,
    noise: Tensor | None,
    workspace: Workspace,
    shared: SharedConv | None = None,
) -> FusedConv:
    """A layer of the generator for one image.

    Args:
        layer: its weight, affine maps and bias.
        style: [I].
        change: offset and residual [1,O,I,k,k] or of fewer axes, or None.
        noise: [1,1,r,r], the map itself; None for `ToRGB`.
        workspace: where the weight is made.
        shared: the weight that several images share, in place of one for this image alone.
    """
    if isinstance(layer, ToRGB):
        bias = layer.bias.flatten()  # [3]
    else:
        bias, noise = layer.activate.bias, None if noise is None else layer.noise.weight * noise
    if shared is not None:
        return shared.fuse(style, bias, noise)
    offset, residual = (t[0] if t is not None and t.ndim == 5 else t for t in change)
    spec = layer.conv.spec
    return fuse(
        layer.conv.weight,
        style,
        bias,
        offset=offset,
        residual=residual,
        noise=noise,
        torgb=spec.torgb,
        up=spec.up,
        workspace=workspace,
    )


def fuse(
    weight: Tensor,
    style: Tensor,
    bias: Tensor,
    *,
    offset: Tensor | None = None,
    residual: Tensor | None = None,
    noise: Tensor | None = None,
    torgb: bool = False,
    up: bool = False,
    workspace: Workspace | None = None,
) -> FusedConv:
    """Weight, style and offset of one image -> one convolution.

    W' = (W * (1 + offset) + residual) * style / sqrt(I * k * k); unless `torgb`, its filters are scaled to unit norm
    and, with bias and noise, by the gain sqrt(2) of the activation.

    Args:
        weight: [1,O,I,k,k], the parameter itself, by which `workspace` knows it.
        style: [I].
        bias: [O].
        offset, residual: broadcastable to [O,I,k,k], or None.
        noise: [1,1,r,r], already times its strength.
        torgb: no demodulation, no activation.
        up: of the convolution that doubles the size.
        workspace: where the weight is made; the next `fuse` with the same workspace may overwrite the returned weight.
            Ignored for `torgb`, whose weight has memory of its own.

    Returns:
        In the type of `weight`; computed in float32 or wider.
    """
    workspace = workspace if workspace is not None and not torgb else Workspace(keeps=False)
    raw = workspace.packed_weight(weight)
    made = workspace.buffer("up" if up else "work", raw, raw.shape)
    offset, residual = (None if t is None else _packed(_expand(t, weight[0])).to(raw) for t in (offset, residual))
    changed = raw if offset is None else torch.addcmul(raw, raw, offset, out=made)
    if residual is not None:
        changed = torch.add(changed, residual, out=made)
    scale = style.to(made) / math.sqrt(weight[0, 0].numel())
    torch.mul(changed, scale[:, None, None], out=made)
    gain = 1.0 if torgb else _GAIN
    if not torgb:
        other = workspace.buffer("work" if up else "same", raw, raw.shape)
        norms = torch.rsqrt(torch.mul(made, made, out=other).sum((0, 1)) + 1e-8)
        if up:
            made *= gain * norms
        else:
            for tap, opposite in zip(made.unbind(1), reversed(other.unbind(1)), strict=True):
                torch.mul(tap, gain * norms, out=opposite)
            made = other
    return FusedConv(_unpacked(made.to(weight.dtype), weight[0]), bias * gain, None if noise is None else noise * gain)


def _packed(weight: Tensor) -> Tensor:
    """[O,I,k,k] -> [I,k * k,O], which is a view of what `SharedExpander.turned` helped to make."""
    return weight.flatten(1).t().contiguous().view(weight.shape[1], -1, len(weight))


def _unpacked(ordered: Tensor, weight: Tensor) -> Tensor:
    """[I,k * k,O] as the weight [I,O,k,k] of a transposed convolution, in channels-last order."""
    return ordered.view(len(ordered), *weight.shape[2:], -1).permute(0, 3, 1, 2)


def _expand(change: Tensor, weight: Tensor) -> Tensor:
    """A change that broadcasts to a weight, with four axes, and taps that are one or all."""
    change = change[(None,) * (4 - change.ndim)]
    if change.shape[2:] == (1, 1) and change.shape[:2] == weight.shape[:2]:
        return change
    return change.expand_as(weight)
