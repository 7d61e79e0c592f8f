"""The layers of a StyleGAN2 generator, with the attribute names of its files."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hyperstyle.networks.stylegan2.config import LayerSpec
from hyperstyle.networks.stylegan2.ops import (
    EqualLinear,
    Modulation,
    bias_activation,
    fir_kernel,
    modulated_conv,
    normal,
    upsample,
)

__all__ = ["Change", "ConstantInput", "ModulatedConv", "PixelNorm", "StoredNoise", "StyledConv", "ToRGB"]

Change = tuple[Tensor | None, Tensor | None]
"""A layer's offset and residual."""


class PixelNorm(nn.Module):
    """z [B,D] of mean square 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class ConstantInput(nn.Module):
    """The learned input of the first layer, [1,C,4,4]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(normal(1, channels, 4, 4))


class _Blur(nn.Module):
    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", fir_kernel())


class ModulatedConv(nn.Module):
    """A convolution of a layer: its raw weight [1,O,I,k,k] and the affine map of its style."""

    def __init__(self, spec: LayerSpec, latent_width: int) -> None:
        super().__init__()
        self.spec = spec
        shape = (1, spec.channels_out, spec.channels_in, spec.kernel, spec.kernel)
        self.weight = nn.Parameter(normal(*shape))
        self.modulation = EqualLinear(latent_width, spec.channels_in, bias_init=1.0)
        if spec.up:
            self.blur = _Blur()

    def forward(self, x: Tensor, style: Tensor, change: Change, modulation: Modulation) -> Tensor:
        offset, residual = change
        return modulated_conv(
            x,
            self.weight[0],
            style,
            offset=offset,
            residual=residual,
            demodulate=not self.spec.torgb,
            up=self.spec.up,
            kernel=self.blur.kernel if self.spec.up else None,
            modulation=modulation,
        )


class _NoiseStrength(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class _Bias(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias and leaky ReLU."""

    def __init__(self, spec: LayerSpec, latent_width: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(spec, latent_width)
        self.noise = _NoiseStrength()
        self.activate = _Bias(spec.channels_out)

    def forward(self, x: Tensor, style: Tensor, change: Change, noise: Tensor | None, modulation: Modulation) -> Tensor:
        x = self.conv(x, style, change, modulation)
        # Nothing else refers to the convolution's output; under autocast its type may differ from that of the bias.
        in_place = not torch.is_grad_enabled() and x.dtype == self.activate.bias.dtype
        if noise is not None:
            noise = self.noise.weight * noise.to(x.dtype)
            x = x.add_(noise) if in_place else x + noise
        return bias_activation(x, self.activate.bias, in_place=in_place)


class ToRGB(nn.Module):
    """1x1 modulated convolution to colors, added to the upsampled image so far."""

    def __init__(self, spec: LayerSpec, latent_width: int) -> None:
        super().__init__()
        if spec.resolution > 4:
            self.upsample = _Blur()
        self.conv = ModulatedConv(spec, latent_width)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, change: Change, image: Tensor | None, modulation: Modulation) -> Tensor:
        x = self.conv(x, style, change, modulation) + self.bias
        return x if image is None else x + upsample(image, self.upsample.kernel)


class StoredNoise(nn.Module):
    """The stored noise maps `noise_0`, `noise_1`, ..., one for each layer that adds noise, of these sizes in pixels."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        for i, size in enumerate(sizes):
            self.register_buffer(f"noise_{i}", normal(1, 1, size, size))

    def at(self, i: int) -> Tensor:
        return self.get_buffer(f"noise_{i}")
