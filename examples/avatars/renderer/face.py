"""The skin of the face: its relief, its marks, and how light falls on it."""

from __future__ import annotations

import torch
from torch import Tensor

from examples.avatars.renderer.anatomy import EYE_X, NOSE_LIFT
from examples.avatars.renderer.features import paint_brows_and_eyes, paint_mouth, paint_nose
from examples.avatars.renderer.patch import FacePatch
from examples.avatars.renderer.shapes import bump, fibres, ridge, smoothstep, spots
from examples.avatars.renderer.stage import Stage

__all__ = ["draw_face"]


def draw_face(stage: Stage) -> Tensor:
    """Paint the face over the image; returns the share of each pixel it covers [B,H,W]."""
    shell = stage.skin
    nx, ny = stage.head.lifted(shell, NOSE_LIFT)
    skin = stage.colors.skin.expand(-1, -1, *shell.x.shape[1:]).clone()
    patch = FacePatch(shell, shell.x.abs(), nx, ny, smoothstep(0.0, 0.25, shell.z), skin, torch.ones_like(shell.x))
    relief = _relief(stage, patch)
    _complexion(stage, patch)
    _wrinkles(stage, patch)
    _marks(stage, patch)
    beard = _beard(stage, patch)
    paint_nose(stage, patch)
    paint_mouth(stage, patch)
    glints = paint_brows_and_eyes(stage, patch)
    color = _light(stage, patch, relief, beard)
    color = color + (1 - color) * glints[:, None]
    mask = stage.cover(shell.edge)
    stage.paint(color, mask)
    return mask


def _relief(stage: Stage, p: FacePatch) -> Tensor:
    """Height of the skin over the smooth head, in radii."""
    f, x, y, ax, nx, ny = stage.face, p.shell.x, p.shell.y, p.ax, p.nx, p.ny
    w = f.nose_width
    # The bridge slides from the skin at its root to the full parallax at the tip.
    down = smoothstep(-0.10, 0.40, y)
    bridge_x = x + (nx - x) * down
    bridge = (
        ridge(bridge_x, (0.070 + 0.035 * down) * w)
        * smoothstep(-0.16, 0.14, y)
        * smoothstep(0.10, -0.02, ny - f.nose_y)
    )
    height = 0.085 * bridge * (0.30 + 0.70 * down)
    height = height + 0.115 * bump(nx, ny - f.nose_y - 0.005, 0.105 * w, 0.090)
    height = height + 0.050 * bump(nx.abs() - 0.112 * w, ny - f.nose_y - 0.030, 0.055, 0.052)
    height = height - 0.050 * bump(ax - 0.36, y - 0.02, 0.21, 0.15) + 0.034 * bump(ax - EYE_X, y - 0.04, 0.15, 0.10)
    apple = 0.035 + 0.050 * f.smile + 0.012 * stage.get("cheeks") + 0.030 * (1 - f.age).square()
    height = height + apple * bump(ax - 0.46, y - 0.34 + 0.03 * f.smile, 0.20, 0.16)
    height = height + 0.035 * bump(x, y - 0.92, 0.19, 0.09) + 0.028 * bump(ax - 0.34, y + 0.19, 0.26, 0.08)
    height = height + 0.022 * bump(x / 0.26, y - f.mouth_y, 1.0, 0.12)
    old = f.age * smoothstep(0.1, 1.0, f.age)
    height = height - 0.022 * old * ridge(ax - 0.27 - 0.35 * (y - 0.5), 0.045) * smoothstep(0.40, 0.5, y) * smoothstep(
        0.85, 0.7, y
    )
    return height + 0.030 * old * bump(ax - 0.50, y - 0.62, 0.16, 0.14)


def _complexion(stage: Stage, p: FacePatch) -> None:
    f, x, y, ax = stage.face, p.shell.x, p.shell.y, p.ax
    warmth = stage.get("skin_warmth")
    blush = bump(ax - 0.46, y - 0.33 + 0.03 * f.smile, 0.21, 0.15) * (
        0.10 + 0.20 * f.smile + 0.22 * warmth + 0.26 * (1 - f.age).square()
    )
    p.tint(stage, (1.0, 0.76, 0.72), blush)
    p.tint(stage, (1.0, 0.82, 0.78), bump(p.nx, p.ny - f.nose_y, 0.13, 0.10) * (0.20 + 0.20 * warmth))
    p.tint(stage, (1.0, 0.92, 0.90), bump(x, y - 0.90, 0.2, 0.12) * 0.5)
    sockets = bump(ax - 0.33, y - 0.0, 0.20, 0.13)
    p.tint(stage, (0.84, 0.70, 0.68), sockets * 0.42)


def _wrinkles(stage: Stage, p: FacePatch) -> None:
    f, x, y, ax = stage.face, p.shell.x, p.shell.y, p.ax
    old = smoothstep(0.05, 1.0, f.age)
    # Few and broad, as shading of folds: lines a pixel wide and four apart are more than the generator can learn.
    row = torch.remainder((y + 0.31 + 0.14 * x * x) / 0.19, 1) - 0.5
    forehead = ridge(row, 0.25) * smoothstep(-0.62, -0.54, y) * smoothstep(-0.24, -0.29, y) * smoothstep(0.58, 0.30, ax)
    # From the wing of the nose past the corner of the mouth: this one is also what a smile deepens.
    curve = 0.175 * f.nose_width + 0.50 * (y - 0.40) - 0.75 * (y - 0.52).square() + 0.06 * f.smile
    fold = ridge(ax - curve, 0.050) * smoothstep(0.38, 0.48, y) * smoothstep(0.84, 0.66, y)
    fan = (y - 0.03) / (ax - 0.45).clamp(min=0.06)
    feet = ridge(torch.remainder(fan * 1.1, 1) - 0.5, 0.24) * bump(ax - 0.69, y - 0.04, 0.085, 0.14)
    bag = ridge(y - 0.185 + 0.9 * (ax - 0.37).square(), 0.050) * bump(ax - 0.37, y - 0.17, 0.17, 0.14)
    strength = forehead * 0.85 * old + fold * (0.62 * old + 0.22 * f.smile) + feet * (0.85 * old + 0.12 * f.smile)
    strength = (strength + bag * (0.75 * old + 0.10)).clamp(0, 1) * p.front
    p.tint(stage, (0.54, 0.40, 0.36), strength * 0.80)


def _marks(stage: Stage, p: FacePatch) -> None:
    x, y, ax = p.shell.x, p.shell.y, p.ax
    skin, seed = stage.colors.skin, stage.get("seed") * 23
    freckles, mole, stripes = stage.has("freckles"), stage.has("mole"), stage.has("face_paint")
    if stage.any(freckles):
        d = spots(x * 14 + 40, y * 14 + 40, seed, 0.09, 0.22, 0.30 + 0.5 * stage.get("freckle_density"))
        where = bump(ax - 0.34, y - 0.28, 0.34, 0.17) + bump(p.nx, p.ny - 0.30, 0.16, 0.10)
        p.paint(
            skin * stage.rgb(0.66, 0.47, 0.38),
            stage.cover_skin(d / 14, 0.012) * where.clamp(0, 1) * freckles * p.front * 0.85,
        )
    if stage.any(mole):
        mx = stage.get("mole_x") * 2 - 1
        # Never on the nose or the mouth: it keeps to a cheek or the side of the chin.
        mx = torch.where(mx < 0, -0.30 + 0.35 * mx, 0.30 + 0.35 * mx)
        d = torch.sqrt((x - mx).square() + (y - 0.26 - 0.45 * stage.get("mole_y")).square() + 1e-9) - 0.030
        p.paint(skin * stage.rgb(0.36, 0.25, 0.22), stage.cover_skin(d, 0.008) * mole * p.front)
    if stage.any(stripes):
        bars = stage.cover_skin((y - 0.25 + 0.1 * ax).abs() - 0.024) + stage.cover_skin(
            (y - 0.34 + 0.1 * ax).abs() - 0.024
        )
        ends = stage.cover_skin((ax - 0.52).abs() - 0.15)
        p.paint(stage.hue("paint_hue", 0.68, 0.95), bars.clamp(0, 1) * ends * stripes * p.front * 0.92)


def _beard(stage: Stage, p: FacePatch) -> Tensor:
    present = stage.has("beard")
    if not stage.any(present):
        return torch.zeros_like(p.ax)
    f, x, y, ax = stage.face, p.shell.x, p.shell.y, p.ax
    length, seed = stage.get("beard_length"), stage.get("seed") * 31
    grain = fibres(x * 80 + 5 * fibres(y * 9 + 40, seed) + 5 * fibres(x * 7 + 60, seed) + 70, seed)
    grain = 0.5 + (grain - 0.5) * stage.fade(90)
    cheek = 0.44 - 0.62 * smoothstep(0.46, 0.86, ax) - 0.10 * ridge(ax - 0.05, 0.2)
    jaw = smoothstep(-0.05, 0.13, y - cheek + 0.07 * (grain - 0.5))
    under_nose = smoothstep(0.50, 0.56, y + 0.06 * ax)
    jaw = (
        jaw * (1 - bump(ax - 0.43, y - 0.42, 0.17, 0.15) * 0.85) * torch.maximum(under_nose, smoothstep(0.26, 0.36, ax))
    )
    bare = bump(x / 0.17, y - f.mouth_y - 0.145, 0.9, 0.030)
    density = (0.34 + 0.60 * smoothstep(0.0, 0.7, length)) * (0.88 + 0.12 * grain)
    mask = (jaw * (1 - 0.4 * bare) * density).clamp(0, 1) * present * p.front.clamp(min=0.6)
    shade = 0.76 + 0.18 * grain
    p.paint(stage.colors.beard * shade[:, None] * 0.84, mask)
    p.gloss = p.gloss * (1 - 0.85 * mask)
    return mask


def _light(stage: Stage, p: FacePatch, relief: Tensor, beard: Tensor) -> Tensor:
    s, c = p.shell, stage.colors
    gx, gy = stage.slopes(relief)
    n = (s.u * 0.92 - gx * 0.60, s.v * 0.74 - gy * 0.60, s.depth + 0.16)
    inverse = torch.rsqrt(n[0].square() + n[1].square() + n[2].square())
    nx, ny, nz = n[0] * inverse, n[1] * inverse, n[2] * inverse
    lx, ly, lz = stage.light
    lambert = nx * lx + ny * ly + nz * lz
    key = smoothstep(-0.45, 1.0, lambert)
    # Light that went through the skin: shadows stay warm and the edge of the shadow glows.
    shadow, lit = stage.rgb(0.60, 0.475, 0.44), stage.rgb(1.06, 1.03, 1.00)
    color = p.albedo * torch.lerp(shadow, lit, key[:, None].expand_as(p.albedo)) * c.light
    edge = ridge(lambert - 0.12, 0.30) * p.gloss
    color = color + c.skin * (0.075 * edge)[:, None] * stage.rgb(1.0, 0.30, 0.16)
    # A dim fill from the other side, and a rim where the outline turns away.
    fill = (-nx * lx.sign() * 0.5 + 0.2).clamp(0, 1) * (1 - key)
    color = color + p.albedo * (0.10 * fill)[:, None] * stage.rgb(0.9, 1.0, 1.15)
    norm = torch.rsqrt(lx.square() + ly.square() + (lz + 1).square())
    half = ((nx * lx + ny * ly + nz * (lz + 1)) * norm).clamp(0, 1)
    squared = half.square().square()
    sheen = squared.square()  # half^8
    tight = sheen.square().square()  # half^32
    rim = (1 - nz).clamp(0, 1).square() * (0.35 + 0.65 * (nx * lx * 2).clamp(0, 1)) * 0.20
    gloss = (0.07 * sheen + 0.13 * tight + rim) * p.gloss * (1 - 0.25 * stage.face.age)
    color = color + gloss[:, None] * (0.45 + 0.55 * c.skin) * c.light
    return color.clamp(0, 1)
