"""The heads of the hypernetwork, one per tuned layer: features -> offset code -> dense offset."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import strided_convs
from hyperstyle.networks.stylegan2.generator import LayerSpec
from hyperstyle.networks.stylegan2.ops import EqualLinear, normal


class SharedExpander(nn.Module):
    """The affine map from a code to a 3x3 offset, shared by the heads of all square layers (paper, Section 3.3).

    C is both the width of the code and the number of input and of output channels of these layers. `rows` computes
    A = code @ w2 + b2, viewed as [C,C] with a row for each output channel. `delta` computes Δ = A @ w1 + b1, in which
    the row [C*9] of an output channel holds its weights in the order (input channel, tap, tap).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.w1 = nn.Parameter(normal(width, width * 9, scale=1 / 40))
        self.b1 = nn.Parameter(normal(width * 9, scale=1 / 40))
        self.w2 = nn.Parameter(normal(width, width * width, scale=1 / 40))
        self.b2 = nn.Parameter(normal(width * width, scale=1 / 40))

    def forward(self, code: Tensor, count: Tensor) -> Tensor:
        """Sum [B,C] of the codes of `count` [B] steps -> sum [B,C,C,3,3] of their offsets Δ.

        The biases b1 and b2 are therefore multiplied by `count`.
        """
        return self.delta(self.rows(code, count), count)

    def rows(self, code: Tensor, count: Tensor) -> Tensor:
        """Sum [B,C] of the codes of `count` [B] steps -> A [B,C,C], with a row for each output channel.

        Its weights w2 [C,C*C] are nearly all of the weights of this module, so reading them takes most of the time.
        """
        bias = (count[:, None] * self.b2).view(-1, self.width, self.width)  # [B,C*C] -> [B,O,C]
        if not _is_faster_in_parts(code):
            return (code @ self.w2).view_as(bias) + bias
        # [C,O*C] -> [C,O,C] -> [O,C,C], a matrix for each output channel: [O,B,C] @ [O,C,C] -> [O,B,C] -> [B,O,C]
        matrices = self.w2.view(self.width, self.width, self.width).transpose(0, 1)
        return torch.bmm(code.expand(self.width, -1, -1), matrices).transpose(0, 1) + bias

    def delta(self, rows: Tensor, count: Tensor) -> Tensor:
        """A [B,C,C], as `rows` returns it for `count` [B] steps -> Δ [B,C,C,3,3]."""
        bias = (count[:, None] * self.b1)[:, None]  # [B,1,I*9]
        delta = torch.baddbmm(bias, rows, self.w1.expand(len(rows), -1, -1))  # [B,O,C] @ [C,I*9] -> [B,O,I*9]
        return delta.view(-1, self.width, self.width, 3, 3)


def _is_faster_in_parts(code: Tensor) -> bool:
    """Whether to multiply codes [B,C] by a large matrix in parts, one for each output channel, in a batched product.

    On a CPU, a single product of so few rows runs on one thread and uses only a part of the memory bandwidth.
    """
    return code.device.type == "cpu" and code.dtype == torch.float32


def _check_single(spec: LayerSpec, size: tuple[int, int]) -> None:
    """Raises ConfigError unless features of (height, width) `size` shrink to one pixel when halved four times.

    Odd sizes are rounded up.
    """
    height, width = (-(-side // 16) for side in size)
    if (height, width) != (1, 1):
        raise ConfigError(
            f"the head of {spec.name} ends with {height}x{width} positions for features of {size[0]}x{size[1]}: "
            "expected 1x1. Use a smaller input size or heads='plain'."
        )


class Head(nn.Module, ABC):
    """The part of a hypernetwork that predicts the offset of one layer of the generator.

    `code` computes the layer's offset code from the features, and `expand` the offset from the code. Subclasses take
    the layer, the number F of feature channels, their (height, width), and the width C of the code.

    Attributes:
        spec: the layer whose weights the offset changes.
        affine: whether the offset is affine in the code. If so, the codes of several steps may be summed before
            `expand`; else each step is expanded by itself.
    """

    affine = True

    def __init__(self, spec: LayerSpec, convs: nn.Sequential) -> None:
        super().__init__()
        self.spec, self.convs = spec, convs

    def code(self, features: Tensor) -> Tensor:
        """Features [B,F,h,w] -> offset code [B,C]."""
        return self.convs(features).flatten(1)  # [B,N,h',w'] -> [B,N*h'*w'], which is [B,C] unless a subclass maps it

    @abstractmethod
    def expand(self, code: Tensor, count: Tensor, shared: SharedExpander | None) -> Tensor:
        """Computes the offset, for several steps the sum of their offsets (Eq. 6).

        Args:
            code: [B,C], the sum of the codes of these steps; of one step if the head is not affine.
            count: [B] number of steps, by which an affine head multiplies its bias; others ignore it.
            shared: the expander for `SharedHead`, which requires it; others ignore it.

        Returns:
            Δ, broadcastable to [B,O,I,k,k].
        """

    def _affine(self, layer: Any, code: Tensor, count: Tensor, taps: int = 1) -> Tensor:
        """The sum over T steps of an affine map of their codes: weight @ (sum of codes) + T bias (Eq. 6).

        Args:
            layer: linear or a 1x1 convolution, with a weight [N,C] or [N,C,1,1] and a bias [N], N = O * I * taps^2.
            code: [B,C], the sum of the codes.
            count: [B], T for each image.
            taps: along a side of the kernel.

        Returns:
            Δ [B,O,I,taps,taps].
        """
        weight, size_out = layer.weight.flatten(1), self.spec.channels_out  # [N,C]
        if _is_faster_in_parts(code):
            matrices = weight.view(size_out, -1, code.shape[1])  # [O,N/O,C]
            # [O,N/O,C] @ [O,C,B] -> [O,N/O,B] -> [B,O,N/O] -> [B,N]
            delta = torch.bmm(matrices, code.T.expand(len(matrices), -1, -1)).permute(2, 0, 1).flatten(1).contiguous()
        else:
            delta = code @ weight.T
        return (delta + count[:, None] * layer.bias).view(-1, size_out, self.spec.channels_in, taps, taps)


class SharedHead(Head):
    """The paper's shared refinement block: convolutions down to one pixel, then a linear layer, give the code.

    The `SharedExpander` computes the offset [B,C,C,3,3] from it.
    """

    def __init__(self, spec: LayerSpec, features: int, size: tuple[int, int], width: int) -> None:
        _check_single(spec, size)
        # The first of five convolutions keeps the size, the others halve it: [B,F,h,w] -> [B,C,1,1].
        super().__init__(spec, strided_convs(features, *[max(1, width // 4)] * 4, width, first_stride=1))
        self.linear = EqualLinear(width, width)

    def code(self, features: Tensor) -> Tensor:
        return self.linear(super().code(features))

    def expand(self, code: Tensor, count: Tensor, shared: SharedExpander | None) -> Tensor:
        if shared is None:
            raise TypeError("a shared head needs the shared expander")
        return shared(code, count)


class PlainHead(Head):
    """The paper's refinement block: convolutions and a spatial average give the code, a 1x1 convolution the offset.

    The offset is [B,O,I,1,1], the same for all taps of a filter (Eq. 5), or [B,O,I,k,k] with `per_tap`. A head for a
    toRGB layer has one more convolution, down to one pixel, in place of the average.
    """

    def __init__(
        self, spec: LayerSpec, features: int, size: tuple[int, int], width: int, *, per_tap: bool = False
    ) -> None:
        if spec.torgb:
            _check_single(spec, size)
        super().__init__(spec, strided_convs(features, *[max(1, width // 2)] * (3 if spec.torgb else 2), width))
        self.taps = spec.kernel if per_tap else 1
        last = nn.Conv2d(width, spec.channels_in * spec.channels_out * self.taps**2, 1)
        self.output = nn.Sequential(*([] if spec.torgb else [nn.AdaptiveAvgPool2d(1)]), last)

    def code(self, features: Tensor) -> Tensor:
        # [B,C,h,w] -> [B,C]: toRGB heads end with a single position
        return super().code(features) if self.spec.torgb else self.convs(features).mean((2, 3))

    def expand(self, code: Tensor, count: Tensor, shared: SharedExpander | None) -> Tensor:
        return self._affine(self.output[-1], code, count, self.taps)


class SeparableHead(Head):
    """The separable head of the paper's ablation study. Its Δ [B,O,I,k,k] is not affine in the code.

    Two linear maps of the code give, for each tap, a vector over input channels and one over output channels. Their
    outer product goes through a linear layer over the input channels and one over the output channels.
    """

    affine = False

    def __init__(self, spec: LayerSpec, features: int, size: tuple[int, int], width: int) -> None:
        _check_single(spec, size)
        super().__init__(spec, strided_convs(features, *[max(1, width // 2)] * 3, width))
        taps, size_in, size_out = spec.kernel**2, spec.channels_in, spec.channels_out
        maps = {
            "make_kernel_in": nn.Linear(width, taps * size_in),
            "make_kernel_out": nn.Linear(width, taps * size_out),
            "kernel_linear_in": nn.Linear(size_in, size_in),
            "kernel_linear_out": nn.Linear(size_out, size_out),
        }
        self.output = nn.Sequential(nn.ModuleDict(maps))

    def expand(self, code: Tensor, count: Tensor, shared: SharedExpander | None) -> Tensor:
        maps: Any = self.output[0]
        k, size_in, size_out = self.spec.kernel, self.spec.channels_in, self.spec.channels_out
        # For each tap an outer product, a column over output channels times a row over input channels.
        row = maps["make_kernel_in"](code).view(-1, k, k, 1, size_in)  # [B,k*k*I] -> [B,k,k,1,I]
        column = maps["make_kernel_out"](code).view(-1, k, k, size_out, 1)  # [B,k*k*O] -> [B,k,k,O,1]
        kernel = maps["kernel_linear_in"](column @ row)  # [B,k,k,O,I]
        kernel = maps["kernel_linear_out"](kernel.transpose(3, 4))  # [B,k,k,I,O]
        # [B,k,k,I,O] -> [B,O,I,k,k]
        return kernel.permute(0, 4, 3, 1, 2)


class CompactHead(Head):
    """A head for small generators, whose offset is [B,O,I,1,1], the same for all taps of a filter.

    A strided convolution, a linear layer over all of its channels and positions (no average), layer normalization and
    leaky ReLU give the code; a linear layer gives the offset. That last layer starts at zero, so an untrained
    hypernetwork changes nothing.
    """

    def __init__(self, spec: LayerSpec, features: int, size: tuple[int, int], width: int) -> None:
        inner = max(8, features // 2)
        norm = nn.GroupNorm(max(1, inner // 8), inner)
        super().__init__(spec, nn.Sequential(nn.Conv2d(features, inner, 3, 2, 1), norm, nn.LeakyReLU(0.2)))
        # positions after the strided convolution, which are not averaged
        positions = math.ceil(size[0] / 2) * math.ceil(size[1] / 2)
        self.linear = nn.Linear(inner * positions, width)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, spec.channels_in * spec.channels_out)
        # Δ = 0 at the start of training
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def code(self, features: Tensor) -> Tensor:
        # [B,F,h,w] -> [B,N*h/2*w/2], positions kept -> [B,C]
        return F.leaky_relu(self.norm(self.linear(super().code(features))), 0.2)

    def expand(self, code: Tensor, count: Tensor, shared: SharedExpander | None) -> Tensor:
        return self._affine(self.output, code, count)
