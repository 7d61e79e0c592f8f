"""What the adversarial stage of the recipe measures, and what its discriminator sees."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from examples.avatars.recipe.adversarial import DetailDiscriminator
from examples.avatars.recipe.sharpness import kernel_distance, octave_power


def wave(cycles_per_pixel: float, size: int = 64) -> torch.Tensor:
    """[1,3,size,size]."""
    return torch.cos(2 * torch.pi * cycles_per_pixel * torch.arange(size)).expand(1, 3, size, size)


def test_the_power_of_a_wave_is_in_its_octave() -> None:
    for octave, frequency in enumerate((0.045, 0.09, 0.18, 0.36)):
        power = octave_power(wave(frequency))
        assert power.argmax() == octave
        assert power[octave] > 0.9 * power.sum()


def test_blurred_images_lack_power_in_the_finest_octave_most() -> None:
    images = torch.rand(4, 3, 64, 64)
    ratio = octave_power(F.avg_pool2d(images, 3, 1, 1)) / octave_power(images)
    assert ratio.tolist() == sorted(ratio.tolist(), reverse=True)
    assert ratio[0] > 0.9
    assert ratio[3] < 0.2


def test_the_distance_of_distributions_is_zero_for_one_and_grows_with_their_difference() -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 400, 8)
    assert abs(kernel_distance(features[0], features[1])) < 0.02
    near, far = (kernel_distance(features[0] + shift, features[1]) for shift in (0.5, 1.0))
    assert 0.2 < near < far
    assert kernel_distance(2 * features[0], features[1]) > 0.2  # the same mean


def test_the_discriminator_sees_no_slow_changes_of_an_image() -> None:
    discriminator, image = DetailDiscriminator(16, (8, 8, 8)), torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(discriminator(image + 0.3), discriminator(image), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(discriminator(F.avg_pool2d(image, 3, 1, 1)), discriminator(image), atol=1e-3)
