"""The curves of the face in canonical coordinates: lids, brows, nose and lips.

The same curves are drawn by `face` and `features` and read by `landmarks`, so the two cannot drift apart.
Along a feature runs t: -1 at one corner, 0 in the middle, 1 at the other corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from examples.avatars.renderer.factors import Factors
from examples.avatars.renderer.shapes import smoothstep

__all__ = ["EYE_X", "EYE_Y", "NOSE_LIFT", "Face"]

EYE_X = 0.385
EYE_Y = 0.03
BROW_X = 0.40
BROW_HALF_WIDTH = 0.225
NOSE_LIFT = 0.13
"""How far the tip of the nose stands in front of the skin, in radii of the head."""


@dataclass(frozen=True)
class Face:
    """Sizes of the features of a batch of faces; every field is [B,1,1]."""

    smile: Tensor
    opened: Tensor
    age: Tensor
    eye_half_width: Tensor
    eye_half_height: Tensor
    eye_tilt: Tensor
    gaze: Tensor
    brow_y: Tensor
    brow_half_height: Tensor
    brow_slant: Tensor
    nose_width: Tensor
    nose_y: Tensor
    mouth_y: Tensor
    mouth_half_width: Tensor
    mouth_curve: Tensor
    mouth_gap: Tensor
    lip_fullness: Tensor

    @classmethod
    def from_factors(cls, factors: Factors) -> Face:
        """The faces of factors [B]."""
        f = {name: value.view(-1, 1, 1) for name, value in factors.items()}
        smile, age, opened = f["smile"], f["age"], f["mouth_open"].square()
        size = 1.0 + 0.28 * f["eye_size"] - 0.16 * age
        open_eyes = 0.46 + 0.70 * smoothstep(-0.1, 0.9, f["eye_open"])
        broad = smoothstep(0.55, 1.0, smile)
        return cls(
            smile=smile,
            opened=opened,
            age=age,
            eye_half_width=0.185 * size,
            eye_half_height=0.108 * size * open_eyes * (1 - 0.18 * broad),
            eye_tilt=(f["eye_tilt"] * 2 - 1) * 0.17 + 0.02,
            gaze=(f["gaze"] * 2 - 1) * 0.085,
            brow_y=-0.155 - 0.12 * f["brow_height"],
            brow_half_height=(0.020 + 0.030 * f["brow_thickness"]) * (1 - 0.15 * age),
            brow_slant=0.004 + 0.030 * smile + 0.016 * f["brow_height"],
            nose_width=0.80 + 0.42 * f["nose_size"],
            nose_y=0.36 + 0.06 * f["nose_length"],
            mouth_y=0.660 - 0.020 * opened,
            mouth_half_width=0.255 + 0.125 * smile - 0.040 * opened,
            mouth_curve=-0.014 + 0.160 * smile,
            mouth_gap=0.150 * opened + 0.070 * broad * (1 - 0.6 * opened),
            lip_fullness=(0.62 + 0.75 * f["lip_fullness"]) * (1 - 0.2 * age),
        )

    def upper_lid(self, t: Tensor) -> Tensor:
        """Height of the upper lid over the eye's axis (negative is up)."""
        return -self.eye_half_height * (1 - (t * 0.96 + 0.04).abs().pow(2.3)).clamp(min=-0.5)

    def lower_lid(self, t: Tensor) -> Tensor:
        """Height of the lower lid below the eye's axis."""
        lifted = 1 - 0.30 * smoothstep(0.4, 1.0, self.smile)
        return self.eye_half_height * 0.66 * lifted * (1 - t * t).clamp(min=-0.5)

    def eye_axis(self, t: Tensor) -> Tensor:
        """Canonical y of the line from the inner corner (t = -1) to the outer one (t = 1)."""
        return EYE_Y - self.eye_tilt * 0.5 * (t + 0.2) * 0.6

    def brow(self, t: Tensor) -> Tensor:
        """Canonical y of the brow's middle line, t = -1 at the nose."""
        return self.brow_y - 0.048 * (1 - (t - 0.20).square()) + self.brow_slant * t

    def mouth_line(self, t: Tensor) -> Tensor:
        """Canonical y of the line between the lips of a closed mouth."""
        return self.mouth_y + self.mouth_curve * (0.45 - t * t)

    def lips(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Canonical y of: top of the upper lip, its lower edge, upper edge of the lower lip, its bottom."""
        arch = (1 - t * t).clamp(min=0)
        line = self.mouth_line(t)
        root = torch.sqrt(arch + 1e-6) * arch.clamp(max=1)
        inner_top = line - 0.35 * self.mouth_gap * arch
        inner_bottom = line + 0.65 * self.mouth_gap * arch
        bow = 1 - 0.22 * torch.exp(-(t / 0.16).square())
        stretch = 1 - 0.22 * self.smile
        top = inner_top - 0.060 * self.lip_fullness * bow * stretch * (0.6 * arch + 0.4 * root)
        bottom = inner_bottom + 0.072 * self.lip_fullness * stretch * (0.3 * arch + 0.7 * root)
        return top, inner_top, inner_bottom, bottom
