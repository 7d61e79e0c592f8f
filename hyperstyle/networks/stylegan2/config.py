"""The numbers of a StyleGAN2 generator, and the table of its convolutions that follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hyperstyle.errors import ConfigError


@dataclass(frozen=True)
class GeneratorConfig:
    """Numbers that define a generator.

    Attributes:
        size: side of the images in pixels, a power of two from 16 to 4096.
        channels: feature channels at 4, 8, ..., `size` px.
        latent_width: D, the width of z and w.
        mapping_layers: depth of the mapping network, up to 64.
        mapping_rate: learning-rate multiplier of the mapping network (stored weights are divided by it).
    """

    size: int
    channels: tuple[int, ...]
    latent_width: int = 512
    mapping_layers: int = 8
    mapping_rate: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if not 16 <= self.size <= 4096 or self.size & (self.size - 1):
            raise ConfigError(f"generator size {self.size}: expected a power of two, 16 to 4096.")
        if len(self.channels) != len(self.resolutions):
            raise ConfigError(
                f"{len(self.channels)} channel counts for a generator of {self.size} px: expected "
                f"{len(self.resolutions)}, one for each of {', '.join(map(str, self.resolutions))} px."
            )
        if min(self.channels) < 1 or self.latent_width < 1 or not 1 <= self.mapping_layers <= 64:
            raise ConfigError(
                f"a generator with channels {self.channels}, latent_width={self.latent_width} and mapping_layers="
                f"{self.mapping_layers}: expected positive numbers, and at most 64 layers."
            )
        if not 0 < self.mapping_rate < math.inf:
            raise ConfigError(f"mapping_rate={self.mapping_rate} of a generator: expected a positive, finite number.")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ..., size."""
        return tuple(2**n for n in range(2, int(math.log2(self.size)) + 1))

    @property
    def rows(self) -> int:
        """L, the number of style rows: 18 at 1024 px."""
        # One for each convolution, 1 + 2 for each resolution above 4 px, and one for the last toRGB.
        return 2 * int(math.log2(self.size)) - 2

    @classmethod
    def official(cls, size: int, *, channel_multiplier: int = 2) -> GeneratorConfig:
        """The published configurations: 512 channels up to 64 px, then halved at each step (config F)."""
        # 16384 * multiplier / r, at most 512
        table = {r: 512 if r <= 32 else 256 * channel_multiplier * 64 // r for r in (2**n for n in range(2, 11))}
        return cls(size=size, channels=tuple(c for r, c in table.items() if r <= size))


@dataclass(frozen=True)
class LayerSpec:
    """One convolution of a generator.

    Attributes:
        name: `b64.conv0` (upsampling), `b64.conv1` or `b64.torgb`.
        index: its place in the official order: conv, toRGB, then (upsampling conv, conv, toRGB) per resolution.
        resolution: side of its output in pixels.
        channels_in, channels_out, kernel: its weight is [channels_out, channels_in, kernel, kernel].
        row: the row of `w` that feeds it.
        up: whether it doubles the resolution.
    """

    name: str
    index: int
    resolution: int
    channels_in: int
    channels_out: int
    kernel: int
    row: int
    up: bool

    @property
    def torgb(self) -> bool:
        """Whether this layer writes colors (no demodulation, no noise)."""
        return self.kernel == 1

    @property
    def style_width(self) -> int:
        """Length of its style."""
        return self.channels_in


def layer_table(config: GeneratorConfig) -> tuple[LayerSpec, ...]:
    """All convolutions of a generator in the official order (26 at 1024 px); no network is built."""
    first = config.channels[0]
    table = [LayerSpec("b4.conv1", 0, 4, first, first, 3, 0, False), LayerSpec("b4.torgb", 1, 4, first, 3, 1, 1, False)]
    channels_in = first
    # Rows of w: 0, 1 at 4 px; then 1, 2, 3; 3, 4, 5; ... for conv0, conv1, torgb.
    for block, (size, channels) in enumerate(zip(config.resolutions[1:], config.channels[1:], strict=True)):
        index, row = 2 + 3 * block, 1 + 2 * block  # a toRGB shares its row with the next upsampling convolution
        table += [
            LayerSpec(f"b{size}.conv0", index, size, channels_in, channels, 3, row, True),
            LayerSpec(f"b{size}.conv1", index + 1, size, channels, channels, 3, row + 1, False),
            LayerSpec(f"b{size}.torgb", index + 2, size, channels, 3, 1, row + 2, False),
        ]
        channels_in = channels
    return tuple(table)
