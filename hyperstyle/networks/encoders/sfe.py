"""StyleFeatureEditor (Bobkov et al., CVPR 2024): crop -> latent codes and features of a layer; features -> edited ones.

Tensor names are those of the published files.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.w_encoder import check_crop
from hyperstyle.networks.stylegan2.config import GeneratorConfig, LayerSpec, layer_table
from hyperstyle.networks.stylegan2.features import feature_layer

_POOLED = 3  # the heads read features pooled to 3x3


@dataclass(frozen=True)
class FeatureEditorConfig:
    """Numbers of a feature editor.

    Attributes:
        generator: the generator whose features it edits.
        layer: the layer whose output the features stand for.
        blocks: residual blocks, up to 64.
    """

    generator: GeneratorConfig
    layer: str = "b64.conv1"
    blocks: int = 5

    def __post_init__(self) -> None:
        _ = self.spec
        if not 1 <= self.blocks <= 64:
            raise ConfigError(f"a feature editor with blocks={self.blocks}: expected 1 to 64.")

    @property
    def spec(self) -> LayerSpec:
        """The layer. Raises ConfigError for one whose output no next resolution reads."""
        return feature_layer(layer_table(self.generator), self.layer)


@dataclass(frozen=True)
class SfeInverterConfig(FeatureEditorConfig):
    """Numbers of an Inverter, after those of `FeatureEditorConfig`; `blocks` are those of its fuser.

    Attributes:
        input_size: (height, width) of the crop in pixels: four times the side of the features.
        widths: channels of the four stages of the backbone.
        stage_blocks: residual blocks of each stage, up to 256.
    """

    input_size: tuple[int, int] = (256, 256)
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    stage_blocks: tuple[int, int, int, int] = (3, 4, 14, 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("input_size", "widths", "stage_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.widths) != 4 or len(self.stage_blocks) != 4 or min(*self.widths, *self.stage_blocks) < 1:
            raise ConfigError(
                f"an Inverter with widths {self.widths} and stage_blocks {self.stage_blocks}: expected four of each."
            )
        if max(self.stage_blocks) > 256:
            raise ConfigError(f"an Inverter with stage_blocks {self.stage_blocks}: expected up to 256 blocks.")
        if self.input_size != (side := 4 * self.spec.resolution, side):
            raise ConfigError(
                f"an Inverter for crops of {self.input_size} px and features of {self.layer}: expected {(side, side)}, "
                "four times the side of the features."
            )


class _Block(nn.Module):
    """iResNet's pre-normalized residual block; the second convolution has the stride."""

    def __init__(self, channels_in: int, channels: int, stride: int, *, project: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if project:
            convolution = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv1(self.bn1(x)))
        y = self.bn3(self.conv2(self.prelu(y)))
        return y + (x if self.downsample is None else self.downsample(x))


def _two_convs(channels_in: int, channels: int) -> nn.Sequential:
    """Normalization, convolution, normalization, PReLU, convolution, normalization."""
    return nn.Sequential(
        nn.BatchNorm2d(channels_in),
        nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.PReLU(channels),
        nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
        nn.BatchNorm2d(channels),
    )


class _Backbone(nn.Module):
    """Crop -> a code for every row, and features at a quarter of its size.

    iResNet-50 without its end, whose third stage keeps the size.
    """

    def __init__(self, config: SfeInverterConfig) -> None:
        super().__init__()
        first = config.widths[0]
        self.conv = nn.Sequential(nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first))
        widths = pairwise((first, *config.widths))
        # Half, quarter, quarter, eighth: the stride of the third stage is 1, which its weights do not show.
        for number, (sizes, count, stride) in enumerate(zip(widths, config.stage_blocks, (2, 2, 1, 2), strict=True), 1):
            before, width = sizes
            blocks = [_Block(before, width, stride, project=True)]
            blocks += [_Block(width, width, 1, project=False) for _ in range(count - 1)]
            self.add_module(f"block_{number}", nn.Sequential(*blocks))
        self.content_layer = _two_convs(config.widths[2], config.spec.channels_out)
        pooled = sum(config.widths) * _POOLED**2
        rows, latent_width = config.generator.rows, config.generator.latent_width
        self.styles = nn.ModuleList(nn.Linear(pooled, latent_width) for _ in range(rows))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B,3,h,w] -> ([B,L,D], [B,C,h/4,w/4])."""
        x, pooled, content = self.conv(x), [], x
        for number in range(1, 5):
            x = self.get_submodule(f"block_{number}")(x)
            pooled.append(F.adaptive_avg_pool2d(x, _POOLED))
            if number == 3:
                content = self.content_layer(x)
        vector = torch.cat(pooled, 1).flatten(1)  # [B, sum of widths, 3, 3] -> [B, 9 * sum of widths]
        return torch.stack([head(vector) for head in self.styles], 1), content


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = _two_convs(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Chain(nn.Module):
    """Two feature maps of the same size -> one: a 1x1 convolution and residual blocks."""

    def __init__(self, config: FeatureEditorConfig) -> None:
        super().__init__()
        channels = config.spec.channels_out
        self.conv = nn.Conv2d(2 * channels, channels, 1)
        self.body = nn.Sequential(*(_Residual(channels) for _ in range(config.blocks)))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """[B,C,r,r] twice -> [B,C,r,r]."""
        joined: Tensor = self.body(self.conv(torch.cat([first, second], 1)))
        return joined


class FeatureEditor(_Chain):
    """H(F, D): features and what an edit takes from them -> the features after the edit (Section 3.3).

    It runs for images without edits too, with D = 0: H(F, 0) is not F.

    Attributes:
        config: the numbers it was built from.

    Example:
        >>> generator = GeneratorConfig(16, (8, 8, 4), latent_width=16, mapping_layers=2)
        >>> editor = FeatureEditor(FeatureEditorConfig(generator, "b8.conv1", blocks=1))
        >>> editor(torch.zeros(2, 8, 8, 8), torch.zeros(2, 8, 8, 8)).shape
        torch.Size([2, 8, 8, 8])
    """

    def __init__(self, config: FeatureEditorConfig) -> None:
        super().__init__(config)
        self.config = config


class SfeInverter(nn.Module):
    """The Inverter: crop -> latent codes w and features P; P and the generator's own maps S for w -> features F.

    Attributes:
        config: the numbers it was built from.
        latent_avg: [L,D] mean code, added to what the backbone predicts.

    Example:
        >>> generator = GeneratorConfig(16, (8, 8, 4), latent_width=16, mapping_layers=2)
        >>> config = SfeInverterConfig(generator, "b8.conv1", 1, (32, 32), (4, 4, 6, 8), (1, 1, 1, 1))
        >>> w, predicted = SfeInverter(config)(torch.zeros(2, 3, 32, 32))
        >>> w.shape, predicted.shape
        (torch.Size([2, 6, 16]), torch.Size([2, 8, 8, 8]))
    """

    latent_avg: Tensor

    def __init__(self, config: SfeInverterConfig) -> None:
        super().__init__()
        self.config = config
        self.fs_backbone = _Backbone(config)
        self.fuser = _Chain(config)
        self.register_buffer("latent_avg", torch.zeros(config.generator.rows, config.generator.latent_width))

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        """Crops [B,3,h,w] in [-1,1] -> codes w [B,L,D] and features P [B,C,h/4,w/4].

        Raises:
            ConfigError: the crop is not of `config.input_size`.
        """
        check_crop("Inverter", crop, self.config.input_size)
        codes, predicted = self.fs_backbone(crop)
        return codes + self.latent_avg, predicted

    def fuse(self, predicted: Tensor, generated: Tensor) -> Tensor:
        """P and the generator's own maps S for w, [B,C,r,r] each -> F [B,C,r,r]."""
        fused: Tensor = self.fuser(predicted, generated)
        return fused
