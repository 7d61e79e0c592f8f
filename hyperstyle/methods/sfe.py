"""StyleFeatureEditor (Bobkov et al., CVPR 2024): latent codes and features of the generator, predicted in one step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.inversion.features import Features, Guide
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.inversion.optimize import Step, StepCallback
from hyperstyle.inversion.state import GeneratorOverrides
from hyperstyle.inversion.synthesis import own_maps
from hyperstyle.methods.base import BaseRefinement, Method, Remedy, Start, StartingPoint
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.features import FeatureMaps


@dataclass(frozen=True)
class SfeRefinement(BaseRefinement):
    """One step of the model's Inverter: codes in W+ and features of a layer, from the crop alone.

    Attributes:
        name: "sfe": the feature editor carries edits over to the features, by e4e's code of the same crop; or
            "sfe-inverter", the first phase alone, whose features stay as they are in edits.
        keep_intermediates: keep the reconstruction of the codes alone and that with features in the inversion.
    """

    name: str
    keep_intermediates: bool = False

    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """Predicts codes and features in one step; with 0 steps codes alone.

        Raises:
            MethodError: it stands behind another method, or has predicted already; the model lacks one of its networks.
            ConfigError: more steps than one.
        """
        model, inverter, steps = inversion.model, inversion.model.sfe_inverter, 1 if steps is None else steps
        if inverter is None:
            raise MethodError("this model has no Inverter of StyleFeatureEditor. Use another method, or another model.")
        is_plain = inversion.offset_codes is None and not inversion.style_offsets and not inversion.overrides
        if inversion.method != "mean" or not is_plain:
            raise MethodError(
                f"{self.name!r} predicts codes and features once, from the crop alone: put it first. Gradient steps "
                f"make it better, as in {self.name + '+offsets'!r}."
            )
        if steps not in (0, 1):
            raise ConfigError(f"steps={steps}: {self.name!r} predicts in one step; expected 1, or 0 for codes alone.")
        crop = crop.to(model.device)
        with torch.no_grad():
            w, predicted = inverter(crop.to(model.dtype))
            result = replace(inversion, w=w, crop=crop, method=self.name, stored_metrics={}, refinement=self)
            images, watch = [], callback or (lambda step: None)
            if not steps or self.keep_intermediates or callback is not None:
                images.append(result.tensor)  # G(w)
                watch(Step(0, steps, images[0], w=w))
            if steps:
                # F = U(P, S), with S the generator's own maps for w.
                layer, generator = inverter.config.layer, model.generator
                fused = inverter.fuse(predicted, own_maps(generator, generator.styles(w), layer))
                maps = FeatureMaps(layer, fused, w.new_tensor([[0.0, 1.0]]).expand(len(w), 2))
                features = Features(maps, self._guide(model, crop))
                result = replace(result, overrides=GeneratorOverrides(features=features))
                images.append(result.tensor)  # G(w, H(F, 0)); of the first phase G(w, F)
                watch(Step(1, steps, images[-1], w=w))
        result = replace(result, intermediates=tuple(images) if self.keep_intermediates else ())
        return with_metrics(result, images[-1])

    def _guide(self, model: Model, crop: Tensor) -> Guide | None:
        """e4e's codes of the crops, around the generator's mean code; None without a feature editor."""
        if self.name != SFE.name:
            return None
        if model.e4e is None or model.feature_editor is None:
            raise MethodError("'sfe' needs a feature editor and an e4e encoder. Use method='sfe-inverter'.")
        code = model.e4e.predict(crop.to(model.dtype)) + model.generator.latent_avg  # not e4e's own mean, as published
        return Guide(code, code, code.new_ones(len(code)))


def _mean_start(model: Model) -> Start:
    inverter: Any = model.sfe_inverter  # it is there, see `StartingPoint`
    return lambda crops: inverter.latent_avg.expand(len(crops), -1, -1)  # [L,D] -> [B,L,D]


def _method(name: str, needs: dict[str, str], remedy: Remedy) -> Method:
    return Method(
        name,
        needs={"sfe_inverter": "Inverter of StyleFeatureEditor", **needs},
        start=StartingPoint("mean", _mean_start),
        refinement=lambda options: SfeRefinement(name, options.keep_intermediates),
        remedy=remedy,
    )


SFE = _method(
    "sfe",
    {"feature_editor": "feature editor", "e4e": "e4e encoder"},
    Remedy(
        "an Inverter, a feature editor and an e4e encoder",
        "hyperstyle convert SFE_EDITOR.pt --e4e E4E.pt --generator GENERATOR.pt --out FOLDER",
    ),
)
SFE_INVERTER = _method(
    "sfe-inverter",
    {},
    Remedy("an Inverter", "hyperstyle convert SFE_INVERTER.pt --generator GENERATOR.pt --out FOLDER"),
)
