"""What is worn on the head: glasses, hat, headband, hair clip."""

from __future__ import annotations

import torch
from torch import Tensor

from examples.avatars.renderer.anatomy import EYE_X
from examples.avatars.renderer.hair import hair_radius
from examples.avatars.renderer.shapes import fibres, ridge, smooth_max, smoothstep
from examples.avatars.renderer.stage import Stage

__all__ = ["draw_glasses", "draw_headwear"]

_GLASSES_LIFT = 0.07


def draw_glasses(stage: Stage, face: Tensor, hair: Tensor) -> None:
    """Frames, lenses with a reflection, and temples that vanish under the hair."""
    present = stage.has("glasses")
    if not stage.any(present):
        return
    s = stage.skin
    gx, gy = stage.head.lifted(s, _GLASSES_LIFT)
    shape = stage.get("glasses_shape")
    ax, y = gx.abs() - EYE_X, gy - 0.05
    rounding = 0.06 + 0.13 * shape
    half_w, half_h = 0.250 - 0.025 * shape, 0.165 + 0.045 * shape
    qx, qy = ax.abs() - half_w + rounding, y.abs() - half_h + rounding
    d = (
        torch.sqrt(qx.clamp(min=0).square() + qy.clamp(min=0).square() + 1e-12)
        + torch.maximum(qx, qy).clamp(max=0)
        - rounding
    )
    thick = 0.015 + 0.014 * (1 - shape)
    front = smoothstep(-0.05, 0.1, s.z)
    lens = stage.cover_skin(d) * front * face * present
    drop = stage.cover_skin(d.abs() - thick * 1.4, 0.09) * front * face * present
    stage.shade(drop * 0.22, stage.rgb(0.70, 0.58, 0.54))
    glare = smoothstep(0.03, 0.0, (gx - EYE_X * gx.sign() + y * 0.9 + 0.07).abs() - 0.035)
    stage.image = stage.image + (1 - stage.image) * (lens * (0.03 + 0.11 * glare))[:, None]
    rim = stage.cover_skin(d.abs() - thick)
    bridge = stage.cover_skin(smooth_max((y + 0.045 - 0.3 * gx * gx).abs() - thick, gx.abs() - (EYE_X - half_w), 0.01))
    temple = stage.cover_skin(torch.maximum((y + 0.05).abs() - thick, half_w - ax)) * smoothstep(1.03, 0.97, s.x.abs())
    temple = temple * (1 - hair)
    mask = torch.maximum(torch.maximum(rim, bridge), temple) * front * face * present
    dark = stage.hue("glasses_hue", 0.55, 0.24)
    lit = 1 + 0.9 * smoothstep(0.10, -0.18, y) * (0.4 + 0.6 * stage.lambert(s))
    stage.paint(dark * lit[:, None], mask)


def draw_headwear(stage: Stage, face: Tensor) -> None:
    """Hat, headband or clip; a hat leaves no room for the other two."""
    hat = stage.has("hat")
    if stage.any(hat):
        _hat(stage, face, hat)
    band = stage.has("headband") * (1 - hat)
    if stage.any(band):
        _headband(stage, band)
    clip = stage.has("hair_clip") * (1 - hat) * (1 - stage.has("bald"))
    if stage.any(clip):
        _clip(stage, clip)


def _hat(stage: Stage, face: Tensor, present: Tensor) -> None:
    head = stage.head
    radius = hair_radius(stage).clamp(min=1.03) + 0.035
    s = head.shell(stage.hx, stage.hy, radius)
    base = stage.factors["hat_value"]
    main = stage.hue("hat_hue", 0.58, 0.42 + 0.50 * base)
    pale = 1 - 0.42 * (1 - main)
    brim = s.y + 0.375 - 0.10 * s.x * s.x
    scale = head.half_width
    cuff_depth = 0.20
    key = stage.lambert(s, 0.5)
    round_ = s.x / torch.sqrt((1 - s.y * s.y).clamp(min=0.08))
    rib = torch.sin(torch.atan2(s.x, s.z) * 34) * stage.fade(26) * smoothstep(0.03, 0.35, 1 - s.y * s.y)
    rib = 0.5 + 0.5 * rib
    pompom = stage.has("hat_pompom") * present
    if stage.any(pompom):
        px, py = stage.hx + 0.12 * torch.sin(head.yaw), stage.hy + head.top * radius * 1.02
        r = torch.sqrt(px * px + py * py + 1e-9)
        fluff = fibres(torch.atan2(py, px) * 9 + 40, stage.get("seed") * 3)
        ball = stage.cover(r - 0.115 - 0.018 * (fluff - 0.5), 0.012) * pompom
        tone = 0.78 + 0.22 * (-py * 5 + px * 5 * stage.light[0]).clamp(-1, 1) + 0.10 * (fluff - 0.5)
        stage.paint(pale * tone[:, None] * stage.colors.light, ball)
    crown = stage.cover(smooth_max(s.edge, (brim + 0.05) * scale, 0.05)) * present
    stripes = torch.sin((s.y + 0.1 * s.x * s.x) * 24)
    stripes = (stripes / (0.15 + 24 * stage.pixel) * 0.5 + 0.5).clamp(0, 1) * stage.has("hat_stripes")
    color = torch.lerp(main, pale, (stripes * 0.85)[:, None])
    shade = (0.48 + 0.54 * key) * (0.86 + 0.14 * rib) * (1 - 0.22 * ridge(brim + cuff_depth + 0.02, 0.05))
    cast = smoothstep(0.20, 0.0, brim) * (1 - crown) * face * present * smoothstep(-0.1, 0.2, s.z)
    stage.shade(cast * 0.5, stage.rgb(0.62, 0.48, 0.45))
    stage.paint(color * shade[:, None] * stage.colors.light, crown)
    # The cuff is rolled outwards, so it stands a little wider, with rounded ends.
    c = head.shell(stage.hx, stage.hy, radius + 0.025)
    mid = c.y + 0.375 - 0.10 * c.x * c.x + cuff_depth / 2
    fold = smooth_max(c.edge, (mid.abs() - cuff_depth / 2) * scale, 0.07)
    cuff = stage.cover(fold) * present * smoothstep(-0.35, -0.2, c.z)
    bulge = 1 - (mid / (cuff_depth / 2)).clamp(-1, 1).square()
    shade = (0.50 + 0.42 * stage.lambert(c, 0.5) + 0.14 * bulge) * (0.82 + 0.18 * rib)
    knit = fibres(round_ * 30 + 60, stage.get("seed")) * 0.06
    stage.paint(torch.lerp(main, pale, 0.30) * (shade - knit)[:, None] * stage.colors.light, cuff)


def _headband(stage: Stage, present: Tensor) -> None:
    radius = hair_radius(stage) + 0.018
    s = stage.head.shell(stage.hx, stage.hy, radius)
    middle = s.y + 0.60 - 0.12 * s.x * s.x
    d = smooth_max(s.edge, (middle.abs() - 0.085) * stage.head.half_width, 0.035)
    mask = stage.cover(d) * present * smoothstep(-0.35, -0.2, s.z)
    base = stage.hue("headband_hue", 0.62, 0.86)
    weave = torch.sin(torch.atan2(s.x, s.z) * 16 + middle * 20)
    weave = (weave / (0.25 + 20 * stage.pixel) * 0.5 + 0.5).clamp(0, 1)
    color = torch.lerp(base, 1 - 0.35 * (1 - base), weave[:, None])
    shade = 0.52 + 0.50 * stage.lambert(s, 0.5) + 0.10 * (1 - (middle / 0.085).clamp(-1, 1).square()) - 0.05
    stage.paint(color * shade[:, None] * stage.colors.light, mask)


def _clip(stage: Stage, present: Tensor) -> None:
    s = stage.head.shell(stage.hx, stage.hy, hair_radius(stage) + 0.012)
    side = 1 - 2 * (stage.get("parting") >= 0.5).float()
    x, y = s.x * side - 0.56, s.y + 0.46
    along, across = x * 0.80 + y * 0.60, y * 0.80 - x * 0.60
    d = torch.sqrt((along.abs() - 0.10).clamp(min=0).square() + across.square() + 1e-9) - 0.042
    mask = stage.cover_skin(d) * present * smoothstep(0.0, 0.1, s.z)
    color = stage.hue("clip_hue", 0.66, 0.95)
    shine = ridge(across + 0.014, 0.014)
    stage.paint((color * (0.86 + 0.20 * stage.lambert(s))[:, None] + 0.35 * shine[:, None]).clamp(0, 1), mask)
