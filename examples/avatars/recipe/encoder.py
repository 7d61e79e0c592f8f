"""The W encoder: first towards known codes, then towards the images."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, LOG, Sets, chunks, encoded, mean_errors
from examples.avatars.recipe.generator import load_factor_mapping, load_generator
from examples.avatars.recipe.loss import ReconstructionLoss
from examples.avatars.recipe.start import begin
from hyperstyle.io.components import save_component
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.training.distributed import average_gradients, on_first, share
from hyperstyle.training.loop import Schedule, batch_indices, fit
from hyperstyle.training.steps import autocast, compiled, encoder_step

__all__ = ["train_encoder"]


def train_encoder(recipe: Recipe, data: Sets, run: Path) -> None:
    generator = load_generator(run)
    size = recipe.generator.size
    config = WEncoderConfig(
        rows=generator.config.rows,
        latent_width=generator.config.latent_width,
        input_size=(size, size),
        trunk=TrunkConfig(recipe.encoder_widths, recipe.encoder_blocks, *recipe.stem, 2, norm="group"),
        pool="flatten",
    )
    torch.manual_seed(recipe.seed)
    encoder = begin(WEncoder, config, run / "encoder" / "start").to(memory_format=torch.channels_last)
    encoder.latent_avg.copy_(generator.latent_avg.expand(config.rows, -1))
    image_loss = ReconstructionLoss(recipe, run)
    tests = (("clean", data.clean_test), ("detailed", data.detailed_test))
    synthesis, encode = compiled(generator, recipe.compile), compiled(encoder, recipe.compile)

    optimizer = torch.optim.Adam(encoder.parameters(), betas=(0.9, 0.99))
    regress, _ = recipe.encoder_steps
    if regress:
        mapping = load_factor_mapping(run, recipe.generator.latent_width)
        with torch.no_grad():
            spread = mapping(encoded(data.clean, slice(0, 4000))).std(0).mean()

    def step(i: int) -> dict[str, float]:
        quarter = recipe.batch // 4
        clean = share(batch_indices(len(data.clean), quarter, i, recipe.seed))
        detailed = share(batch_indices(len(data.detailed), recipe.batch - quarter, i, recipe.seed + 1))
        crop = torch.cat([data.clean.images(clean), data.detailed.images(detailed)])
        weight = torch.cat([data.clean.weights(clean), data.detailed.weights(detailed)])
        optimizer.zero_grad()
        if i < regress:  # first towards the codes that made the images ...
            with torch.no_grad():
                target = mapping(torch.cat([encoded(data.clean, clean), encoded(data.detailed, detailed)]))
            with autocast(recipe.dtype, CPU):
                w = encode(crop)[:, 0]
            loss = ((w.float() - target) / spread).square().mean()
            loss.backward()
            value = loss.item()
        else:  # ... then towards the images, every other batch mirrored
            if i % 2:
                crop, weight = crop.flip(3), weight.flip(3)
            value, _ = encoder_step(
                crop,
                synthesis,
                encode,
                lambda image: image_loss(image, crop, weight),
                to_input=lambda image: image,
                dtype=recipe.dtype,
            )
        average_gradients(encoder.parameters())
        nn.utils.clip_grad_norm_(encoder.parameters(), 2.0)
        optimizer.step()
        return {"loss": value}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        row = {}
        for name, test in tests:
            differences = (
                generator(encoder(test.images(s)), modulation="activations") - test.images(s) for s in chunks(len(test))
            )
            row[f"{name}_l1"], row[f"{name}_l2"] = mean_errors(differences, len(test))
        return row

    fit(
        step,
        steps=sum(recipe.encoder_steps),
        folder=run / "encoder",
        modules={"encoder": encoder},
        optimizers={"adam": optimizer},
        schedule=Schedule(1e-3, decay=0.5),
        evaluate=evaluate,
        evaluate_every=1000,
        on_progress=lambda text: LOG.info("encoder: %s", text),
    )
    on_first(lambda: save_component(encoder, encoder.config, run / "encoder" / "done"))
