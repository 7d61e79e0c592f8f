"""Single channels of StyleSpace that others found and named (Wu et al., CVPR 2021, and later repositories)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hyperstyle.networks.stylegan2.generator import GeneratorConfig, LayerSpec, layer_table

__all__ = ["CHANNELS", "PUBLISHED_STEP", "PublishedChannels"]

PUBLISHED_STEP = 3.0
"""What one unit of the published strengths adds to each channel."""


@dataclass(frozen=True)
class PublishedChannels:
    """Channels of the official generator of one domain.

    Attributes:
        size: side of its images in pixels.
        channels: name -> (layer, channel) each; layers in the official order, toRGB counted.
    """

    size: int
    channels: Mapping[str, tuple[tuple[int, int], ...]]

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        """The layers of that generator."""
        return layer_table(GeneratorConfig.official(self.size))


CHANNELS: Mapping[str, PublishedChannels] = {
    "faces": PublishedChannels(
        1024,
        {
            "bangs": ((3, 259), (6, 285), (5, 414), (6, 128), (9, 295), (6, 322), (6, 487), (6, 504)),
            "black hair": ((12, 479),),
            "blond hair": ((12, 479), (12, 266)),
            "earrings": ((8, 81),),
            "gender": ((9, 6),),
            "glasses": ((3, 288), (2, 175), (3, 120), (2, 97)),
            "goatee": ((9, 421),),
            "grey hair": ((11, 286),),
            "lipstick": ((15, 45),),
            "receding hairline": ((5, 414), (6, 322), (6, 497), (6, 504)),
            "sideburns": ((12, 237),),
            "smiling": ((6, 501),),
            "wavy hair": ((6, 500), (8, 128), (5, 92), (6, 394), (6, 323)),
            "wear suit": ((9, 441), (8, 292), (11, 358), (6, 223)),
        },
    ),
    "cars": PublishedChannels(
        512,
        {
            "car color": ((12, 142), (15, 227)),
            "front": ((8, 411),),
            "grass": ((12, 107),),
            "grill": ((9, 191),),
            "headlights": ((8, 441), (9, 355)),
            "hubcap": ((12, 113), (12, 439)),
            "logo": ((9, 185),),
            "sky": ((12, 76),),
            "trees": ((9, 108),),
            "wheel angle": ((8, 420),),
        },
    ),
}
