"""Directions for edits, from the codes of random avatars."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import Sets
from examples.avatars.recipe.generator import load_factor_mapping
from examples.avatars.renderer.encoding import trait_encoding
from examples.avatars.renderer.factors import sample_factors
from hyperstyle.edits import DirectionEdit, EditInfo, save_edit
from hyperstyle.errors import EditError

__all__ = ["EDITS", "make_directions", "regression_direction"]

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


def make_directions(recipe: Recipe, data: Sets, run: Path) -> None:
    """Writes `run/edits`: the regression of the code on each factor; one unit is one population standard deviation."""
    mapping = load_factor_mapping(run, recipe.generator.latent_width)
    factors = sample_factors(20_000, seed=recipe.seed * 1000 + 7, details=False)
    with torch.no_grad():
        codes = mapping(trait_encoding(factors))
    for name, (factor, low, high) in EDITS.items():
        direction = regression_direction(codes, factors[factor]).half().float()
        unit = f"population standard deviations of {factor}"
        source = "regression of the W code on the factor, 20,000 avatars"
        save_edit(DirectionEdit(direction, EditInfo(name, low, high, unit, source, trait=factor)), run / "edits" / name)


def regression_direction(codes: Tensor, trait: Tensor) -> Tensor:
    """The change of code that goes with one standard deviation of a trait, by least squares.

    Args:
        codes: [N,D] W codes.
        trait: [N] values of the trait for them; other traits should vary independently of it.

    Returns:
        [D] slope of the regression of the code on the standardized trait.

    Raises:
        EditError: fewer than two codes, another number of values, or a trait that does not vary.
    """
    if codes.ndim != 2 or trait.shape != codes.shape[:1] or len(codes) < 2:
        raise EditError(f"codes {tuple(codes.shape)} and trait {tuple(trait.shape)}: expected [N, D] and [N], N >= 2.")
    deviation = trait.double().std()
    if not deviation > 0:
        raise EditError("the trait has the same value for all codes, so it has no direction.")
    standard = (trait.double() - trait.double().mean()) / deviation
    slope = ((codes.double() - codes.double().mean(0)) * standard[:, None]).sum(0) / standard.square().sum()
    return slope.to(codes.dtype)
