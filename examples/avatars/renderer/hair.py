"""Hair: the mass behind the head, and the cap that frames the face."""

from __future__ import annotations

import torch
from torch import Tensor

from examples.avatars.renderer.shapes import fibres, ridge, smooth_max, smoothstep
from examples.avatars.renderer.stage import Stage

__all__ = ["draw_back_hair", "draw_front_hair", "hair_radius"]


def hair_radius(stage: Stage) -> Tensor:
    """Radius [B,1,1] of the hair's outline, in radii of the head; 1 where there is none."""
    length, volume = stage.get("hair_length"), stage.get("hair_volume")
    thick = 0.014 + smoothstep(0.0, 0.45, length) * (0.035 + 0.085 * volume + 0.03 * stage.get("hair_curl"))
    return 1 + thick * (1 - stage.has("bald"))


def _wave(stage: Stage, y: Tensor, x: Tensor) -> Tensor:
    curl, seed = stage.get("hair_curl"), stage.get("seed") * 11
    swing = torch.sin(y * 15 + 2.5 * torch.sin(x * 4) + seed) + 0.5 * torch.sin(y * 31 + x * 9 + seed * 2)
    return curl * curl * 0.026 * swing


def draw_back_hair(stage: Stage, *, front: bool = False) -> None:
    """The hair behind head and neck; `front` draws only the locks that fall over the shoulders."""
    present = 1 - stage.has("bald")
    if not stage.any(present):
        return
    head, length, volume = stage.head, stage.get("hair_length"), stage.get("hair_volume")
    seed = stage.get("seed") * 13
    sway = smoothstep(0.1, 1.2, stage.hy)
    # Long hair hangs straight down whatever the tilt of the head.
    x = torch.lerp(stage.hx, stage.x, sway)
    y = stage.hy
    wave = _wave(stage, y, x)
    long = smoothstep(0.25, 1.0, length)
    radius = hair_radius(stage)
    x = x + 0.05 * torch.sin(head.yaw) * long
    half = head.half_width * (radius + 0.012) * (0.93 + 0.07 * smoothstep(0.0, 0.3, long))
    flare = 1 + long * (0.02 + 0.16 * volume) * smoothstep(-0.1, 0.75, y) - 0.10 * long * smoothstep(0.75, 1.35, y)
    skull = y.clamp(max=0) / (head.top * (radius + 0.005))
    width = half * torch.sqrt((1 - skull * skull).clamp(min=1e-4)) * flare
    end = 0.02 + 1.08 * long + 0.04 * fibres(x * 9 + 40, seed)
    dome = (torch.sqrt((x / half).square() + skull * skull + 1e-6) - 1) * half
    sides = torch.where(y < 0, dome, x.abs() - width)
    edge = smooth_max(sides + wave, y - end, 0.16)
    tips = 0.010 * (fibres(x * 60 + 50, seed) - 0.5) * stage.fade(40)
    mask = stage.cover(edge + tips, 0.004) * present * smoothstep(0.22, 0.30, length)
    if front:
        behind = torch.maximum(
            edge, -(x.abs() - head.half_width * (0.66 + 0.06 * volume) - 0.05 * fibres(y * 4 + 30, seed))
        )
        mask = stage.cover(behind, 0.025) * smoothstep(0.30, 0.55, y) * smoothstep(0.55, 0.72, length) * present
    along = x * 40 / flare + 40 * 1.3 * wave + 0.9 * fibres(y * 2.2 + 20, seed)
    strand = _strands(stage, along, seed)
    lx = stage.light[0]
    side = (x / half).clamp(-1.2, 1.2)
    tone = 0.46 + 0.26 * strand + 0.16 * side * lx + (0.14 if front else 0.0)
    tone = tone - 0.16 * ridge(x, 0.30) * smoothstep(0.0, 0.5, y)
    shine = ridge(y - 0.22 - 0.1 * strand, 0.16) * smoothstep(0.5, 1.0, side.abs()) * (0.3 + 0.7 * strand) * 0.16
    color = stage.colors.hair * tone[:, None] + shine[:, None] * (0.25 + 0.6 * stage.colors.hair)
    stage.paint(color * stage.colors.light, mask)


def _strands(stage: Stage, along: Tensor, seed: Tensor) -> Tensor:
    coarse = fibres(along * 0.55 + 90, seed)
    middle = fibres(along * 1.5 + 190, seed + 1) * stage.fade(36)
    fine = fibres(along * 4.2 + 390, seed + 2) * stage.fade(100)
    return 0.24 * coarse + 0.40 * middle + 0.36 * fine + 0.20 * (1 - stage.fade(36)) + 0.18 * (1 - stage.fade(100))


def draw_front_hair(stage: Stage, face: Tensor) -> Tensor:
    """The hair over the skull, its line, its fringe and its shadow; returns its mask [B,H,W]."""
    present = 1 - stage.has("bald")
    if not stage.any(present):
        return torch.zeros_like(face)
    head, length, volume = stage.head, stage.get("hair_length"), stage.get("hair_volume")
    curl, seed = stage.get("hair_curl"), stage.get("seed") * 7
    radius = hair_radius(stage)
    s = head.shell(stage.hx, stage.hy, radius)
    part = (stage.get("parting") * 2 - 1) * 0.42
    # Round the head: 0 at the front, +-pi/2 at the ears.
    turn = torch.atan2(s.x, s.z)
    at = turn.abs()
    fringe = smoothstep(0.15, 1.0, stage.get("fringe")) * smoothstep(0.0, 0.15, length)
    jag = (fibres(turn * 16 + 50, seed) - 0.5) * (0.035 + 0.11 * fringe) + (
        fibres(turn * 45 + 150, seed + 1) - 0.5
    ) * 0.035 * stage.fade(40)
    gap = ridge(s.x - part, 0.16)
    line = (
        -0.60
        - 0.10 * gap * (1 - 0.5 * fringe)
        + 0.40 * fringe * (1 - 0.45 * gap)
        + 0.06 * smoothstep(0.1, 0.7, (s.x - part).abs())
    )
    line = line - 0.10 * smoothstep(0.25, 0.95, stage.get("age")) * (1 - fringe)
    # At the temples the line falls to the sideburns, or all the way down for long hair.
    side = 0.06 + 0.10 * smoothstep(0.1, 0.3, length) + 0.85 * smoothstep(0.34, 0.75, length)
    start = 0.86 - 0.10 * fringe - 0.10 * smoothstep(0.3, 0.7, length) * volume
    temple = smoothstep(
        0.0,
        0.42,
        at - start + 0.10 * smoothstep(0.10, 0.55, s.depth) * (fibres(s.y * 7 + 40, seed + 2) - 0.5),
    )
    line = torch.lerp(line, side.expand_as(line), temple)
    # Short hair leaves the ear free and ends at the nape.
    line = line - (0.30 * smoothstep(1.25, 1.5, at)) * smoothstep(0.40, 0.25, length)
    d = s.y - line - jag * smoothstep(0.10, 0.55, s.depth)
    soft = 0.02 + 0.10 * smoothstep(0.16, 0.0, length)
    wave = _wave(stage, stage.hy, stage.hx)
    fuzz = 0.012 * (fibres(s.u * 14 + s.y * 22 + 70, seed + 3) - 0.5) * smoothstep(0.05, 0.3, length) * stage.fade(40)
    outline = stage.cover(s.edge + wave * 0.6 + fuzz, 0.004)
    lower_end = smoothstep(0.78, 0.60, s.v + 0.10 * (fibres(turn * 20 + 60, seed) - 0.5))
    mask = outline * stage.cover_skin(d, soft) * lower_end * present
    # Beyond the far cheek only slivers of the cap would show.
    far = smoothstep(0.04, 0.20, s.u.sign() * torch.sin(head.yaw)) * smoothstep(0.30, 0.12, s.depth)
    mask = mask * (1 - far * smoothstep(-0.30, -0.10, s.y))
    buzz = smoothstep(0.15, 0.02, length)
    mask = mask * (1 - 0.30 * buzz)
    # Strands run down from the crown as meridians do, leaning away from the parting.
    round_ = (s.x - part * 0.55 * smoothstep(0.3, -0.9, s.y)) / torch.sqrt((1 - s.y * s.y).clamp(min=0.06))
    bend = curl * curl * (0.11 * torch.sin(s.y * 12 + 4 * round_ + seed) + 0.05 * torch.sin(s.y * 27 + seed))
    along = (round_ + bend) * 22 + 0.9 * fibres(s.y * 2.5 + 30, seed + 4)
    strand = _strands(stage, along, seed)
    key = stage.lambert(s, 0.45)
    lx, ly, _ = stage.light
    band = ridge(s.v + 0.56 - 0.22 * (ly + 0.4) - 0.07 * (strand - 0.5) + 0.12 * s.u * s.u, 0.17) * smoothstep(
        -0.5, 0.7, s.u * lx + 0.25
    )
    tone = 0.36 + 0.26 * strand + 0.44 * key - 0.12 * ridge(d + 0.015, 0.03)
    tone = tone - 0.16 * smoothstep(0.5, 1.1, at) * smoothstep(-0.2, 0.3, s.y)
    shine = band * (0.25 + 0.75 * strand) * 0.34 * (1 - 0.75 * buzz)
    color = stage.colors.hair * tone[:, None] + shine[:, None] * (0.14 + 0.75 * stage.colors.hair)
    cast = (
        smoothstep(0.22, 0.0, s.y - line) * (1 - mask) * face * smoothstep(-0.1, 0.2, s.z) * present * (1 - 0.6 * buzz)
    )
    stage.shade(cast * 0.42, stage.rgb(0.66, 0.50, 0.46))
    stage.paint((color * stage.colors.light).clamp(0, 1), mask)
    return mask
