"""Photos of avatars as anybody might take them: the face anywhere, near or far, tilted, with its landmarks as truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from examples.avatars.renderer.anatomy import Face
from examples.avatars.renderer.factors import sample_factors, select
from examples.avatars.renderer.geometry import Head
from examples.avatars.renderer.landmarks import landmarks_68
from examples.avatars.renderer.render import render
from hyperstyle.align.crop import ffhq_quad
from hyperstyle.errors import ConfigError
from hyperstyle.images import to_pil

__all__ = ["FACE_SHARES", "Snapshot", "face_box", "snapshots"]

Points = npt.NDArray[np.float64]

FACE_SHARES = (0.25, 0.62)
"""Side of the face's box, smallest and largest, as a share of the photo's side."""

_TILT = math.radians(15)  # of the camera, to either side; the head tilts by up to 11.5 degrees on top
_BOX = 0.56  # side of the face's box over that of the FFHQ square, which has room for hair and neck
_LOWER = 0.11  # how much lower the box's center lies than the square's, in sides of the square
_PIXELS = 1000.0  # that a scene unit is taken for, since landmarks are expected in pixels


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A photo [size,size] (RGB) with one face, and its landmarks [68,2] in float64, pixel indices as detectors give."""

    image: Image.Image
    landmarks: Points


def snapshots(count: int, *, seed: int, size: int = 256, supersample: int = 1) -> Iterator[Snapshot]:
    """Photos with random position, scale, tilt and background, one at a time.

    The face's box lies wholly in the photo and takes 0.25 to 0.62 of its side. Photo i depends on the other
    arguments and i only, not on `count`.

    Args:
        count: how many, at least 1.
        seed: of the avatars and of the camera.
        size: side in pixels, from 64.
        supersample: see `render`, which smooths edges also without; 2 takes three times as long.

    Raises:
        ConfigError: an argument out of range.
    """
    if size < 64:
        raise ConfigError(
            f"Photos of {size} px were asked for, and a face in them would be a few pixels. Give 64 or more."
        )
    factors = sample_factors(count, seed=seed)
    rng = np.random.default_rng(seed)
    for index in range(count):
        avatar = select(factors, index)
        scene = landmarks_68(Head.from_factors(avatar), Face.from_factors(avatar))[0].double().numpy()
        quad = _camera(scene, size, rng.random(4))
        rendered = render(avatar, size, quads=torch.from_numpy(quad).float()[None], supersample=supersample)
        yield Snapshot(to_pil(rendered.images[0]), rendered.landmarks[0].double().numpy())


def face_box(landmarks: npt.ArrayLike) -> tuple[float, float, float]:
    """(x, y) of the center and side of the upright square from above the brows to the chin, of 68 or 5 points."""
    quad = ffhq_quad(landmarks)
    down = quad[1] - quad[0]
    x, y = (quad.mean(axis=0) + _LOWER * down).tolist()
    return x, y, _BOX * float(np.hypot(*down))


def _camera(scene: Points, size: int, random: Points) -> Points:
    """Corners [4,2] of a photo in scene units, from four numbers in [0, 1): scale, tilt and position."""
    x, y, side = (value / _PIXELS for value in face_box(scene * _PIXELS))
    low, high = FACE_SHARES
    box = size * low * (high / low) ** random[0]  # pixels; small faces as often as large ones
    angle = _TILT * (2 * random[1] - 1)
    across = np.array([math.cos(angle), math.sin(angle)]) * (side / box)  # of one pixel
    down = np.array([-across[1], across[0]])
    column, row = box / 2 + (size - box) * random[2:]  # where the face's center is in the photo
    corner = np.array([x, y]) - column * across - row * down
    return np.stack([corner, corner + size * down, corner + size * (across + down), corner + size * across])
