"""The perceptual distances of the bundled model order distortions by their strength."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from examples.avatars.renderer.factors import sample_factors
from examples.avatars.renderer.render import render
from hyperstyle import HyperStyleInverter, metrics
from hyperstyle.evaluation import HELD_OUT_SEED
from hyperstyle.model.parts import Model
from hyperstyle.networks.perception.attributes import AttributeNetwork

COUNT = 6


@pytest.fixture(scope="module")
def model() -> Model:
    return HyperStyleInverter.from_pretrained("avatars", device="cpu").model


@pytest.fixture(scope="module")
def networks(model: Model) -> dict[str, AttributeNetwork]:
    """The evaluator and, where there is one, the network for losses."""
    available = {"judge": model.evaluator, "perceptual": model.perceptual}
    return {name: network for name, network in available.items() if network is not None}


@pytest.fixture(scope="module")
def image_pair(model: Model) -> tuple[Tensor, Tensor]:
    """Held-out avatars [6,3,h,h], and the same without their details."""
    side = model.domain.input_size[0]
    with_details, without = (
        render(sample_factors(COUNT, seed=HELD_OUT_SEED, details=details), side).images for details in (True, False)
    )
    return with_details, without


def blurred(image: Tensor, bare: Tensor, strength: int) -> Tensor:
    """Gaussian blur whose sigma doubles with each strength, from 1/100 of the side."""
    sigma = image.shape[-1] / 100 * 2 ** (strength - 1)
    ticks = torch.arange(-round(3 * sigma), round(3 * sigma) + 1).float()
    window = torch.exp(-ticks.square() / (2 * sigma**2))
    window = (window / window.sum()).expand(3, 1, 1, -1)
    half = len(ticks) // 2
    for kernel, padding in ((window, (half, half, 0, 0)), (window.transpose(2, 3), (0, 0, half, half))):
        image = F.conv2d(F.pad(image, padding, mode="replicate"), kernel, groups=3)
    return image


def noisy(image: Tensor, bare: Tensor, strength: int) -> Tensor:
    """The same noise, twice as strong each time, from 0.05 on the [-1,1] scale."""
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return image + 0.025 * 2**strength * noise


def shifted(image: Tensor, bare: Tensor, strength: int) -> Tensor:
    """To the right, by 1, 2, 3, ... times 1/64 of the side."""
    by = strength * max(1, image.shape[-1] // 64)
    return F.pad(image, (by, 0, 0, 0), mode="replicate")[..., : image.shape[-1]]


def faded(image: Tensor, bare: Tensor, strength: int) -> Tensor:
    """Hats, patterns, freckles, ... faded out, a third more each time."""
    return image.lerp(bare, strength / 3)


@pytest.mark.parametrize(("distort", "strengths"), [(blurred, 4), (noisy, 4), (shifted, 4), (faded, 3)])
def test_a_stronger_distortion_is_a_larger_distance(
    distort: Callable[[Tensor, Tensor, int], Tensor],
    strengths: int,
    networks: dict[str, AttributeNetwork],
    image_pair: tuple[Tensor, Tensor],
) -> None:
    image, bare = image_pair
    for name, network in networks.items():
        with torch.no_grad():
            distances = torch.stack(
                [metrics.perceptual(distort(image, bare, s), image, network) for s in range(1, strengths + 1)]
            )  # [S,N]
        means = distances.mean(1)
        assert means[0] > 0, name
        assert (means[1:] > means[:-1]).all(), (name, means)
        assert (distances[1:] > distances[:-1]).all(0).double().mean() >= 0.9, (name, distances)


def test_equal_images_have_no_distance(
    networks: dict[str, AttributeNetwork], image_pair: tuple[Tensor, Tensor]
) -> None:
    for network in networks.values():
        with torch.no_grad():
            assert metrics.perceptual(image_pair[0], image_pair[0], network).eq(0).all()
