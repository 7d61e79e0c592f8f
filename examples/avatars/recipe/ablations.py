"""Hypernetworks that differ in one switch each, as in the paper's Table 3, trained equally long.

    python -m examples.avatars.recipe --out runs/ablations --continue-from avatars --stages data ablations

writes a model `runs/ablations/ablations/NAME/model` for each, all with the generator and W encoder of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import LOG, Sets
from examples.avatars.recipe.hypernetwork import Beginnings, fit_hypernetwork
from examples.avatars.recipe.package import assemble
from examples.avatars.renderer.dataset import AvatarSet
from hyperstyle.model.folder import write_model
from hyperstyle.training.distributed import on_first

__all__ = ["VARIANTS", "Variant", "train_ablations"]


@dataclass(frozen=True)
class Variant:
    """A change of the recipe.

    Attributes:
        change: the recipe of this variant.
        steps: T of its model; after so short a training, two steps have the lowest L2.
    """

    change: Callable[[Recipe], Recipe] = lambda recipe: recipe
    steps: int = 2


def _one_step(recipe: Recipe) -> Recipe:
    """One refinement step for each image, and as many of them in all."""
    phases = tuple((length * steps, 1, pixels) for length, steps, pixels in recipe.hypernetwork_steps)
    return replace(recipe, hypernetwork_steps=phases)


VARIANTS: dict[str, Variant] = {
    "compact": Variant(),
    "one-pass": Variant(_one_step, steps=1),
    "coarse-too": Variant(lambda recipe: replace(recipe, hyper_first=4)),
    "fine": Variant(lambda recipe: replace(recipe, hyper_first=recipe.generator.size // 2)),
    # The layers of 128 channels, which share, are those below 16 px.
    "shared": Variant(lambda recipe: replace(recipe, hyper_heads="shared", hyper_first=4)),
    "plain": Variant(lambda recipe: replace(recipe, hyper_heads="plain")),
    "separable": Variant(lambda recipe: replace(recipe, hyper_heads="separable")),
}


def train_ablations(recipe: Recipe, data: Sets, run: Path) -> None:
    """Trains every variant that is not finished, for `ablation_steps` on the first `ablation_images` images."""
    every, count = data.detailed, recipe.ablation_images
    images = AvatarSet(every.pixels[:count], every.attention[:count], every.factors[:count])
    begun = Beginnings.of(recipe, images, data.detailed_test, run)
    short = replace(recipe, hypernetwork_steps=recipe.ablation_steps)
    for name, variant in VARIANTS.items():
        torch.compiler.reset()  # what it compiled for the variant before would count against its limit
        done = fit_hypernetwork(variant.change(short), begun, run, name=f"ablations/{name}")
        model = replace(assemble(recipe, run, done).model, steps=variant.steps)
        on_first(partial(write_model, model, done.parent / "model"))
        LOG.info("ablations/%s: written", name)
