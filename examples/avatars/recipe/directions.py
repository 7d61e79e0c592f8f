"""Directions for edits, from the codes of random avatars."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import Sets
from examples.avatars.recipe.generator import load_factor_mapping
from examples.avatars.renderer.colors import grayness
from examples.avatars.renderer.encoding import TRAIT_FACTORS, trait_encoding
from examples.avatars.renderer.factors import sample_factors
from hyperstyle.edits import DirectionEdit, EditInfo, save_edit
from hyperstyle.errors import EditError

__all__ = ["EDITS", "make_directions", "regression_directions"]

EDITS: dict[str, tuple[str, float, float]] = {
    "age": ("age", -2.0, 2.0),
    "gray_hair": ("gray", -1.5, 2.0),
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
    """Writes `run/edits`: the multiple regression of the code on all factors, one unit per population deviation.

    The coefficient of a factor is the change of code while the others stay as they are. In place of the factor `gray`
    there is how gray hair is, which age changes too: so "age" leaves the color of the hair, and "gray_hair" the rest.
    """
    mapping = load_factor_mapping(run, recipe.generator.latent_width)
    factors = sample_factors(20_000, seed=recipe.seed * 1000 + 7, details=False)
    with torch.no_grad():
        codes = mapping(trait_encoding(factors))
    columns = {f.name: factors[f.name] for f in TRAIT_FACTORS if f.kind != "hue"} | {"gray": grayness(factors)}
    directions = regression_directions(codes, torch.stack(list(columns.values()), 1)).half().float()
    by_factor = dict(zip(columns, directions, strict=True))
    for name, (factor, low, high) in EDITS.items():
        unit = f"population standard deviations of {factor}"
        source = "multiple regression of the W code on the factors, 20,000 avatars"
        info = EditInfo(name, low, high, unit, source, trait=factor)
        save_edit(DirectionEdit(by_factor[factor], info), run / "edits" / name)


def regression_directions(codes: Tensor, traits: Tensor) -> Tensor:
    """The change of code that goes with one standard deviation of each trait, the others unchanged: least squares.

    Args:
        codes: [N,D] W codes.
        traits: [N,K] values of the traits for them, K < N.

    Returns:
        [K,D] coefficients of the regression of the code on the standardized traits.

    Raises:
        EditError: other shapes, fewer codes than it takes, a trait that does not vary, or one that others determine.
    """
    if codes.ndim != 2 or traits.ndim != 2 or len(traits) != len(codes) or len(codes) <= traits.shape[1]:
        raise EditError(
            f"codes {tuple(codes.shape)} and traits {tuple(traits.shape)}: expected [N, D] and [N, K], with more codes "
            "than traits."
        )
    centered = traits.double() - traits.double().mean(0)
    deviation = centered.std(0)
    if not (deviation > 0).all():
        raise EditError("a trait has the same value for all codes, so it has no direction.")
    standard = centered / deviation
    if torch.linalg.matrix_rank(standard) < traits.shape[1]:
        raise EditError("a trait is a linear combination of others, so it has no direction of its own.")
    solution: Tensor = torch.linalg.lstsq(standard, codes.double() - codes.double().mean(0)).solution  # [K,D]
    return solution.to(codes.dtype)
