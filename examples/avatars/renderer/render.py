"""Factors in, portraits out, each with its landmarks and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from examples.avatars.renderer.accessories import draw_glasses, draw_headwear
from examples.avatars.renderer.anatomy import EYE_X, EYE_Y, Face
from examples.avatars.renderer.face import draw_face
from examples.avatars.renderer.factors import Factors, check, select
from examples.avatars.renderer.geometry import Head, crop_quads, portrait_quads, to_pixels
from examples.avatars.renderer.hair import draw_back_hair, draw_front_hair
from examples.avatars.renderer.landmarks import landmarks_68
from examples.avatars.renderer.scene import draw_background, draw_body, draw_ears
from examples.avatars.renderer.shapes import ellipse, smoothstep
from examples.avatars.renderer.stage import Stage
from hyperstyle.errors import ConfigError

__all__ = ["Render", "View", "render"]

View = Literal["crop", "portrait"]

_CPU_PIXELS = 2 * 128 * 128
"""Samples drawn at once on a CPU: few enough for its caches (twice as fast as large batches)."""
_GPU_PIXELS = 8 * 1024 * 1024


@dataclass(frozen=True)
class Render:
    """Images of avatars and what is known about them.

    images: [B,3,H,W] float32 in [-1, 1].
    landmarks: [B,68,2] (x, y) in pixels of the image, iBUG order; (0, 0) is the center of the first pixel.
    face_mask: [B,1,H,W] in [0, 1], the face.
    feature_mask: [B,1,H,W] in [0, 1], eyes with brows, and mouth.
    """

    images: Tensor
    landmarks: Tensor
    face_mask: Tensor
    feature_mask: Tensor


def render(
    factors: Factors,
    size: int | tuple[int, int] = 256,
    *,
    supersample: int = 2,
    view: View = "crop",
    quads: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Render:
    """Draw avatars.

    Args:
        factors: all factors of `factors.NAMES`, values [B] in [0, 1].
        size: the side in pixels, or (height, width).
        supersample: every pixel is the mean of this many samples squared.
        view: "crop" looks exactly through the face crop of FFHQ, so eyes and mouth sit at fixed places;
            "portrait" shows head and shoulders, with the tilt of the head.
        quads: [B,4,2] corners (top left, bottom left, bottom right, top right) in scene units of a rectangle
            to look through instead of `view`.
        device: where to draw and where the results are; by default where the factors are.

    Raises:
        ConfigError: unknown or missing factors, values outside [0, 1], or an impossible size, view or quad.
    """
    count = check(factors)
    height, width = _checked_size(size, view, quads is not None)
    if not 1 <= supersample <= 8:
        raise ConfigError(f"supersample is {supersample}; expected a whole number from 1 to 8.")
    if view not in ("crop", "portrait"):
        raise ConfigError(f"There is no view {view!r}. Use 'crop' or 'portrait'.")
    if quads is not None and quads.shape != (count, 4, 2):
        raise ConfigError(
            f"The quads have shape {tuple(quads.shape)}; expected {(count, 4, 2)}: top left, bottom left, "
            "bottom right and top right of each image, as (x, y) in scene units."
        )
    target = torch.device(device) if device is not None else factors["yaw"].device
    placed = {name: value.detach().to(target, torch.float32) for name, value in factors.items()}
    samples = height * width * supersample**2
    chunk = max(1, (_CPU_PIXELS if target.type == "cpu" else _GPU_PIXELS) // samples)
    parts = []
    with torch.no_grad():
        points = landmarks_68(Head.from_factors(placed), Face.from_factors(placed))
        if quads is not None:
            frames = quads.to(target, torch.float32)
        elif view == "crop":
            frames = crop_quads(points)
        else:
            frames = portrait_quads(placed, height, width)
        for start in range(0, count, chunk):
            here = slice(start, start + chunk)
            parts.append(_render_chunk(select(placed, here), frames[here], height, width, supersample))
        images, face_mask, feature_mask = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return Render(images, to_pixels(points, frames, height, width), face_mask, feature_mask)


def _checked_size(size: int | tuple[int, int], view: str, free: bool) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if not (8 <= height <= 8192 and 8 <= width <= 8192):
        raise ConfigError(f"Cannot draw an image of {height}x{width} pixels. Each side must be from 8 to 8192.")
    if view == "crop" and height != width and not free:
        raise ConfigError(f"A crop is square, but {height}x{width} was asked for. Use view='portrait'.")
    return height, width


def _render_chunk(
    factors: Factors, quads: Tensor, height: int, width: int, supersample: int
) -> tuple[Tensor, Tensor, Tensor]:
    stage = Stage.set_up(factors, quads, height * supersample, width * supersample)
    draw_background(stage)
    draw_back_hair(stage)
    draw_body(stage)
    draw_back_hair(stage, front=True)
    draw_ears(stage)
    skin = draw_face(stage)
    hair = draw_front_hair(stage, skin)
    draw_glasses(stage, skin, hair)
    draw_headwear(stage, skin)
    images = _shrink(stage.image.clamp(0, 1), supersample) * 2 - 1
    masks = _masks(stage, skin)
    small = [_shrink(mask[:, None], supersample) for mask in masks]
    return images, small[0], small[1]


def _shrink(image: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(image, factor) if factor > 1 else image


def _masks(stage: Stage, skin: Tensor) -> tuple[Tensor, Tensor]:
    s, f = stage.skin, stage.face
    front = smoothstep(-0.05, 0.15, s.z) * skin
    face = front * smoothstep(-0.72, -0.55, s.y)
    eyes = ellipse(s.x.abs() - EYE_X, s.y - EYE_Y + 0.07, 0.27, 0.24)
    mouth = ellipse(s.x, s.y - f.mouth_y - 0.03, 0.43, 0.21)
    features = smoothstep(0.03, -0.03, torch.minimum(eyes, mouth)) * front
    return face, features
