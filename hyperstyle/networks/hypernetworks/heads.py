"""The heads of the hypernetwork, one per tuned layer: features -> offset code -> dense offset."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.stylegan2.generator import LayerSpec
from hyperstyle.networks.stylegan2.ops import EqualLinear, normal

__all__ = ["CompactHead", "Head", "PlainHead", "SeparableHead", "SharedExpander", "SharedHead"]

_FEW = 32  # rows of a product with a large matrix


class SharedExpander(nn.Module):
    """The one large affine map from a code to a square 3x3 offset that several heads share (paper, Section 3.3).

    With code width C: A = code @ w2 + b2, viewed as [C,C] with a row for each output channel; Δ = A @ w1 + b1, each row
    giving its (in, tap, tap) values.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.w1 = nn.Parameter(normal(width, width * 9, scale=1 / 40))
        self.b1 = nn.Parameter(normal(width * 9, scale=1 / 40))
        self.w2 = nn.Parameter(normal(width, width * width, scale=1 / 40))
        self.b2 = nn.Parameter(normal(width * width, scale=1 / 40))

    def forward(self, code: Tensor, count: Tensor) -> Tensor:
        """Summed code [B,C] of `count` [B] steps -> [B,C,C,3,3]; both biases count once per step."""
        return self.delta(self.rows(code, count), count)

    def rows(self, code: Tensor, count: Tensor) -> Tensor:
        """[B,C] -> [B,C,C], a row for each output channel; reads nearly all of the map's weights."""
        bias = (count[:, None] * self.b2).view(-1, self.width, self.width)
        if not _in_parts(code):
            return (code @ self.w2).view_as(bias) + bias
        if len(code) <= _FEW and not torch.is_grad_enabled():
            return _few_rows(code, self.w2).view_as(bias).add_(bias)
        matrices = self.w2.view(self.width, self.width, self.width).transpose(0, 1)  # [O,C,C]
        return torch.bmm(code.expand(self.width, -1, -1), matrices).transpose(0, 1) + bias

    def turned(self) -> Tensor:
        """w1 as an image of C channels, a position for each input channel and tap: [1,C,C,9], channels-last."""
        return self.w1.t().contiguous().view(1, self.width, 9, self.width).permute(0, 3, 1, 2)

    def delta(self, rows: Tensor, count: Tensor, turned: Tensor | None = None) -> Tensor:
        """[B,C,C] -> Δ [B,C,C,3,3].

        With `turned`, and of one image without gradients, as a 1x1 convolution of it, which is faster on a CPU;
        output channels are innermost in memory then, as `networks.cpu.fuse` wants them.
        """
        if turned is not None and len(rows) == 1 and not torch.is_grad_enabled():
            made = F.conv2d(turned, rows[0, :, :, None, None])  # [1,O,I,9]
            made += (count * self.b1).view(self.width, 9)
            return made.view(-1, self.width, self.width, 3, 3)
        bias = (count[:, None] * self.b1)[:, None]
        delta = torch.baddbmm(bias, rows, self.w1.expand(len(rows), -1, -1))  # [B,O,I*9]
        return delta.view(-1, self.width, self.width, 3, 3)


def _in_parts(code: Tensor) -> bool:
    """Whether codes [B,C] are multiplied with a large matrix as with many smaller ones, one for each output channel.

    On CPUs a single product with so few rows uses one thread and a part of what the memory gives; many are shared out.
    """
    return code.device.type == "cpu" and code.dtype == torch.float32


def _few_rows(code: Tensor, matrix: Tensor) -> Tensor:
    """A product [B,C] @ [C,N] -> [B,N] that reads the matrix from its first to its last row.

    Libraries copy parts of a matrix to where they multiply fast, which pays for many rows of `code` only.
    """
    count = math.gcd(8, matrix.shape[1])  # of parts, for threads to share
    parts = matrix.view(len(matrix), count, -1).transpose(0, 1)
    made = matrix.new_zeros(count, len(code), parts.shape[2])
    for first in range(0, len(matrix), 16):
        made.baddbmm_(code[:, first : first + 16].expand(count, -1, -1), parts[:, first : first + 16])
    return made.transpose(0, 1).reshape(len(code), -1)


class _Conv3x3(nn.Conv2d):
    """A 3x3 convolution that leaves its stride out for features of a single pixel, where it has no effect.

    With a stride, PyTorch (2.15) returns uninitialized memory as the gradient of the weights for a single pixel in
    bfloat16 on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) == (1, 1):
            return F.conv2d(x, self.weight, self.bias, 1, self.padding)
        return super().forward(x)


def _strided(channels: list[int], strides: list[int]) -> nn.Sequential:
    """3x3 convolutions, each followed by leaky ReLU 0.01; they have the even indexes."""
    layers: list[nn.Module] = []
    for before, after, stride in zip(channels[:-1], channels[1:], strides, strict=True):
        layers += [_Conv3x3(before, after, 3, stride, 1), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)


def _check_single(name: str, size: tuple[int, int], halvings: int) -> None:
    height, width = size
    for _ in range(halvings):
        height, width = -(-height // 2), -(-width // 2)
    if (height, width) != (1, 1):
        raise ConfigError(
            f"the head of {name} ends with {height}x{width} positions for features of {size[0]}x{size[1]}: "
            "expected 1x1. Use a smaller input size or heads='plain'."
        )


class Head(nn.Module):
    """One tuned layer: `code` reads the features, `expand` makes the offset.

    Attributes:
        spec: the layer.
        affine: whether `expand` is affine in the code, so that the codes of several steps may be summed.
    """

    affine = True

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.spec = spec

    def code(self, features: Tensor) -> Tensor:
        """[B,F,h,w] -> [B,C]."""
        raise TypeError(f"{type(self).__name__} does not define code()")

    def expand(self, code: Tensor, count: Tensor, shared: SharedExpander | None) -> Tensor:
        """Sum [B,C] of the codes of `count` [B] steps -> Δ, broadcastable to [B,O,I,k,k]."""
        raise TypeError(f"{type(self).__name__} does not define expand()")

    def _affine(self, weight: Tensor, bias: Tensor, code: Tensor, count: Tensor) -> Tensor:
        weight = weight.flatten(1)
        if _in_parts(code):
            matrices = weight.view(self.spec.channels_out, -1, code.shape[1])
            delta = torch.bmm(matrices, code.T.expand(len(matrices), -1, -1)).permute(2, 0, 1).flatten(1).contiguous()
        else:
            delta = code @ weight.T
        return delta + count[:, None] * bias


class SharedHead(Head):
    """A refinement head whose code goes through the shared expander."""

    def __init__(self, spec: LayerSpec, features: int, size: tuple[int, int], width: int) -> None:
        super().__init__(spec)
        _check_single(spec.name, size, 4)
        quarter = max(1, width // 4)
        self.convs = _strided([features, quarter, quarter, quarter, quarter, width], [1, 2, 2, 2, 2])
        self.linear = EqualLinear(width, width)

    def code(self, features: Tensor) -> Tensor:
        out: Tensor = self.linear(self.convs(features).flatten(1))
        return out

    def expand(self, code: Tensor, count: Tensor, shared: SharedExpander | None) -> Tensor:
        if shared is None:
            raise TypeError("a shared head needs the shared expander")
        out: Tensor = shared(code, count)
        return out


class PlainHead(Head):
    """Convolutions, average, one 1x1 convolution: a value per (out, in) pair, the same for all taps (Eq. 5)."""

    def __init__(
        self, spec: LayerSpec, features: int, size: tuple[int, int], width: int, *, per_tap: bool = False
    ) -> None:
        super().__init__(spec)
        half = max(1, width // 2)
        inner = [half] * (3 if spec.torgb else 2)
        self.convs = _strided([features, *inner, width], [2] * (len(inner) + 1))
        self.taps = spec.kernel if per_tap else 1
        last = nn.Conv2d(width, spec.channels_in * spec.channels_out * self.taps**2, 1)
        if spec.torgb:
            _check_single(spec.name, size, 4)
            self.output = nn.Sequential(last)
        else:
            self.output = nn.Sequential(nn.AdaptiveAvgPool2d(1), last)

    def code(self, features: Tensor) -> Tensor:
        x: Tensor = self.convs(features)
        return x.flatten(1) if self.spec.torgb else x.mean((2, 3))

    def expand(self, code: Tensor, count: Tensor, shared: SharedExpander | None) -> Tensor:
        last = self.output[-1]
        if not isinstance(last, nn.Conv2d) or last.bias is None:
            raise TypeError("a plain head ends with a 1x1 convolution")
        delta = self._affine(last.weight, last.bias, code, count)
        return delta.view(-1, self.spec.channels_out, self.spec.channels_in, self.taps, self.taps)


class SeparableHead(Head):
    """The head of the published ablation: Δ is a product of two small kernels, so it is not affine in the code."""

    affine = False

    def __init__(self, spec: LayerSpec, features: int, size: tuple[int, int], width: int) -> None:
        super().__init__(spec)
        _check_single(spec.name, size, 4)
        half = max(1, width // 2)
        self.convs = _strided([features, half, half, half, width], [2, 2, 2, 2])
        self.output = nn.Sequential(_SeparableOutput(spec, width))

    def code(self, features: Tensor) -> Tensor:
        x: Tensor = self.convs(features)
        return x.flatten(1)

    def expand(self, code: Tensor, count: Tensor, shared: SharedExpander | None) -> Tensor:
        out: Tensor = self.output(code)
        return out


class _SeparableOutput(nn.Module):
    def __init__(self, spec: LayerSpec, width: int) -> None:
        super().__init__()
        self.spec = spec
        taps = spec.kernel**2
        self.make_kernel_in = nn.Linear(width, taps * spec.channels_in)
        self.make_kernel_out = nn.Linear(width, taps * spec.channels_out)
        self.kernel_linear_in = nn.Linear(spec.channels_in, spec.channels_in)
        self.kernel_linear_out = nn.Linear(spec.channels_out, spec.channels_out)

    def forward(self, code: Tensor) -> Tensor:
        """[B,C] -> [B,O,I,k,k]."""
        k, size_in, size_out = self.spec.kernel, self.spec.channels_in, self.spec.channels_out
        row = self.make_kernel_in(code).view(-1, k, k, 1, size_in)
        column = self.make_kernel_out(code).view(-1, k, k, size_out, 1)
        kernel = self.kernel_linear_in(column @ row)  # [B,k,k,O,I]
        kernel = self.kernel_linear_out(kernel.transpose(3, 4))  # [B,k,k,I,O]
        out: Tensor = kernel.permute(0, 4, 3, 1, 2)
        return out


class CompactHead(Head):
    """For small generators: one strided convolution, positions kept, a short normalized code, one affine map.

    The map starts at zero, so an untrained hypernetwork changes nothing.
    """

    def __init__(self, spec: LayerSpec, features: int, size: tuple[int, int], width: int) -> None:
        super().__init__(spec)
        inner = max(8, features // 2)
        self.convs = nn.Sequential(
            nn.Conv2d(features, inner, 3, 2, 1), nn.GroupNorm(max(1, inner // 8), inner), nn.LeakyReLU(0.2)
        )
        positions = math.ceil(size[0] / 2) * math.ceil(size[1] / 2)
        self.linear = nn.Linear(inner * positions, width)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, spec.channels_in * spec.channels_out)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def code(self, features: Tensor) -> Tensor:
        x = self.norm(self.linear(self.convs(features).flatten(1)))
        return F.leaky_relu(x, 0.2)

    def expand(self, code: Tensor, count: Tensor, shared: SharedExpander | None) -> Tensor:
        delta = self._affine(self.output.weight, self.output.bias, code, count)
        return delta.view(-1, self.spec.channels_out, self.spec.channels_in, 1, 1)
