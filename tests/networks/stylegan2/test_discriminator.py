"""The discriminator."""

from __future__ import annotations

import pytest
import torch

from hyperstyle.errors import ConfigError
from hyperstyle.networks.stylegan2.discriminator import Discriminator


@pytest.fixture
def discriminator() -> Discriminator:
    return Discriminator(16, (8, 6, 4)).requires_grad_(False)


def test_images_become_a_logit_each(discriminator: Discriminator) -> None:
    logits = discriminator(torch.randn(3, 3, 16, 16))
    assert logits.shape == (3, 1)
    assert not torch.allclose(logits[0], logits[1])


def test_the_deviation_between_the_images_of_a_batch_counts(discriminator: Discriminator) -> None:
    x = torch.randn(1, 3, 16, 16)
    alone = discriminator(x)
    torch.testing.assert_close(discriminator(x.expand(4, -1, -1, -1)), alone.expand(4, -1), atol=1e-5, rtol=0)
    assert not torch.allclose(discriminator(torch.cat([x, -x]))[:1], alone, atol=1e-4)


def test_parts_are_named_and_sized_as_in_nvidias_files(discriminator: Discriminator) -> None:
    shapes = {name: tuple(p.shape) for name, p in discriminator.named_parameters()}
    assert next(iter(shapes)) == "b16.fromrgb.weight"
    assert shapes["b16.fromrgb.weight"] == (4, 3, 1, 1)
    assert shapes["b16.skip.weight"] == (6, 4, 1, 1)
    assert shapes["b8.conv1.weight"] == (8, 6, 3, 3)
    assert shapes["b4.conv.weight"] == (8, 9, 3, 3)
    assert shapes["b4.fc.weight"] == (8, 128)
    assert "b16.skip.bias" not in shapes
    assert "b8.fromrgb.weight" not in shapes


def test_other_sizes_are_refused(discriminator: Discriminator) -> None:
    with pytest.raises(ConfigError, match=r"expected \[B, 3, 16, 16\]"):
        discriminator(torch.zeros(1, 3, 32, 32))
    for size, channels in ((16, (8, 8)), (4, (8,)), (12, (8, 8, 8)), (8, (8, 0))):
        with pytest.raises(ConfigError, match=f"discriminator of {size} px"):
            Discriminator(size, channels)
