"""StyleGAN2 (Karras et al., CVPR 2020): z -> w -> styles -> image, with relative weight offsets (HyperStyle, Eq. 5).

Attribute names follow the widely used PyTorch port (`g_ema` files), so that its tensors load under their own names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.stylegan2.base import NoiseMaps, NoiseMode, Offsets, StyleGenerator, Styles, WeightChanges
from hyperstyle.networks.stylegan2.config import GeneratorConfig, LayerSpec, layer_table
from hyperstyle.networks.stylegan2.layers import ModulatedConv, PixelNorm, StoredNoise, StyledConv, ToRGB
from hyperstyle.networks.stylegan2.ops import Change, EqualLinear, Modulation, normal

__all__ = ["Generator", "GeneratorConfig", "LayerSpec", "NoiseMaps", "NoiseMode", "Offsets", "layer_table"]


class Generator(StyleGenerator):
    """StyleGAN2 generator in three public stages: `mapping`, `styles`, `synthesize`.

    Attributes:
        config: the numbers it was built from.
        layers: the table of its convolutions, in the official order.
        latent_avg: [D] mean of W, for truncation, encoders and edits.

    Example:
        >>> generator = Generator(GeneratorConfig(size=16, channels=(8, 8, 8), latent_width=16, mapping_layers=2))
        >>> w = generator.broadcast(generator.mapping(torch.randn(2, 16)))
        >>> generator(w).shape
        torch.Size([2, 3, 16, 16])
    """

    takes_offsets = True
    has_w = True

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = layer_table(config)
        width = config.latent_width
        self.style = nn.Sequential(
            PixelNorm(),
            *(
                EqualLinear(width, width, lr_multiplier=config.mapping_rate, activate=True)
                for _ in range(config.mapping_layers)
            ),
        )
        # The learned input of the first layer, [1,C,4,4].
        self.input: Any = nn.ParameterDict({"input": normal(1, config.channels[0], 4, 4)})
        # The first resolution has one convolution, for lack of an upsampling one; all others have two.
        self.conv1 = StyledConv(self.layers[0], width)
        self.to_rgb1 = ToRGB(self.layers[1], width)
        self.convs = nn.ModuleList(StyledConv(s, width) for s in self.layers[2:] if not s.torgb)
        self.to_rgbs = nn.ModuleList(ToRGB(s, width) for s in self.layers[2:] if s.torgb)
        self.noises = StoredNoise([s.resolution for s in self.layers if not s.torgb])
        self.register_buffer("latent_avg", torch.zeros(width))

    # ---- layers ----

    def weight(self, name: str | int) -> Tensor:
        """The raw weight [O,I,k,k] of a layer."""
        return self.conv(self.layer(name)).weight[0]  # [1,O,I,k,k] in files

    def affine(self, spec: LayerSpec) -> nn.Module:
        return self.conv(spec).modulation

    def conv(self, spec: LayerSpec) -> ModulatedConv:
        """The modulated convolution of a layer."""
        return self.block(spec).conv

    def block(self, spec: LayerSpec) -> Any:
        if spec.index < 2:
            return self.to_rgb1 if spec.torgb else self.conv1
        # Official order: conv1 and torgb of 4 px, then conv0, conv1, torgb (place 0, 1, 2) of each resolution.
        block, place = divmod(spec.index - 2, 3)
        return self.to_rgbs[block] if place == 2 else self.convs[2 * block + place]

    # ---- stages ----

    def mapping(self, z: Tensor) -> Tensor:
        """z [B,D] -> W code [B,D]."""
        return self.style(z)

    def _synthesize(
        self,
        styles: Styles,
        changes: WeightChanges,
        noise: Sequence[Tensor | None],
        modulation: Modulation,
        until: LayerSpec | None,
    ) -> Tensor:
        batch, maps = len(styles[self.layers[0].name]), iter(noise)
        x = self.input.input.expand(batch, -1, -1, -1)  # [B,C,4,4]
        image: Any = None
        for spec in self.layers:
            style, change = styles[spec.name], self.change(spec, changes, batch)
            if spec.torgb:
                # Output skips (StyleGAN2, Fig. 7): colors of every resolution are added to the upsampled image so far.
                image = self.block(spec)(x, style, change, image, modulation)
            else:
                x = self.block(spec)(x, style, change, next(maps), modulation)
            if spec is until:
                return x
        return image

    def change(self, spec: LayerSpec, changes: WeightChanges, batch: int) -> Change:
        """The offset and the residual of a layer, None where there is none. Raises ConfigError for a wrong shape."""
        # `get` would compute an offset that is lazy to find out that there is none.
        offset, residual = (t[spec.name] if spec.name in t else None for t in changes)  # noqa: SIM401
        # From the last axis on, as in broadcasting, each size is 1 or that of the weight.
        full = (batch, spec.channels_out, spec.channels_in, spec.kernel, spec.kernel)
        for shape in (tuple(t.shape) for t in (offset, residual) if t is not None):
            if len(shape) > 5 or any(n not in (1, m) for n, m in zip(shape, full[5 - len(shape) :], strict=True)):
                raise ConfigError(f"offset of shape {shape} for {spec.name}: expected one that broadcasts to {full}.")
        return offset, residual

    @torch.no_grad()
    def mean_w(self, count: int = 10_000, *, seed: int = 0) -> Tensor:
        """Mean [D] of `count` sampled W codes; z is drawn on the CPU, so it is the same on every device.

        Raises:
            ConfigError: a count below 1.
        """
        if count < 1:
            raise ConfigError(f"mean of {count} codes: expected at least 1.")
        random = torch.Generator().manual_seed(seed)
        parts = []  # sums of w [D]
        # Sums in float64: the mean of many codes would lose digits in float32.
        for start in range(0, count, 4096):
            z = torch.randn(min(4096, count - start), self.config.latent_width, generator=random)
            parts.append(self.mapping(z.to(self.latent_avg)).double().sum(0))
        return (torch.stack(parts).sum(0) / count).to(self.latent_avg.dtype)
