"""The bundled evaluator."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig

TRUNK = TrunkConfig((8, 16), (2, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")


def build() -> AttributeNetwork:
    config = AttributeNetworkConfig(("age", "smile", "yaw"), TRUNK, input_size=16, embedding_width=5)
    return AttributeNetwork(config).eval().requires_grad_(False)


def test_it_reads_a_value_per_trait_and_an_embedding() -> None:
    network, x = build(), torch.randn(2, 3, 16, 16)
    assert network(x).shape == (2, 3)
    assert network.embedding(x).shape == (2, 5)
    assert not torch.allclose(network.embedding(x)[0], network.embedding(x)[1])


def test_the_features_are_those_of_the_stem_and_of_each_stage() -> None:
    network, x = build(), torch.randn(2, 3, 16, 16)
    features = network.features(x)
    assert [tuple(f.shape) for f in features] == [(2, 8, 16, 16), (2, 8, 8, 8), (2, 16, 4, 4)]
    assert torch.equal(features[-1], network.body(network.input_layer(x)))


def test_larger_crops_are_averaged_down_first() -> None:
    network, x = build(), torch.randn(1, 3, 48, 48)
    torch.testing.assert_close(network(x), network(F.avg_pool2d(x, 3)), atol=1e-5, rtol=0)


def test_a_batch_equals_its_crops_one_by_one() -> None:
    network, x = build(), torch.randn(3, 3, 16, 16)
    for i in range(3):
        torch.testing.assert_close(network(x[i : i + 1]), network(x)[i : i + 1], atol=2e-5, rtol=0)
