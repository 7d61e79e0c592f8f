"""The two convolutional trunks: a ResNet without max-pooling (hypernetwork) and IR-SE (encoders)."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError

Backbone = Literal["irse", "resnet"]
Norm = Literal["batch", "group", "none"]


@dataclass(frozen=True)
class TrunkConfig:
    """Numbers of a trunk.

    Attributes:
        widths: channels of the stages, up to 16; the defaults are those of the published networks (stem as wide as
            stage 1).
        blocks: residual blocks per stage, up to 256.
        stem_kernel, stem_stride: the first convolution (padding stem_kernel // 2).
        first_stride: stride of the first stage; later stages halve the resolution.
        norm: "batch" as published; "group" (8 channels a group) does not depend on batch statistics.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    stem_kernel: int
    stem_stride: int
    first_stride: int
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if len(self.widths) != len(self.blocks) or not self.widths or min(*self.widths, *self.blocks, 1) < 1:
            raise ConfigError(f"a trunk with widths {self.widths} and blocks {self.blocks}: expected as many of each.")
        if len(self.blocks) > 16 or max(self.blocks) > 256:
            raise ConfigError(f"a trunk with blocks {self.blocks}: expected up to 16 stages of up to 256 blocks.")
        steps = (self.stem_kernel, self.stem_stride, self.first_stride)
        if not all(1 <= step <= 64 for step in steps):
            raise ConfigError(f"a trunk with stem_kernel, stem_stride, first_stride = {steps}: expected 1 to 64 each.")
        if self.norm == "group" and any(w % 8 for w in self.widths):
            raise ConfigError(f"trunk widths {self.widths}: group normalization needs multiples of 8.")

    @classmethod
    def resnet34(cls) -> TrunkConfig:
        """The hypernetwork's trunk: ResNet-34, 256 px -> 16 px."""
        return cls((64, 128, 256, 512), (3, 4, 6, 3), stem_kernel=7, stem_stride=2, first_stride=1)

    @classmethod
    def irse50(cls) -> TrunkConfig:
        """The encoders' trunk: IR-SE-50, 256 px -> 16 px."""
        return cls((64, 128, 256, 512), (3, 4, 14, 3), stem_kernel=3, stem_stride=1, first_stride=2)

    @classmethod
    def ir101(cls) -> TrunkConfig:
        """The trunk of the network behind the identity figure: 112 px -> 7 px."""
        return cls((64, 128, 256, 512), (3, 13, 30, 3), stem_kernel=3, stem_stride=1, first_stride=2)

    @property
    def stages(self) -> list[tuple[int, int, int]]:
        """(channels in, channels out, stride) of every residual block, in order."""
        table = []
        before = self.widths[0]
        for stage, (width, count) in enumerate(zip(self.widths, self.blocks, strict=True)):
            for i in range(count):
                stride = 1 if i else (self.first_stride if stage == 0 else 2)
                table.append((before, width, stride))
                before = width
        return table

    def stage_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Size of the output of every stage, for an input of this size."""
        strides = [self.stem_stride * self.first_stride, *[2] * (len(self.widths) - 1)]
        # Sizes are rounded up, so the quotients may be taken one after the other or at once.
        return [(-(-height // total), -(-width // total)) for total in accumulate(strides, operator.mul)]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the features for an input of this size."""
        return self.stage_sizes(height, width)[-1]


def _normalization(kind: Norm, channels: int) -> nn.Module:
    """The normalization layer of this kind."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(channels // 8, channels) if kind == "group" else nn.Identity()


class ResidualBlock(nn.Module):
    """Convolutions and a shortcut, ReLU between them and after the sum (torchvision's names).

    Args:
        channels_in: of the input.
        convs: (channels, kernel, stride) of each convolution.
        norm: kind of normalization after each.
    """

    def __init__(self, channels_in: int, convs: Sequence[tuple[int, int, int]], norm: Norm = "batch") -> None:
        super().__init__()
        self.depth, before, total = len(convs), channels_in, 1
        for i, (channels, kernel, stride) in enumerate(convs, 1):
            self.add_module(f"conv{i}", nn.Conv2d(before, channels, kernel, stride, kernel // 2, bias=False))
            self.add_module(f"bn{i}", _normalization(norm, channels))
            before, total = channels, total * stride
        self.downsample: nn.Module | None = None
        if total != 1 or channels_in != before:
            shortcut = nn.Conv2d(channels_in, before, 1, total, bias=False)
            self.downsample = nn.Sequential(shortcut, _normalization(norm, before))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.depth + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(F.relu(y) if i > 1 else y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 16)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)  # [B,C,1,1]
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(pooled))))


class _Subsampling(nn.Module):
    """Every `stride`-th row and column; the published networks write it as max-pooling of single pixels."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride]


class _IRSEBlock(nn.Module):
    """Pre-normalized residual block, with or without squeeze-and-excitation; the second convolution has the stride."""

    def __init__(self, channels_in: int, channels: int, stride: int, norm: Norm, squeeze: bool) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if channels_in == channels:
            self.shortcut_layer = _Subsampling(stride)
        else:
            projection = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(projection, _normalization(norm, channels))
        self.res_layer = nn.Sequential(
            _normalization(norm, channels_in),
            nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            _normalization(norm, channels),
            *([_SqueezeExcite(channels)] if squeeze else []),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_layer(x) + self.res_layer(x)


class TrunkNetwork(nn.Module):
    """A trunk, and what networks that begin with one have in common: its parts have no prefix in published files.

    Args:
        backbone: its kind, "resnet" (without max-pooling) or "irse".
        channels: of the images.
        config: the numbers of the trunk.
        squeeze: False makes an "irse" trunk IR, without squeeze-and-excitation.
    """

    body: nn.Sequential

    def __init__(self, backbone: Backbone, channels: int, config: TrunkConfig, *, squeeze: bool = True) -> None:
        super().__init__()
        width, kernel, norm = config.widths[0], config.stem_kernel, config.norm
        conv = nn.Conv2d(channels, width, kernel, config.stem_stride, kernel // 2, bias=False)
        stem = conv, _normalization(norm, width), nn.PReLU(width)
        blocks: list[nn.Module]
        if backbone == "irse":
            self.input_layer = nn.Sequential(*stem)
            blocks = [_IRSEBlock(*numbers, norm, squeeze) for numbers in config.stages]
        else:
            self.conv1, self.bn1, self.relu = stem
            blocks = [ResidualBlock(i, [(o, 3, stride), (o, 3, 1)], norm) for i, o, stride in config.stages]
        self._stem = tuple(name for name, _ in self.named_children())
        self.body = nn.Sequential(*blocks)
        self._ends = set(accumulate(config.blocks))

    def stage_features(self, x: Tensor) -> list[Tensor]:
        """[B,channels,h,w] -> the output of the stem and of every stage, [B,C,h',w'] each, fine to coarse."""
        stages = [x := self._stem_features(x)]
        for count, block in enumerate(self.body, 1):
            x = block(x)
            if count in self._ends:
                stages.append(x)
        return stages

    def trunk_features(self, x: Tensor) -> Tensor:
        """[B,channels,h,w] -> features [B,widths[-1],h',w'], 16 times smaller as published."""
        return self.body(self._stem_features(x))

    def _stem_features(self, x: Tensor) -> Tensor:
        for name in self._stem:
            x = self.get_submodule(name)(x)
        return x


class _Conv3x3(nn.Conv2d):
    """A 3x3 convolution that uses stride 1 for features of a single pixel, where the stride has no effect.

    With a stride, PyTorch (2.15) returns uninitialized memory as the gradient of the weights for a single pixel in
    bfloat16 on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) == (1, 1):
            return F.conv2d(x, self.weight, self.bias, 1, self.padding)
        return super().forward(x)


def strided_convs(*channels: int, first_stride: int = 2) -> nn.Sequential:
    """3x3 convolutions from channels[i] to channels[i + 1] with stride 2, each followed by leaky ReLU 0.01.

    The first has `first_stride`. In the result, convolution i has index 2 i: checkpoints name their weights by it.
    """
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(channels)):
        layers += [_Conv3x3(before, after, 3, 2 if i else first_stride, 1), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)
