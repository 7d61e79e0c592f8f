"""Small drawing primitives: ramps, bumps, distances to shapes, noise and color wheels.

Bumps have a finite support on purpose: far from a feature nothing is added, not even a little.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "bump",
    "ellipse",
    "fibres",
    "hash_noise",
    "hsv",
    "palette",
    "ridge",
    "smooth_max",
    "smoothstep",
    "spots",
]


def smoothstep(start: float, end: float, x: Tensor) -> Tensor:
    """0 up to `start`, 1 from `end` on, smooth in between; `start` may be above `end`, which reverses it."""
    # In place on the fresh copy: this runs hundreds of times per image.
    t = (x - start).mul_(1 / (end - start)).clamp_(0, 1)
    return (t * -2).add_(3).mul_(t).mul_(t)


def _fall(squared: Tensor) -> Tensor:
    # (1 - r^2/4)^4 is close to exp(-r^2) but exactly zero from r = 2 on, and cheaper.
    return (squared * -0.25).add_(1).clamp_(min=0).square_().square_()


def ridge(x: Tensor, width: float | Tensor) -> Tensor:
    """A bell over x = 0: about exp(-(x / width)^2), and 0 beyond twice the width."""
    return _fall((x / width).square())


def bump(x: Tensor, y: Tensor, width: float | Tensor, height: float | Tensor) -> Tensor:
    """A round bell over (0, 0), like `ridge` in two directions."""
    return _fall((x / width).square() + (y / height).square())


def ellipse(x: Tensor, y: Tensor, a: float | Tensor, b: float | Tensor) -> Tensor:
    """Approximate signed distance to an axis-parallel ellipse, negative inside."""
    k = torch.sqrt((x / a).square() + (y / b).square() + 1e-9)
    return (k - 1) * (a + b) * 0.5


def smooth_max(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """The larger of two distances, with the corner where they meet rounded."""
    h = (radius - (a - b).abs()).clamp(min=0)
    return torch.maximum(a, b) + h * h * (0.25 / radius)


def hash_noise(i: Tensor, j: Tensor | float, seed: Tensor) -> Tensor:
    """A fixed pseudo-random number in [0, 1) for each pair of whole numbers and seed."""
    v = (i * 12.9898 + j * 78.233 + seed * 37.719).sin_().mul_(4375.85)
    return v.sub_(v.floor())


def fibres(x: Tensor, seed: Tensor) -> Tensor:
    """Smooth noise in [0, 1] along x, one knot per unit."""
    i = x.floor()
    f = x - i
    f = f * f * (3 - 2 * f)
    a = hash_noise(i, 1.0, seed)
    return a + (hash_noise(i + 1, 1.0, seed) - a) * f


def spots(x: Tensor, y: Tensor, seed: Tensor, smallest: float, largest: float, density: Tensor | float) -> Tensor:
    """Signed distance to random discs, one at most per unit cell and wholly inside it, so none is cut."""
    i, j = x.floor(), y.floor()
    radius = smallest + (largest - smallest) * hash_noise(i, j, seed)
    room = 0.46 - radius
    cx = i + 0.5 + (hash_noise(i, j, seed + 1.7) * 2 - 1) * room
    cy = j + 0.5 + (hash_noise(i, j, seed + 3.1) * 2 - 1) * room
    distance = torch.sqrt((x - cx).square() + (y - cy).square() + 1e-9) - radius
    return torch.where(hash_noise(i, j, seed + 5.3) < density, distance, torch.ones_like(distance))


def palette(colors: Tensor, t: Tensor) -> Tensor:
    """Colors [B,3] at t [B] along a row of colors [N,3], linear between neighbors."""
    last = len(colors) - 1
    position = t.clamp(0, 1) * last
    index = position.floor().clamp(0, last - 1).long()
    weight = (position - index)[:, None]
    return colors[index] * (1 - weight) + colors[index + 1] * weight


def hsv(hue: Tensor, saturation: Tensor | float, value: Tensor | float) -> Tensor:
    """Colors [B,3] from hue [B], saturation and value, each in [0, 1]."""
    k = torch.stack([(offset + hue * 6) % 6 for offset in (5, 3, 1)], 1)
    wheel = torch.minimum(k, 4 - k).clamp(0, 1)
    s = torch.as_tensor(saturation, device=hue.device).expand_as(hue)[:, None]
    v = torch.as_tensor(value, device=hue.device).expand_as(hue)[:, None]
    return v * (1 - s * wheel)
