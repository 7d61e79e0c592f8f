"""The W encoder: first towards known codes, then towards the images."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import Sets, batch_indices, chunks, domain_of, encoded, mean_errors, mirrored
from examples.avatars.recipe.generator import load_factor_mapping, load_generator
from examples.avatars.recipe.loss import ReconstructionLoss
from examples.avatars.recipe.stage import adam, train_stage
from examples.avatars.recipe.start import begin
from hyperstyle.io.components import save_component
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.training.adversarial import Scale
from hyperstyle.training.distributed import on_first
from hyperstyle.training.encoder_task import EncoderTask
from hyperstyle.training.loop import LearningRateSchedule
from hyperstyle.training.options import TrainOptions
from hyperstyle.training.task import autocast

__all__ = ["train_encoder"]


class _AvatarEncoder(EncoderTask):
    """The encoder learns from codes where a batch has them, else from images.

    Args:
        base, encoder, options: see `EncoderTask`.
        loss: of images.
        spread: standard deviation of codes, the unit of their error.
    """

    def __init__(
        self, base: Model, encoder: WEncoder, loss: ReconstructionLoss, options: TrainOptions, spread: Tensor
    ) -> None:
        self.loss, self.spread = loss, spread
        super().__init__(base, encoder, loss.with_weight(None), options)
        self.optimizers = {"encoder": adam(encoder)}

    def train_step(
        self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None, *, weight: Tensor | None = None
    ) -> dict[str, float]:
        """Towards codes [B,D], or towards the images with the weight [B,1,h,w] of each pixel."""
        if codes is None:
            self.objective = self.loss.with_weight(weight)
            return super().train_step(crop, step, scale)
        with autocast(self.dtype, crop.device):
            w = self.predict(crop)[:, 0]
        loss = ((w.float() - codes) / self.spread).square().mean()
        scale(loss).backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item()}


def train_encoder(recipe: Recipe, data: Sets, run: Path) -> None:
    """Three quarters of each batch have details; towards images, every other batch is mirrored."""
    generator, domain = load_generator(run), domain_of(recipe)
    config = WEncoderConfig(
        rows=generator.config.rows,
        latent_width=generator.config.latent_width,
        input_size=domain.input_size,
        trunk=recipe.trunk(recipe.encoder_widths, recipe.encoder_blocks),
        pool="flatten",
    )
    torch.manual_seed(recipe.seed)
    encoder = begin(WEncoder, config, run / "encoder" / "start").to(memory_format=torch.channels_last)
    encoder.latent_avg.copy_(generator.latent_avg.expand(config.rows, -1))
    regress, spread = recipe.encoder_steps[0], torch.ones(())
    if regress:
        mapping = load_factor_mapping(run, recipe.generator.latent_width)
        with torch.no_grad():
            spread = mapping(encoded(data.clean, slice(0, 4000))).std(0).mean()

    def batch(i: int) -> dict[str, Tensor]:
        quarter = recipe.batch // 4
        clean = batch_indices(len(data.clean), quarter, i, recipe.seed)
        detailed = batch_indices(len(data.detailed), recipe.batch - quarter, i, recipe.seed + 1)
        crop = torch.cat([data.clean.images(clean), data.detailed.images(detailed)])
        if i < regress:
            with torch.no_grad():
                codes = mapping(torch.cat([encoded(data.clean, clean), encoded(data.detailed, detailed)]))
            return {"crops": crop, "codes": codes}
        weight = torch.cat([data.clean.weights(clean), data.detailed.weights(detailed)])
        return mirrored({"crops": crop, "weight": weight}, i)

    def evaluate(done: int) -> dict[str, float]:
        row = {}
        for name, test in (("clean", data.clean_test), ("detailed", data.detailed_test)):
            differences = (
                generator(encoder(test.images(s)), modulation="activations") - test.images(s) for s in chunks(len(test))
            )
            row[f"{name}_l1"], row[f"{name}_l2"] = mean_errors(differences, len(test))
        return row

    optim = recipe.optim(clip=2.0)
    options = recipe.task_options("encoder", optim)
    task = _AvatarEncoder(Model(generator, domain), encoder, ReconstructionLoss(recipe, run), options, spread)
    schedule = LearningRateSchedule(1e-3, sum(recipe.encoder_steps), decay=0.5)
    train_stage(task, optim, schedule, run / "encoder", batch, evaluate)
    on_first(lambda: save_component(encoder, config, run / "encoder" / "done"))
