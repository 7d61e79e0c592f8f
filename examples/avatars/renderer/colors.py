"""The colors of a batch of avatars, from their factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from examples.avatars.renderer.factors import Factors
from examples.avatars.renderer.shapes import hsv, palette, smoothstep

__all__ = ["Colors", "grayness"]

_SKIN = [
    [249, 217, 191],
    [246, 204, 170],
    [234, 180, 138],
    [210, 150, 106],
    [172, 115, 76],
    [130, 83, 54],
    [96, 60, 42],
]
_HAIR = [
    [34, 27, 27],
    [58, 38, 30],
    [98, 62, 40],
    [150, 80, 42],
    [194, 122, 62],
    [224, 176, 106],
    [242, 214, 160],
]
_EYES = [[84, 52, 30], [128, 84, 42], [134, 122, 66], [88, 138, 104], [84, 142, 178], [104, 170, 220]]
_WARM_PAPER = [0.86, 0.78, 0.70]


@dataclass(frozen=True)
class Colors:
    """Albedos [B,3,1,1] in [0, 1]; `light` multiplies everything that the key light reaches."""

    skin: Tensor
    lips: Tensor
    hair: Tensor
    beard: Tensor
    brow: Tensor
    iris: Tensor
    background: Tensor
    background_low: Tensor
    background_accent: Tensor
    clothes: Tensor
    clothes_accent: Tensor
    light: Tensor

    @classmethod
    def from_factors(cls, f: Factors) -> Colors:
        """The colors of factors [B]."""
        like = f["skin"]

        def table(rows: list[list[int]]) -> Tensor:
            return torch.tensor(rows, dtype=like.dtype, device=like.device) / 255

        def tint(*values: float) -> Tensor:
            return torch.tensor([values], dtype=like.dtype, device=like.device)

        skin = palette(table(_SKIN), f["skin"])
        warmth = (f["skin_warmth"] - 0.5)[:, None]
        skin = skin * (1 + warmth * tint(0.05, -0.05, -0.03))
        hair = palette(table(_HAIR), f["hair_color"])
        fun = (f["fun_hair"] >= 0.5).float()[:, None]
        gray = grayness(f)[:, None]
        hair = hair + gray * (tint(0.80, 0.79, 0.79) * (0.80 + 0.25 * f["hair_color"][:, None]) - hair)
        dyed = hair + fun * (hsv(f["fun_hue"], 0.58, 0.86) - hair)
        lips = skin * tint(0.86, 0.56, 0.55) + tint(0.06, 0.0, 0.01)
        painted = ((f["lipstick"] >= 0.5) & (f["beard"] < 0.5)).float()[:, None]
        # Around red: from orange through crimson to plum.
        stick = hsv((0.90 + 0.13 * f["lipstick_hue"]) % 1, 0.80, 0.55 + 0.25 * skin[:, 0])
        lips = lips + painted * 0.88 * (stick - lips)
        saturation, value = f["background_saturation"], f["background_value"]
        base = hsv(f["background_hue"], 0.06 + 0.36 * saturation, 0.52 + 0.44 * value)
        base = base + 0.28 * (tint(*_WARM_PAPER) * (0.55 + 0.5 * value)[:, None] - base)
        low = hsv((f["background_hue"] + 0.06) % 1, 0.14 + 0.38 * saturation, 0.30 + 0.40 * value)
        colors = {
            "skin": skin,
            "lips": lips,
            "hair": dyed,
            "beard": hair,
            "brow": hair * 0.60 + skin * 0.07,
            "iris": palette(table(_EYES), f["eye_color"]),
            "background": base,
            "background_low": low,
            "background_accent": hsv(f["background_accent"], 0.30, 0.97),
            "clothes": hsv(f["clothes_hue"], 0.18 + 0.58 * f["clothes_saturation"], 0.26 + 0.62 * f["clothes_value"]),
            "clothes_accent": hsv(f["clothes_accent"], 0.42, 0.93),
            "light": 1 + (f["light_warmth"] - 0.5)[:, None] * tint(0.13, 0.0, -0.15),
        }
        return cls(**{name: color[:, :, None, None] for name, color in colors.items()})


def grayness(f: Factors) -> Tensor:
    """How gray hair is [B], 0 to 0.92: it grows with age, and earlier for a larger factor `gray`."""
    return 0.92 * smoothstep(0.15, 0.95, f["age"] + 1.6 * (f["gray"] - 0.5))
