"""How far a reconstruction is from the crop that was inverted."""

from __future__ import annotations

import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.model.parts import Model

__all__ = ["figures"]


@torch.no_grad()
def figures(model: Model, image: Tensor, crop: Tensor) -> dict[str, tuple[float, ...]]:
    """`l2`, `ms_ssim` and, where the model has an evaluator, `perceptual` and `identity`: a number for each image.

    Args:
        model: whose domain says how networks see an image, and whose evaluator compares.
        image: reconstructions [B,3,H,W] in about [-1, 1].
        crop: what was inverted [B,3,h,w] in [-1, 1].
    """
    seen = model.domain.resize_to_input(image)  # [B,3,h,w]
    rows = {"l2": metrics.l2(seen, crop), "ms_ssim": metrics.ms_ssim(seen, crop)}
    if model.evaluator is not None:
        rows["perceptual"] = metrics.perceptual(seen, crop, model.evaluator)
        rows["identity"] = metrics.identity(seen, crop, model.evaluator)
    return {name: tuple(values.tolist()) for name, values in rows.items()}
