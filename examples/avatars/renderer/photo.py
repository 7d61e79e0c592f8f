"""A "photo" for the demo: a portrait as it might come from a camera, not yet cropped to the face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from examples.avatars.renderer.factors import sample_factors
from examples.avatars.renderer.render import render
from hyperstyle.errors import ConfigError
from hyperstyle.images import to_pil

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["demo_photo"]


def demo_photo(seed: int = 7, size: tuple[int, int] = (640, 800)) -> tuple[Image.Image, Tensor]:
    """A portrait with all its details, the head tilted and off the middle, and its landmarks.

    Args:
        seed: who is on the photo.
        size: (width, height) in pixels, each from 64 to 4096.

    Returns:
        The image, and the 68 landmarks [68,2] in float64: (x, y) as pixel indices, as a
        detector gives them.

    Raises:
        ConfigError: `size` or `seed` is out of range.
    """
    width, height = size
    if not (64 <= width <= 4096 and 64 <= height <= 4096):
        raise ConfigError(f"A photo of {width}x{height} pixels was asked for. Each side must be from 64 to 4096.")
    factors = sample_factors(1, seed=seed)
    # A tilt that anyone sees, to the side that was drawn: cropping has to undo it.
    side = torch.where(factors["roll"] < 0.5, -1.0, 1.0)
    factors["roll"] = 0.5 + side * (0.30 + 0.2 * (factors["roll"] - 0.5).abs())
    rendered = render(factors, (height, width), view="portrait")
    return to_pil(rendered.images[0]), rendered.landmarks[0].double()
