"""The discriminator and the adversarial losses of HyperInverter's training, against recordings of the originals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.networks.stylegan2.discriminator import Discriminator
from hyperstyle.training.adversarial import discriminator_loss, generator_loss, r1_penalty

if TYPE_CHECKING:
    from conftest import CheckpointMaker
    from parity.conftest import Parity

pytestmark = pytest.mark.reference


def random_discriminator(maker: CheckpointMaker, name: str, channels: tuple[int, ...]) -> Discriminator:
    """The seeded discriminator of 64 px of a file, in float64, so that nothing but the recording is rounded."""
    tensors: dict[str, Tensor] = maker.script("hyperinverter").build(maker.manifest("baselines", name), 0, {"D"})["D"]
    discriminator = Discriminator(64, channels)
    discriminator.load_state_dict({n: t for n, t in tensors.items() if not n.endswith("resample_filter")})
    return discriminator.double()


def test_losses_and_their_gradients_equal_the_recorded_ones(checkpoint_maker: CheckpointMaker, parity: Parity) -> None:
    folder = checkpoint_maker.reference / "hyperinverter" / "golden"
    with np.load(folder / "losses_small64_seed0.npz") as file:
        golden = dict(file)
    discriminator = random_discriminator(checkpoint_maker, "stylegan2_ada_small64", (64, 64, 64, 64, 32))
    real, fake = (torch.from_numpy(golden[name]).double() for name in ("real", "fake"))

    def norms(loss: Tensor) -> Tensor:
        """Of the gradient by each parameter; 0 where it has none."""
        parameters = list(discriminator.parameters())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        return torch.stack([real.new_zeros(()) if g is None else g.norm() for g in gradients])

    generator = checkpoint_maker.small_generator().double()
    z = torch.from_numpy(golden["z"]).double()
    generated = fake.clone().requires_grad_(True)
    adversarial, error = generator_loss(discriminator(generated)), (generated - real).square().mean()
    total = 0.005 * adversarial + error
    (gradient,) = torch.autograd.grad(total, generated)
    d_loss, r1 = discriminator_loss(discriminator(real), discriminator(fake)), r1_penalty(discriminator, real)
    arrays = {
        "fake": generator(generator.mapping(z)),
        "g_total": total,
        "g_adv": adversarial,
        "g_l2": error,
        "g_grad_fake": gradient,
        "d_loss": d_loss,
        "d_grad_norm": norms(d_loss),
        "r1_loss": r1,
        "r1_grad_norm": norms(r1),
        "d_real and d_fake": torch.cat([discriminator(real), discriminator(fake)]),
    }
    golden["d_real and d_fake"] = np.concatenate([golden.pop("d_real"), golden.pop("d_fake")])
    assert golden["d_names"].tolist() == [name for name, _ in discriminator.named_parameters()]
    assert set(golden) == {*arrays, "real", "z", "d_names"}
    for name, value in arrays.items():
        parity.check_scaled("losses_small64", name, value.detach(), golden[name], "two passes, of the largest")


@torch.no_grad()
def test_logits_of_the_published_width_equal_the_recorded_ones(
    checkpoint_maker: CheckpointMaker, parity: Parity
) -> None:
    with np.load(checkpoint_maker.reference / "baselines" / "golden" / "stylegan2_ada_64_seed0.npz") as file:
        image, logits = torch.from_numpy(file["image_psi0.7"]).double(), file["d_logits_psi0.7"]
    actual = random_discriminator(checkpoint_maker, "stylegan2_ada_64", (512, 512, 512, 512, 512))(image)
    parity.check_scaled("stylegan2_ada_64", "d_logits_psi0.7", actual, logits, "two passes, of the largest")
