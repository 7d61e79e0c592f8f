"""A small HyperInverter on the recipe's generator and W encoder, both frozen.

    python -m hyperstyle.training.recipes.avatars --out runs/hyperinverter --continue-from avatars \\
        --stages hyperinverter package

writes `runs/hyperinverter/model`, the bundled model with a HyperInverter beside its other parts.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from hyperstyle.checkpoint import load_component, save_component
from hyperstyle.networks.backbones import TrunkConfig
from hyperstyle.networks.encoders import WEncoder, WEncoderConfig
from hyperstyle.networks.generator import Generator
from hyperstyle.networks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.training.distributed import average_gradients, on_first, share
from hyperstyle.training.loop import Schedule, batch_indices, fit
from hyperstyle.training.recipes.avatars.config import Recipe
from hyperstyle.training.recipes.avatars.data import CPU, LOG, Sets, chunks
from hyperstyle.training.recipes.avatars.generator import load_generator
from hyperstyle.training.recipes.avatars.loss import ReconstructionLoss
from hyperstyle.training.recipes.avatars.start import finished
from hyperstyle.training.steps import autocast, compiled

__all__ = ["train_hyperinverter"]


def train_hyperinverter(recipe: Recipe, data: Sets, run: Path) -> None:
    """Towards the pictures: squared error over a pyramid and the perceptual network's distance, as the hypernetwork.

    The published training has LPIPS and an identity loss in place of the perceptual network, and adds an adversarial
    loss late. Held-out figures in the log: `w_l2`, and `ratio`, the L2 with residuals divided by it.
    """
    generator = load_generator(run)
    encoder = load_component(WEncoder, WEncoderConfig, finished(run / "encoder"), device=CPU)
    size = recipe.generator.size
    config = HyperInverterConfig(
        generator.config,
        tuple(spec.name for spec in generator.layers),
        input_size=(size, size),
        trunk=TrunkConfig(recipe.inverter_widths, recipe.inverter_blocks, *recipe.stem, 2, norm="group"),
        hidden=recipe.inverter_hidden,
        channels=recipe.inverter_channels,
    )
    torch.manual_seed(recipe.seed)
    network = HyperInverter(config).to(memory_format=torch.channels_last)
    LOG.info("hyperinverter: %d parameters", sum(p.numel() for p in network.parameters()))
    image_loss = ReconstructionLoss(recipe, run)
    synthesis, encode = compiled(generator, recipe.compile), compiled(encoder, recipe.compile)
    predict = compiled(network, recipe.compile)
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))

    def step(i: int) -> dict[str, float]:
        index = share(batch_indices(len(data.detailed), recipe.batch, i, recipe.seed))
        crop, weight = data.detailed.images(index), data.detailed.weights(index)
        if i % 2:  # every other batch is mirrored
            crop, weight = crop.flip(3), weight.flip(3)
        optimizer.zero_grad()
        with autocast(recipe.dtype, CPU):
            _, image = _inverted(crop, synthesis, encode, predict)
        loss = image_loss(image.float(), crop, weight)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(network.parameters())
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return {"loss": loss.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        errors = torch.zeros(2)
        for s in chunks(min(128, len(data.detailed_test))):
            crop = data.detailed_test.images(s)
            for k, image in enumerate(_inverted(crop, generator, encoder, network)):
                errors[k] += (image - crop).square().mean((1, 2, 3)).sum()
        count = min(128, len(data.detailed_test))
        return {"w_l2": (errors[0] / count).item(), "ratio": (errors[1] / errors[0]).item()}

    fit(
        step,
        steps=recipe.inverter_steps,
        folder=run / "hyperinverter",
        modules={"hyperinverter": network},
        optimizers={"adam": optimizer},
        schedule=Schedule(1e-3, decay=0.35),
        evaluate=evaluate,
        on_progress=lambda text: LOG.info("hyperinverter: %s", text),
    )
    on_first(lambda: save_component(network, config, run / "hyperinverter" / "done"))


def _inverted(crop: Tensor, generator: Generator, encoder: WEncoder, network: HyperInverter) -> tuple[Tensor, Tensor]:
    """G(w) and the picture with the residuals; gradients reach the network alone."""
    with torch.no_grad():
        w = encoder(crop)
        start: Tensor = generator(w, modulation="activations")
    residuals = network.offsets(network(crop, start))
    image: Tensor = generator(w, residuals=residuals, modulation="activations")
    return start, image
