"""`python -m examples.avatars.recipe`."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from examples.avatars.recipe.ablations import train_ablations
from examples.avatars.recipe.adversarial import train_adversarial
from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.curves import draw_curves
from examples.avatars.recipe.data import Sets, make_data
from examples.avatars.recipe.directions import make_directions
from examples.avatars.recipe.encoder import train_encoder
from examples.avatars.recipe.evaluator import train_evaluator, train_perceptual
from examples.avatars.recipe.generator import train_generator
from examples.avatars.recipe.hyperinverter import train_hyperinverter
from examples.avatars.recipe.hypernetwork import train_hypernetwork
from examples.avatars.recipe.package import make_package
from examples.avatars.recipe.start import unpack
from hyperstyle.training.distributed import join, on_first

STAGES: dict[str, Callable[[Recipe, Sets, Path], None]] = {
    "data": make_data,
    "generator": lambda recipe, sets, run: train_generator(recipe, sets, run / "generator"),
    "perceptual": train_perceptual,
    "adversarial": train_adversarial,
    "directions": lambda recipe, sets, run: on_first(lambda: make_directions(recipe, sets, run)),
    "encoder": train_encoder,
    "hypernetwork": train_hypernetwork,
    "judge": train_evaluator,
    "hyperinverter": train_hyperinverter,
    "ablations": train_ablations,
    "package": lambda recipe, sets, run: on_first(lambda: make_package(recipe, sets, run)),
    "curves": draw_curves,
}
_ON_REQUEST = ("hyperinverter", "ablations", "curves")


def main(argv: list[str] | None = None) -> None:
    """Runs the stages named on the command line, all by default."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.avatars.recipe", description="Trains the bundled avatars model."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for data, checkpoints, logs and the model")
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=list(STAGES),
        default=[name for name in STAGES if name not in _ON_REQUEST],
        help=f"default: all but {', '.join(_ON_REQUEST)}",
    )
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    parser.add_argument("--tiny", action="store_true", help="the one-minute recipe of the tests")
    parser.add_argument("--no-compile", action="store_true", help="do without torch.compile")
    parser.add_argument(
        "--float32", action="store_true", help="no bfloat16: faster on processors that compute in it only slowly"
    )
    parser.add_argument(
        "--continue-from",
        metavar="MODEL",
        help="train encoder, hypernetwork and (stage adversarial) generator of this model further",
    )
    arguments = parser.parse_args(argv)
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = Recipe.tiny() if arguments.tiny else Recipe()
    if arguments.no_compile:
        recipe = replace(recipe, compile=False)
    if arguments.float32:
        recipe = replace(recipe, bfloat16=False)
    join()
    if arguments.continue_from:
        recipe = recipe.continued()
        on_first(lambda: unpack(recipe, arguments.continue_from, arguments.out))
    sets = Sets(recipe, arguments.out / "data")
    for name in arguments.stages:
        STAGES[name](recipe, sets, arguments.out)


if __name__ == "__main__":
    main()
