"""The skin of the face while it is being painted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from examples.avatars.renderer.geometry import Shell
from examples.avatars.renderer.stage import Stage

__all__ = ["FacePatch"]


@dataclass
class FacePatch:
    """The skin being painted: canonical positions and the albedo so far, before any light falls on it.

    `nx`, `ny` are canonical positions of what stands in front of the skin by the height of the nose; `front`
    is 1 on the front of the head; `gloss` is how much the surface mirrors.
    """

    shell: Shell
    ax: Tensor
    nx: Tensor
    ny: Tensor
    front: Tensor
    albedo: Tensor
    gloss: Tensor

    def paint(self, color: Tensor, mask: Tensor) -> None:
        """Lay a color over the albedo where `mask` is 1."""
        self.albedo = torch.lerp(self.albedo, color.expand_as(self.albedo), mask[:, None].expand_as(self.albedo))

    def tint(self, stage: Stage, rgb: tuple[float, float, float], mask: Tensor) -> None:
        """Multiply the albedo by `rgb` where `mask` is 1."""
        self.albedo = self.albedo * (1 - mask[:, None] * (1 - stage.rgb(*rgb)))
