"""The 68 landmarks of a face, computed from the curves that draw it.

Order of the iBUG 68-point scheme: jaw 0-16 from the image's left to its right, brows 17-21 and 22-26,
bridge of the nose 27-30, its base 31-35, eyes 36-41 and 42-47, outer lips 48-59, inner lips 60-67.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from examples.avatars.renderer.anatomy import BROW_HALF_WIDTH, BROW_X, EYE_X, NOSE_LIFT, Face
from examples.avatars.renderer.geometry import Head

__all__ = ["landmarks_68"]


def landmarks_68(head: Head, face: Face) -> Tensor:
    """Landmarks [B,68,2] in scene coordinates."""
    parts = [_jaw(head), _brows(head, face), _nose(head, face), _eyes(head, face), _lips(head, face)]
    return torch.cat(parts, 1)


def _column(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1)


def _points(x: Tensor, y: Tensor) -> Tensor:
    # One of the two may be the same for every face, or for every point.
    return torch.cat([x + y * 0, y + x * 0], 2)


def _jaw(head: Head) -> Tensor:
    angles = [math.pi * (i / 16) for i in range(17)]
    x = _column([-math.cos(angle) for angle in angles], head.yaw)
    y = _column([0.02 + 0.96 * math.sin(angle) for angle in angles], head.yaw)
    # A little in front of the widest line of the head; what turns out of sight stays on the outline.
    x, y, z = x * 0.97, y, torch.full_like(x, 0.12)
    u, v = head.turn(x, y, z)
    side = head.turn(x, y, z * 0)[0]
    reach = torch.sqrt(u * u + v * v)
    hidden = (side * torch.sin(head.yaw)) > 0
    scale = torch.where(hidden | (reach > 0.985), 0.985 / reach, torch.ones_like(reach))
    return _points(*head.place(u * scale, v * scale))


def _brows(head: Head, face: Face) -> Tensor:
    t = _column([0.95, 0.5, 0.0, -0.5, -0.95], head.yaw)
    x, y = BROW_X + BROW_HALF_WIDTH * t, face.brow(t)
    left = _points(*head.project(-x, y))
    right = _points(*head.project(x, y))
    return torch.cat([left, right.flip(1)], 1)


def _nose(head: Head, face: Face) -> Tensor:
    bridge = [
        _points(*head.project(torch.zeros_like(head.yaw), 0.02 + (face.nose_y - 0.02) * share, NOSE_LIFT * lift))
        for share, lift in ((0.0, 0.15), (0.33, 0.45), (0.67, 0.75), (1.0, 1.0))
    ]
    x = _column([-0.125, -0.062, 0.0, 0.062, 0.125], head.yaw) * face.nose_width
    y = face.nose_y + _column([0.045, 0.065, 0.078, 0.065, 0.045], head.yaw)
    base = _points(*head.project(x, y, NOSE_LIFT))
    return torch.cat([*bridge, base], 1)


def _eyes(head: Head, face: Face) -> Tensor:
    upper = _column([1.0, 0.42, -0.42, -1.0], head.yaw)
    lower = _column([-0.42, 0.42], head.yaw)
    t = torch.cat([upper, lower], 1)
    y = torch.cat([face.upper_lid(upper).expand(-1, 4, 1), face.lower_lid(lower)], 1)
    flat = _column([0.0, 1.0, 1.0, 0.0, 1.0, 1.0], head.yaw)
    y = face.eye_axis(t) + y * flat
    x = EYE_X + face.eye_half_width * t
    left = _points(*head.project(-x, y))
    right = _points(*head.project(x, y))
    order = [3, 2, 1, 0, 5, 4]  # the mirrored eye is walked the same way round in the image
    return torch.cat([left, right[:, order]], 1)


def _lips(head: Head, face: Face) -> Tensor:
    def row(ts: list[float], which: int) -> Tensor:
        t = _column(ts, head.yaw)
        y = face.mouth_line(t) if which < 0 else face.lips(t)[which]
        return _points(*head.project(face.mouth_half_width * t, y))

    across = [-0.66, -0.3, 0.0, 0.3, 0.66]
    inner = [-0.4, 0.0, 0.4]
    return torch.cat(
        [
            row([-1.0], -1), row(across, 0), row([1.0], -1), row(across[::-1], 3),
            row([-0.85], -1), row(inner, 1), row([0.85], -1), row(inner[::-1], 2),
        ],
        1,
    )  # fmt: skip
