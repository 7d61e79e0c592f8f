"""The generator: regressed from factors, then its mapping network fitted to their codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, LOG, Sets, chunks, encoded, mean_errors
from examples.avatars.renderer.encoding import encoding_width, factors_from_normal, trait_encoding
from hyperstyle.io.components import load_component, save_component, save_torch
from hyperstyle.io.files import replace_folder
from hyperstyle.io.torch_files import load_state
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig, Offsets
from hyperstyle.networks.stylegan2.ops import EqualLinear, Modulation
from hyperstyle.training.distributed import average_gradients, on_first, share
from hyperstyle.training.loop import EMA, Schedule, batch_indices, fit
from hyperstyle.training.losses import pyramid_l1
from hyperstyle.training.steps import autocast, compiled

__all__ = ["Coarse", "FactorMapping", "load_factor_mapping", "load_generator", "train_generator"]


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
    smaller: Generator | None = None
    torch.manual_seed(recipe.mapping_seed)
    mapping = FactorMapping(recipe.generator.latent_width)
    sizes = recipe.generator.resolutions[2:]
    for size, steps in zip(sizes, recipe.generator_steps, strict=True):
        config = replace(recipe.generator, size=size, channels=recipe.generator.channels[: sizes.index(size) + 3])
        torch.manual_seed(recipe.seed)
        generator = Generator(config)
        if smaller is not None:  # grow: the new layers start fresh
            generator.load_state_dict({**generator.state_dict(), **smaller.state_dict()})
        average, mapping_average = Generator(config), FactorMapping(config.latent_width)
        _generator_phase(recipe, data, folder / str(size), steps, (generator, average), (mapping, mapping_average))
        smaller, mapping = average, mapping_average
    if smaller is None:
        raise TypeError("a recipe has at least one generator phase")
    with torch.no_grad():
        codes = torch.cat([mapping(encoded(data.clean, s)) for s in chunks(len(data.clean), 2000)])
    smaller.latent_avg.copy_(codes.mean(0))
    _train_mapping(recipe, smaller, mapping, folder / "mapping")
    made = smaller

    def save() -> None:
        with replace_folder(folder / "done") as done:
            save_component(made, made.config, done / "generator")
            save_torch(done / "factor_mapping.pt", mapping.state_dict())

    on_first(save)


def _generator_phase(
    recipe: Recipe,
    data: Sets,
    folder: Path,
    steps: int,
    generators: tuple[Generator, Generator],
    mappings: tuple[FactorMapping, FactorMapping],
) -> None:
    generator, average = generators
    mapping, mapping_average = mappings
    size = generator.config.size
    held_out = data.clean_test
    call = compiled(generator, recipe.compile)
    averages = (EMA(generator, average, 0.01), EMA(mapping, mapping_average, 0.01))
    optimizer = torch.optim.Adam([*generator.parameters(), *mapping.parameters()], betas=(0.9, 0.99))

    def shrink(x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, recipe.generator.size // size)

    def step(i: int) -> dict[str, float]:
        index = share(batch_indices(len(data.clean), recipe.generator_batch, i, recipe.seed))
        target, weight = shrink(data.clean.images(index)), shrink(data.clean.weights(index))
        with autocast(recipe.dtype, CPU):
            image = call(mapping(encoded(data.clean, index)), noise="none", modulation="activations")
        loss = pyramid_l1(image.float(), target, weight, levels=min(4, size.bit_length() - 3))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients([*generator.parameters(), *mapping.parameters()])
        optimizer.step()
        for a in averages:
            a.update()
        return {"loss": loss.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        def differences() -> Iterator[Tensor]:
            for s in chunks(len(held_out)):
                image = average(mapping_average(encoded(held_out, s)), noise="none", modulation="activations")
                yield image - shrink(held_out.images(s))

        l1, l2 = mean_errors(differences(), len(held_out))
        return {"test_l1": l1, "test_l2": l2}

    fit(
        step,
        steps=steps,
        folder=folder,
        modules={
            "generator": generator,
            "average": average,
            "mapping": mapping,
            "mapping_average": mapping_average,
        },
        optimizers={"adam": optimizer},
        schedule=Schedule(6e-3, decay=0.5),
        evaluate=evaluate,
        evaluate_every=1000,
        on_progress=lambda text: LOG.info("generator %d px: %s", size, text),
    )


def _train_mapping(recipe: Recipe, generator: Generator, mapping: FactorMapping, folder: Path) -> None:
    """Fits z -> w of the generator, so that standard normal z give the codes of random avatars."""
    optimizer = torch.optim.Adam(generator.style.parameters(), betas=(0.9, 0.99))
    width = generator.config.latent_width

    def draw(count: int) -> tuple[Tensor, Tensor]:
        z = torch.randn(count, width)
        with torch.no_grad():
            return z, mapping(trait_encoding(factors_from_normal(z)))

    def step(i: int) -> dict[str, float]:
        z, target = draw(512)
        loss = (generator.mapping(z) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return {"loss": loss.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        torch.manual_seed(recipe.seed)
        z, target = draw(4096)
        residual = (generator.mapping(z) - target).square().mean()
        return {"explained": 1.0 - (residual / target.var(0).mean()).item()}

    fit(
        step,
        steps=recipe.mapping_steps,
        folder=folder,
        modules={"style": generator.style},
        optimizers={"adam": optimizer},
        schedule=Schedule(0.4),  # stored weights are a hundred times larger (mapping_rate)
        evaluate=evaluate,
        evaluate_every=1000,
        save_every=1000,
        on_progress=lambda text: LOG.info("mapping: %s", text),
    )


def load_generator(folder: Path) -> Generator:
    return load_component(Generator, GeneratorConfig, folder / "generator" / "done" / "generator", device=CPU)


class Coarse(nn.Module):
    """A generator without its blocks above `size`: its coarse image, at a fraction of the cost.

    What the finer blocks add to it depends on the code more than on offsets, so it can be measured once without them.
    Offsets and residuals for the layers that are left out are ignored.
    """

    def __init__(self, generator: Generator, size: int) -> None:
        super().__init__()
        config = generator.config
        kept = sum(resolution <= size for resolution in config.resolutions)
        small = Generator(replace(config, size=size, channels=config.channels[:kept]))
        state = generator.state_dict()
        small.load_state_dict({name: state[name] for name in small.state_dict()})
        self.generator = small.eval().requires_grad_(False)

    def forward(
        self,
        w: Tensor,
        offsets: Offsets | None = None,
        *,
        modulation: Modulation | None = None,
        residuals: Offsets | None = None,
    ) -> Tensor:
        """Codes [B,D] or [B,L,D] of the whole generator -> [B,3,size,size]."""
        w = w if w.ndim == 2 else w[:, : self.generator.config.rows]
        names = {s.name for s in self.generator.layers}
        kept, added = ({k: v for k, v in (given or {}).items() if k in names} for given in (offsets, residuals))
        image: Tensor = self.generator(w, kept, modulation=modulation, residuals=added)
        return image


def load_factor_mapping(folder: Path, width: int) -> FactorMapping:
    mapping = FactorMapping(width)
    mapping.load_state_dict(load_state(folder / "generator" / "done" / "factor_mapping.pt"))
    return mapping.eval().requires_grad_(False)
