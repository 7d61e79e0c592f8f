"""What comes with the library to measure the bundled model on: held-out crops, and how its attributes vary."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.images import load_image, to_tensor

HELD_OUT = 64
"""How many crops there are."""

MORE_CROPS = "in a checkout, `python -m examples.avatars.crops --out FOLDER` renders any number, of any size"
"""Where more of them come from."""

_SIZE = 128
_FOLDER = Path(__file__).parents[1] / "avatars"


def held_out_avatars(count: int = HELD_OUT, size: int = _SIZE) -> Tensor:
    """Crops [N,3,size,size] in [-1,1] of avatars with details (hats, freckles, ...) that no training set held.

    Args:
        count: the first so many, 1 to 64.
        size: side in pixels, 16 to 128; below 128 they are scaled down.

    Raises:
        ConfigError: a count or a size that there is not.
    """
    if not 1 <= count <= HELD_OUT:
        raise ConfigError(
            f"{count} held-out crops: expected 1 to {HELD_OUT}, which come with the library. For more give a folder "
            f"with --data: {MORE_CROPS}."
        )
    if not 16 <= size <= _SIZE:
        raise ConfigError(
            f"held-out crops of {size} px: those that come with the library have {_SIZE} px. For a model of another "
            f"size give a folder with --data: {MORE_CROPS}."
        )
    images = [load_image(_FOLDER / "held_out" / f"{number:02d}.png") for number in range(count)]
    if size != _SIZE:
        images = [image.resize((size, size), Image.Resampling.BOX) for image in images]
    return torch.stack([to_tensor(image) for image in images])


@cache
def attribute_deviations() -> dict[str, float]:
    """Attribute (`age`, `smile`, ...) -> its standard deviation over avatars as they are rendered at random.

    Attributes go from 0 to 1, evenly: 0.29 for all but those that are there or not, such as `glasses`.
    """
    values: dict[str, float] = json.loads((_FOLDER / "attributes.json").read_text(encoding="utf-8"))["population_std"]
    return values
