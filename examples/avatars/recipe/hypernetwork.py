"""The hypernetwork, with a growing number of refinement steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from examples.avatars.recipe.coarse import CoarseToFine, Phase
from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, LOG, Sets, batch_indices, chunks, domain_of, mirrored
from examples.avatars.recipe.generator import load_generator
from examples.avatars.recipe.loss import ReconstructionLoss
from examples.avatars.recipe.stage import adam, train_stage
from examples.avatars.recipe.start import begin, load_encoder
from examples.avatars.renderer.dataset import AvatarSet
from hyperstyle.io.components import save_component
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator
from hyperstyle.training.distributed import gather, on_first, rank, world
from hyperstyle.training.hypernetwork_task import HyperStyleTask
from hyperstyle.training.loop import LearningRateSchedule
from hyperstyle.training.task import autocast, compiled

__all__ = ["Beginnings", "fit_hypernetwork", "train_hypernetwork"]


class _AvatarHyperStyle(CoarseToFine, HyperStyleTask):
    """The library's task, compared at the size of each phase."""


@torch.no_grad()
def _initial(
    data: AvatarSet, synthesis: Generator, encoder: WEncoder, dtype: torch.dtype, mirror: bool = False
) -> tuple[Tensor, Tensor]:
    """Codes [N,D] and first reconstructions, uint8 over [-1.5, 1.5], of a whole set."""
    codes, images = [], []
    padded = -(-len(data) // world()) * world()  # every process computes an equal part
    part = torch.arange(padded).clamp(max=len(data) - 1).view(world(), -1)[rank()]
    for s in torch.split(part, 100):
        crop = data.images(s)
        w = encoder(crop.flip(3) if mirror else crop)
        with autocast(dtype, CPU):
            image = synthesis(w, modulation="activations").float()
        codes.append(w[:, 0])
        images.append(((image + 1.5) * 85.0).round().clamp(0, 255).byte())  # 255 levels over a range of 3
    return gather(torch.cat(codes))[: len(data)], gather(torch.cat(images))[: len(data)]


def _as_float(images: Tensor) -> Tensor:
    """The uint8 images of `_initial` as float32."""
    return images.float() / 85.0 - 1.5


@dataclass(frozen=True)
class Beginnings:
    """Images with the reconstructions by the W encoder, the same for every hypernetwork of one generator.

    Attributes:
        model: has generator and W encoder; frozen.
        data, test: images for training and for evaluation.
        prepared: codes [N,D] and reconstructions [N,3,h,w] (see `_initial`) of `data`, as they are and mirrored.
        held_out: the same of `test`.
    """

    model: Model
    data: AvatarSet
    test: AvatarSet
    prepared: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    held_out: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, recipe: Recipe, data: AvatarSet, test: AvatarSet, run: Path) -> Beginnings:
        """By the generator and the encoder of a run."""
        generator, encoder = load_generator(run), load_encoder(run)
        held_out = _initial(test, generator, encoder, recipe.dtype)
        synthesis = compiled(generator, recipe.compile)
        plain, mirror = (_initial(data, synthesis, encoder, recipe.dtype, mirror) for mirror in (False, True))
        model = Model(generator, domain_of(recipe), {"encoder": encoder})
        return cls(model, data, test, (plain, mirror), held_out)

    def batch(self, recipe: Recipe, step: int) -> dict[str, Tensor]:
        """The images of a step with their codes and reconstructions; every other batch is mirrored."""
        index = batch_indices(len(self.data), recipe.batch, step, recipe.seed)
        codes, starts = self.prepared[step % 2]
        images = mirrored({"crops": self.data.images(index), "weight": self.data.weights(index)}, step)
        return {**images, "codes": codes[index], "start": _as_float(starts[index])}


def train_hypernetwork(recipe: Recipe, data: Sets, run: Path) -> None:
    """The stage of the recipe."""
    fit_hypernetwork(recipe, Beginnings.of(recipe, data.detailed, data.detailed_test, run), run)


def fit_hypernetwork(recipe: Recipe, begun: Beginnings, run: Path, *, name: str = "hypernetwork") -> Path:
    """Trains a hypernetwork in `run/name`; returns the folder of the trained network."""
    model = begun.model
    config = HypernetworkConfig(
        model.generator.config,
        recipe.changed_layers(model.generator),
        input_size=model.domain.input_size,
        trunk=recipe.trunk(recipe.hyper_widths, recipe.hyper_blocks),
        heads=recipe.hyper_heads,
        code_width=recipe.hyper_code,
        residual_input=True,
    )
    torch.manual_seed(recipe.seed)
    hypernetwork = begin(Hypernetwork, config, run / name / "start").to(memory_format=torch.channels_last)
    LOG.info("%s: %d parameters", name, hypernetwork.parameter_count())
    loss, optim = ReconstructionLoss(recipe, run), recipe.optim(clip=1.0)
    task = _AvatarHyperStyle(model, hypernetwork, loss.with_weight(None), recipe.task_options("hyperstyle", optim))
    task.set_phases(recipe, [Phase(*phase) for phase in recipe.hypernetwork_steps], loss)
    task.optimizers = {"hypernetwork": adam(hypernetwork, fused=True)}
    total = sum(length for length, _, _ in recipe.hypernetwork_steps)

    def evaluate(done: int) -> dict[str, float]:
        """L2 of the W encoder, and the L2 after each step divided by it."""
        count, steps = min(128, len(begun.test)), 1 if done < total // 2 else 10
        codes, starts = begun.held_out
        task.generate, task.steps = task.full, steps
        errors = torch.zeros(steps + 1)
        for s in chunks(count):
            crop, start = begun.test.images(s), _as_float(starts[s])
            for k, image in enumerate([start, *task.refine(crop, codes[s], start)]):
                errors[k] += (image - crop).square().mean((1, 2, 3)).sum()
        ratios = {f"ratio_{k}": (errors[k] / errors[0]).item() for k in range(1, steps + 1)}
        return {"w_l2": (errors[0] / count).item(), **ratios}

    schedule = LearningRateSchedule(1e-3, total, decay=0.35)
    train_stage(task, optim, schedule, run / name, lambda i: begun.batch(recipe, i), evaluate)
    done = run / name / "done"
    on_first(lambda: save_component(hypernetwork, config, done))
    return done
