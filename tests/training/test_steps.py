"""One training step is the paper's: loss and backward at every pass, nothing flows between passes."""

from __future__ import annotations

import torch
from torch import Tensor

from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.training.losses import pyramid_l1, pyramid_mse
from hyperstyle.training.steps import hyperstyle_step


def parts() -> tuple[Generator, Hypernetwork, Tensor, Tensor]:
    torch.manual_seed(3)
    generator = Generator(GeneratorConfig(16, (8, 8, 8), latent_width=16, mapping_layers=2)).requires_grad_(False)
    trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    config = HypernetworkConfig(
        generator.config, ("b8.conv1", "b16.conv0"), (16, 16), trunk, heads="compact", code_width=8
    )
    hypernetwork = Hypernetwork(config)
    for parameter in hypernetwork.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return generator, hypernetwork, torch.rand(2, 3, 16, 16) * 2 - 1, torch.randn(2, 6, 16)


def gradient(module: torch.nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def test_the_gradient_is_the_sum_over_passes_with_everything_before_a_pass_held_fixed() -> None:
    generator, hypernetwork, crop, w = parts()
    losses = hyperstyle_step(
        crop, w, generator, hypernetwork, lambda y: (y - crop).square().mean(), to_input=lambda y: y, steps=3
    )
    stepped = gradient(hypernetwork)

    # The same, written out: recorded inputs of each pass, each pass differentiated on its own.
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


def test_steps_of_an_optimiser_lower_the_loss() -> None:
    generator, hypernetwork, crop, w = parts()
    optimizer = torch.optim.Adam(hypernetwork.parameters(), 1e-3)
    history = []
    for _ in range(25):
        optimizer.zero_grad()
        history.append(
            hyperstyle_step(
                crop, w, generator, hypernetwork, lambda y: pyramid_mse(y, crop), to_input=lambda y: y, steps=2
            )[-1]
        )
        optimizer.step()
    assert history[-1] < 0.8 * history[0]


def test_pixel_losses_are_zero_for_equal_images_and_look_where_the_weight_is() -> None:
    image = torch.rand(1, 3, 32, 32)
    changed = image.clone()
    changed[..., :8, :8] += 0.5
    left = torch.full((1, 1, 32, 32), 0.5)
    left[..., :8, :8] = 2.0
    right = torch.full((1, 1, 32, 32), 0.5)
    right[..., 24:, 24:] = 2.0
    for loss in (pyramid_l1, pyramid_mse):
        assert loss(image, image) == 0
        assert loss(changed, image, left) > 2 * loss(changed, image, right) > 0
