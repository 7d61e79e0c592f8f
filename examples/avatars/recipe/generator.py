"""The generator: regressed from factors, then its mapping network fitted to their codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, Sets, batch_indices, chunks, encoded, mean_errors
from examples.avatars.recipe.loss import pyramid_l1
from examples.avatars.recipe.stage import RegressionTask, train_stage
from examples.avatars.recipe.start import load_encoder
from examples.avatars.renderer.encoding import encoding_width, factors_from_normal, trait_encoding
from hyperstyle.io.components import load_component, save_component, save_torch
from hyperstyle.io.files import replace_folder
from hyperstyle.io.torch_files import load_state
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.networks.stylegan2.ops import EqualLinear
from hyperstyle.training.distributed import on_first
from hyperstyle.training.loop import LearningRateSchedule
from hyperstyle.training.task import autocast, compiled

__all__ = [
    "FactorMapping",
    "fit_factor_mapping",
    "load_factor_mapping",
    "load_generator",
    "save_generator",
    "train_generator",
    "train_mapping",
]


class FactorMapping(nn.Module):
    """Encoded traits [B,F] -> W codes [B,D]; the training-time stand-in for the mapping network.

    Factors reach W without the detour over z, so each image has a known code and the generator can be trained by
    regression. The mapping network z -> w is fitted to it afterwards.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            EqualLinear(encoding_width(), width, activate=True),
            EqualLinear(width, width, activate=True),
            EqualLinear(width, width),
        )

    def forward(self, encoded: Tensor) -> Tensor:
        out: Tensor = self.layers(encoded)
        return out


def train_generator(recipe: Recipe, data: Sets, folder: Path) -> None:
    """Trains at growing sizes, then fits the mapping network; writes `folder/done`."""
    torch.manual_seed(recipe.mapping_seed)
    mapping = FactorMapping(recipe.generator.latent_width)
    generator: Generator | None = None
    sizes = recipe.generator.resolutions[2:]
    for size, steps in zip(sizes, recipe.generator_steps, strict=True):
        config = replace(recipe.generator, size=size, channels=recipe.generator.channels[: sizes.index(size) + 3])
        torch.manual_seed(recipe.seed)
        larger = Generator(config)
        if generator is not None:  # the new layers keep their random weights
            larger.load_state_dict({**larger.state_dict(), **generator.state_dict()})
        schedule = LearningRateSchedule(6e-3, steps, decay=0.5)
        generator, mapping = _train_size(recipe, data, schedule, folder / str(size), larger, mapping)
    if generator is None:
        raise TypeError("a recipe has at least one size of the generator")
    with torch.no_grad():
        codes = torch.cat([mapping(encoded(data.clean, s)) for s in chunks(len(data.clean), 2000)])
    generator.latent_avg.copy_(codes.mean(0))
    train_mapping(recipe, generator, mapping, folder / "mapping")
    trained = generator
    on_first(lambda: save_generator(trained, mapping, folder))


def _train_size(
    recipe: Recipe,
    data: Sets,
    schedule: LearningRateSchedule,
    folder: Path,
    generator: Generator,
    mapping: FactorMapping,
) -> tuple[Generator, FactorMapping]:
    """Regresses the clean images on their factors, at the size of this generator; returns averaged networks."""
    size, held_out = generator.config.size, data.clean_test
    call = compiled(generator, recipe.compile)

    def shrink(x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, recipe.generator.size // size)

    def batch(i: int) -> dict[str, Tensor]:
        index = batch_indices(len(data.clean), recipe.generator_batch, i, recipe.seed)
        images, weight = shrink(data.clean.images(index)), shrink(data.clean.weights(index))
        return {"crops": images, "weight": weight, "factors": encoded(data.clean, index)}

    def loss(crop: Tensor, weight: Tensor, factors: Tensor) -> tuple[Tensor, dict[str, float]]:
        with autocast(recipe.dtype, CPU):
            image = call(mapping(factors), noise="none", modulation="activations")
        value = pyramid_l1(image.float(), crop, weight, levels=min(4, size.bit_length() - 3))
        return value, {"loss": value.item()}

    def evaluate(done: int) -> dict[str, float]:
        differences = (
            generator(mapping(encoded(held_out, s)), noise="none", modulation="activations")
            - shrink(held_out.images(s))
            for s in chunks(len(held_out))
        )
        l1, l2 = mean_errors(differences, len(held_out))
        return {"test_l1": l1, "test_l2": l2}

    networks = nn.ModuleDict({"generator": generator, "mapping": mapping})
    task = RegressionTask("networks", networks, loss)
    average = train_stage(task, recipe.optim(ema=0.99), schedule, folder, batch, evaluate).average
    networks.load_state_dict((average or networks).state_dict())
    return generator, mapping


def train_mapping(recipe: Recipe, generator: Generator, mapping: FactorMapping, folder: Path) -> None:
    """Fits z -> w of the generator, so that standard normal z give the codes of random avatars."""

    def sample(count: int) -> tuple[Tensor, Tensor]:
        """z [count,D], and the codes w [count,D] of their avatars."""
        z = torch.randn(count, generator.config.latent_width)
        with torch.no_grad():
            return z, mapping(trait_encoding(factors_from_normal(z)))

    def batch(i: int) -> dict[str, Tensor]:
        z, w = sample(512)
        return {"crops": z, "w": w}

    def loss(z: Tensor, w: Tensor) -> tuple[Tensor, dict[str, float]]:
        value = (generator.mapping(z) - w).square().mean()
        return value, {"loss": value.item()}

    def evaluate(done: int) -> dict[str, float]:
        torch.manual_seed(recipe.seed)
        z, w = sample(4096)
        residual = (generator.mapping(z) - w).square().mean()
        return {"explained": 1.0 - (residual / w.var(0).mean()).item()}

    # Its learning rate is high since stored weights are a hundred times larger (mapping_rate).
    task, schedule = RegressionTask("style", generator.style, loss), LearningRateSchedule(0.4, recipe.mapping_steps)
    train_stage(task, recipe.optim(), schedule, folder, batch, evaluate)


def fit_factor_mapping(recipe: Recipe, data: Sets, run: Path) -> None:
    """Fits factors -> W to the codes that the encoder of a finished model predicts for the clean portraits."""
    folder, generator, encoder = run / "generator", load_generator(run), load_encoder(run)
    torch.manual_seed(recipe.mapping_seed)
    mapping = FactorMapping(recipe.generator.latent_width)
    with torch.no_grad():
        codes, held_out = (
            torch.cat([encoder(part.images(s))[:, 0] for s in chunks(len(part))])
            for part in (data.clean, data.clean_test)
        )

    def batch(i: int) -> dict[str, Tensor]:
        index = batch_indices(len(data.clean), 512, i, recipe.seed)
        return {"crops": encoded(data.clean, index), "w": codes[index]}

    def loss(factors: Tensor, w: Tensor) -> tuple[Tensor, dict[str, float]]:
        value = (mapping(factors) - w).square().mean()
        return value, {"loss": value.item()}

    def evaluate(done: int) -> dict[str, float]:
        residual = (mapping(encoded(data.clean_test, slice(None))) - held_out).square().mean()
        return {"explained": 1.0 - (residual / held_out.var(0).mean()).item()}

    task, schedule = RegressionTask("mapping", mapping, loss), LearningRateSchedule(6e-3, recipe.factor_steps)
    train_stage(task, recipe.optim(), schedule, folder / "factors", batch, evaluate)
    on_first(lambda: save_generator(generator, mapping, folder))


def save_generator(generator: Generator, mapping: FactorMapping, folder: Path) -> None:
    """Writes `folder/done`."""
    with replace_folder(folder / "done") as done:
        save_component(generator, generator.config, done / "generator")
        save_torch(done / "factor_mapping.pt", mapping.state_dict())


def _done(run: Path) -> Path:
    """The generator's folder: that of the adversarial stage where it has run."""
    sharp = run / "adversarial" / "done"
    return sharp if sharp.exists() else run / "generator" / "done"


def load_generator(run: Path) -> Generator:
    return load_component(Generator, GeneratorConfig, _done(run) / "generator", device=CPU)


def load_factor_mapping(run: Path, width: int) -> FactorMapping:
    mapping = FactorMapping(width)
    mapping.load_state_dict(load_state(_done(run) / "factor_mapping.pt"))
    return mapping.eval().requires_grad_(False)
