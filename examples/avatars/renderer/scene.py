"""What is behind and below the face: background, body, clothes, neck and ears."""

from __future__ import annotations

import torch
from torch import Tensor

from examples.avatars.renderer.shapes import bump, ellipse, fibres, ridge, smooth_max, smoothstep, spots
from examples.avatars.renderer.stage import Stage

__all__ = ["draw_background", "draw_body", "draw_ears"]


def draw_background(stage: Stage) -> None:
    """A soft studio backdrop: a vertical gradient, a glow behind the head, and discs or stripes."""
    x, y, colors = stage.x, stage.y, stage.colors
    side = stage.get("light_azimuth") * 2 - 1
    down = smoothstep(-1.1, 1.5, y + 0.35 * side * x)[:, None]
    image = colors.background + (colors.background_low - colors.background) * down
    glow = torch.exp(-((x - 0.35 * side).square() + (y + 0.2).square()) * 0.9)
    stage.image = image + glow[:, None] * 0.20 * (0.35 + colors.background)
    stripes, bokeh = stage.has("background_stripes"), stage.has("background_bokeh")
    scale, seed = stage.get("background_scale"), stage.get("seed") * 9
    if stage.any(stripes):
        angle = 0.5 + scale * 2.2
        across = x * torch.cos(angle) + y * torch.sin(angle)
        wave = torch.sin(across * (8 + 9 * scale))
        stage.paint(colors.background_accent, smoothstep(-0.22, 0.22, wave) * stripes * 0.42)
    if stage.any(bokeh):
        for layer, (turn, strength) in enumerate(((0.4, 0.42), (1.1, 0.34))):
            n = (1.5 + 1.8 * scale) * (1 + 0.4 * layer)
            px, py = x * 0.92 + y * turn, y * 0.92 - x * turn
            # The distance is in cells, one of which is 1 / n of the scene.
            d = spots(px * n + 40, py * n + 40, seed + layer, 0.16, 0.38, 0.55)
            disc = smoothstep(0.05, -0.05, d) * (0.75 + 0.25 * smoothstep(-0.12, 0.0, d))
            stage.paint(colors.background_accent, disc * bokeh * strength)
    vignette = (0.14 * (x.square() + (y - 0.05).square())).clamp(max=0.5)
    stage.image = stage.image * (1 - vignette[:, None])


def _pattern(stage: Stage) -> Tensor:
    angle, size = stage.get("clothes_angle") * 3.1416, 9 + 12 * stage.get("clothes_scale")
    px = stage.x * torch.cos(angle) + stage.y * torch.sin(angle)
    py = stage.y * torch.cos(angle) - stage.x * torch.sin(angle)
    mask = torch.zeros_like(px)
    stripes, dots = stage.has("clothes_stripes"), stage.has("clothes_dots")
    if stage.any(stripes):
        edge = 0.10 + 0.5 * stage.pixel * size
        mask = mask + ((torch.sin(px * size * 1.15) / edge) * 0.5 + 0.5).clamp(0, 1) * stripes
    if stage.any(dots):
        n = size / 4.6
        u, v = torch.remainder(px * n, 1) - 0.5, torch.remainder(py * n, 1) - 0.5
        d = (torch.sqrt(u * u + v * v + 1e-9) - 0.27) / n
        mask = (mask - stage.cover(d) * dots).abs()
    return mask * 0.85


def draw_body(stage: Stage) -> None:
    """Neck and clothes; the neck joins the tilted head to the upright shoulders."""
    x, y, c = stage.x, stage.y, stage.colors
    lx = stage.light[0]
    ax = x.abs()
    seed = stage.get("seed") * 17
    # The neck follows the head at its top and the shoulders at its foot.
    follow = smoothstep(0.95, 0.25, y)
    nx = torch.lerp(x - 0.02 * torch.sin(stage.head.yaw), stage.hx, follow)
    half = 0.190 + 0.030 * stage.get("jaw") + 0.12 * (stage.head.half_width - 0.46)
    half = half + 0.30 * smoothstep(0.56, 0.84, y)
    round_ = (nx / half).clamp(-1, 1)
    key = (0.66 + 0.34 * (round_ * lx * 1.1 + 0.35 * torch.sqrt((1 - round_ * round_).clamp(min=0)))).clamp(0.3, 1.1)
    chin = smoothstep(0.92, 0.50, y + 0.10 * x * lx) * 0.34
    key = key * (1 - chin)
    cords = 0.06 * (ridge(nx - 0.09 - 0.1 * (y - 0.7), 0.03) + ridge(nx + 0.09 + 0.1 * (y - 0.7), 0.03))
    warm = stage.rgb(1.02, 0.96, 0.92)
    skin = c.skin * warm * torch.lerp(stage.rgb(0.62, 0.44, 0.38), stage.rgb(1.04, 1.02, 1.0), (key - cords)[:, None])
    stage.paint(skin * c.light, stage.cover(torch.maximum(nx.abs() - half, 0.2 - y)))

    # Shoulders: sloping from the neck, round at the ends, falling steeply outside.
    shoulder = 0.615 + 0.19 * ax + 0.30 * (ax / 0.92).pow(6)
    d_body = (shoulder - y) * 0.8
    vee = stage.get("neckline")
    collar = 0.745 + 0.22 * vee - (0.06 + 0.60 * vee) * ax - (1 - vee) * 2.0 * ax.square()
    opening = smooth_max(y - collar, ax - 0.34, 0.06)
    hole = stage.cover(opening)
    body = stage.cover(d_body)
    fold = fibres(x * 3.2 + y * 1.5 + 40, seed) * 0.6 + fibres(x * 6 - y * 3 + 60, seed + 3) * 0.4
    volume = (x * lx * 0.9).clamp(-0.5, 0.5) * 0.45
    light = 0.66 + 0.16 * fold + volume + 0.14 * ridge(y - shoulder - 0.06, 0.10)
    light = light - 0.30 * bump(x - 0.05 * torch.sin(stage.head.roll), y - 0.70, 0.34, 0.17)
    light = light - 0.16 * ridge(ax - 0.70 - 0.1 * (1.2 - y), 0.05) * smoothstep(0.95, 1.2, y)
    cloth = c.clothes + (c.clothes_accent - c.clothes) * _pattern(stage)[:, None]
    rim = stage.cover(opening.abs() - 0.022, 0.01)
    cloth = (
        cloth * (1 + 0.16 * rim[:, None]) * (1 - 0.35 * stage.cover((opening - 0.034).abs() - 0.006, 0.012)[:, None])
    )
    stage.paint(cloth * light[:, None] * 1.18 * c.light, body * (1 - hole))


def draw_ears(stage: Stage) -> None:
    """Both ears, with earrings where there are any; long hair covers them."""
    head, c = stage.head, stage.colors
    cover = 1 - smoothstep(0.36, 0.50, stage.get("hair_length")) * (1 - stage.has("bald"))
    rings, hoops = stage.has("earrings"), stage.has("earring_hoops")
    for side in (-1.0, 1.0):
        side_of_head = torch.full_like(head.yaw, side)
        u, v = head.turn(side_of_head * 0.985, side_of_head.abs() * 0.10, side_of_head.abs() * -0.17)
        reach = torch.sqrt(u * u + v * v).clamp(min=0.90)
        hidden = smoothstep(0.05, 0.42, side * torch.sin(head.yaw))
        u = u * torch.where(reach > 1, 1 / reach, torch.ones_like(reach))
        cx = u * head.width(v) + head.lean(v) + side * 0.014 - side * 0.055 * hidden
        cy = v * torch.where(v > 0, head.bottom, head.top)
        dx, dy = (stage.hx - cx) * side, stage.hy - cy
        lean = dx + 0.22 * dy
        outer = smooth_max(ellipse(lean, dy, 0.066, 0.118), dy - 0.105 - 0.4 * dx.clamp(max=0), 0.03)
        key = 0.80 + 0.20 * (side * stage.light[0]).clamp(-1, 1)
        inner = bump(lean - 0.004, dy + 0.012, 0.030, 0.058)
        fold = ridge(ellipse(lean - 0.002, dy + 0.01, 0.040, 0.082), 0.014)
        tint = torch.lerp(
            stage.rgb(1.0, 0.90, 0.86),
            stage.rgb(0.66, 0.44, 0.38),
            (0.75 * inner + 0.2 * fold).clamp(0, 1)[:, None],
        )
        stage.paint(c.skin * tint * key[:, None] * c.light, stage.cover(outer) * cover)
        present = rings * (1 - hidden)
        if stage.any(present):
            metal = stage.hue("earring_hue", 0.50, 0.96)
            gx, gy = dx - 0.012, dy - 0.155
            stud = stage.cover(torch.sqrt(gx * gx + gy * gy + 1e-9) - 0.036)
            hy = dy - 0.178
            d = torch.sqrt((gx * 1.15).square() + hy * hy + 1e-9)
            hoop = stage.cover((d - 0.062).abs() - 0.0125)
            mask = torch.where(hoops > 0, hoop, stud) * present
            glint = bump(gx - 0.010 * torch.sign(stage.light[0]) * side, gy + 0.012, 0.014, 0.014)
            shine = 0.80 + 0.30 * smoothstep(0.1, -0.1, gy + 0.3 * gx)
            stage.paint((metal * shine[:, None] + glint[:, None] * 0.6).clamp(max=1), mask)
