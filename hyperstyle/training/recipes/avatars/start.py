"""Going on from a finished model: its parts become the finished, or the first, state of a run's stages."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import nn

from hyperstyle import hub
from hyperstyle.checkpoint import load_tensors
from hyperstyle.training.recipes.avatars.data import LOG

__all__ = ["unpack", "warm"]

_PLACES = {
    "generator": "generator/done/generator",
    "perceptual": "perceptual/done",
    "judge": "judge/done",
    "edits": "edits",
    "encoder": "encoder/start",
    "hypernetwork": "hypernetwork/start",
}


def unpack(name: str, run: Path) -> None:
    """Copies the parts of a model into `run`, where they are not there yet.

    Generator, judges and edits are taken as they are; encoder and hypernetwork as the weights to begin with.

    Raises:
        ModelNotFoundError: no such model.
    """
    folder = hub.resolve(name)
    for part, place in _PLACES.items():
        if not (run / place).exists():
            shutil.copytree(folder / part, run / place)
    LOG.info("going on from %s", name)


def warm(module: nn.Module, folder: Path) -> None:
    """Gives a new network the weights in `folder`, where `unpack` left some."""
    if folder.exists():
        tensors, _ = load_tensors(folder / "model.safetensors")
        module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
