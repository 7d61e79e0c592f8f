"""Inversion in its plain form: with the structure and at the cost of the published implementation.

The readable reference with which tests compare what the library runs, and against which it is measured. It reads the
parameters of our modules and, beyond the layers of the trunks, computes everything behind the encoder here: per-sample
weights in one grouped convolution, filter, noise map and bias each in a separate operation, one head at a time, dense
offsets that are added up step by step. Tensors are NCHW and contiguous. It takes the published forms only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.networks.hypernetworks.heads import PlainHead, SharedExpander
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.stylegan2.generator import Generator

# ---- the generator ----


def synthesize(generator: Generator, w: Tensor, offsets: Mapping[str, Tensor] | None = None) -> Tensor:
    """Codes [B,L,D] -> images [B,3,size,size], about [-1,1], not clamped, with the stored noise maps.

    Args:
        generator: the network.
        w: one row for each style; a toRGB layer shares its row with the next upsampling convolution.
        offsets: layer name -> Δ [B or 1,O,I,k,k]; the layer's weight becomes weight * (1 + Δ) (Eq. 5).
    """
    offsets = offsets or {}
    deltas = [offsets.get(spec.name) for spec in generator.layers]  # in the official order
    noise = generator.noises
    x = generator.input.input.repeat(len(w), 1, 1, 1)
    x = _styled_conv(generator.conv1, x, w[:, 0], deltas[0], noise.at(0))
    image = _to_rgb(generator.to_rgb1, x, w[:, 1], deltas[1], None)
    for block, to_rgb in enumerate(generator.to_rgbs):
        first, row = 2 + 3 * block, 1 + 2 * block
        conv0, conv1 = generator.convs[2 * block], generator.convs[2 * block + 1]
        x = _styled_conv(conv0, x, w[:, row], deltas[first], noise.at(row), up=True)
        x = _styled_conv(conv1, x, w[:, row + 1], deltas[first + 1], noise.at(row + 1))
        image = _to_rgb(to_rgb, x, w[:, row + 2], deltas[first + 2], image)
    return image


def _styled_conv(layer: Any, x: Tensor, w: Tensor, delta: Tensor | None, noise: Tensor, *, up: bool = False) -> Tensor:
    """Modulated convolution, noise, bias, leaky ReLU and its gain."""
    x = _modulated_conv(layer.conv, x, w, delta, demodulate=True, up=up)
    x = x + layer.noise.weight * noise
    x = x + layer.activate.bias.view(1, -1, 1, 1)
    return F.leaky_relu(x, 0.2) * math.sqrt(2.0)


def _to_rgb(layer: Any, x: Tensor, w: Tensor, delta: Tensor | None, skip: Tensor | None) -> Tensor:
    """Colors, added to the image so far, which is upsampled by zero insertion and the filter."""
    x = _modulated_conv(layer.conv, x, w, delta, demodulate=False, up=False) + layer.bias
    if skip is None:
        return x
    batch, channels, height, width = skip.shape
    grid = F.pad(skip.reshape(batch, channels, height, 1, width, 1), (0, 1, 0, 0, 0, 1))  # each sample, then a zero
    return x + _filter(grid.view(batch, channels, 2 * height, 2 * width), layer.upsample.kernel, (2, 1))


def _modulated_conv(conv: Any, x: Tensor, w: Tensor, delta: Tensor | None, *, demodulate: bool, up: bool) -> Tensor:
    """W' = c * W * (1 + Δ) * s for every image, its filters of unit norm where demodulated, in one convolution."""
    batch, _, height, width = x.shape
    _, size_out, size_in, k, _ = conv.weight.shape
    scale = 1.0 / math.sqrt(size_in * k * k)
    style = _linear(conv.modulation, w).view(batch, 1, size_in, 1, 1)
    weight = scale * (conv.weight if delta is None else conv.weight * (1.0 + delta)) * style  # [B,O,I,k,k]
    if demodulate:
        norm = torch.rsqrt(weight.pow(2).sum((2, 3, 4)) + 1e-8)
        weight = weight * norm.view(batch, size_out, 1, 1, 1)
    x = x.reshape(1, batch * size_in, height, width)
    if not up:
        x = F.conv2d(x, weight.view(batch * size_out, size_in, k, k), padding=k // 2, groups=batch)
        return x.reshape(batch, size_out, height, width)
    weight = weight.transpose(1, 2).reshape(batch * size_in, size_out, k, k)
    x = F.conv_transpose2d(x, weight, stride=2, groups=batch)
    return _filter(x.reshape(batch, size_out, 2 * height + 1, 2 * width + 1), conv.blur.kernel, (1, 1))


def _filter(x: Tensor, kernel: Tensor, pad: tuple[int, int]) -> Tensor:
    """Zeros (before, after) on both axes, then a true convolution of each channel with `kernel` [k,k]."""
    x = F.pad(x, (*pad, *pad))
    return F.conv2d(x, kernel.flip(0, 1).expand(x.shape[1], 1, -1, -1), groups=x.shape[1])


def _linear(layer: Any, x: Tensor) -> Tensor:
    """A linear layer of equalized learning rate."""
    return F.linear(x, layer.weight * (1.0 / math.sqrt(layer.weight.shape[1])), layer.bias)


# ---- the hypernetwork ----


def predict(hypernetwork: Hypernetwork, crop: Tensor, image: Tensor) -> dict[str, Tensor]:
    """One step (Eq. 4): crop and reconstruction [B,3,h,w] in [-1,1] -> layer name -> dense Δ [B,O,I,k,k].

    Raises:
        ConfigError: a hypernetwork with other than "shared" or "plain" heads, or one whose input is a difference.
    """
    config = hypernetwork.config
    if config.heads not in ("shared", "plain") or config.residual_input:
        raise ConfigError(
            f"reference.predict: a hypernetwork with heads={config.heads!r}, residual_input={config.residual_input}: "
            "expected 'shared' or 'plain' and False, the published forms. Call the hypernetwork itself."
        )
    x = hypernetwork.trunk_features(torch.cat([crop, image], 1))
    return {s.name: _delta(hypernetwork, hypernetwork.refinement_blocks[str(s.index)], x) for s in hypernetwork.layers}


def _delta(hypernetwork: Hypernetwork, head: Any, features: Tensor) -> Tensor:
    """One head: features -> Δ, for shared heads through the shared expander (Section 3.3)."""
    spec, shared = head.spec, cast(SharedExpander, hypernetwork.shared_weight_hypernet)
    x = head.convs(features)
    if isinstance(head, PlainHead):
        times, shape = spec.kernel // head.taps, (spec.channels_out, spec.channels_in, head.taps, head.taps)
        return head.output(x).view(-1, *shape).repeat(1, 1, 1, times, times)  # the same for all taps
    code = _linear(head.linear, x.flatten(1))
    rows = (code @ shared.w2 + shared.b2).view(-1, shared.width, shared.width)  # [B,O,C]
    return (rows @ shared.w1 + shared.b1).view(-1, shared.width, shared.width, 3, 3)


# ---- the loop ----


@torch.no_grad()
def invert(
    encoder: WEncoder,
    generator: Generator,
    hypernetwork: Hypernetwork,
    to_input: Callable[[Tensor], Tensor],
    crop: Tensor,
    steps: int,
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Crops -> codes [B,L,D], accumulated dense Δ by layer name ({} after no step), images [B,3,size,size] (Eq. 4-6).

    `to_input` resizes images to the hypernetwork's input, [B,3,h,w]; `steps` is how often it is run. No gradients are
    recorded. The encoder is a plain one already. Errors are those of `predict`.
    """
    w = encoder(crop)
    offsets: dict[str, Tensor] = {}
    image = synthesize(generator, w)
    for _ in range(steps):
        new = predict(hypernetwork, crop, to_input(image))
        offsets = {name: offsets[name] + delta for name, delta in new.items()} if offsets else new
        image = synthesize(generator, w, offsets)
    return w, offsets, image
