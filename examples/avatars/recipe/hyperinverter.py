"""A small HyperInverter on the recipe's generator and W encoder, both frozen.

    python -m examples.avatars.recipe --out runs/hyperinverter --continue-from avatars \\
        --stages data hyperinverter package

writes `runs/hyperinverter/model`, the bundled model with a HyperInverter added.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from examples.avatars.recipe.coarse import CoarseToFine, Phase
from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, LOG, Sets, batch_indices, chunks, domain_of, mirrored
from examples.avatars.recipe.generator import load_generator
from examples.avatars.recipe.loss import ReconstructionLoss
from examples.avatars.recipe.stage import adam, train_stage
from examples.avatars.recipe.start import load_encoder
from hyperstyle.io.components import save_component
from hyperstyle.model.parts import Model
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.training.distributed import on_first
from hyperstyle.training.hypernetwork_task import HyperInverterTask
from hyperstyle.training.loop import LearningRateSchedule
from hyperstyle.training.task import autocast, compiled

__all__ = ["train_hyperinverter"]


class _AvatarHyperInverter(CoarseToFine, HyperInverterTask):
    """The library's task, compared at the size of each phase."""


def train_hyperinverter(recipe: Recipe, data: Sets, run: Path) -> None:
    """Towards the images: squared error over a pyramid and, at full size, the perceptual network's distance.

    The published training has LPIPS and an identity loss in place of the perceptual network, and adds an adversarial
    loss late. Held-out figures in the log: `w_l2`, and `ratio`, the L2 with residuals divided by it.
    """
    generator, encoder, domain = load_generator(run), load_encoder(run), domain_of(recipe)
    config = HyperInverterConfig(
        generator.config,
        recipe.changed_layers(generator),
        input_size=domain.input_size,
        trunk=recipe.trunk(recipe.inverter_widths, recipe.inverter_blocks),
        hidden=recipe.inverter_hidden,
        channels=recipe.inverter_channels,
    )
    torch.manual_seed(recipe.seed)
    network = HyperInverter(config).to(memory_format=torch.channels_last)
    LOG.info("hyperinverter: %d parameters", sum(p.numel() for p in network.parameters()))
    synthesis, encode = compiled(generator, recipe.compile), compiled(encoder, recipe.compile)
    loss, optim = ReconstructionLoss(recipe, run), recipe.optim(clip=1.0)
    model, options = Model(generator, domain, {"encoder": encoder}), recipe.task_options("hyperinverter", optim)
    task = _AvatarHyperInverter(model, network, loss.with_weight(None), options)
    task.set_phases(recipe, [Phase(length, 1, pixels) for length, pixels in recipe.inverter_steps], loss)
    task.optimizers = {"hyperinverter": adam(network)}

    def batch(i: int) -> dict[str, Tensor]:
        index = batch_indices(len(data.detailed), recipe.batch, i, recipe.seed)
        images = mirrored({"crops": data.detailed.images(index), "weight": data.detailed.weights(index)}, i)
        with torch.no_grad(), autocast(recipe.dtype, CPU):
            w = encode(images["crops"])
            return {**images, "codes": w, "start": synthesis(w, modulation="activations")}

    def evaluate(done: int) -> dict[str, float]:
        count, errors = min(128, len(data.detailed_test)), torch.zeros(2)
        for s in chunks(count):
            crop = data.detailed_test.images(s)
            w = encoder(crop)
            start = generator(w, modulation="activations")
            changed = generator(w, residuals=network.offsets(network(crop, start)), modulation="activations")
            for k, image in enumerate((start, changed)):
                errors[k] += (image - crop).square().mean((1, 2, 3)).sum()
        return {"w_l2": (errors[0] / count).item(), "ratio": (errors[1] / errors[0]).item()}

    total = sum(length for length, _ in recipe.inverter_steps)
    schedule = LearningRateSchedule(1e-3, total, decay=0.35)
    train_stage(task, optim, schedule, run / "hyperinverter", batch, evaluate, evaluate_every=200)
    on_first(lambda: save_component(network, config, run / "hyperinverter" / "done"))
