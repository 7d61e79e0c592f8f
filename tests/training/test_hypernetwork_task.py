"""A training step of HyperStyle: loss and backward at every refinement step, nothing flows between them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.training.hypernetwork_task import HyperStyleTask
from hyperstyle.training.options import resolve

TRUNK = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")


def make_task(steps: int, losses: list[float] | None = None) -> tuple[HyperStyleTask, Tensor, Tensor]:
    """A task without files, crops [2,3,16,16] and codes; its losses are noted."""
    torch.manual_seed(3)
    generator = Generator(GeneratorConfig(16, (8, 8, 8), latent_width=16, mapping_layers=2)).requires_grad_(False)
    layers = ("b8.conv1", "b16.conv0")
    config = HypernetworkConfig(generator.config, layers, (16, 16), TRUNK, heads="compact", code_width=8)
    hypernetwork = Hypernetwork(config)
    for parameter in hypernetwork.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    crop, w = torch.rand(2, 3, 16, 16) * 2 - 1, torch.randn(2, 6, 16)
    encoder = WEncoder(WEncoderConfig(6, 16, (16, 16), TRUNK, "flatten"))

    def objective(image: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
        loss = (image - target).square().mean()
        if losses is not None:
            losses.append(loss.item())
        return loss, {}

    model = Model(generator, Domain("plates", 16, (16, 16)), {"encoder": encoder})
    flags = {"data.train": "", "run.out": "", "hyperstyle.encoder": "", "hyperstyle.passes": steps}
    options = resolve("hyperstyle", (), flags | {"optim.optimizer": "adam", "optim.rate": 1e-3})
    return HyperStyleTask(model, hypernetwork, objective, options), crop, w


def gradient(module: torch.nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def test_the_gradient_is_the_sum_over_steps_with_everything_before_a_step_held_fixed() -> None:
    losses: list[float] = []
    task, crop, w = make_task(3, losses)
    task.train_step(crop, 0, lambda loss: loss, w)
    generator, hypernetwork = task.base.generator, task.network
    stepped = gradient(hypernetwork)

    # The same, written out: recorded inputs of each step, each step differentiated on its own.
    hypernetwork.zero_grad()
    current, accumulated, expected = generator(w), {}, []
    for _ in range(3):
        new = hypernetwork.offsets(hypernetwork(crop, current.detach()))
        offsets = {k: d + accumulated[k] if accumulated else d for k, d in new.items()}
        image = generator(w, offsets)
        loss = (image - crop).square().mean()
        loss.backward()
        expected.append(loss.item())
        current, accumulated = image.detach(), {k: d.detach() for k, d in offsets.items()}
    assert torch.allclose(torch.tensor(losses), torch.tensor(expected), atol=1e-5)
    assert torch.allclose(stepped, gradient(hypernetwork), atol=1e-5, rtol=1e-3)


def test_a_first_reconstruction_that_is_known_gives_the_same_step() -> None:
    task, crop, w = make_task(2)
    computed = task.train_step(crop, 0, lambda loss: loss, w)
    known = task.train_step(crop, 0, lambda loss: loss, w, start=task.base.generator(w))
    assert known["loss"] == pytest.approx(computed["loss"], rel=1e-5)


def test_steps_of_an_optimizer_lower_the_loss() -> None:
    task, crop, w = make_task(2)
    optimizer, history = task.optimizers["hypernetwork"], []
    for _ in range(25):
        optimizer.zero_grad()
        history.append(task.train_step(crop, 0, lambda loss: loss, w)["loss"])
        optimizer.step()
    assert history[-1] < 0.8 * history[0]
