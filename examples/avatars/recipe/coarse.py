"""Hypernetworks trained at a small size first: the generator's coarse image is compared in place of the full one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.loss import ReconstructionLoss
from hyperstyle.networks.stylegan2.generator import Generator, Offsets
from hyperstyle.networks.stylegan2.ops import Modulation
from hyperstyle.training.adversarial import Scale
from hyperstyle.training.hypernetwork_task import HypernetworkTask
from hyperstyle.training.task import autocast, compiled

__all__ = ["Coarse", "CoarseToFine", "Phase"]


class Phase(NamedTuple):
    """A part of a stage.

    Attributes:
        length: in optimization steps.
        steps: T, refinement steps for each image; 1 where `pixels` is below the full size.
        pixels: size of the images that are compared.
    """

    length: int
    steps: int
    pixels: int


class Coarse(nn.Module):
    """A generator without its blocks above `size`: its coarse image, at a fraction of the cost.

    Offsets and residuals for the layers above are ignored.
    """

    def __init__(self, generator: Generator, size: int) -> None:
        super().__init__()
        config = generator.config
        blocks = sum(resolution <= size for resolution in config.resolutions)
        small = Generator(replace(config, size=size, channels=config.channels[:blocks]))
        state = generator.state_dict()
        small.load_state_dict({name: state[name] for name in small.state_dict()})
        self.generator = small.eval().requires_grad_(False)

    def forward(
        self,
        w: Tensor,
        offsets: Offsets | None = None,
        *,
        modulation: Modulation | None = None,
        residuals: Offsets | None = None,
    ) -> Tensor:
        """Codes [B,D] or [B,L,D] of the whole generator -> [B,3,size,size]."""
        w = w if w.ndim == 2 else w[:, : self.generator.config.rows]
        names = {s.name for s in self.generator.layers}
        offsets, residuals = ({k: v for k, v in (c or {}).items() if k in names} for c in (offsets, residuals))
        image: Tensor = self.generator(w, offsets, modulation=modulation, residuals=residuals)
        return image


class CoarseToFine(HypernetworkTask):
    """Makes a task compare images at the size of each phase, with the loss of the recipe.

    A coarse image lacks what the finer blocks add. That depends on the code more than on offsets, so it is measured
    without offsets and added to the image.
    """

    def set_phases(self, recipe: Recipe, phases: Sequence[Phase], loss: ReconstructionLoss) -> None:
        """Sets phases and loss; to be called before the first step."""
        generator = self.base.generator
        assert isinstance(generator, Generator)  # the recipe's own, a StyleGAN2
        self.phase_list, self.loss, self.full = phases, loss, self.generate
        self.coarse = {
            pixels: compiled(Coarse(generator, pixels), recipe.compile)
            for pixels in {phase.pixels for phase in phases} - {generator.config.size}
        }

    def train_step(
        self,
        crop: Tensor,
        step: int,
        scale: Scale,
        codes: Tensor | None = None,
        *,
        start: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> dict[str, float]:
        """One step, with the generator and the loss of its phase.

        Args:
            crop, step, scale, codes, start: see `HypernetworkTask`; codes and start are required.
            weight: [B,1,h,w] weight of each pixel in the loss.
        """
        if codes is None or start is None:
            raise TypeError("a step of the recipe needs codes and start")
        phase = phase_at(self.phase_list, step)
        self.steps, self.generate, shift = phase.steps, self.full, torch.zeros(())
        if phase.pixels in self.coarse:
            self.generate = self.coarse[phase.pixels]
            with torch.no_grad(), autocast(self.dtype, crop.device):
                image = self.generate(codes, modulation="activations")
            shift = nn.functional.avg_pool2d(start.float(), start.shape[2] // phase.pixels) - image.float()
        self.objective = self.loss.with_weight(weight, shift)
        figures = super().train_step(crop, step, scale, codes, start=start)
        return {"passes": float(phase.steps), "pixels": float(phase.pixels), **figures}

    def as_input(self, image: Tensor) -> Tensor:
        """The image unchanged: it has the size of its phase."""
        return image


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    """The phase of a step; the last one for later steps."""
    for phase in phases:
        if step < phase.length:
            return phase
        step -= phase.length
    return phases[-1]
