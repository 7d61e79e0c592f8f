"""What training HyperStyle and HyperInverter have in common: a frozen W encoder predicts the first reconstruction."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hyperstyle.metrics import l2
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.training.task import Scale, Task, autocast

__all__ = ["HypernetworkTask"]


class HypernetworkTask(Task):
    """A network that predicts weights of the generator from a crop and its reconstruction G(w).

    Attributes:
        encoder: predicts w, where no codes are known in advance.
    """

    encoder: WEncoder

    def train_step(
        self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None, *, start: Tensor | None = None
    ) -> Mapping[str, float]:
        """Adds the gradients of crops [B,3,h,w]; returns figures for the log.

        Args:
            crop, step, scale, codes: see `Task`.
            start: the generator's image G(codes) [B,3,R,R], where it is known in advance.
        """
        raise NotImplementedError

    def start(self, crop: Tensor, codes: Tensor | None) -> tuple[Tensor, Tensor]:
        """w [B,L,D] and the generator's image G(w) [B,3,R,R], in the type of autocast."""
        with autocast(self.dtype, crop.device):
            w = self.encoder(crop) if codes is None else codes
            image = self.generate(w, modulation="activations")
        return w.to(crop.dtype), image

    @torch.no_grad()
    def evaluate(self, crop: Tensor) -> Mapping[str, Tensor]:
        """L2 [B] of G(w) and of the reconstruction with predicted weights."""
        images = self.sample(crop)
        return {"w_l2": l2(images["before"], crop), "l2": l2(images["after"], crop)}
