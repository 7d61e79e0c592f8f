"""A table of codes of the bundled generator with the factors that they stand for, for `hyperstyle fit --table`.

    python -m examples.avatars.factor_table --out factors.npz

The factors of a code are known from its z, to which the generator's mapping was fitted: no image is rendered.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from examples.avatars.renderer.encoding import factors_from_normal
from hyperstyle import HyperStyleInverter
from hyperstyle.errors import HyperStyleError, MethodError
from hyperstyle.fitting import Scores, save_scores

__all__ = ["factor_table", "main"]


def factor_table(count: int, *, model: str = "avatars", seed: int = 5) -> Scores:
    """Random codes, and for each trait that the model's evaluator reads the factors that they stand for.

    Args:
        count: how many codes.
        model: bundled model, or folder of one that the recipe trained.
        seed: of z.

    Raises:
        MethodError: the model has no evaluator. What `from_pretrained` raises.
    """
    parts = HyperStyleInverter.from_pretrained(model, device="cpu").model
    if parts.evaluator is None:
        raise MethodError("this model has no evaluator, so nothing says which traits to fit. Use a model with one.")
    z = torch.randn(count, parts.generator.config.latent_width, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        codes = parts.generator.mapping(z)
    factors = factors_from_normal(z)
    return Scores(codes, {trait: factors[trait] for trait in parts.evaluator.config.traits})


def main(argv: list[str] | None = None) -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.avatars.factor_table", description="Codes of the bundled generator and their factors."
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="the table to write")
    parser.add_argument("--model", default="avatars", metavar="NAME", help="bundled model or folder (default: avatars)")
    parser.add_argument("--count", type=int, default=40_000, metavar="N", help="codes (default: 40000)")
    args = parser.parse_args(argv)
    try:
        save_scores(factor_table(args.count, model=args.model), args.out)
    except HyperStyleError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
