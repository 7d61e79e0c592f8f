"""The last stage: everything in one model folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, LOG, Sets, domain_of
from examples.avatars.recipe.evaluator import load_attribute_network
from examples.avatars.recipe.generator import load_generator
from examples.avatars.recipe.start import finished, load_encoder
from hyperstyle.edits import load_edits
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.components import load_component
from hyperstyle.model.folder import write_model
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig

__all__ = ["assemble", "make_package"]


def assemble(recipe: Recipe, run: Path, hypernetwork: Path) -> HyperStyleInverter:
    """The networks of a run, with the hypernetwork in this folder, as one model."""
    return HyperStyleInverter(
        load_generator(run),
        load_encoder(run),
        load_component(Hypernetwork, HypernetworkConfig, hypernetwork, device=CPU),
        domain=domain_of(recipe),
        parts={name: load_attribute_network(run / name) for name in ("judge", "perceptual")},
        info={
            "source": "trained from scratch on rendered portraits: python -m examples.avatars.recipe",
            "licence": "MIT",
            "seed": recipe.seed,
        },
    )


def make_package(recipe: Recipe, data: Sets, run: Path) -> None:
    """Writes `run/model`: half-precision weights, edits, hashes; what is bundled is a copy of it.

    The detector and predictor of `run/aligner`, which `examples.avatars.landmarks` trains, come with it.
    """
    inverter = assemble(recipe, run, finished(run / "hypernetwork"))
    aligner = run / "aligner" if (run / "aligner").is_dir() else None
    extra = run / "hyperinverter" / "done"
    network = load_component(HyperInverter, HyperInverterConfig, extra, device=CPU) if extra.exists() else None
    fingerprint = inverter.model.generator_fingerprint
    edits = {name: edit.with_info(model=fingerprint) for name, edit in load_edits(run / "edits").items()}
    model = replace(inverter.model.with_parts(hyperinverter=network), aligner=aligner, edits=edits)
    write_model(model, run / "model", dtype=torch.float16)
    LOG.info("model written to %s", run / "model")
