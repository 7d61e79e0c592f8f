"""The hypernetwork: codes stand for dense offsets, for every kind of head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, InversionError
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig, tuned_layers
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

GENERATOR = GeneratorConfig(32, (16, 16, 16, 8), latent_width=16, mapping_layers=2)
TRUNK = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=2, first_stride=2, norm="group")
KINDS = {  # square 16 x 16 layers share where sharing is on; toRGB and the two of 32 px do not
    "shared": {"heads": "shared"},
    "plain": {"heads": "plain"},
    "per tap": {"heads": "plain", "per_tap": True},
    "separable": {"heads": "separable"},
    "compact": {"heads": "compact"},
    "compact, residual": {"heads": "compact", "residual_input": True},
}
AFFINE = [name for name in KINDS if name != "separable"]


def build(kind: str, layers: list[str | int] | None = None) -> Hypernetwork:
    names = tuned_layers(GENERATOR, [0, 2, 6, 7, 8, 9] if layers is None else layers)
    config = HypernetworkConfig(GENERATOR, names, (32, 32), TRUNK, code_width=16, **KINDS[kind])  # type: ignore[arg-type]
    network = Hypernetwork(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.15)  # also where the heads start at zero
    return network


def passes(network: Hypernetwork, count: int, batch: int = 2) -> list[OffsetCodes]:
    return [network(torch.randn(batch, 3, 32, 32), torch.randn(batch, 3, 32, 32)) for _ in range(count)]


def total(parts: list[OffsetCodes]) -> OffsetCodes:
    summed = parts[0]
    for part in parts[1:]:
        summed = summed + part
    return summed


def assert_same(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], atol: float = 1e-5) -> None:
    assert list(actual) == list(expected)
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], atol=atol, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_summed_codes_make_the_sum_of_the_dense_offsets(kind: str, seed: int) -> None:
    torch.manual_seed(seed)
    network = build(kind)
    parts = passes(network, 1 + seed + (seed == 0))
    dense = [network.offsets(part) for part in parts]
    expected = {name: torch.stack([d[name] for d in dense]).sum(0) for name in dense[0]}
    assert_same(network.offsets(total(parts)), expected)
    assert max(float(value.abs().max()) for value in expected.values()) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_weighted_codes_make_the_weighted_sum_of_the_dense_offsets(kind: str) -> None:
    network = build(kind)
    a, b = total(passes(network, 2)), total(passes(network, 3))
    for t in (0.0, 0.3, 1.0):
        dense_a, dense_b = network.offsets(a), network.offsets(b)
        expected = {name: (1 - t) * dense_a[name] + t * dense_b[name] for name in dense_a}
        assert_same(network.offsets(a * (1 - t) + b * t), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_offsets_have_the_shapes_of_the_weights_they_change(kind: str) -> None:
    network, generator = build(kind), Generator(GENERATOR)
    offsets = network.offsets(passes(network, 1)[0])
    assert tuple(offsets) == network.config.layers
    for name, value in offsets.items():
        weight = generator.weight(name)
        assert value.expand(2, *weight.shape).shape == (2, *weight.shape)
    assert generator(torch.randn(2, 8, 16), offsets).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_crops_equals_its_crops_one_by_one(kind: str) -> None:
    network = build(kind)
    crop, image = torch.randn(3, 3, 32, 32), torch.randn(3, 3, 32, 32)
    batch = network.offsets(network(crop, image))
    for i in range(3):
        single = network.offsets(network(crop[i : i + 1], image[i : i + 1]))
        assert_same(single, {name: value[i : i + 1] for name, value in batch.items()}, atol=2e-5)


def test_affine_heads_need_one_code_and_a_count_however_many_passes() -> None:
    for kind in AFFINE:
        network = build(kind)
        five = total(passes(network, 5))
        assert five.count.tolist() == [5, 5]
        assert sum(t[0].numel() for t in five.tensors) == len(network.layers) * 16 + 1
    separable = total(passes(build("separable"), 5))
    assert set(separable.terms) == {"b32.conv0", "b32.conv1"}
    # four shared or toRGB layers, two with a code per pass
    assert sum(t[0].numel() for t in separable.tensors) == 4 * 16 + 2 * 5 * 16 + 5


def test_the_shared_expander_serves_square_layers_of_the_width_of_the_code() -> None:
    network = build("shared", ["b4.conv1", "b8.conv0", "b32.conv0"])
    assert network.shared_weight_hypernet is not None
    assert not any("hypernet" in name for name, _ in network.refinement_blocks.named_parameters())
    changed = network.offsets(passes(network, 1)[0])
    assert changed["b4.conv1"].shape == (2, 16, 16, 3, 3)
    assert changed["b32.conv0"].shape == (2, 8, 16, 1, 1)
    assert build("plain").shared_weight_hypernet is None


def test_untrained_compact_heads_change_nothing() -> None:
    config = HypernetworkConfig(GENERATOR, ("b8.conv0", "b32.conv1"), (32, 32), TRUNK, heads="compact", code_width=16)
    network, generator, w = Hypernetwork(config), Generator(GENERATOR), torch.randn(2, 8, 16)
    codes = total(passes(network, 3))
    assert all(code.abs().max() > 0 for code in codes.sums.values())
    offsets = network.offsets(codes)
    assert all(not value.any() for value in offsets.values())
    assert torch.equal(generator(w, offsets), generator(w))


def test_the_residual_input_is_the_difference_three_times() -> None:
    plain, residual = build("compact"), build("compact, residual")
    residual.load_state_dict(plain.state_dict())
    crop, image = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)
    actual, expected = residual(crop, image), plain(crop, 3 * (crop - image))
    for name in expected.sums:
        assert torch.equal(actual.sums[name], expected.sums[name])


def test_only_the_layers_asked_for_are_made_dense() -> None:
    network = build("shared")
    codes = passes(network, 1)[0]
    everything = network.offsets(codes)
    some = network.offsets(codes, ["b32.conv0", "b4.conv1"])
    assert list(some) == ["b4.conv1", "b32.conv0"]
    assert_same(some, {name: everything[name] for name in some})


@pytest.mark.parametrize("size", [(16, 32), (33, 32), (64, 64)])
def test_a_wrong_input_size_is_refused(size: tuple[int, int]) -> None:
    network = build("compact")
    with pytest.raises(ConfigError, match=r"expected both \[B, 3, 32, 32\]"):
        network(torch.zeros(1, 3, *size), torch.zeros(1, 3, *size))
    with pytest.raises(ConfigError, match="expected both"):
        network(torch.zeros(1, 3, 32, 32), torch.zeros(2, 3, 32, 32))


def test_an_input_too_large_for_the_head_is_refused_when_it_is_built() -> None:
    trunk = TrunkConfig((8,), (1,), stem_kernel=3, stem_stride=1, first_stride=1, norm="group")
    with pytest.raises(ConfigError, match="expected 1x1"):
        Hypernetwork(HypernetworkConfig(GENERATOR, ("b4.conv1",), (32, 32), trunk, code_width=16))


def test_codes_of_another_network_are_refused() -> None:
    network = build("compact", ["b8.conv0"])
    other = passes(build("compact", ["b8.conv0", "b16.conv0"]), 1)[0]
    with pytest.raises(ConfigError, match=r"'b16.conv0', which this hypernetwork does not change"):
        network.offsets(other)
    with pytest.raises(InversionError, match="different layers"):
        passes(network, 1)[0] + other


@pytest.mark.parametrize(
    ("layers", "message"), [(["b8.conv9"], "'b8.conv9'"), ([11], "11"), ([], "at least one layer")]
)
def test_layers_that_the_generator_lacks_are_refused(layers: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tuned_layers(GENERATOR, layers)


def test_layers_are_put_into_the_official_order_and_default_to_all_but_torgb() -> None:
    assert tuned_layers(GENERATOR, ["b16.conv0", 0]) == ("b4.conv1", "b16.conv0")
    assert len(tuned_layers(GENERATOR)) == 7
    assert not any("torgb" in name for name in tuned_layers(GENERATOR))


@pytest.mark.parametrize("kind", ["plain", "separable"])
def test_a_pixel_that_is_halved_has_the_gradient_of_float32_in_bfloat16_too(kind: str) -> None:
    network = build(kind).train().requires_grad_(True)
    features = torch.randn(2, 16, 2, 2)
    head = network.head(network.layers[0])  # halves the features to a pixel, and the pixel once more
    gradients = []
    for enabled in (False, True):
        head.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            code = head.code(features)
        code.float().square().sum().backward()  # type: ignore[no-untyped-call]
        gradients.append({name: p.grad.clone() for name, p in head.named_parameters() if p.grad is not None})
    for name, wide in gradients[0].items():
        assert (gradients[1][name] - wide).abs().max() <= 0.1 * wide.abs().max(), name
