"""Brows, eyes, nose and mouth, painted on the skin from the curves of `anatomy`."""

from __future__ import annotations

import torch
from torch import Tensor

from examples.avatars.renderer.anatomy import BROW_HALF_WIDTH, BROW_X, EYE_X
from examples.avatars.renderer.patch import FacePatch
from examples.avatars.renderer.shapes import bump, ellipse, fibres, ridge, smoothstep
from examples.avatars.renderer.stage import Stage

__all__ = ["paint_brows_and_eyes", "paint_mouth", "paint_nose"]


def paint_nose(stage: Stage, p: FacePatch) -> None:
    """Nostrils and the crease round the wings; the rest of the nose is relief."""
    f = stage.face
    ax, y = p.nx.abs() / f.nose_width, p.ny - f.nose_y
    nostril = stage.cover_skin(ellipse(ax - 0.062 - 0.15 * (y - 0.05), y - 0.058, 0.034, 0.016), 0.022)
    p.tint(stage, (0.42, 0.26, 0.23), nostril * 0.85 * p.front)
    wing = torch.sqrt(((ax - 0.100) / 0.052).square() + ((y - 0.030) / 0.050).square() + 1e-6) - 1
    p.tint(stage, (0.66, 0.50, 0.46), ridge(wing, 0.22) * smoothstep(0.095, 0.15, ax) * 0.55 * p.front)
    under = bump(p.nx / f.nose_width, y - 0.088, 0.12, 0.035)
    p.tint(stage, (0.78, 0.64, 0.60), under * 0.55)
    groove = ridge(p.shell.x, 0.026) * smoothstep(0.50, 0.56, p.shell.y) * smoothstep(0.63, 0.60, p.shell.y)
    p.tint(stage, (0.84, 0.74, 0.70), groove * 0.5)


def paint_brows_and_eyes(stage: Stage, p: FacePatch) -> Tensor:
    """Brows, lids, lashes, irises; returns the strength of the highlights in the eyes [B,H,W]."""
    f, ax, y = stage.face, p.ax, p.shell.y
    # Brows: a band of hairs, thick towards the nose and thin outside.
    t = (ax - BROW_X) / BROW_HALF_WIDTH
    tc = t.clamp(-1.3, 1.3)
    thick = f.brow_half_height * (0.98 - 0.42 * tc.clamp(-1, 1))
    hairs = fibres(ax * 60 + y * 45 + 90, stage.get("seed") * 3) * stage.fade(60)
    d = (y - f.brow(tc)).abs() - thick
    brow = stage.cover_skin(d, 0.016) * stage.cover_skin((t.abs() - 1) * BROW_HALF_WIDTH, 0.03) * p.front
    p.paint(stage.colors.brow * (0.85 + 0.35 * hairs)[:, None], brow * (0.92 - 0.22 * hairs))
    # Eyes.
    side = p.shell.x.sign()
    ex = ax - EYE_X
    t = ex / f.eye_half_width
    tc = t.clamp(-1.35, 1.35)
    up, low = f.upper_lid(tc), f.lower_lid(tc)
    ey = y - f.eye_axis(tc)
    inside = torch.maximum(up - ey, ey - low)
    eye = stage.cover_skin(inside) * smoothstep(1.12, 1.0, t.abs()) * p.front
    crease = ridge(ey - up * 1.20 + 0.034, 0.018) * smoothstep(1.15, 0.6, t.abs())
    lid = smoothstep(0.0, -0.04, ey - up) * smoothstep(-0.075, -0.04, ey - up) * smoothstep(1.1, 0.6, t.abs())
    p.tint(stage, (0.60, 0.45, 0.42), crease * 0.62 * p.front)
    p.tint(stage, (0.90, 0.78, 0.76), lid * 0.55 * p.front)
    shade = 0.72 + 0.28 * smoothstep(0.0, 0.07, ey - up)
    white = stage.rgb(0.975, 0.965, 0.955) * shade[:, None]
    white = torch.lerp(white, white * stage.rgb(1.0, 0.80, 0.76), (smoothstep(0.6, 1.05, t.abs()) * 0.55)[:, None])
    p.paint(white, eye)
    radius = 0.094 * (0.90 + 0.14 * stage.get("eye_size"))
    ix, iy = ex * side - f.gaze, ey + 0.012
    di = torch.sqrt(ix * ix + iy * iy + 1e-9)
    rays = fibres(torch.atan2(iy, ix) * 6 + 40, stage.get("seed") * 5) * stage.fade(50)
    glow = 0.62 + 0.55 * smoothstep(-0.05, 0.08, iy) + 0.35 * rays * smoothstep(0.03, 0.06, di)
    iris = stage.colors.iris * glow[:, None] * (0.60 + 0.40 * smoothstep(0.0, 0.03, ey - up))[:, None]
    p.paint(iris, stage.cover_skin(di - radius) * eye)
    p.paint(stage.colors.iris * 0.28, stage.cover_skin((di - radius + 0.009).abs() - 0.008, 0.008) * eye)
    p.paint(stage.rgb(0.035, 0.028, 0.03), stage.cover_skin(di - 0.043) * eye)
    # Lashes: a line that grows towards the outer corner and ends in a small wing.
    ink = stage.colors.brow * 0.22 + stage.rgb(0.02, 0.015, 0.015)
    wing = 0.017 * (0.95 + 0.55 * tc.clamp(-1, 1.1)) * smoothstep(1.28, 0.9, t)
    lash = (
        stage.cover_skin((ey - up + wing * 0.5).abs() - wing, 0.004)
        * smoothstep(1.22, 1.02, t)
        * smoothstep(-1.08, -0.98, t)
    )
    p.paint(ink, lash * p.front * 0.94)
    lower = ridge(ey - low - 0.004, 0.014) * smoothstep(1.05, 0.75, t.abs()) * p.front
    p.tint(stage, (0.50, 0.36, 0.34), lower * 0.70)
    p.gloss = p.gloss * (1 - eye)
    # Highlights: a window towards the light, and its faint echo below.
    lx = stage.light[0]
    first = (
        torch.sqrt((ix - 0.030 * lx.sign() * lx.abs().clamp(0.6, 1)).square() + (iy + 0.034).square() + 1e-9) - 0.019
    )
    second = bump(ix + 0.030 * lx.sign(), iy - 0.040, 0.018, 0.016)
    return (stage.cover_skin(first, 0.006) * 0.95 + 0.30 * second) * eye


def paint_mouth(stage: Stage, p: FacePatch) -> None:
    """Lips, teeth and tongue."""
    f, x, y = stage.face, p.shell.x, p.shell.y
    t = x / f.mouth_half_width
    tc = t.clamp(-1.25, 1.25)
    top, inner_top, inner_bottom, bottom = f.lips(tc.clamp(-1, 1))
    line = f.mouth_line(tc)
    ends = smoothstep(1.03, 0.97, t.abs()) * p.front
    lips = stage.cover_skin(torch.maximum(top - y, y - bottom), 0.006) * ends
    lower = smoothstep(-0.01, 0.01, y - line - 0.2 * f.mouth_gap)
    roll = (y - inner_bottom) / (bottom - inner_bottom + 0.012)
    tone = torch.where(y < line + 0.2 * f.mouth_gap, torch.full_like(y, 0.86), 0.98 + 0.12 * ridge(roll - 0.45, 0.45))
    tone = tone - 0.10 * fibres(x * 40 + 50, stage.get("seed")) * stage.fade(40) * lower
    p.paint(stage.colors.lips * tone[:, None], lips * 0.95)
    p.gloss = p.gloss + lips * (0.9 * lower * ridge(roll - 0.4, 0.3) - 0.35)
    gap = f.mouth_gap
    seam = ridge(y - line, 0.015) * smoothstep(1.07, 0.9, t.abs()) * smoothstep(0.045, 0.01, gap) * p.front
    p.paint(stage.colors.lips * 0.36, seam * 0.9)
    inside = (
        stage.cover_skin(torch.maximum(inner_top - y, y - inner_bottom)) * smoothstep(0.99, 0.93, t.abs()) * p.front
    )
    inside = inside * smoothstep(0.004, 0.022, gap)
    p.paint(stage.rgb(0.27, 0.06, 0.08), inside)
    tongue = bump(x / 0.13, (y - inner_bottom) / 0.045, 1.0, 1.0) * smoothstep(0.05, 0.12, gap)
    p.paint(stage.rgb(0.78, 0.36, 0.38), inside * tongue * 0.85)
    tooth = ridge(torch.remainder(x / 0.058, 1) - 0.5, 0.07) * stage.fade(30) * 0.12
    teeth = (
        inside
        * stage.cover_skin(y - inner_top - 0.030 - 0.045 * smoothstep(0.02, 0.12, gap))
        * smoothstep(0.95, 0.82, t.abs())
    )
    p.paint(stage.rgb(0.985, 0.97, 0.945) * (0.93 - 0.10 * smoothstep(0.4, 0.9, t.abs()) - tooth)[:, None], teeth)
    p.gloss = p.gloss * (1 - inside)
    corner = bump(p.ax - f.mouth_half_width - 0.008, y - f.mouth_line(torch.ones_like(t)), 0.024, 0.028)
    p.tint(stage, (0.52, 0.38, 0.36), corner * 0.62 * p.front)
    below = bump(x / 0.15, y - f.lips(torch.zeros_like(t))[3] - 0.035, 1.0, 0.030)
    p.tint(stage, (0.74, 0.60, 0.56), below * 0.50)
