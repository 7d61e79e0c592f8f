"""The generator made sharper: regressed on portraits as before, and trained against a discriminator of patches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, Sets, batch_indices, chunks, encoded, mean_errors
from examples.avatars.recipe.evaluator import load_attribute_network
from examples.avatars.recipe.generator import (
    fit_factor_mapping,
    load_factor_mapping,
    load_generator,
    save_generator,
    train_mapping,
)
from examples.avatars.recipe.loss import ReconstructionLoss, pyramid_l1
from examples.avatars.recipe.sharpness import kernel_distance, octave_power, pooled_features
from examples.avatars.recipe.stage import StageTask, train_stage
from hyperstyle.networks.stylegan2.discriminator import Discriminator
from hyperstyle.training.adversarial import Adversary, Scale
from hyperstyle.training.distributed import on_first
from hyperstyle.training.loop import LearningRateSchedule
from hyperstyle.training.options import LossOptions
from hyperstyle.training.task import autocast, compiled

__all__ = ["DetailDiscriminator", "train_adversarial"]

Render = Callable[[Tensor], Tensor]
"""Encoded factors [B,F] -> images [B,3,size,size]."""
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(image, crop, weight) -> loss."""


class DetailDiscriminator(nn.Module):
    """A discriminator of what images have beyond their blurred selves: [B,3,size,size] -> logits [B,1].

    Regression has made everything else right already. A discriminator of the images themselves takes thousands of steps
    to find that they differ in little but their finest octaves; this one distinguishes them after a hundred.
    """

    blur: Tensor

    def __init__(self, size: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.network = Discriminator(size, channels)
        taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16  # binomial
        self.register_buffer("blur", torch.outer(taps, taps).expand(3, 1, 5, 5), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        blurred = F.conv2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), self.blur, groups=3)
        logits: Tensor = self.network(4 * (image - blurred))  # about unit variance at edges
        return logits


class _AdversarialTask(StageTask):
    """A regression, and a discriminator of random square patches of the images.

    Sharpness is local: many small patches of an image tell more about it than the image as a whole, at the same cost.
    """

    def __init__(
        self, network: nn.Module, render: Render, compare: Objective, adversary: Adversary, patches: int, size: int
    ) -> None:
        super().__init__("networks", network)
        self.render, self.compare, self.patches, self.size = render, compare, patches, size
        self.add_adversary("discriminator", adversary)

    def real_data(self, adversary: str, crop: Tensor) -> Tensor:
        """Patches [N*B,3,s,s] of images [B,3,h,w], N of each, at random positions."""
        size = self.size
        corners = torch.randint(0, crop.shape[2] - size + 1, (len(crop), self.patches, 2)).tolist()
        patches = [
            image[:, y : y + size, x : x + size] for image, pair in zip(crop, corners, strict=True) for y, x in pair
        ]
        return torch.stack(patches)

    def train_step(
        self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None, **batch: Tensor
    ) -> dict[str, float]:
        """Loss and backward for generator and, once it is active, discriminator."""
        image = self.render(batch["factors"])
        loss = self.compare(image, crop, batch["weight"])
        figures, adversary = {"loss": loss.item()}, self.adversaries["discriminator"]
        if not adversary.is_active(step):
            scale(loss).backward()  # type: ignore[no-untyped-call]
            return figures
        fake = self.real_data("discriminator", image)
        scale(loss + adversary.generator_term(fake)).backward()  # type: ignore[no-untyped-call]
        return figures | adversary.add_gradient(self.real_data("discriminator", crop), fake.detach(), scale)


def train_adversarial(recipe: Recipe, data: Sets, run: Path) -> None:
    """Trains the generator of the run further, with its factors -> W; writes `run/adversarial/done`."""
    if not (run / "generator" / "done" / "factor_mapping.pt").exists():
        fit_factor_mapping(recipe, data, run)
    generator, mapping = load_generator(run), load_factor_mapping(run, recipe.generator.latent_width)
    networks = nn.ModuleDict({"generator": generator, "mapping": mapping}).train().requires_grad_(True)
    options, begin = recipe.adversarial, recipe.adversarial.regression
    torch.manual_seed(recipe.seed)
    discriminator = DetailDiscriminator(options.patch, options.channels)
    adversary = Adversary(
        discriminator, LossOptions(r1=options.r1), weight=options.weight, lr_scale=options.lr_scale, begin=begin
    )
    call, features = compiled(generator, recipe.compile), ReconstructionLoss(recipe, run).features
    perceptual = load_attribute_network(run / "perceptual")
    held_out = data.clean_test
    real = torch.cat([pooled_features(perceptual, held_out.images(s)) for s in chunks(len(held_out))])
    real_power = octave_power(held_out.images(slice(0, 256)))

    def render(factors: Tensor) -> Tensor:
        with autocast(recipe.dtype, CPU):
            image: Tensor = call(mapping(factors), noise="random", modulation="activations")
        return image.float()

    def objective(image: Tensor, crop: Tensor, weight: Tensor) -> Tensor:
        with autocast(recipe.dtype, CPU):
            distance: Tensor = features(image, crop)
        # No factor says where strands and ends of hair are: pixels must not forbid those that the generator draws.
        weight = weight.square()
        return pyramid_l1(image, crop, weight / weight.mean()) + options.perceptual * distance

    def batch(i: int) -> dict[str, Tensor]:
        index = batch_indices(len(data.clean), recipe.generator_batch, i, recipe.seed + 20)
        return {
            "crops": data.clean.images(index),
            "weight": data.clean.weights(index),
            "factors": encoded(data.clean, index),
        }

    def evaluate(done: int) -> dict[str, float]:
        images = [generator(mapping(encoded(held_out, s))) for s in chunks(len(held_out))]
        differences = (x - held_out.images(s) for x, s in zip(images, chunks(len(held_out)), strict=True))
        l1, l2 = mean_errors(differences, len(held_out))
        power = octave_power(torch.cat(images)[:256]) / real_power
        fake = torch.cat([pooled_features(perceptual, x) for x in images])
        octaves = {f"octave_{k}": value for k, value in enumerate(power.tolist(), 1)}
        return {"test_l1": l1, "test_l2": l2, **octaves, "features": kernel_distance(fake, real)}

    task = _AdversarialTask(networks, render, objective, adversary, options.patches, options.patch)
    schedule = LearningRateSchedule(options.lr, options.steps, decay=0.4)
    average = train_stage(
        task, recipe.optim(ema=0.998), schedule, run / "adversarial", batch, evaluate, evaluate_every=250
    ).average
    networks.load_state_dict((average or networks).state_dict())
    with torch.no_grad():
        codes = torch.cat([mapping(encoded(data.clean, s)) for s in chunks(len(data.clean), 2000)])
    generator.latent_avg.copy_(codes.mean(0))
    train_mapping(recipe, generator, mapping, run / "adversarial" / "mapping")
    on_first(lambda: save_generator(generator, mapping, run / "adversarial"))
