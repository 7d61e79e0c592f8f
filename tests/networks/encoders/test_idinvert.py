"""The encoder of IDInvert."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.idinvert import IdInvertEncoder, IdInvertEncoderConfig

CONFIG = IdInvertEncoderConfig(rows=6, latent_width=8, input_size=(16, 24), widths=(4, 8, 8))


@pytest.fixture
def encoder() -> IdInvertEncoder:
    network = IdInvertEncoder(CONFIG)
    for name, tensor in network.state_dict().items():
        if "running" in name:
            tensor.uniform_(0.5, 1.5)
    return network.eval().requires_grad_(False)


@pytest.fixture
def crops() -> Tensor:
    return torch.rand(3, 3, 16, 24) * 2 - 1


def test_a_crop_becomes_a_code_of_its_own_for_every_row(encoder: IdInvertEncoder, crops: Tensor) -> None:
    w = encoder(crops)
    assert w.shape == (3, 6, 8)
    assert not torch.allclose(w[:, 0], w[:, 1], atol=1e-3)
    torch.testing.assert_close(encoder(crops[1:2]), w[1:2], atol=1e-5, rtol=0)


def test_the_published_numbers_give_the_published_sizes() -> None:
    config = IdInvertEncoderConfig()
    with torch.device("meta"):
        assert (config.reduction, IdInvertEncoder(config).weight.shape[1]) == (64, 16384)


def test_a_block_that_keeps_its_width_has_a_plain_shortcut(encoder: IdInvertEncoder) -> None:
    widening, same = encoder.blocks
    assert any("shortcut" in name for name, _ in widening.named_parameters())
    assert not any("shortcut" in name for name, _ in same.named_parameters())
    x = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(same(x), same.second(same.first(x)) + x)


def test_other_crops_and_sizes_that_cannot_be_halved_are_refused(encoder: IdInvertEncoder) -> None:
    with pytest.raises(ConfigError, match=r"expected \[B, 3, 16, 24\]"):
        encoder(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ConfigError, match="divisible by 4"):
        IdInvertEncoderConfig(input_size=(16, 18), widths=(4, 8, 8))
    with pytest.raises(ConfigError, match="positive numbers"):
        IdInvertEncoderConfig(widths=())
