"""Small jobs: a generator of 32 px, images in a folder, options that train in seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hyperstyle.domain import Domain
from hyperstyle.images import save_image, to_pil
from hyperstyle.model.folder import write_model
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.training.engine import make_task, train
from hyperstyle.training.options import TrainOptions, resolve

Job = Callable[..., TrainOptions]
Doubled = Callable[[Any], Any]
Crops = Callable[..., Tensor]
CheckGradient = Callable[[nn.Module, Callable[[], Tensor]], None]


@pytest.fixture(scope="session")
def generator() -> Generator:
    """A generator with random weights, whose images differ from one another."""
    torch.manual_seed(5)
    network = Generator(GeneratorConfig(32, (16, 16, 16, 8), latent_width=16, mapping_layers=2)).requires_grad_(False)
    network.latent_avg.copy_(network.mean_w(200))
    return network.eval()


@pytest.fixture(scope="session")
def start(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator as a model folder."""
    folder = tmp_path_factory.mktemp("start") / "generator"
    write_model(Model(generator, Domain("plates", 32, (32, 32))), folder)
    return folder


@pytest.fixture(scope="session")
def photos(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of the generator's, lightly changed, of two sizes, and a file that is no image."""
    folder = tmp_path_factory.mktemp("photos")
    torch.manual_seed(6)
    images = generator(generator.mapping(torch.randn(24, 16)))
    for i, image in enumerate(images.clamp(-1, 1)):
        photo = to_pil(image * 0.8 + 0.1)
        save_image(photo.resize((40, 48)) if i % 2 else photo, folder / f"{i:02d}.png")
    (folder / "broken.png").write_bytes(b"not an image")
    return folder


@pytest.fixture(scope="session")
def job(start: Path, photos: Path) -> Job:
    """(task, out folder, more flags) -> options of a job of a few steps; a hyphen in a flag's name stands for a dot."""

    def options(task: str, out: Path, **flags: Any) -> TrainOptions:
        start_option = "generator" if task == "encoder" else "encoder"
        small = {
            "data.train": str(photos),
            "data.test_share": 0.2,
            "loss.lpips": 0.0,
            "loss.identity": 0.0,
            "loss.adversarial": 0.0,
            "optim.batch": 4,
            "optim.steps": 4,
            "optim.rate": 1e-3,
            "optim.device": "cpu",
            "run.out": str(out),
            "run.quiet": True,
            "run.tensorboard": False,
            f"{task}.{start_option}": str(start),
        }
        return resolve(task, (), small | {name.replace("__", "."): value for name, value in flags.items()})  # type: ignore[arg-type]

    return options


@pytest.fixture(scope="session")
def encoder_run(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that trained a W encoder."""
    options = job("encoder", tmp_path_factory.mktemp("runs") / "enc", optim__steps=30, optim__optimizer="adam")
    train(make_task(options), options)
    return Path(options.run.out)


@pytest.fixture(scope="session")
def doubled() -> Doubled:
    """The same task in float64, so that finite differences tell."""

    def of(task: Any) -> Any:
        parts = (task.base.generator, task.base.encoder, task.network, *task.modules.values(), task.objective.terms)
        for module in parts:
            if module is not None:
                module.double()
        return task

    return of


@pytest.fixture(scope="session")
def crops() -> Crops:
    """(how many, 2 if it is not said) -> random images of 32 px in float64."""
    return lambda count=2: torch.rand(count, 3, 32, 32, dtype=torch.float64) * 2 - 1


@pytest.fixture(scope="session")
def check_gradient() -> CheckGradient:
    """The gradients that a loss left in a network, against finite differences along random directions."""

    def check(network: nn.Module, loss: Callable[[], Tensor]) -> None:
        reach = 1e-8  # so short that few kinks lie between
        here, before = loss().item(), [p.detach().clone() for p in network.parameters()]
        rounding = 8 * sys.float_info.epsilon * abs(here) / reach  # of a quotient; two units of it were seen
        for _ in range(3):
            direction = [torch.randn_like(p) * p.std(correction=0).clamp(min=0.01) for p in network.parameters()]
            gradient = sum(
                (p.grad * d).sum().item()
                for p, d in zip(network.parameters(), direction, strict=True)
                if p.grad is not None
            )
            slopes = []
            for step in (reach, -reach):
                with torch.no_grad():
                    for parameter, start, change in zip(network.parameters(), before, direction, strict=True):
                        parameter.copy_(start + step * change)
                slopes.append((loss().item() - here) / step)
            nearest = min(slopes, key=lambda slope: abs(slope - gradient))  # a kink lies on one side
            assert gradient == pytest.approx(nearest, rel=1e-4, abs=rounding)
            assert abs(gradient) > 1e-6
        with torch.no_grad():
            for parameter, start in zip(network.parameters(), before, strict=True):
                parameter.copy_(start)

    return check
