"""Small images, and shards of them by the tiny model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 square images of 32 px in two folders."""
    folder = tmp_path_factory.mktemp("bulk") / "photos"
    for number in range(24):
        save_noise(folder / ("a" if number < 12 else "b") / f"{number:02d}.png", number)
    return folder


def save_noise(path: Path, seed: int, side: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path
