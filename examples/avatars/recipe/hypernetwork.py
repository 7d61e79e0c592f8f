"""The hypernetwork, with a growing number of passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, LOG, Sets, chunks
from examples.avatars.recipe.generator import Coarse, load_generator
from examples.avatars.recipe.loss import ReconstructionLoss
from examples.avatars.recipe.start import begin, finished
from examples.avatars.renderer.dataset import AvatarSet
from hyperstyle.io.components import load_component, save_component
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator
from hyperstyle.training.distributed import average_gradients, gather, on_first, rank, share, world
from hyperstyle.training.loop import Schedule, batch_indices, fit
from hyperstyle.training.steps import autocast, compiled, hyperstyle_step, passes

__all__ = ["Beginnings", "train_hypernetwork"]


@torch.no_grad()
def _initial(
    data: AvatarSet, synthesis: Generator, encoder: WEncoder, dtype: torch.dtype, mirror: bool = False
) -> tuple[Tensor, Tensor]:
    """Codes [N,D] and first reconstructions, uint8 over [-1.5, 1.5], of a whole set."""
    codes, images = [], []
    padded = -(-len(data) // world()) * world()  # every process makes an equal part
    mine = torch.arange(padded).clamp(max=len(data) - 1).view(world(), -1)[rank()]
    for s in torch.split(mine, 100):
        crop = data.images(s)
        w = encoder(crop.flip(3) if mirror else crop)
        with autocast(dtype, CPU):
            image = synthesis(w, modulation="activations").float()
        codes.append(w[:, 0])
        images.append(((image + 1.5) * 85.0).round().clamp(0, 255).byte())
    return gather(torch.cat(codes))[: len(data)], gather(torch.cat(images))[: len(data)]


@dataclass(frozen=True)
class Beginnings:
    """Images with what the W encoder makes of them, the same for every hypernetwork of one generator.

    Attributes:
        generator: frozen.
        data, test: the images to learn from, and those held out.
        prepared: codes [N,D] and reconstructions [N,3,h,w] (see `_initial`) of `data`, as they are and mirrored.
        held_out: the same of `test`.
    """

    generator: Generator
    data: AvatarSet
    test: AvatarSet
    prepared: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    held_out: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, recipe: Recipe, data: AvatarSet, test: AvatarSet, run: Path) -> Beginnings:
        """By the generator and the encoder of a run."""
        generator = load_generator(run)
        encoder = load_component(WEncoder, WEncoderConfig, finished(run / "encoder"), device=CPU)
        held_out = _initial(test, generator, encoder, recipe.dtype)
        synthesis = compiled(generator, recipe.compile)
        plain, mirrored = (_initial(data, synthesis, encoder, recipe.dtype, mirror) for mirror in (False, True))
        return cls(generator, data, test, (plain, mirrored), held_out)


def train_hypernetwork(recipe: Recipe, data: Sets, run: Path) -> None:
    """The stage of the recipe."""
    fit_hypernetwork(recipe, Beginnings.of(recipe, data.detailed, data.detailed_test, run), run)


def fit_hypernetwork(recipe: Recipe, begun: Beginnings, run: Path, *, name: str = "hypernetwork") -> Path:
    """Trains a hypernetwork in `run/name`; returns the folder of what is made."""
    generator, size = begun.generator, recipe.generator.size
    test_codes, test_starts = begun.held_out
    layers = tuple(s.name for s in generator.layers if s.resolution >= recipe.hyper_first and not s.torgb)
    config = HypernetworkConfig(
        generator.config,
        layers,
        input_size=(size, size),
        trunk=TrunkConfig(recipe.hyper_widths, recipe.hyper_blocks, *recipe.stem, 2, norm="group"),
        heads=recipe.hyper_heads,
        code_width=recipe.hyper_code,
        residual_input=True,
    )
    torch.manual_seed(recipe.seed)
    hypernetwork = begin(Hypernetwork, config, run / name / "start").to(memory_format=torch.channels_last)
    LOG.info("%s: %d parameters", name, hypernetwork.parameter_count())
    image_loss = ReconstructionLoss(recipe, run)
    synthesis, predict = compiled(generator, recipe.compile), compiled(hypernetwork, recipe.compile)
    sizes = {size for _, _, size in recipe.hypernetwork_steps}
    syntheses = {s: synthesis if s == size else compiled(Coarse(generator, s), recipe.compile) for s in sizes}

    optimizer = torch.optim.Adam(hypernetwork.parameters(), betas=(0.9, 0.99), fused=True)
    total = sum(n for n, _, _ in recipe.hypernetwork_steps)

    def phase(i: int) -> tuple[int, int]:
        """Passes and size at this step."""
        for length, t, pixels in recipe.hypernetwork_steps:
            if i < length:
                return t, pixels
            i -= length
        return recipe.hypernetwork_steps[-1][1:]

    def step(i: int) -> dict[str, float]:
        index = share(batch_indices(len(begun.data), recipe.batch, i, recipe.seed))
        crop, weight = begun.data.images(index), begun.data.weights(index)
        codes, starts = begun.prepared[i % 2]
        if i % 2:  # every other batch is mirrored
            crop, weight = crop.flip(3), weight.flip(3)
        start = starts[index].float() / 85.0 - 1.5
        t, pixels = phase(i)
        shift = torch.zeros(())  # what the blocks above add to the coarse image, measured without offsets
        if pixels < size:
            with torch.no_grad(), autocast(recipe.dtype, CPU):
                coarse = syntheses[pixels](codes[index], modulation="activations").float()
            shift = nn.functional.avg_pool2d(start, size // pixels) - coarse
        optimizer.zero_grad()
        losses = hyperstyle_step(
            crop,
            codes[index],
            syntheses[pixels],
            predict,
            lambda image: image_loss(image + shift, crop, weight),
            to_input=lambda image: image,
            steps=t,
            start=start,
            dtype=recipe.dtype,
        )
        average_gradients(hypernetwork.parameters())
        nn.utils.clip_grad_norm_(hypernetwork.parameters(), 1.0)
        optimizer.step()
        return {"passes": float(t), "pixels": float(pixels), "loss": losses[-1]}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        count = min(128, len(begun.test))
        t = 1 if i < total // 2 else 10
        errors = torch.zeros(t + 1)
        for s in chunks(count):
            crop, w = begun.test.images(s), test_codes[s]
            start = test_starts[s].float() / 85.0 - 1.5
            images = passes(
                crop,
                w,
                start,
                generator,
                hypernetwork,
                to_input=lambda image: image,
                steps=t,
                dtype=recipe.dtype,
            )
            for k, image in enumerate([start, *images]):
                errors[k] += (image - crop).square().mean((1, 2, 3)).sum()
        row = {"w_l2": (errors[0] / count).item()}
        row.update({f"ratio_{k}": (errors[k] / errors[0]).item() for k in range(1, t + 1)})
        return row

    fit(
        step,
        steps=total,
        folder=run / name,
        modules={"hypernetwork": hypernetwork},
        optimizers={"adam": optimizer},
        schedule=Schedule(1e-3, decay=0.35),
        evaluate=evaluate,
        evaluate_every=1000,
        on_progress=lambda text: LOG.info("%s: %s", name, text),
    )
    done = run / name / "done"
    on_first(lambda: save_component(hypernetwork, hypernetwork.config, done))
    return done
