"""Rendered portraits, framed like photos and not yet cropped, that come with the library for first trials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.errors import ConfigError
from hyperstyle.images.load import load_image

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["EXAMPLES", "example_photo"]

EXAMPLES = 5
"""How many portraits there are."""

_FOLDER = Path(__file__).parents[1] / "avatars" / "photos"


def example_photo(number: int = 0) -> Image.Image:
    """A portrait of 640 x 800 px (RGB), the head tilted and off center, with details such as jewellery or a hat.

    Args:
        number: of the portrait, 0 to 4.

    Raises:
        ConfigError: there is no portrait of this number.
    """
    if number not in range(EXAMPLES):
        raise ConfigError(f"there is no example photo {number!r}: expected 0 to {EXAMPLES - 1}.")
    return load_image(_FOLDER / f"{int(number)}.png")
