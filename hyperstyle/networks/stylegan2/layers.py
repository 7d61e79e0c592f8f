"""The layers of a StyleGAN2 generator, with the attribute names of its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hyperstyle.networks.stylegan2 import ops
from hyperstyle.networks.stylegan2.config import LayerSpec
from hyperstyle.networks.stylegan2.ops import Change, EqualLinear, Modulation, normal


class PixelNorm(nn.Module):
    """z [B,D] of mean square 1."""

    def forward(self, x: Tensor) -> Tensor:
        # z / sqrt(mean(z^2)), over the D values of each code
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class _Blur(nn.Module):
    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", ops.fir_kernel())


class ModulatedConv(nn.Module):
    """A convolution of a layer: its raw weight [1,O,I,k,k] and the affine map of its style."""

    def __init__(self, spec: LayerSpec, latent_width: int) -> None:
        super().__init__()
        self.spec = spec
        # The first axis is that of the images of a batch; the common port has it in its files.
        shape = (1, spec.channels_out, spec.channels_in, spec.kernel, spec.kernel)
        self.weight = nn.Parameter(normal(*shape))
        self.modulation = EqualLinear(latent_width, spec.channels_in, bias_init=1.0)  # styles start at 1
        if spec.up:
            self.blur = _Blur()

    def forward(self, x: Tensor, style: Tensor, change: Change, modulation: Modulation) -> Tensor:
        kernel = self.blur.kernel if self.spec.up else None
        return ops.modulated_conv(
            x, self.weight[0], style, change, demodulate=not self.spec.torgb, kernel=kernel, modulation=modulation
        )


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias and leaky ReLU."""

    def __init__(self, spec: LayerSpec, latent_width: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(spec, latent_width)
        # Two modules of one tensor each in the files: `noise.weight`, `activate.bias`.
        self.noise: Any = nn.ParameterDict({"weight": torch.zeros(1)})
        self.activate: Any = nn.ParameterDict({"bias": torch.zeros(spec.channels_out)})

    def forward(self, x: Tensor, style: Tensor, change: Change, noise: Tensor | None, modulation: Modulation) -> Tensor:
        x = self.conv(x, style, change, modulation)
        # Nothing else refers to the convolution's output; under autocast its type may differ from that of the bias.
        in_place = not torch.is_grad_enabled() and x.dtype == self.activate.bias.dtype
        if noise is not None:
            # B of StyleGAN2, Fig. 2: one strength for all channels, [1] * [1 or B,1,r,r]
            noise = self.noise.weight * noise.to(x.dtype)
            x = x.add_(noise) if in_place else x + noise
        return ops.bias_activation(x, self.activate.bias, in_place=in_place)


class ToRGB(nn.Module):
    """1x1 modulated convolution to colors, added to the upsampled image so far."""

    def __init__(self, spec: LayerSpec, latent_width: int) -> None:
        super().__init__()
        if spec.resolution > 4:  # at 4 px there is no image yet to upsample
            self.upsample = _Blur()
        self.conv = ModulatedConv(spec, latent_width)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, change: Change, image: Tensor | None, modulation: Modulation) -> Tensor:
        # No demodulation here, no noise and no activation: the sum over resolutions is the image.
        x = self.conv(x, style, change, modulation) + self.bias
        return x if image is None else x + ops.upsample(image, self.upsample.kernel)


class StoredNoise(nn.Module):
    """The stored noise maps `noise_0`, `noise_1`, ..., one for each layer that adds noise, of these sizes in pixels."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        for i, size in enumerate(sizes):
            self.register_buffer(f"noise_{i}", normal(1, 1, size, size))

    def at(self, i: int) -> Tensor:
        return self.get_buffer(f"noise_{i}")
