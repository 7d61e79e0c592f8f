"""The bundled evaluator: reads trait values and an identity embedding from a crop."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import TrunkConfig, TrunkNetwork


@dataclass(frozen=True)
class AttributeNetworkConfig:
    """Numbers of an attribute network.

    Attributes:
        traits: names of the values it reads, in the order of its output.
        trunk: its IR-SE trunk.
        input_size: side of the crop in pixels.
        embedding_width: length of the identity embedding.
    """

    traits: tuple[str, ...]
    trunk: TrunkConfig
    input_size: int = 64
    embedding_width: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.input_size <= 4096 or self.embedding_width < 1:
            raise ConfigError(
                f"attribute network with input_size={self.input_size}, embedding_width={self.embedding_width}: "
                "expected 1 to 4096 px and a positive width."
            )


class AttributeNetwork(TrunkNetwork):
    """Reads, from a crop [B,3,h,h] in [-1,1], trait values in about [0,1] and an identity embedding.

    Larger crops are averaged down to `config.input_size` first.
    """

    type_on_disk = "TraitNetwork"  # the class's name in version 0.1, which wrote it into model folders

    def __init__(self, config: AttributeNetworkConfig) -> None:
        super().__init__("irse", 3, config.trunk)
        self.config = config
        height, width = config.trunk.output_size(config.input_size, config.input_size)
        flat = config.trunk.widths[-1] * height * width
        self.trait_head = nn.Linear(flat, len(config.traits))
        self.identity_head = nn.Linear(flat, config.embedding_width)

    def features(self, x: Tensor) -> list[Tensor]:
        """The output of the stem and of every stage, fine to coarse: [B,C,h,w] each."""
        side = self.config.input_size
        if tuple(x.shape[2:]) != (side, side):
            x = F.adaptive_avg_pool2d(x, side)
        return self.stage_features(x)

    def forward(self, x: Tensor) -> Tensor:
        """Trait values [B,len(traits)]."""
        return self.trait_head(self.features(x)[-1].flatten(1))

    def embedding(self, x: Tensor) -> Tensor:
        """Identity embedding [B,E], not normalized."""
        return self.identity_head(self.features(x)[-1].flatten(1))
