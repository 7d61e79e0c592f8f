"""Trait factors as network inputs: continuous values centerd, hues as points on a circle, flags as signs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from examples.avatars.renderer.factors import FACTORS, Factors

__all__ = ["TRAIT_FACTORS", "encoding_width", "factors_from_normal", "trait_encoding"]

TRAIT_FACTORS = tuple(f for f in FACTORS if f.group == "trait")


def encoding_width() -> int:
    """Length of an encoding."""
    return sum(2 if f.kind == "hue" else 1 for f in TRAIT_FACTORS)


def trait_encoding(factors: Factors) -> Tensor:
    """Trait factors -> [B,F], each entry of about unit variance."""
    columns = []
    for f in TRAIT_FACTORS:
        value = factors[f.name]
        if f.kind == "hue":
            angle = value * (2 * math.pi)
            columns += [1.4 * angle.sin(), 1.4 * angle.cos()]
        elif f.kind == "flag":
            columns.append((value >= 0.5).float() * 2.0 - 1.0)
        else:
            columns.append(1.7 * (2.0 * value - 1.0))
    return torch.stack(columns, 1)


def factors_from_normal(z: Tensor) -> Factors:
    """Standard normal numbers [B,>=traits] -> trait factors with the distribution of `sample_factors`."""
    uniform = 0.5 * (1.0 + torch.erf(z / math.sqrt(2.0)))
    factors: Factors = {}
    for i, f in enumerate(TRAIT_FACTORS):
        value = uniform[:, i].clamp(0.0, 1.0)
        factors[f.name] = (value < f.probability).float() if f.kind == "flag" else value
    return factors
