"""StyleGAN (Karras et al., CVPR 2019), the first one, as IDInvert trained it: a code of its own for every layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.stylegan2.base import StyleGenerator, Styles, WeightChanges
from hyperstyle.networks.stylegan2.config import GeneratorConfig, LayerSpec
from hyperstyle.networks.stylegan2.layers import PixelNorm, StoredNoise
from hyperstyle.networks.stylegan2.ops import EqualLinear, Modulation, normal, upfirdn


@dataclass(frozen=True)
class StyleGan1Config(GeneratorConfig):
    """Numbers of a StyleGAN; those of a StyleGAN2 have the same meaning, and are never equal to them."""

    @classmethod
    def official(cls, size: int = 256, *, channel_multiplier: int = 1) -> StyleGan1Config:
        """The published widths: 512 channels up to 32 px, then halved at each step."""
        return cls(**vars(GeneratorConfig.official(size, channel_multiplier=channel_multiplier)))


@dataclass(frozen=True)
class AdainSpec(LayerSpec):
    """One layer of a StyleGAN; `row` is its place in the table. The first, `b4.const`, has no convolution: its kernel
    and number of channels in are 0."""

    @property
    def style_width(self) -> int:
        """Length of its style: a scale and a bias for every output channel."""
        return 2 * self.channels_out


def adain_table(config: StyleGan1Config) -> tuple[AdainSpec, ...]:
    """All layers with a style: two for each resolution, 14 at 256 px."""
    first = config.channels[0]
    table = [AdainSpec("b4.const", 0, 4, 0, first, 0, 0, False), AdainSpec("b4.conv1", 1, 4, first, first, 3, 1, False)]
    channels_in = first
    for size, channels in zip(config.resolutions[1:], config.channels[1:], strict=True):
        i = len(table)
        table += [
            AdainSpec(f"b{size}.conv0", i, size, channels_in, channels, 3, i, True),
            AdainSpec(f"b{size}.conv1", i + 1, size, channels, channels, 3, i + 1, False),
        ]
        channels_in = channels
    return tuple(table)


def blur_filter() -> Tensor:
    """[3,3] the low-pass filter [1, 2, 1] after each upsampling; it sums to 1."""
    return torch.tensor([[a * b / 16.0 for b in (1.0, 2.0, 1.0)] for a in (1.0, 2.0, 1.0)])


class _Layer(nn.Module):
    """Convolution, noise, bias, leaky ReLU, and adaptive instance normalization (AdaIN)."""

    def __init__(self, spec: AdainSpec, latent_width: int) -> None:
        super().__init__()
        self.up = spec.up
        if spec.kernel:
            self.weight = nn.Parameter(normal(spec.channels_out, spec.channels_in, spec.kernel, spec.kernel))
        self.modulation = EqualLinear(latent_width, spec.style_width)
        self.noise_strength = nn.Parameter(torch.zeros(spec.channels_out))
        self.bias = nn.Parameter(torch.zeros(spec.channels_out))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None, blur: Tensor) -> Tensor:
        if hasattr(self, "weight"):
            x = self._convolved(x, blur)
        if noise is not None:
            x = x + self.noise_strength[:, None, None] * noise.to(x.dtype)
        x = F.instance_norm(F.leaky_relu(x + self.bias[:, None, None], 0.2), eps=1e-8)
        scale, shift = style[:, :, None, None].chunk(2, 1)
        return torch.addcmul(shift, x, scale + 1)

    def _convolved(self, x: Tensor, blur: Tensor) -> Tensor:
        weight = self.weight * math.sqrt(2 / self.weight[0].numel())
        if not self.up:
            return F.conv2d(x, weight, padding=1)
        # Every value four times, then a 3x3 convolution: the same as one transposed 4x4 convolution, which has fewer
        # products. Its taps are the sums of neighboring taps, in reverse.
        taps = F.avg_pool2d(F.pad(weight, (1, 1, 1, 1)), 2, stride=1) * 4
        x = F.conv_transpose2d(x, taps.flip(2, 3).transpose(0, 1), stride=2, padding=1)
        return upfirdn(x, blur, pad=(1, 1))


class _Colors(nn.Module):
    """1x1 convolution of the last features to colors."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(3, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(F.conv2d(x, self.weight / math.sqrt(x.shape[1]), self.bias))


class StyleGan1(StyleGenerator):
    """The generator of IDInvert (Zhu et al., ECCV 2020), in the public stages of `Generator`.

    Styles are AdaIN's scales, less 1, and biases, [B,2C] for a layer of C channels, and act after the convolutions:
    weights are the same for all images and have no place for offsets. Images end in tanh, within [-1, 1].

    Its mapping network makes another code for every row, so there is no W of one row.

    Example:
        >>> generator = StyleGan1(StyleGan1Config(16, channels=(8, 8, 4), latent_width=16, mapping_layers=2))
        >>> generator(generator.mapping(torch.randn(2, 16))).shape
        torch.Size([2, 3, 16, 16])
    """

    takes_offsets = False
    has_w = False
    layers: tuple[AdainSpec, ...]

    def __init__(self, config: StyleGan1Config) -> None:
        super().__init__()
        self.config = config
        self.layers = adain_table(config)
        width, rate = config.latent_width, config.mapping_rate
        outputs = (*[width] * (config.mapping_layers - 1), width * config.rows)
        self.style = nn.Sequential(*(EqualLinear(width, n, lr_multiplier=rate, activate=True) for n in outputs))
        self.constant = nn.Parameter(torch.ones(1, config.channels[0], 4, 4))
        self.convs = nn.ModuleList(_Layer(spec, width) for spec in self.layers)
        self.to_rgb = _Colors(config.channels[-1])
        self.noises = StoredNoise([spec.resolution for spec in self.layers])
        self.register_buffer("blur", blur_filter())
        self.register_buffer("latent_avg", torch.zeros(width))

    def weight(self, name: str | int) -> Tensor:
        """The raw weight [O,I,k,k] of a layer. Raises ConfigError for `b4.const`, which has none."""
        spec = self.layer(name)
        if not spec.kernel:
            raise ConfigError(f"layer {spec.name} has no convolution: its input is the constant.")
        return self.block(spec).weight

    def block(self, spec: LayerSpec) -> _Layer:
        return cast(_Layer, self.convs[spec.index])

    def mapping(self, z: Tensor) -> Tensor:
        """z [B,D] -> latent codes [B,L,D], another one for every row."""
        return self.style(PixelNorm()(z)).reshape(len(z), self.config.rows, -1)

    def affine(self, spec: LayerSpec) -> nn.Module:
        return self.block(spec).modulation

    def _synthesize(
        self,
        styles: Styles,
        changes: WeightChanges,
        noise: Sequence[Tensor | None],
        modulation: Modulation,
        until: LayerSpec | None,
    ) -> Tensor:
        x = self.constant.expand(len(styles[self.layers[0].name]), -1, -1, -1)
        for spec, noise_map in zip(self.layers, noise, strict=True):
            x = self.block(spec)(x, styles[spec.name], noise_map, self.blur)
            if spec is until:
                return x
        return self.to_rgb(x)
