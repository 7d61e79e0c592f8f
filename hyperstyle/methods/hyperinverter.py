"""HyperInverter (Dinh et al., CVPR 2022): weight residuals predicted in one step, on top of the W encoder's codes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.inversion.optimize import Step, StepCallback
from hyperstyle.methods.base import BaseRefinement, Method, Remedy


@dataclass(frozen=True)
class HyperInverterRefinement(BaseRefinement):
    """One step of the model's HyperInverter: codes of residuals that are added to the generator's raw weights.

    Published networks see photos brought to the generator's size first and then, without antialiasing, to 256 px:
    converted models have a domain whose `sampling` is "point".

    Attributes:
        keep_intermediates: keep the reconstruction before and after the step in the inversion.
    """

    keep_intermediates: bool = False

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Predicts residuals from the crop and the image so far, in one step; 0 steps leave the generator as it is.

        The published start is a W encoder. After another method its overrides of the generator stay, and residuals
        are added to them.

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
        # The paper predicts once: the network is trained on images of the encoder's codes alone.
        if steps not in (0, 1):
            raise ConfigError(f"steps={steps}: HyperInverter predicts in one step; expected 1, or 0 for none.")
        crop = crop.to(model.device)
        result = replace(inversion, crop=crop, method="hyperinverter", stored_metrics={}, refinement=self)
        images = [result.tensor]  # G(w), [B,3,H,W]
        watch = callback or (lambda step: None)
        watch(Step(0, steps, images[0], codes=None))
        if steps:
            with torch.no_grad():
                # Both images at the size of the network: residuals are added to raw weights, W + R(x, G(w)).
                codes = network(*(image.to(model.device, model.dtype) for image in (crop, images[0])))
            result = replace(result, overrides=replace(inversion.overrides, residuals=codes))
            images.append(result.tensor)  # G(w; W + R)
            watch(Step(1, steps, images[1], codes=codes))
        result = replace(result, intermediates=tuple(images) if self.keep_intermediates else ())
        return with_metrics(result, images[-1])


HYPERINVERTER = Method(
    "hyperinverter",
    needs={"hyperinverter": "HyperInverter network"},
    refinement=lambda options: HyperInverterRefinement(options.keep_intermediates),
    remedy=Remedy(
        "a HyperInverter",
        "hyperstyle convert HYPERINVERTER.pt --encoder W_ENCODER.pt --generator GENERATOR.pkl --out FOLDER",
        train="hyperinverter",
    ),
)
