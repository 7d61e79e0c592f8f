"""Face recognition networks: ArcFace on IR-SE-50 (identity loss) and CurricularFace on IR-101 (identity figure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError, ImageError
from hyperstyle.networks.encoders.backbones import TrunkConfig, TrunkNetwork

__all__ = ["FaceNetwork", "FaceNetworkConfig"]

_CROP_OF = 256  # the side of the images that the identity loss cuts the face out of
_ROWS, _COLUMNS = slice(35, 223), slice(32, 220)


@dataclass(frozen=True)
class FaceNetworkConfig:
    """Numbers of a face recognition network.

    Attributes:
        trunk: its IR or IR-SE trunk.
        squeeze: squeeze-and-excitation in the blocks (IR-SE).
        affine: whether the last normalization has weights.
        prepare: how an image gets to `input_size`: "crop" keeps rows 35:223 and columns 32:220 of a 256 px image
            and averages; "nearest" resizes the whole image.
        input_size: side of the trunk's input, in pixels.
        embedding_width: E.
    """

    trunk: TrunkConfig = field(default_factory=TrunkConfig.irse50)
    squeeze: bool = True
    affine: bool = True
    prepare: Literal["crop", "nearest"] = "crop"
    input_size: int = 112
    embedding_width: int = 512

    def __post_init__(self) -> None:
        if self.input_size < 1 or self.embedding_width < 1:
            raise ConfigError(
                f"face network with input_size={self.input_size}, embedding_width={self.embedding_width}: expected "
                "positive numbers."
            )

    @classmethod
    def arcface(cls) -> FaceNetworkConfig:
        """The network of the identity loss."""
        return cls()

    @classmethod
    def curricular(cls) -> FaceNetworkConfig:
        """The network of the identity figure.

        The published figure aligns faces by a detector first. Here the image, an FFHQ crop already, is resized as it
        is, so that no detector's weights are needed.
        """
        return cls(TrunkConfig.ir101(), squeeze=False, affine=False, prepare="nearest")


class FaceNetwork(TrunkNetwork):
    """Images [B,3,H,W] in [-1,1] -> unit vectors [B,E] whose cosine is the similarity of two faces.

    Tensor names are those of the published files.

    Attributes:
        config: the numbers it was built from.
    """

    def __init__(self, config: FaceNetworkConfig) -> None:
        super().__init__("irse", 3, config.trunk, squeeze=config.squeeze)
        self.config = config
        width = config.trunk.widths[-1]
        rows, columns = config.trunk.output_size(config.input_size, config.input_size)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(),  # in training only; it keeps the places of the published layers
            nn.Flatten(),
            nn.Linear(width * rows * columns, config.embedding_width),
            nn.BatchNorm1d(config.embedding_width, affine=config.affine),
        )

    def prepared(self, image: Tensor) -> Tensor:
        """The input of the trunk: [B,3,input_size,input_size].

        Raises:
            ImageError: not [B,3,H,W]; or, where the face is cut out by its place, not 256x256 px.
        """
        side = self.config.input_size
        if image.ndim != 4 or image.shape[1] != 3:
            raise ImageError(f"a face network was given {tuple(image.shape)}: expected images [B, 3, H, W].")
        if self.config.prepare == "nearest":
            return F.interpolate(image, size=(side, side), mode="nearest")
        if tuple(image.shape[2:]) != (_CROP_OF, _CROP_OF):
            raise ImageError(
                f"a face network was given images of {image.shape[2]}x{image.shape[3]} px (height x width): expected "
                f"{_CROP_OF}x{_CROP_OF}, in which the place of the face is known. Average larger ones down first."
            )
        return F.adaptive_avg_pool2d(image[:, :, _ROWS, _COLUMNS], side)

    def forward(self, image: Tensor) -> Tensor:
        """[B,3,H,W] -> [B,E], see `prepared` for sizes and errors."""
        return F.normalize(self.output_layer(self.trunk_features(self.prepared(image))))
