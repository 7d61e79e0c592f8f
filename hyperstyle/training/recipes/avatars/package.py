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
from hyperstyle.training.recipes.avatars.config import Recipe
from hyperstyle.training.recipes.avatars.data import CPU, LOG, Sets
from hyperstyle.training.recipes.avatars.generator import load_factor_mapping, load_generator
from hyperstyle.training.recipes.avatars.judge import load_trait_network

__all__ = ["EDITS", "make_package"]

EDITS: dict[str, tuple[str, float, float]] = {
    "age": ("age", -2.0, 2.0),
    "smile": ("smile", -2.0, 2.0),
    "pose": ("yaw", -2.0, 2.0),
    "pitch": ("pitch", -1.5, 1.5),
    "mouth_open": ("mouth_open", -2.0, 2.0),
    "eye_open": ("eye_open", -2.0, 2.0),
    "gaze": ("gaze", -1.5, 1.5),
    "face_width": ("face_width", -2.0, 2.0),
    "skin": ("skin", -1.0, 1.0),
    "hair_color": ("hair_color", -1.5, 1.5),
    "beard": ("beard", -1.0, 2.0),
    "glasses": ("glasses", -1.0, 2.0),
    "light": ("light_azimuth", -2.0, 2.0),
}
"""Edit -> the factor whose direction it is, and the sensible range. Hair length and fringe are left out: not clean."""


def make_package(recipe: Recipe, data: Sets, run: Path) -> None:
    """Writes `run/model`: half-precision weights, edits, hashes; what is bundled is a copy of it."""
    generator = load_generator(run)
    mapping = load_factor_mapping(run, recipe.generator.latent_width)
    drawn = sample_factors(20_000, seed=recipe.seed * 1000 + 7, details=False)
    with torch.no_grad():
        codes = mapping(trait_encoding(drawn))
    edits = {}
    for name, (factor, low, high) in EDITS.items():
        direction = regression_direction(codes, drawn[factor]).half().float()
        unit = f"population standard deviations of {factor}"
        source = "regression of the W code on the factor, 20,000 avatars"
        info = EditInfo(name, low, high, unit, source, trait=factor)
        edits[name] = DirectionEdit(direction, info)
    inverter = HyperStyleInverter(
        generator,
        load_component(WEncoder, WEncoderConfig, run / "encoder" / "done", device=CPU),
        load_component(Hypernetwork, HypernetworkConfig, run / "hypernetwork" / "done", device=CPU),
        domain=replace(DOMAINS["avatars"].at_size(recipe.generator.size), input_size=(recipe.generator.size,) * 2),
        edits=edits,
        judge=load_trait_network(run / "judge"),
        perceptual=load_trait_network(run / "perceptual"),
        info={
            "source": "trained from scratch on rendered portraits: python -m hyperstyle.training.recipes.avatars",
            "licence": "MIT",
            "seed": recipe.seed,
        },
    )
    inverter.save_pretrained(run / "model", dtype=torch.float16)
    LOG.info("model written to %s", run / "model")
