"""A "clip" for demonstrations and tests: an avatar that turns its head."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from examples.avatars.renderer.factors import sample_factors
from examples.avatars.renderer.render import render
from hyperstyle.errors import ConfigError
from hyperstyle.images import to_pil

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["turning_head"]


def turning_head(
    count: int = 48, *, seed: int = 7, size: tuple[int, int] = (640, 480)
) -> Iterator[tuple[Image.Image, Tensor]]:
    """Frames of an avatar that looks to its left, to its right and back, nods and tilts its head meanwhile.

    Args:
        count: frames of the whole movement, at least 2. The first and the last show the same pose.
        seed: who is seen.
        size: (width, height) in pixels, each from 64 to 4096.

    Yields:
        A frame, and its 68 landmarks [68,2] in float64: (x, y) as pixel indices. Each is rendered on demand.

    Raises:
        ConfigError: a value out of range.
    """
    width, height = size
    if count < 2 or not (64 <= width <= 4096 and 64 <= height <= 4096):
        raise ConfigError(
            f"A clip of {count} frames of {width}x{height} pixels was asked for. Expected 2 frames or more, with sides "
            "from 64 to 4096."
        )
    person = sample_factors(1, seed=seed)
    for frame in range(count):
        phase = 2 * math.pi * frame / (count - 1)
        pose = {
            "yaw": 0.5 + 0.42 * math.sin(phase),
            "pitch": 0.5 + 0.25 * math.sin(2 * phase + 1),
            "roll": 0.5 + 0.30 * math.sin(phase + 2),
        }
        rendered = render(
            person | {name: torch.tensor([value]) for name, value in pose.items()}, (height, width), view="portrait"
        )
        yield to_pil(rendered.images[0]), rendered.landmarks[0].double()
