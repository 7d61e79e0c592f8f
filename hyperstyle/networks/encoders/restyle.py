"""The ReStyle encoder (Alaluf et al., ICCV 2021): a crop and a reconstruction -> a change of the latent codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig, add_trunk
from hyperstyle.networks.encoders.w_encoder import MapBlock, check_numbers, row_codes

__all__ = ["RestyleEncoder", "RestyleEncoderConfig"]


@dataclass(frozen=True)
class RestyleEncoderConfig:
    """Numbers of a ReStyle encoder.

    Attributes:
        rows: L, style rows of the generator it serves.
        latent_width: D.
        input_size: (height, width) of crop and reconstruction in pixels.
        backbone: "irse" (faces) or "resnet" (the other published domains).
        trunk: the numbers of that backbone.
        progressive: True adds rows 1, 2, ... to the first (e4e); False predicts every row separately (pSp).
    """

    rows: int
    latent_width: int = 512
    input_size: tuple[int, int] = (256, 256)
    backbone: Backbone = "irse"
    trunk: TrunkConfig = field(default_factory=TrunkConfig.irse50)
    progressive: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", tuple(self.input_size))
        check_numbers("ReStyle encoder", self.rows, self.latent_width, self.input_size)

    @property
    def method(self) -> Literal["restyle-e4e", "restyle-psp"]:
        """The name of the inversion method that it makes possible."""
        return "restyle-e4e" if self.progressive else "restyle-psp"


class RestyleEncoder(nn.Module):
    """Predicts the change of the latent codes from a crop and the reconstruction so far.

    Tensor names are those of the published files below `encoder.`.

    Attributes:
        config: the numbers it was built from.
        latent_avg: [L,D] codes that the first step starts from; `forward` does not add them.

    Example:
        >>> trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2)
        >>> encoder = RestyleEncoder(RestyleEncoderConfig(rows=6, latent_width=16, input_size=(16, 16), trunk=trunk))
        >>> encoder(torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 6, 16])
    """

    latent_avg: Tensor

    def __init__(self, config: RestyleEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self._parts = add_trunk(self, config.backbone, 6, config.trunk)
        size = config.trunk.output_size(*config.input_size)
        self.styles = nn.ModuleList(
            MapBlock(config.trunk.widths[-1], config.latent_width, size) for _ in range(config.rows)
        )
        self.register_buffer("latent_avg", torch.zeros(config.rows, config.latent_width))

    def forward(self, crop: Tensor, reconstruction: Tensor) -> Tensor:
        """One step: [B,3,h,w] and [B,3,h,w] in [-1,1] -> the change of the codes [B,L,D].

        Raises:
            ConfigError: a size other than `config.input_size`.
        """
        if crop.shape != reconstruction.shape or tuple(crop.shape[1:]) != (3, *self.config.input_size):
            raise ConfigError(
                f"ReStyle encoder given crop {tuple(crop.shape)} and reconstruction {tuple(reconstruction.shape)}: "
                f"expected both [B, 3, {', '.join(map(str, self.config.input_size))}]."
            )
        x = torch.cat([crop, reconstruction], 1)
        for name in self._parts:
            x = self.get_submodule(name)(x)
        return row_codes([block(x) for block in self.styles], progressive=self.config.progressive)
