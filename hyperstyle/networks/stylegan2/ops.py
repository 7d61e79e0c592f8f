"""The operations of StyleGAN2 in plain PyTorch: FIR resampling, equalized linear layers, modulated convolution."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "EqualLinear",
    "Modulation",
    "bias_activation",
    "effective_weight",
    "fir_kernel",
    "modulated_conv",
    "normal",
    "upfirdn",
    "upsample",
]

Modulation = Literal["weights", "activations"]


def normal(*shape: int, scale: float = 1.0) -> Tensor:
    """New weights from a normal distribution with standard deviation `scale`; on the meta device only their shape.

    On that device, sampling and scaling would import PyTorch's compiler, which takes seconds, for no values at all.
    """
    weights = torch.empty(shape)
    return weights if weights.is_meta else weights.normal_().mul_(scale)


def fir_kernel(gain: float = 4.0) -> Tensor:
    """The separable [1, 3, 3, 1] low-pass filter as a [4,4] tensor that sums to `gain` (4 undoes zero insertion)."""
    taps = (1.0, 3.0, 3.0, 1.0)
    return torch.tensor([[a * b / 64.0 * gain for b in taps] for a in taps])


def upfirdn(x: Tensor, kernel: Tensor, *, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
    """Insert zeros, pad, convolve with `kernel`, keep every `down`-th sample.

    Args:
        x: [B,C,H,W].
        kernel: [k,k]; a true convolution, so it is flipped before it is correlated.
        up: each sample is followed by `up - 1` zeros, in both directions.
        down: step between the samples kept.
        pad: zeros (before, after) on both axes, counted at the upsampled rate; not negative.

    Returns:
        [B,C,H',W'] with H' = (H * up + pad[0] + pad[1] - k) // down + 1.
    """
    batch, channels, height, width = x.shape
    if up > 1:
        grid = x.new_zeros(batch, channels, height, up, width, up)
        grid[:, :, :, 0, :, 0] = x
        x = grid.reshape(batch, channels, height * up, width * up)
    x = F.pad(x, (pad[0], pad[1], pad[0], pad[1]))
    weight = kernel.flip(0, 1).to(x.dtype).expand(channels, 1, -1, -1)  # [C,1,k,k]
    return F.conv2d(x, weight, stride=down, groups=channels)


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """[B,C,H,W] -> [B,C,2H,2W], through zero insertion and the low-pass filter (sum 4)."""
    return upfirdn(x, kernel, up=2, pad=(2, 1))


def bias_activation(x: Tensor, bias: Tensor, *, in_place: bool = False) -> Tensor:
    """Bias per channel, leaky ReLU with slope 0.2, gain sqrt(2) (keeps the variance).

    Args:
        x: [B,C,...].
        bias: [C].
        in_place: `x` may be overwritten; only where no gradient is recorded.
    """
    bias = bias.view((1, -1) + (1,) * (x.ndim - 2))
    if in_place:
        return F.leaky_relu_(x.add_(bias), 0.2).mul_(math.sqrt(2.0))
    return F.leaky_relu(x + bias, 0.2) * math.sqrt(2.0)


def effective_weight(weight: Tensor, offset: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
    """weight * (1 + offset) + residual: HyperStyle's relative offset Δ (Eq. 5), HyperInverter's additive residual.

    Args:
        weight: [...,O,I,k,k], raw: before modulation and demodulation.
        offset, residual: broadcastable to the weight, or the weight to them; None for none.
    """
    changed = weight if offset is None else weight * (1.0 + offset)
    return changed if residual is None else changed + residual


class EqualLinear(nn.Module):
    """Linear layer whose stored weights have unit variance; the scale is applied at run time (equalized learning rate).

    Args:
        features_in, features_out: widths.
        bias_init: initial bias.
        lr_multiplier: learning-rate multiplier; weights are stored divided by it.
        activate: follow with leaky ReLU 0.2 and gain sqrt(2).
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        *,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(features_out, features_in, scale=1 / lr_multiplier))
        self.bias = nn.Parameter(torch.full((features_out,), float(bias_init)))
        self.scale = lr_multiplier / math.sqrt(features_in)
        self.lr_multiplier = lr_multiplier
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """[...,features_in] -> [...,features_out]."""
        if self.activate:
            rows = F.linear(x.reshape(-1, x.shape[-1]), self.weight * self.scale)
            return bias_activation(rows, self.bias * self.lr_multiplier).reshape(*x.shape[:-1], -1)
        return F.linear(x, self.weight * self.scale, self.bias * self.lr_multiplier)


def modulated_conv(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    offset: Tensor | None = None,
    residual: Tensor | None = None,
    demodulate: bool = True,
    up: bool = False,
    kernel: Tensor | None = None,
    modulation: Modulation = "weights",
) -> Tensor:
    """Convolution whose weights are scaled by a style and, relatively, by an offset (StyleGAN2; HyperStyle Eq. 5).

    W' = c * (W * (1 + offset) + residual) * style with c = 1 / sqrt(I * k * k); with demodulation every output filter
    of W' is then scaled to unit norm. Offset and residual (HyperInverter) change the raw weight, before demodulation.

    Args:
        x: [B,I,H,W].
        weight: [O,I,k,k], k odd.
        style: [B,I].
        offset: broadcastable to [B,O,I,k,k], or None for no offset.
        residual: the same, added to the weight; None for none.
        demodulate: scale filters to unit norm (off in toRGB layers).
        up: double the size: transposed convolution, then `kernel`.
        kernel: [4,4] low-pass filter, needed where `up`.
        modulation: "weights" scales the weights of each image, as written above (the reference form); "activations"
            scales the input and the output instead, which is the same function up to rounding and shares one
            convolution between the images of a batch where no offset differs.

    Returns:
        [B,O,H,W], or [B,O,2H,2W] where `up`.
    """
    batch, size_in = x.shape[:2]
    size_out, _, k, _ = weight.shape
    scale = 1.0 / math.sqrt(size_in * k * k)

    if modulation == "activations":
        scaled = None if residual is None else residual * scale
        x = _modulated_by_activations(x, weight * scale, style, offset, scaled, demodulate, up)
    else:
        per_sample = effective_weight(weight[None], offset, residual)  # [1 or B,O,I,k,k]
        modulated = scale * per_sample * style[:, None, :, None, None]  # [B,O,I,k,k]
        if demodulate:
            norm = torch.rsqrt(modulated.square().sum((2, 3, 4), keepdim=True) + 1e-8)
            modulated = modulated * norm
        x = _convolve(x.reshape(1, -1, *x.shape[2:]), modulated.flatten(0, 1), batch, up)
        x = x.reshape(batch, size_out, *x.shape[2:])
    if up:
        if kernel is None:
            raise TypeError("modulated_conv(up=True) needs the low-pass kernel")
        x = upfirdn(x, kernel, pad=(1, 1))
    return x


def _modulated_by_activations(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    offset: Tensor | None,
    residual: Tensor | None,
    demodulate: bool,
    up: bool,
) -> Tensor:
    """The convolution with the style on its input and the demodulation on its output; both weights are scaled."""
    batch, size_out = x.shape[0], weight.shape[0]
    x = x * style[:, :, None, None]
    power: Tensor | None = None  # [1 or B,O,I] sum over taps of the squared weights
    if offset is None and residual is None:
        x = _convolve(x, weight, 1, up)
        if demodulate:
            power = weight.square().sum((2, 3))[None]
    else:
        per_sample = effective_weight(weight[None], offset, residual)  # [1 or B,O,I,k,k]
        if demodulate and offset is not None and residual is None and offset.ndim == 5 and offset.shape[-2:] == (1, 1):
            # one value per (out, in) pair needs no sum over the taps of every image
            power = weight.square().sum((2, 3)) * (1.0 + offset[..., 0, 0]).square()
        elif demodulate:
            power = per_sample.square().sum((3, 4))
        if per_sample.shape[0] == 1:
            x = _convolve(x, per_sample[0], 1, up)
        elif x.device.type == "cpu" and size_out <= 64:  # narrow groups take CPUs 2 to 4 times as long as this loop
            pairs = zip(torch.split(x, 1), per_sample.unbind(0), strict=True)
            x = torch.cat([_convolve(maps, weights, 1, up) for maps, weights in pairs])
        else:
            x = _convolve(x.reshape(1, -1, *x.shape[2:]), per_sample.flatten(0, 1), batch, up)
            x = x.reshape(batch, size_out, *x.shape[2:])
    if power is not None:
        x = x * torch.rsqrt(power @ style.square()[:, :, None] + 1e-8)[..., None]  # [B,O,1,1]
    return x


def _convolve(x: Tensor, weight: Tensor, groups: int, up: bool) -> Tensor:
    """Grouped convolution with padding k // 2, or the transposed one with stride 2 that gives 2H + 1."""
    if not up:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)
    # conv_transpose2d wants [groups * I, O, k, k]
    size_out, size_in, k, _ = weight.shape
    weight = weight.reshape(groups, size_out // groups, size_in, k, k).transpose(1, 2).flatten(0, 1)
    return F.conv_transpose2d(x, weight, stride=2, groups=groups)
