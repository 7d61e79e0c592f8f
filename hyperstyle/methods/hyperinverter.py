"""HyperInverter (Dinh et al., CVPR 2022): weight residuals predicted in one pass, on top of the W encoder's codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.methods.hyperstyle import RefineStep

__all__ = ["HyperInverterRefinement"]


@dataclass(frozen=True)
class HyperInverterRefinement:
    """One pass of the model's HyperInverter: codes of residuals that are added to the generator's raw weights.

    Published networks see photos brought to the generator's size first and then, without antialiasing, to 256 px:
    converted models have a domain whose `sampling` is "point".

    Attributes:
        keep_intermediates: keep the reconstruction before and after the pass in the inversion.
    """

    keep_intermediates: bool = False

    def __call__(
        self,
        crop: Tensor,
        inversion: Inversion,
        *,
        steps: int | None = None,
        callback: Callable[..., None] | None = None,
    ) -> Inversion:
        """Predicts residuals from the crop and the image so far, in one step; 0 steps leave the generator as it is.

        The published start is a W encoder. After another method its changes of the generator stay, and residuals are
        added to them.

        Raises:
            MethodError: the model has no HyperInverter, or the inversion has residuals already.
            ConfigError: more steps than one, or a model whose images are not square.
        """
        model, network = inversion.model, inversion.model.hyperinverter
        if network is None:
            raise MethodError("this model has no HyperInverter. Use another method, or a model with one.")
        if inversion.overrides.residuals is not None:
            raise MethodError(
                "HyperInverter predicts once, and this inversion has its residuals already. Start from "
                "Inversion.initial to predict them anew."
            )
        steps = 1 if steps is None else steps
        if steps not in (0, 1):
            raise ConfigError(f"steps={steps}: HyperInverter predicts in one step; expected 1, or 0 for none.")
        predicted = replace(
            inversion, crop=crop.to(model.device), method="hyperinverter", stored_metrics={}, refinement=self
        )
        images = [predicted.tensor]
        watch = callback or (lambda _: None)
        watch(RefineStep(0, steps, None, images[0]))
        if steps:
            with torch.no_grad():
                codes = network(*(x.to(model.device, model.dtype) for x in (crop, images[0])))
            predicted = replace(predicted, overrides=replace(inversion.overrides, residuals=codes))
            images.append(predicted.tensor)
            watch(RefineStep(1, steps, codes, images[1]))
        predicted = replace(predicted, intermediates=tuple(images) if self.keep_intermediates else ())
        return with_metrics(predicted, images[-1])
