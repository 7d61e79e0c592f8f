"""The head as a shape: where a point of the canonical face lands in the scene, and back.

The head is a sphere, turned by yaw and pitch, then stretched by a profile of half-widths, then rolled about
the neck. Scene coordinates: x to the right, y down, the head's center near (0, 0), chin near y = 0.6.
Canonical coordinates: the unit sphere seen from the front, x right, y down, z towards the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from examples.avatars.renderer.factors import Factors
from examples.avatars.renderer.shapes import ridge, smoothstep

__all__ = ["Head", "Shell", "crop_quads", "pixel_grid", "portrait_quads", "to_pixels"]

_PIVOT = 0.52
"""Scene y about which the head tilts: the middle of the neck."""


@dataclass(frozen=True)
class Shell:
    """A sphere around the head at every pixel: (u, v, depth) as seen, (x, y, z) canonical.

    `edge` is the distance to the outline in scene units, negative inside.
    """

    u: Tensor
    v: Tensor
    depth: Tensor
    edge: Tensor
    x: Tensor
    y: Tensor
    z: Tensor


@dataclass(frozen=True)
class Head:
    """Pose and outline of a batch of heads; every field is [B,1,1]."""

    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    half_width: Tensor
    top: Tensor
    bottom: Tensor
    jaw: Tensor
    cheeks: Tensor
    sag: Tensor

    @classmethod
    def from_factors(cls, factors: Factors) -> Head:
        """The heads of factors [B]: yaw +-0.5 rad, pitch +-0.22 rad, roll +-0.2 rad."""
        f = {name: value.view(-1, 1, 1) for name, value in factors.items()}
        opened = f["mouth_open"].square()
        return cls(
            yaw=(f["yaw"] * 2 - 1) * 0.5,
            pitch=(f["pitch"] * 2 - 1) * 0.22,
            roll=(f["roll"] * 2 - 1) * 0.2,
            half_width=0.425 + 0.075 * f["face_width"],
            top=torch.full_like(f["yaw"], 0.585),
            bottom=0.58 + 0.04 * f["jaw"] + 0.035 * opened,
            jaw=f["jaw"],
            cheeks=f["cheeks"],
            sag=smoothstep(0.2, 1.0, f["age"]),
        )

    def to_head(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Scene position -> position in the frame that tilts with the head."""
        c, s = torch.cos(self.roll), torch.sin(self.roll)
        dy = y - _PIVOT
        return x * c + dy * s, dy * c - x * s + _PIVOT

    def to_scene(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `to_head`."""
        c, s = torch.cos(self.roll), torch.sin(self.roll)
        dy = y - _PIVOT
        return x * c - dy * s, dy * c + x * s + _PIVOT

    def width(self, v: Tensor) -> Tensor:
        """Half-width of the head at height v in [-1, 1], as a factor on the sphere's own."""
        low = v.clamp(min=0, max=1.3)
        square = low * low
        profile = 1 - (0.28 - 0.20 * self.jaw) * square
        profile = profile + (0.05 + 0.10 * self.jaw + 0.05 * self.sag) * square * square
        profile = profile + (0.025 + 0.045 * self.cheeks) * ridge(v - 0.30, 0.30)
        profile = profile - 0.022 * ridge(v + 0.16, 0.2) + 0.03 * ridge(v + 0.62, 0.36)
        return self.half_width * profile

    def lean(self, v: Tensor) -> Tensor:
        """How far the lower face is pushed forward when the head turns, in scene units."""
        return torch.sin(self.yaw) * (0.075 * smoothstep(-0.35, 1.0, v) - 0.02)

    def vertical(self, hy: Tensor) -> Tensor:
        """Head-frame y -> height v on the sphere."""
        return hy / torch.where(hy > 0, self.bottom, self.top)

    def shell(self, hx: Tensor, hy: Tensor, radius: Tensor | float = 1.0) -> Shell:
        """The sphere of `radius` (1 is the skin) at head-frame positions."""
        v0 = self.vertical(hy)
        width = self.width(v0)
        u = (hx - self.lean(v0)) / width / radius
        v = v0 / radius
        squared = u * u + v * v
        depth = torch.sqrt((1 - squared).clamp(min=1e-4))
        cy, sy = torch.cos(self.yaw), torch.sin(self.yaw)
        cp, sp = torch.cos(self.pitch), torch.sin(self.pitch)
        forward = u * sy + depth * cy
        edge = (torch.sqrt(squared + 1e-6) - 1) * self.half_width * radius
        return Shell(u, v, depth, edge, u * cy - depth * sy, v * cp - forward * sp, v * sp + forward * cp)

    def project(self, x: Tensor, y: Tensor, lift: float = 0.0) -> tuple[Tensor, Tensor]:
        """Canonical points of the front of the face -> scene positions.

        `lift` is how far in front of the skin the point is drawn (nose, glasses): the parallax of `lifted`.
        """
        if lift:
            x = x + lift * torch.sin(self.yaw)
            y = y + lift * torch.sin(self.pitch)
        z = torch.sqrt((1 - x * x - y * y).clamp(min=1e-4))
        u, v = self.turn(x, y, z)
        return self.place(u, v)

    def turn(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Canonical directions -> (u, v) on the turned sphere."""
        cy, sy = torch.cos(self.yaw), torch.sin(self.yaw)
        cp, sp = torch.cos(self.pitch), torch.sin(self.pitch)
        v, forward = y * cp + z * sp, z * cp - y * sp
        return x * cy + forward * sy, v

    def place(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """(u, v) on the turned sphere -> scene positions."""
        hy = v * torch.where(v > 0, self.bottom, self.top)
        return self.to_scene(u * self.width(v) + self.lean(v), hy)

    def lifted(self, shell: Shell, lift: float) -> tuple[Tensor, Tensor]:
        """Canonical (x, y) of what stands `lift` in front of the skin at each pixel."""
        return shell.x - lift * torch.sin(self.yaw), shell.y - lift * torch.sin(self.pitch)


def crop_quads(landmarks: Tensor) -> Tensor:
    """FFHQ crop corners [B,4,2] (top left, bottom left, bottom right, top right) of landmarks [B,68,2].

    Eye-to-eye vector e, eyes-to-mouth vector m: the half side is e + (m_y, -m_x), scaled to the longer of
    2|e| and 1.8|m|; the center lies at 0.1 m below the eyes.
    """
    left, right = landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)
    eyes = (left + right) / 2
    e = right - left
    m = (landmarks[:, 48] + landmarks[:, 54]) / 2 - eyes
    half = e + torch.stack([m[:, 1], -m[:, 0]], 1)
    length = torch.maximum(2 * e.norm(dim=1), 1.8 * m.norm(dim=1))
    half = half / half.norm(dim=1, keepdim=True) * length[:, None]
    perp = torch.stack([-half[:, 1], half[:, 0]], 1)
    center = eyes + 0.1 * m
    corners = (-half - perp, -half + perp, half + perp, half - perp)
    return torch.stack([center + corner for corner in corners], 1)


def portrait_quads(factors: Factors, height: int, width: int) -> Tensor:
    """A wide framing [B,4,2] of head and shoulders; the seed factor moves it a little."""
    tall = 2.6
    wide = tall * width / height
    seed = factors["seed"] * 40
    dx, dy = 0.12 * torch.sin(seed * 5.1), 0.08 * torch.sin(seed * 3.7)
    left, top = dx - wide / 2, dy - 1.14
    corners = [(left, top), (left, top + tall), (left + wide, top + tall), (left + wide, top)]
    return torch.stack([torch.stack(corner, 1) for corner in corners], 1)


def pixel_grid(quads: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scene x and y [B,H,W] of the pixel centers in the image of `quads`, and the pixel size [B,1,1]."""
    origin, down, across = quads[:, 0], quads[:, 1] - quads[:, 0], quads[:, 3] - quads[:, 0]
    s = (torch.arange(width, device=quads.device) + 0.5) / width
    t = (torch.arange(height, device=quads.device) + 0.5) / height
    x, y = (
        origin[:, i, None, None]
        + across[:, i, None, None] * s[None, None, :]
        + down[:, i, None, None] * t[None, :, None]
        for i in (0, 1)
    )
    pixel = (across.norm(dim=1) / width + down.norm(dim=1) / height) / 2
    return x, y, pixel.view(-1, 1, 1)


def to_pixels(points: Tensor, quads: Tensor, height: int, width: int) -> Tensor:
    """Scene points [B,N,2] -> pixels of the image of `quads`; the first pixel's center is (0, 0)."""
    basis = torch.stack([quads[:, 3] - quads[:, 0], quads[:, 1] - quads[:, 0]], 2)
    shares = torch.linalg.solve(basis, (points - quads[:, :1]).transpose(1, 2)).transpose(1, 2)
    pixels: Tensor = shares * shares.new_tensor([width, height]) - 0.5
    return pixels
