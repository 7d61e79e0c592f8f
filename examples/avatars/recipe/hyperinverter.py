"""A small HyperInverter on the recipe's generator and W encoder, both frozen.

    python -m examples.avatars.recipe --out runs/hyperinverter --continue-from avatars \\
        --stages data hyperinverter package

writes `runs/hyperinverter/model`, the bundled model with a HyperInverter beside its other parts.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

import torch
from torch import nn

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, LOG, Sets, chunks
from examples.avatars.recipe.generator import Coarse, load_generator
from examples.avatars.recipe.loss import ReconstructionLoss
from examples.avatars.recipe.start import finished
from hyperstyle.io.components import load_component, save_component
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.training.distributed import average_gradients, on_first, share
from hyperstyle.training.loop import Schedule, batch_indices, fit
from hyperstyle.training.steps import autocast, compiled

__all__ = ["train_hyperinverter"]


def train_hyperinverter(recipe: Recipe, data: Sets, run: Path) -> None:
    """Towards the images: squared error over a pyramid and, at full size, the perceptual network's distance.

    The published training has LPIPS and an identity loss in place of the perceptual network, and adds an adversarial
    loss late. Held-out figures in the log: `w_l2`, and `ratio`, the L2 with residuals divided by it.
    """
    generator = load_generator(run)
    encoder = load_component(WEncoder, WEncoderConfig, finished(run / "encoder"), device=CPU)
    size = recipe.generator.size
    config = HyperInverterConfig(
        generator.config,
        tuple(s.name for s in generator.layers if s.resolution >= recipe.hyper_first and not s.torgb),
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
    sizes = {pixels for _, pixels in recipe.inverter_steps}
    syntheses = {s: synthesis if s == size else compiled(Coarse(generator, s), recipe.compile) for s in sizes}
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
    ends = list(accumulate(length for length, _ in recipe.inverter_steps))

    def step(i: int) -> dict[str, float]:
        index = share(batch_indices(len(data.detailed), recipe.batch, i, recipe.seed))
        crop, weight = data.detailed.images(index), data.detailed.weights(index)
        if i % 2:  # every other batch is mirrored
            crop, weight = crop.flip(3), weight.flip(3)
        pixels = recipe.inverter_steps[bisect_right(ends, i)][1]
        shift = torch.zeros(())  # what the blocks above add to the coarse image, measured without residuals
        optimizer.zero_grad()
        with autocast(recipe.dtype, CPU):
            with torch.no_grad():
                w = encode(crop)
                start = synthesis(w, modulation="activations")
                if pixels < size:
                    coarse = syntheses[pixels](w, modulation="activations").float()
                    shift = nn.functional.avg_pool2d(start.float(), size // pixels) - coarse
            residuals = network.offsets(predict(crop, start))
            image = syntheses[pixels](w, residuals=residuals, modulation="activations")
        loss = image_loss(image.float() + shift, crop, weight)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(network.parameters())
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return {"pixels": float(pixels), "loss": loss.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        errors = torch.zeros(2)
        for s in chunks(min(128, len(data.detailed_test))):
            crop = data.detailed_test.images(s)
            w = encoder(crop)
            start = generator(w, modulation="activations")
            changed = generator(w, residuals=network.offsets(network(crop, start)), modulation="activations")
            for k, image in enumerate((start, changed)):
                errors[k] += (image - crop).square().mean((1, 2, 3)).sum()
        count = min(128, len(data.detailed_test))
        return {"w_l2": (errors[0] / count).item(), "ratio": (errors[1] / errors[0]).item()}

    fit(
        step,
        steps=ends[-1],
        folder=run / "hyperinverter",
        modules={"hyperinverter": network},
        optimizers={"adam": optimizer},
        schedule=Schedule(1e-3, decay=0.35),
        evaluate=evaluate,
        evaluate_every=200,
        on_progress=lambda text: LOG.info("hyperinverter: %s", text),
    )
    on_first(lambda: save_component(network, config, run / "hyperinverter" / "done"))
