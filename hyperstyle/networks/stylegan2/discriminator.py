"""StyleGAN2's discriminator with residual blocks (Karras et al., CVPR 2020): images -> logits."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.stylegan2.ops import EqualLinear, bias_activation, fir_kernel, normal, upfirdn


class _Conv(nn.Module):
    """Convolution with equalized learning rate, bias and leaky ReLU; `down` filters and halves the size."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, down: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out)) if bias else None
        self.scale = 1 / math.sqrt(channels_in * kernel**2)
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        stride, padding = 1, self.weight.shape[-1] // 2
        if self.down:
            # H + 2 (1 + padding) rows, less 3 for four taps, are H + k - 2, of which stride 2 leaves H / 2.
            x = upfirdn(x, fir_kernel(gain=1.0).to(x), pad=(1 + padding, 1 + padding))
            stride, padding = 2, 0
        x = F.conv2d(x, self.weight * self.scale, stride=stride, padding=padding)
        return x if self.bias is None else bias_activation(x, self.bias)


class _Block(nn.Module):
    """Two convolutions and a shortcut, each path scaled by sqrt(1/2); the first block converts from colors."""

    def __init__(self, channels_in: int, channels_out: int, *, first: bool) -> None:
        super().__init__()
        self.fromrgb = _Conv(3, channels_in, 1) if first else None
        self.conv0 = _Conv(channels_in, channels_in, 3)
        self.conv1 = _Conv(channels_in, channels_out, 3, down=True)
        self.skip = _Conv(channels_in, channels_out, 1, down=True, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        # sqrt(1/2): the sum of two paths of unit variance has unit variance again.
        return (self.skip(x) + self.conv1(self.conv0(x))) * math.sqrt(0.5)


class _Epilogue(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        # one more channel: the deviation of the batch
        self.conv = _Conv(channels + 1, channels, 3)
        self.fc = EqualLinear(channels * 16, channels, activate=True)
        self.out = EqualLinear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # Minibatch standard deviation: [C,4,4] over the batch, averaged to a number, added as a channel [B,1,4,4].
        deviation = (x.var(0, correction=0) + 1e-8).sqrt().mean()  # of the batch, one number for all its images
        x = torch.cat([x, deviation.expand(len(x), 1, *x.shape[2:])], 1)
        return self.out(self.fc(self.conv(x).flatten(1)))


class Discriminator(nn.Module):
    """Distinguishes real images from generated ones: [B,3,size,size] in [-1,1] -> logits [B,1], above 0 for real.

    Tensor names are those of NVIDIA's pickles, without the low-pass filters. The deviation between images is taken
    over the whole batch, as files converted from the first release have it.

    Args:
        size: side of the images, a power of two from 8 up.
        channels: at 4, 8, ..., `size` px, as of a `GeneratorConfig`.

    Example:
        >>> Discriminator(16, (8, 8, 4))(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 1])
    """

    def __init__(self, size: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        if size != 4 << (len(channels) - 1) or len(channels) < 2 or min(channels) < 1:
            raise ConfigError(f"discriminator of {size} px with channels {channels}: expected one for 4, 8, ... px.")
        self.size = size
        for level in range(len(channels) - 1, 0, -1):
            # from the largest resolution, 4 << level px, down to 8 px
            block = _Block(channels[level], channels[level - 1], first=level == len(channels) - 1)
            self.add_module(f"b{4 << level}", block)
        self.b4 = _Epilogue(channels[0])

    def forward(self, image: Tensor) -> Tensor:
        """Raises ConfigError for images of another size."""
        if tuple(image.shape[1:]) != (3, self.size, self.size):
            raise ConfigError(f"discriminator given {tuple(image.shape)}: expected [B, 3, {self.size}, {self.size}].")
        for block in self.children():
            image = block(image)
        return image
