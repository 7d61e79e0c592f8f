"""VGG16 (Simonyan and Zisserman, ICLR 2015) up to the third convolution of its fourth block: features for losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError

_MEAN_BGR = (103.939, 116.779, 123.68)  # of ImageNet, in 0..255: how the published weights want their images


@dataclass(frozen=True)
class Vgg16Config:
    """Numbers of the network.

    Attributes:
        widths: channels of each block; images are halved between blocks.
        convs: convolutions of each block.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    convs: tuple[int, ...] = (2, 2, 3, 3)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "convs", tuple(self.convs))
        is_matched = 0 < len(self.widths) == len(self.convs)
        if not is_matched or min(*self.widths, *self.convs) < 1 or sum(self.convs) > 64:
            raise ConfigError(
                f"VGG of widths {self.widths} and {self.convs} convolutions: expected as many, positive, and 64 "
                "convolutions or less."
            )


class Vgg16(nn.Module):
    """Images -> features. Places in `features` are those of torchvision's, so its tensors have the same names.

    The weights are those with Caffe's preprocessing (blue first, 0..255), which Keras has too; not torchvision's own.

    Example:
        >>> Vgg16(Vgg16Config(widths=(4, 8), convs=(1, 2)))(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 8, 8, 8])
    """

    mean: Tensor

    def __init__(self, config: Vgg16Config) -> None:
        super().__init__()
        self.config = config
        before, layers = 3, list[nn.Module]()
        for width, count in zip(config.widths, config.convs, strict=True):
            if layers:
                layers.append(nn.MaxPool2d(2))
            for _ in range(count):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(_MEAN_BGR))

    def forward(self, image: Tensor) -> Tensor:
        """Images [B,3,h,w], RGB in [-1,1] -> features [B,C,h',w'] after the last ReLU."""
        bgr = (image.flip(1) + 1) * 127.5 - self.mean[:, None, None]
        return self.features(bgr)
