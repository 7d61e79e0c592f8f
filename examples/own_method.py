"""Plug in a way to start, and an edit, of your own: any callables of the right form will do."""

from dataclasses import dataclass

import torch

from hyperstyle import EditInfo, HyperStyleInverter
from hyperstyle.avatars.factors import sample_factors
from hyperstyle.avatars.render import render

inverter = HyperStyleInverter()
crop = render(sample_factors(1, seed=11), inverter.model.domain.size).images


def average_start(crops: torch.Tensor) -> torch.Tensor:
    """Starts every picture from the average face [B,D] instead of asking the encoder."""
    return inverter.model.generator.latent_avg.expand(len(crops), -1)


@dataclass(frozen=True)
class Towards:
    """Moves codes a fraction of the way to a target."""

    target: torch.Tensor
    info: EditInfo

    def __call__(self, w: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        return w + strength[:, None, None] * (self.target - w)


encoded = inverter.invert(crop)
averaged = inverter.invert(crop, start=average_start)
halfway = encoded.edit(Towards(averaged.w, EditInfo("towards", 0.0, 1.0, "fraction of the way")), 0.5)
halfway.image.save("halfway.png")
