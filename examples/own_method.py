"""A start, a refinement and an edit of your own: any callables with the right signature."""

from dataclasses import dataclass, replace

import torch

from hyperstyle import EditInfo, HyperStyleInverter, Inversion
from hyperstyle.evaluation import held_out_avatars

inverter = HyperStyleInverter()
crop = held_out_avatars(1)


def average_start(crops: torch.Tensor) -> torch.Tensor:
    """Starts every image from the average face [B,D] instead of asking the encoder."""
    return inverter.model.generator.latent_avg.expand(len(crops), -1)


@dataclass(frozen=True)
class Truncated:
    """Pulls codes towards the average face, where edits are steadier: crops and their inversion -> a new inversion."""

    amount: float

    def __call__(self, crop: torch.Tensor, inversion: Inversion, *, steps=None, callback=None) -> Inversion:
        mean = inversion.model.generator.latent_avg
        return replace(inversion, w=inversion.w.lerp(mean, self.amount), method="truncated", refinement=self)


@dataclass(frozen=True)
class Towards:
    """Moves codes a fraction of the way to a target."""

    target: torch.Tensor
    info: EditInfo

    def __call__(self, w: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        return w + strength[:, None, None] * (self.target - w)


encoded = inverter.invert(crop)
averaged = inverter.invert(crop, start=average_start)
truncated = inverter.invert(crop, method=[Truncated(0.3), "hyperstyle", "offset-codes"], steps=10)
print(f"L2 {encoded.stored_metrics['l2'][0]:.4f}, from a truncated code {truncated.stored_metrics['l2'][0]:.4f}")
halfway = encoded.edit(Towards(averaged.w, EditInfo("towards", 0.0, 1.0, "fraction of the way")), 0.5)
halfway.image.save("halfway.png")
