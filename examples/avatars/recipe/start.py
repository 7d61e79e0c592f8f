"""Going on from a finished model: its parts become the finished, or the first, state of a run's stages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, LOG
from hyperstyle.edits import save_edit
from hyperstyle.errors import CheckpointError
from hyperstyle.io import hub
from hyperstyle.io.components import load_component, save_component
from hyperstyle.io.files import replace_folder
from hyperstyle.model.folder import read_model

__all__ = ["begin", "finished", "unpack"]

_M = TypeVar("_M", bound=nn.Module)

_PLACES = {
    "generator": "generator/done/generator",
    "perceptual": "perceptual/done",
    "judge": "judge/done",
    "encoder": "encoder/start",
    "hypernetwork": "hypernetwork/start",
}


def unpack(recipe: Recipe, name: str, run: Path) -> None:
    """Writes the parts of a model into `run`, where they are not there yet.

    Generator, judges, edits and aligner are taken as they are; encoder and hypernetwork as the weights to begin with.

    Raises:
        ModelNotFoundError: no such model. CheckpointError, ConfigError: its folder cannot be used.
        CheckpointError: it lacks a part, or has another generator than the recipe.
    """
    model = read_model(hub.resolve(name), device=CPU, dtype=torch.float32)
    if missing := [part for part in _PLACES if part not in model.networks]:
        raise CheckpointError(f"{name} has no {missing[0]}: only a complete model can be trained further.")
    if model.generator.config != recipe.generator:
        raise CheckpointError(f"{name} has the generator {model.generator.config}, the recipe {recipe.generator}.")
    for part, place in _PLACES.items():
        if not (run / place).exists():
            network = model.networks[part]
            save_component(network, network.config, run / place)
    for edit_name, edit in model.edits.items():
        if not (run / "edits" / edit_name).exists():
            save_edit(edit, run / "edits" / edit_name)
    if model.aligner is not None and not (run / "aligner").exists():
        with replace_folder(run / "aligner") as copy:
            shutil.copytree(model.aligner, copy, dirs_exist_ok=True)
    LOG.info("going on from %s", name)


def begin(kind: type[_M], config: Any, folder: Path) -> _M:
    """The network to train: that in `folder`, where `unpack` left one, else a new one."""
    if not folder.exists():
        return kind(config)
    return load_component(kind, type(config), folder, device=CPU).train().requires_grad_(True)


def finished(folder: Path) -> Path:
    """Where the network of a stage lies: what the stage made, else what `unpack` left, as it was in the model."""
    done = folder / "done"
    return done if done.exists() else folder / "start"
