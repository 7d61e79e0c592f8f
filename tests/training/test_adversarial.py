"""Adversarial losses: their values, their gradients by finite differences, and what they do to a network."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from hyperstyle.training.adversarial import discriminator_loss, generator_loss, r1_penalty
from hyperstyle.training.engine import make_task, train
from hyperstyle.training.images import open_images

if TYPE_CHECKING:
    from training.conftest import CheckGradient, Crops, Doubled, Job


def test_the_losses_fall_as_logits_move_the_way_they_ask_for() -> None:
    assert float(generator_loss(torch.zeros(4, 1))) == pytest.approx(math.log(2))
    assert float(generator_loss(torch.full((4, 1), 3.0))) < 0.05
    assert float(discriminator_loss(torch.zeros(4, 1), torch.zeros(4, 1))) == pytest.approx(math.log(2))
    assert float(discriminator_loss(torch.full((1, 1), 3.0), torch.full((1, 1), -3.0))) < 0.05
    assert float(discriminator_loss(torch.full((1, 1), -3.0), torch.full((1, 1), -3.0))) > 1.5


def test_the_penalty_is_the_squared_slope_of_the_logits_and_has_a_gradient_of_its_own() -> None:
    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.tensor(3.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.slope * x[:, 0, 0, :1]

    network, images = Slope(), torch.randn(5, 3, 2, 2)
    penalty = r1_penalty(network, images, gamma=4.0, every=2)
    assert penalty.item() == pytest.approx(4 / 2 * 2 * 9)
    penalty.backward()  # type: ignore[no-untyped-call]
    assert network.slope.grad is not None
    assert network.slope.grad.item() == pytest.approx(4 / 2 * 2 * 6)
    assert images.grad is None


@pytest.mark.parametrize("kind", ["encoder", "hyperstyle", "hyperinverter"])
def test_gradients_of_a_network_and_its_discriminator_are_those_of_the_adversarial_loss(
    job: Job,
    tmp_path: Path,
    encoder_run: Path,
    kind: str,
    doubled: Doubled,
    crops: Crops,
    check_gradient: CheckGradient,
) -> None:
    flags: dict[str, Any] = {"loss__adversarial": 0.5, "loss__adversarial_from": 0}
    flags |= {} if kind == "encoder" else {f"{kind}__encoder": str(encoder_run)}
    flags |= {"hyperstyle__passes": 1} if kind == "hyperstyle" else {}
    task = doubled(make_task(job(kind, tmp_path, **flags)))
    crop, generator, network, discriminator = (
        crops(),
        task.base.generator,
        task.network,
        task.adversaries["discriminator"].discriminator,
    )
    figures = task.train_step(crop, 0, lambda loss: loss)

    def image() -> Tensor:
        if kind == "encoder":
            return generator(network(crop))
        w = task.encoder(crop)
        changes = network.offsets(network(crop, generator(w)))
        return generator(w, changes) if kind == "hyperstyle" else generator(w, residuals=changes)

    def of_network() -> Tensor:
        return (image() - crop).square().mean() + 0.5 * (1 + (-discriminator(image())).exp()).log().mean()

    def of_discriminator() -> Tensor:
        return ((1 + (-discriminator(crop)).exp()).log() + (1 + discriminator(image()).exp()).log()).mean() / 2

    assert figures["loss"] == pytest.approx(of_network().item(), rel=1e-6)
    assert figures["told_apart"] == pytest.approx(of_discriminator().item(), rel=1e-6)
    check_gradient(network, of_network)
    check_gradient(discriminator, of_discriminator)


def test_gradients_of_the_penalty_are_those_of_the_slope_by_pixels(
    job: Job, tmp_path: Path, doubled: Doubled, crops: Crops, check_gradient: CheckGradient
) -> None:
    task = doubled(make_task(job("encoder", tmp_path, loss__adversarial=0.5, loss__r1=4.0, loss__r1_every=3)))
    discriminator, real = task.adversaries["discriminator"].discriminator, crops()
    figures = task.adversaries["discriminator"].add_r1_gradient(real, lambda loss: loss)

    def loss() -> Tensor:
        pixels = real.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(discriminator(pixels).sum(), pixels, create_graph=True)
        away, near = torch.randn_like(real), 1e-7  # the gradient itself, by finite differences
        with torch.no_grad():
            after, before = discriminator(real + near * away), discriminator(real - near * away)
            rounding = 8 * torch.finfo(after.dtype).eps * after.abs().sum().item() / near
        difference = (after - before).sum().item() / (2 * near)
        assert (gradient * away).sum().item() == pytest.approx(difference, rel=1e-4, abs=rounding)
        return 4.0 / 2 * 3 * gradient.square().sum((1, 2, 3)).mean()

    assert figures["r1"] == pytest.approx(loss().item(), rel=1e-6)
    check_gradient(discriminator, loss)


def test_gradients_of_an_encoder_and_the_discriminator_of_codes_are_those_of_their_losses(
    job: Job,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    doubled: Doubled,
    crops: Crops,
    check_gradient: CheckGradient,
) -> None:
    flags = {"encoder__kind": "e4e", "loss__latent_discriminator": 0.5, "loss__delta": 0.0, "loss__r1": 4.0}
    task = doubled(make_task(job("encoder", tmp_path, **flags)))
    crop, network, discriminator = crops(), task.network, task.adversaries["latent_discriminator"].discriminator
    real, fake = torch.randn(2, 2, 16, dtype=torch.float64).unbind()
    monkeypatch.setattr(task, "_pooled", lambda w, step: (real, fake))
    monkeypatch.setattr(task, "_sample_w", lambda count: real)
    figures = task.train_step(crop, 0, lambda loss: loss)

    def of_network() -> Tensor:
        w = network(crop)
        return (task.base.generator(w) - crop).square().mean() + 0.5 * (1 + (-discriminator(w)).exp()).log().mean()

    def of_discriminator() -> Tensor:
        return (1 + (-discriminator(real)).exp()).log().mean() + (1 + discriminator(fake).exp()).log().mean()

    def of_penalty() -> Tensor:
        codes = real.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(discriminator(codes).sum(), codes, create_graph=True)
        return 4.0 / 2 * 16 * gradient.square().sum(1).mean()

    assert figures["loss"] == pytest.approx(of_network().item(), rel=1e-6)
    assert figures["latent_told_apart"] == pytest.approx(of_discriminator().item(), rel=1e-6)
    check_gradient(network, of_network)
    check_gradient(discriminator, of_discriminator)
    discriminator.zero_grad()
    [_, penalty] = task.phases(0)
    assert penalty.backward(crop, 0, lambda loss: loss)["latent_r1"] == pytest.approx(of_penalty().item(), rel=1e-6)
    check_gradient(discriminator, of_penalty)


@pytest.mark.slow
def test_an_adversarial_run_teaches_the_discriminator_and_moves_the_images_past_it(
    job: Job, tmp_path: Path, encoder_run: Path, photos: Path
) -> None:
    real = open_images(photos, (32, 32)).load(range(20))
    flags: dict[str, Any] = {"hyperstyle__encoder": str(encoder_run), "hyperstyle__passes": 1, "optim__steps": 40}
    flags |= {"optim__optimizer": "adam", "loss__r1": 1.0, "loss__r1_every": 4, "data__test_share": 0.0}
    discriminators, samples = [], []
    for weight in (1e-12, 1.0):  # with the first the discriminator learns too, and the network does not hear of it
        options = job("hyperstyle", tmp_path / str(weight), loss__adversarial=weight, **flags)
        task: Any = make_task(options)
        before = copy.deepcopy(task.adversaries["discriminator"].discriminator)
        train(task, options)
        task.network.eval()
        discriminators.append(task.adversaries["discriminator"].discriminator)
        samples.append(task.sample(real)["after"])
    with torch.no_grad():
        without_loss, with_loss = samples
        apart = [
            discriminator_loss(discriminator(real), discriminator(without_loss)).item()
            for discriminator in (before, discriminators[0])
        ]
        assert apart[1] < apart[0] - 0.01
        for discriminator in discriminators:
            assert (
                generator_loss(discriminator(with_loss)).item()
                < generator_loss(discriminator(without_loss)).item() - 0.02
            )
