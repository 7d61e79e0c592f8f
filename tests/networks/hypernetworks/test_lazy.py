"""Dense offsets made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.hypernetworks.codes import LazyOffsets, OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

GENERATOR = GeneratorConfig(16, (16, 8, 8), latent_width=16, mapping_layers=2)
TRUNK = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=2, first_stride=2, norm="group")
LAYERS = ("b4.conv1", "b8.conv0", "b16.conv1")


@pytest.fixture
def network() -> Hypernetwork:
    hypernetwork = Hypernetwork(HypernetworkConfig(GENERATOR, LAYERS, (32, 32), TRUNK, heads="plain", code_width=16))
    return hypernetwork.eval().requires_grad_(False)


@pytest.fixture
def codes(network: Hypernetwork) -> OffsetCodes:
    predicted: OffsetCodes = network(torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32))
    return predicted


def test_it_is_the_mapping_that_the_hypernetwork_gives(network: Hypernetwork, codes: OffsetCodes) -> None:
    lazy, dense = LazyOffsets(network, codes), network.offsets(codes)
    assert list(lazy) == list(dense)
    assert len(lazy) == len(dense) == 3
    for name in dense:
        assert name in lazy
        assert torch.equal(lazy[name], dense[name])
    assert "b8.conv1" not in lazy
    assert lazy.get("b8.conv1") is None
    with pytest.raises(KeyError, match="b8"):
        lazy["b8.conv1"]


def test_a_synthesis_makes_each_layer_once_and_gives_the_same_image(
    network: Hypernetwork, codes: OffsetCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, w = Generator(GENERATOR).eval(), torch.randn(2, 6, 16)
    expected = generator(w, network.offsets(codes))
    computed: list[list[str]] = []
    offsets = Hypernetwork.offsets

    def watched(self: Hypernetwork, codes: OffsetCodes, layers: Iterable[str]) -> dict[str, Tensor]:
        computed.append(list(layers))
        return offsets(self, codes, layers)

    monkeypatch.setattr(Hypernetwork, "offsets", watched)
    assert torch.equal(generator(w, LazyOffsets(network, codes)), expected)
    assert computed == [[name] for name in LAYERS]
