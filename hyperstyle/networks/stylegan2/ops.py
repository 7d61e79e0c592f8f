"""The operations of StyleGAN2 in plain PyTorch: FIR resampling, equalized linear layers, modulated convolution."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Change = tuple[Tensor | None, Tensor | None]
"""A layer's offset and residual."""

Modulation = Literal["weights", "activations"]


def normal(*shape: int, scale: float = 1.0) -> Tensor:
    """A new tensor of normally distributed values with mean 0 and standard deviation `scale`, to initialize weights.

    If the default device is "meta", where tensors have no values, the tensor is made but not filled: random numbers
    and products on that device would import PyTorch's compiler, which takes seconds.
    """
    weights = torch.empty(shape)
    return weights if weights.is_meta else weights.normal_().mul_(scale)


def fir_kernel(gain: float = 4.0) -> Tensor:
    """The separable [1, 3, 3, 1] low-pass filter as a [4,4] tensor that sums to `gain` (4 undoes zero insertion)."""
    taps = (1.0, 3.0, 3.0, 1.0)  # their sum is 8, that of the outer product 64
    return torch.tensor([[a * b / 64.0 * gain for b in taps] for a in taps])


def upfirdn(x: Tensor, kernel: Tensor, *, up: int = 1, pad: tuple[int, int]) -> Tensor:
    """Insert zeros, pad, convolve with `kernel`.

    Args:
        x: [B,C,H,W].
        kernel: [k,k]; a true convolution, so it is flipped before it is correlated.
        up: each sample is followed by `up - 1` zeros, in both directions.
        pad: zeros (before, after) on both axes, counted at the upsampled rate; not negative.

    Returns:
        [B,C,H',W'] with H' = H * up + pad[0] + pad[1] - k + 1.
    """
    batch, channels, height, width = x.shape
    if up > 1:
        # Sample (y, x) goes to (up * y, up * x): the first of each group of up x up positions.
        grid = x.new_zeros(batch, channels, height, up, width, up)
        grid[:, :, :, 0, :, 0] = x
        x = grid.reshape(batch, channels, height * up, width * up)
    x = F.pad(x, (pad[0], pad[1], pad[0], pad[1]))
    # [k,k] -> [C,1,k,k]: one filter for each channel, reversed, since conv2d correlates.
    weight = kernel.flip(0, 1).to(x.dtype).expand(channels, 1, -1, -1)
    return F.conv2d(x, weight, groups=channels)


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """[B,C,H,W] -> [B,C,2H,2W]: inserts zeros and filters with `kernel`, a [4,4] low-pass filter that sums to 4."""
    return upfirdn(x, kernel, up=2, pad=(2, 1))


def bias_activation(x: Tensor, bias: Tensor, *, in_place: bool = False) -> Tensor:
    """Bias per channel, leaky ReLU with slope 0.2, gain sqrt(2) (keeps the variance).

    Args:
        x: [B,C,...].
        bias: [C].
        in_place: overwrites `x`; allowed only if no gradient is recorded.
    """
    bias = bias.view((1, -1) + (1,) * (x.ndim - 2))
    if in_place:
        return F.leaky_relu_(x.add_(bias), 0.2).mul_(math.sqrt(2.0))
    return F.leaky_relu(x + bias, 0.2) * math.sqrt(2.0)


class EqualLinear(nn.Module):
    """Linear layer with equalized learning rate (Karras et al., 2018): weights and bias are scaled at run time.

    The stored weights start with standard deviation 1 / `lr_multiplier`. The layer multiplies them by `lr_multiplier`
    / sqrt(`features_in`), and the stored bias by `lr_multiplier`.

    Args:
        features_in, features_out: numbers of inputs and outputs.
        bias_init: initial value of the stored bias.
        lr_multiplier: factor of the effective learning rate, such as 0.01 in StyleGAN2's mapping network.
        activate: apply leaky ReLU with slope 0.2, then the gain sqrt(2), to the output.
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
            # [...,I] -> [N,I]: the bias is added along axis 1
            rows = F.linear(x.reshape(-1, x.shape[-1]), self.weight * self.scale)
            return bias_activation(rows, self.bias * self.lr_multiplier).reshape(*x.shape[:-1], -1)
        return F.linear(x, self.weight * self.scale, self.bias * self.lr_multiplier)


def effective_weight(
    weight: Tensor, offset: Tensor | None = None, residual: Tensor | None = None, *, out: Tensor | None = None
) -> Tensor:
    """W * (1 + Δ) + R: a raw weight with a relative offset (HyperStyle, Eq. 5) and a residual (HyperInverter).

    Args:
        weight: W, of any shape.
        offset: Δ, of a shape that broadcasts with that of W, or None.
        residual: R, likewise.
        out: preallocated tensor for the result; allowed only if no gradient is recorded. The product is computed as
            W + W * Δ in a single pass over memory, so it may differ from the result without `out` by rounding.

    Returns:
        A tensor of the shape to which W, Δ and R broadcast. If Δ and R are both None, it is `weight` itself, not a
        copy, and `out` is not used.
    """
    if offset is not None:
        weight = weight * (1.0 + offset) if out is None else torch.addcmul(weight, weight, offset, out=out)
    return weight if residual is None else torch.add(weight, residual, out=out)


def modulated_conv(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    change: Change = (None, None),
    *,
    demodulate: bool = True,
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
        change: offset and residual, each broadcastable to [B,O,I,k,k], or None.
        demodulate: scale filters to unit norm (off in toRGB layers).
        kernel: [4,4] low-pass filter that sums to 4 (`fir_kernel()`), to double height and width: transposed
            convolution, then this filter. k must be 3.
        modulation: "weights" scales the weights for each image, as in the formula above (the reference form).
            "activations" scales the input and the output channels instead, which gives the same result up to
            rounding. If the batch axis of offset and residual has length 1, it takes one convolution for all images.

    Returns:
        [B,O,H,W], or [B,O,2H,2W] with a `kernel`.
    """
    (offset, residual), up = change, kernel is not None
    scale = 1.0 / math.sqrt(weight[0].numel())  # of the equalized learning rate
    if modulation == "activations":
        change = offset, None if residual is None else residual * scale
        x = _modulated_by_activations(x, weight * scale, style, change, demodulate, up)
    else:
        # Eq. 1: W'_oi = s_i * W_oi, a weight for each image: [1 or B,O,I,k,k] * [B,1,I,1,1] -> [B,O,I,k,k].
        modulated = scale * effective_weight(weight[None], offset, residual) * style[:, None, :, None, None]
        if demodulate:
            # Eq. 3: each output filter by its norm over input channels and taps, [B,O,1,1,1].
            modulated = modulated * torch.rsqrt(modulated.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        x = _convolve_grouped(x, modulated, up)
    # The transposed convolution gives 2H + 1 rows; 1 + 1 rows of padding and four taps leave 2H.
    return x if kernel is None else upfirdn(x, kernel, pad=(1, 1))


def _modulated_by_activations(
    x: Tensor, weight: Tensor, style: Tensor, change: Change, demodulate: bool, up: bool
) -> Tensor:
    """The convolution of `modulated_conv`, without its low-pass filter, in the form modulation="activations".

    Scaling the weights of input channel i is the same as scaling the channel itself, with * for convolution:
    sum_i (s_i W_oi) * x_i = sum_i W_oi * (s_i x_i). Likewise, scaling output filter o scales output channel o.

    `weight` and the residual are already multiplied by the c of `modulated_conv`. Returns [B,O,H,W], or
    [B,O,2H + 1,2W + 1] if `up`, by the transposed convolution.
    """
    offset, residual = change
    x = x * style[:, :, None, None]
    per_sample = effective_weight(weight[None], offset, residual)  # [1 or B,O,I,k,k]
    if len(per_sample) == 1:
        x = _convolve(x, per_sample[0], 1, up)
    elif x.device.type == "cpu" and weight.shape[0] <= 64:  # narrow groups take CPUs 2 to 4 times as long as this loop
        pairs = zip(torch.split(x, 1), per_sample.unbind(0), strict=True)
        x = torch.cat([_convolve(maps, weights, 1, up) for maps, weights in pairs])
    else:
        x = _convolve_grouped(x, per_sample, up)
    if not demodulate:
        return x
    # Eq. 3 with the style outside of the sum over taps: norm_o^2 = sum_i s_i^2 * power_oi, power [1 or B,O,I].
    if offset is not None and residual is None and offset.ndim == 5 and offset.shape[-2:] == (1, 1):
        # One Δ for all taps of a pair (o, i) comes out of the sum: no sum over the taps of every image.
        power = weight.square().sum((2, 3)) * (1.0 + offset[..., 0, 0]).square()
    else:
        power = per_sample.square().sum((3, 4))
    # [1 or B,O,I] @ [B,I,1] -> [B,O,1] -> [B,O,1,1]
    return x * torch.rsqrt(power @ style.square()[:, :, None] + 1e-8)[..., None]


def _convolve_grouped(x: Tensor, weights: Tensor, up: bool) -> Tensor:
    """Convolves each image with weights of its own: x [B,I,H,W], weights [B,O,I,k,k] -> [B,O,H',W'].

    It is one grouped convolution, in which the channels of each image are a group. H' and W' are those of `_convolve`.
    """
    batch, size_out = weights.shape[:2]
    # [B,I,H,W] -> [1,B*I,H,W] and [B,O,I,k,k] -> [B*O,I,k,k]: images become groups.
    x = _convolve(x.reshape(1, -1, *x.shape[2:]), weights.flatten(0, 1), batch, up)
    return x.reshape(batch, size_out, *x.shape[2:])


def _convolve(x: Tensor, weight: Tensor, groups: int, up: bool) -> Tensor:
    """Grouped convolution with padding k // 2 (H' = H), or if `up` a transposed one with stride 2 (H' = 2H - 2 + k).

    x is [N,groups*I,H,W], weight [groups*O,I,k,k].
    """
    if not up:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)
    # conv_transpose2d wants input channels first: [G*O,I,k,k] -> [G,O,I,k,k] -> [G,I,O,k,k] -> [G*I,O,k,k].
    size_out, size_in, k, _ = weight.shape
    weight = weight.reshape(groups, size_out // groups, size_in, k, k).transpose(1, 2).flatten(0, 1)
    return F.conv_transpose2d(x, weight, stride=2, groups=groups)
