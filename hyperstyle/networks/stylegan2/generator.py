"""StyleGAN2 (Karras et al., CVPR 2020): z -> w -> styles -> image, with relative weight offsets (HyperStyle, Eq. 5).

Attribute names follow the widely used PyTorch port (`g_ema` files), so that its tensors load under their own names.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError, did_you_mean
from hyperstyle.networks.stylegan2.config import GeneratorConfig, LayerSpec, layer_table
from hyperstyle.networks.stylegan2.layers import ConstantInput, ModulatedConv, PixelNorm, StoredNoise, StyledConv, ToRGB
from hyperstyle.networks.stylegan2.ops import EqualLinear, Modulation

__all__ = [
    "Generator",
    "GeneratorConfig",
    "LayerSpec",
    "NoiseMaps",
    "NoiseMode",
    "Offsets",
    "StoredNoise",
    "layer_table",
]

NoiseMode = Literal["const", "random", "none"]
NoiseMaps = Sequence[Tensor]
Offsets = Mapping[str, Tensor]


class Generator(nn.Module):
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

    latent_avg: Tensor

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
        self.input = ConstantInput(config.channels[0])
        by_index = {layer.index: layer for layer in self.layers}
        self.conv1 = StyledConv(by_index[0], width)
        self.to_rgb1 = ToRGB(by_index[1], width)
        self.convs = nn.ModuleList(StyledConv(s, width) for s in self.layers[2:] if not s.torgb)
        self.to_rgbs = nn.ModuleList(ToRGB(s, width) for s in self.layers[2:] if s.torgb)
        self.noises = StoredNoise([s.resolution for s in self.layers if not s.torgb])
        self.register_buffer("latent_avg", torch.zeros(width))

    # ---- names ----

    def layer(self, name: str | int) -> LayerSpec:
        """The layer with this name (`b64.conv1`) or official index. Raises ConfigError for an unknown one."""
        for spec in self.layers:
            if name in (spec.name, spec.index):
                return spec
        raise ConfigError(
            f"no layer {name!r} in this generator. {did_you_mean(str(name), [s.name for s in self.layers])}"
        )

    def weight(self, name: str | int) -> Tensor:
        """The raw weight [O,I,k,k] of a layer."""
        return self.conv(self.layer(name)).weight[0]

    def conv(self, spec: LayerSpec) -> ModulatedConv:
        conv = self.block(spec).conv
        if not isinstance(conv, ModulatedConv):
            raise TypeError("a generator block holds a modulated convolution")
        return conv

    def block(self, spec: LayerSpec) -> Any:
        if spec.index < 2:
            return self.to_rgb1 if spec.torgb else self.conv1
        block, place = divmod(spec.index - 2, 3)
        return self.to_rgbs[block] if place == 2 else self.convs[2 * block + place]

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The module of each layer, in the official order."""
        return tuple(self.block(spec) for spec in self.layers)

    def parameters_of(self, name: str | int) -> tuple[str, ...]:
        """Names of the parameters of a layer: weight, affine map, bias and strength of noise."""
        block = self.block(self.layer(name))
        path = next(path for path, module in self.named_modules() if module is block)
        return tuple(f"{path}.{parameter}" for parameter, _ in block.named_parameters())

    def with_parameters(self, values: Mapping[str, Tensor]) -> Generator:
        """A generator with these parameters that shares all others with this one.

        Raises:
            ConfigError: an unknown name or another shape.
        """
        parameters = dict(self.named_parameters())
        for name, value in values.items():
            if name not in parameters:
                raise ConfigError(f"no parameter {name!r} in this generator. {did_you_mean(name, parameters)}")
            if value.shape != parameters[name].shape:
                raise ConfigError(
                    f"parameter {name} of shape {tuple(value.shape)}: expected {tuple(parameters[name].shape)}."
                )
        shared: dict[int, Any] = {id(t): t for t in (*self.parameters(), *self.buffers())}
        copied = copy.deepcopy(self, shared)
        for name, value in values.items():
            path, _, last = name.rpartition(".")
            setattr(copied.get_submodule(path), last, nn.Parameter(value, requires_grad=False))
        return copied

    # ---- stages ----

    def mapping(self, z: Tensor) -> Tensor:
        """z [B,D] -> W code [B,D]."""
        out: Tensor = self.style(z)
        return out

    def broadcast(self, w: Tensor) -> Tensor:
        """One code per image [B,D] -> the same row for every layer [B,L,D]; [B,L,D] passes through."""
        return w[:, None].expand(-1, self.config.rows, -1) if w.ndim == 2 else w

    def styles(self, w: Tensor) -> dict[str, Tensor]:
        """Latent codes [B,L,D] or [B,D] -> StyleSpace: layer name -> [B,I]. Raises ConfigError for another shape."""
        w = self.broadcast(w)
        expected = (self.config.rows, self.config.latent_width)
        if w.ndim != 3 or tuple(w.shape[1:]) != expected:
            raise ConfigError(f"latent codes of shape {tuple(w.shape)}: expected [B, {expected[0]}, {expected[1]}].")
        return {s.name: self.conv(s).modulation(w[:, s.row]) for s in self.layers}

    def synthesize(
        self,
        styles: Mapping[str, Tensor],
        offsets: Offsets | None = None,
        *,
        noise: NoiseMode | NoiseMaps = "const",
        random: torch.Generator | None = None,
        modulation: Modulation = "weights",
        residuals: Offsets | None = None,
    ) -> Tensor:
        """Styles -> image [B,3,size,size], about [-1, 1], not clamped.

        Args:
            styles: layer name -> [B,I], all layers.
            offsets: layer name -> Δ broadcastable to [B,O,I,k,k]; the layer's weight becomes weight * (1 + Δ).
                Absent layers are untouched. `LazyOffsets` are computed when a layer is run.
            noise: the stored maps ("const"), fresh ones ("random"), no noise ("none"), or a list of maps, one for
                each convolution but toRGB in the official order: [1 or B,1,r,r] with r its resolution.
            random: source of the fresh noise.
            modulation: "weights" or "activations", see `ops.modulated_conv`. Without gradients on a CPU
                `networks.cpu.synthesize` computes the same in half the time.
            residuals: layer name -> what is added to the raw weight (HyperInverter), of the shapes of offsets.

        Raises:
            ConfigError: styles that lack a layer, an offset for a layer that does not exist or of a wrong shape, an
                unknown noise mode, or noise maps of a wrong number or shape.
        """
        offsets, residuals = offsets or {}, residuals or {}
        batch = self.check_inputs(styles, {*offsets, *residuals}, noise)
        x = self.input.input.expand(batch, -1, -1, -1)
        image: Tensor | None = None
        noise_index = 0
        for spec in self.layers:
            style = styles[spec.name]
            change = self.check_offset(spec, offsets, batch), self.check_offset(spec, residuals, batch)
            if spec.torgb:
                image = self.block(spec)(x, style, change, image, modulation)
                continue
            x = self.block(spec)(x, style, change, self.noise_map(noise, noise_index, batch, random), modulation)
            noise_index += 1
        if image is None:
            raise TypeError("a generator has at least one toRGB layer")
        return image

    def forward(
        self,
        w: Tensor,
        offsets: Offsets | None = None,
        *,
        noise: NoiseMode | NoiseMaps = "const",
        random: torch.Generator | None = None,
        modulation: Modulation = "weights",
        residuals: Offsets | None = None,
    ) -> Tensor:
        """Latent codes [B,L,D] or [B,D] -> image [B,3,size,size]; `synthesize(styles(w), ...)`."""
        return self.synthesize(
            self.styles(w), offsets, noise=noise, random=random, modulation=modulation, residuals=residuals
        )

    def check_inputs(self, styles: Mapping[str, Tensor], changed: set[str], noise: str | NoiseMaps) -> int:
        """Raises ConfigError for inputs of `synthesize` that do not fit this generator; returns B."""
        names = [s.name for s in self.layers]
        modes = ("const", "random", "none")
        if noise not in modes if isinstance(noise, str) else not isinstance(noise, Sequence):
            raise ConfigError(f"noise={noise!r}: expected 'const', 'random', 'none' or a list of maps.")
        if missing := [name for name in names if name not in styles]:
            raise ConfigError(
                f"styles lack {len(missing)} layer(s), first {missing[0]!r}: pass all that styles(w) gave."
            )
        if unknown := sorted(changed - set(names)):
            raise ConfigError(f"offsets for unknown layer {unknown[0]!r}. {did_you_mean(unknown[0], names)}")
        batch = styles[names[0]].shape[0]
        if other := next((name for name in names if styles[name].shape[0] != batch), None):
            raise ConfigError(f"styles of {styles[other].shape[0]} image(s) in {other}, of {batch} in {names[0]}.")
        if not isinstance(noise, str):
            sizes = [s.resolution for s in self.layers if not s.torgb]
            shapes = [tuple(map_.shape) for map_ in noise]
            if not any(shapes == [(n, 1, r, r) for r in sizes] for n in (1, batch)):
                raise ConfigError(f"noise maps of shapes {shapes}: expected [1 or {batch}, 1, r, r] with r = {sizes}.")
        return batch

    def check_offset(self, spec: LayerSpec, offsets: Offsets, batch: int) -> Tensor | None:
        """The offset of a layer, None where there is none. Raises ConfigError for a wrong shape."""
        if spec.name not in offsets:
            return None
        offset = offsets[spec.name]
        full = (batch, spec.channels_out, spec.channels_in, spec.kernel, spec.kernel)
        shape = tuple(offset.shape)
        if len(shape) > 5 or any(n not in (1, m) for n, m in zip(shape, full[5 - len(shape) :], strict=True)):
            raise ConfigError(f"offset of shape {shape} for {spec.name}: expected one that broadcasts to {full}.")
        return offset

    def noise_map(
        self, noise: NoiseMode | NoiseMaps, i: int, batch: int, random: torch.Generator | None
    ) -> Tensor | None:
        if noise == "none":
            return None
        if not isinstance(noise, str):
            return noise[i]
        stored = self.noises.at(i)
        if noise == "const":
            return stored
        shape = (batch, *stored.shape[1:])
        return torch.randn(shape, generator=random, device=stored.device, dtype=stored.dtype)

    @torch.no_grad()
    def mean_w(self, count: int = 10_000, *, seed: int = 0) -> Tensor:
        """Mean [D] of `count` sampled W codes; z is drawn on the CPU, so it is the same on every device.

        Raises:
            ConfigError: a count below 1.
        """
        if count < 1:
            raise ConfigError(f"mean of {count} codes: expected at least 1.")
        random = torch.Generator().manual_seed(seed)
        parts = []
        for start in range(0, count, 4096):
            z = torch.randn(min(4096, count - start), self.config.latent_width, generator=random)
            parts.append(self.mapping(z.to(self.latent_avg)).double().sum(0))
        return (torch.stack(parts).sum(0) / count).to(self.latent_avg.dtype)
