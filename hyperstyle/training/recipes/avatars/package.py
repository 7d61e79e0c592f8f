"""The last stage: directions for edits, and everything in one model folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from hyperstyle.avatars.encoding import trait_encoding
from hyperstyle.avatars.factors import sample_factors
from hyperstyle.checkpoint import load_component
from hyperstyle.domain import DOMAINS
from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.edits.direction import regression_direction
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.encoders import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetwork import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.traits import TraitNetwork, TraitNetworkConfig
from hyperstyle.training.recipes.avatars.config import Recipe
from hyperstyle.training.recipes.avatars.data import CPU, LOG, Sets
from hyperstyle.training.recipes.avatars.generator import load_factor_mapping, load_generator

__all__ = ["EDITS", "make_package"]

EDITS = {"age": "age", "smile": "smile", "pose": "yaw"}
"""Edit -> the factor whose direction it is."""


def make_package(recipe: Recipe, data: Sets, run: Path) -> None:
    """Writes `run/model`: half-precision weights, edits, hashes; what is bundled is a copy of it."""
    generator = load_generator(run)
    mapping = load_factor_mapping(run, recipe.generator.latent_width)
    drawn = sample_factors(20_000, seed=recipe.seed * 1000 + 7, details=False)
    with torch.no_grad():
        codes = mapping(trait_encoding(drawn))
    edits = {}
    for name, factor in EDITS.items():
        direction = regression_direction(codes, drawn[factor]).half().float()
        unit = f"population standard deviations of {factor}"
        info = EditInfo(name, -2.5, 2.5, unit, "regression of the W code on the factor, 20,000 avatars")
        edits[name] = DirectionEdit(direction, info)
    inverter = HyperStyleInverter(
        generator,
        load_component(WEncoder, WEncoderConfig, run / "encoder" / "done", device=CPU),
        load_component(Hypernetwork, HypernetworkConfig, run / "hypernetwork" / "done", device=CPU),
        domain=replace(DOMAINS["avatars"].at_size(recipe.generator.size), input_size=(recipe.generator.size,) * 2),
        edits=edits,
        judge=load_component(TraitNetwork, TraitNetworkConfig, run / "judge" / "done", device=CPU),
        info={
            "source": "trained from scratch on rendered portraits: python -m hyperstyle.training.recipes.avatars",
            "licence": "MIT",
            "seed": recipe.seed,
        },
    )
    inverter.save_pretrained(run / "model", dtype=torch.float16)
    LOG.info("model written to %s", run / "model")
