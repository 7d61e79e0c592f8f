"""Offsets whose matrices are read once are those made layer by layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks import cpu
from hyperstyle.networks.cpu.offsets import FastOffsets, _rows
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.hypernetworks.codes import LazyOffsets, OffsetCodes
from hyperstyle.networks.hypernetworks.heads import SharedExpander
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig, tuned_layers
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

GENERATOR = GeneratorConfig(32, (16, 16, 16, 8), latent_width=16, mapping_layers=1)
TRUNK = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=2, first_stride=2)
HEADS = ("shared", "plain", "separable", "compact")


def network(heads: str, dtype: torch.dtype = torch.float64) -> Hypernetwork:
    config = HypernetworkConfig(
        GENERATOR,
        tuned_layers(GENERATOR),
        (64, 64),
        TRUNK,
        heads=heads,
        code_width=16,  # type: ignore[arg-type]
    )
    hypernetwork = Hypernetwork(config).eval().requires_grad_(False).to(dtype)
    for value in hypernetwork.parameters():
        value.add_(0.05 * torch.randn_like(value))
    return hypernetwork


def codes_of(hypernetwork: Hypernetwork, batch: int) -> OffsetCodes:
    """Codes of three steps, and a dense offset for one of the layers that have codes."""
    dtype = hypernetwork.conv1.weight.dtype
    crop, image = (torch.rand(batch, 3, 64, 64, dtype=dtype) * 2 - 1 for _ in range(2))
    prediction = hypernetwork(crop, image)
    dense = {"b8.conv1": 0.1 * torch.randn(batch, 16, 16, 3, 3, dtype=dtype)}
    return prediction * 2.0 + hypernetwork(crop, -image) + OffsetCodes.of_dense(dense)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("heads", HEADS)
def test_they_are_what_the_hypernetwork_makes(heads: str, dtype: torch.dtype) -> None:
    hypernetwork = network(heads, dtype)
    codes = codes_of(hypernetwork, 2)
    expected = hypernetwork.offsets(codes)
    with torch.no_grad():
        fast = cpu.offsets(hypernetwork, codes)
        assert set(fast) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(fast[name], value)
            for i in range(2):
                torch.testing.assert_close(fast.select(i)[name], value[i : i + 1])


def test_the_shared_matrix_is_read_once_for_all_layers_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    hypernetwork = network("shared")
    codes = codes_of(hypernetwork, 2)
    rows = SharedExpander.rows
    read: list[int] = []

    def watched(self: SharedExpander, code: Tensor, count: Tensor) -> Tensor:
        read.append(len(code))
        return rows(self, code, count)

    monkeypatch.setattr(SharedExpander, "rows", watched)
    fast = cpu.offsets(hypernetwork, codes)
    offsets = dict(fast.select(1))
    square = [s for s in hypernetwork.layers if s.channels_in == s.channels_out == 16]
    assert read == [2 * len(square)]
    assert len(offsets) == len(hypernetwork.layers)


def test_gradients_reach_the_codes() -> None:
    hypernetwork = network("shared")
    codes = codes_of(hypernetwork, 1)
    leaves: dict[str, Tensor] = {name: t.clone().requires_grad_() for name, t in codes.sums.items()}
    sums: dict[str, Any] = dict(leaves)
    torch.stack(
        [t.square().sum() for t in cpu.offsets(hypernetwork, OffsetCodes(sums, {}, codes.weights)).values()]
    ).sum().backward()
    assert all(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves.values())


def test_codes_of_one_image_serve_all_and_of_another_number_are_refused() -> None:
    hypernetwork, generator = network("shared", torch.float32), Generator(GENERATOR).eval().requires_grad_(False)
    codes, w = codes_of(hypernetwork, 3), torch.randn(2, GENERATOR.rows, 16)
    with torch.no_grad():
        single = codes.select(slice(1, 2))
        expected = generator(w, hypernetwork.offsets(single), modulation="weights")
        for lazy in (cpu.offsets(hypernetwork, single), LazyOffsets(hypernetwork, single)):
            torch.testing.assert_close(generator(w, lazy), expected, rtol=0, atol=2e-5)
            fused = cpu.synthesize(generator, generator.styles(w), lazy)
            torch.testing.assert_close(fused, expected, rtol=0, atol=2e-5)
        with pytest.raises(ConfigError, match="offset codes of 3 images for 2: expected 1 or 2"):
            cpu.synthesize(generator, generator.styles(w), cpu.offsets(hypernetwork, codes))


@pytest.mark.parametrize("shape", [(16, 16, 3, 3), (1, 16, 16, 3, 3)])
def test_dense_offsets_that_all_images_share_stay_whole(shape: tuple[int, ...]) -> None:
    hypernetwork = network("shared")
    codes = replace(codes_of(hypernetwork, 3), dense={"b8.conv1": torch.randn(shape, dtype=torch.float64)})
    expected = hypernetwork.offsets(codes)["b8.conv1"]
    for lazy in (cpu.offsets(hypernetwork, codes), LazyOffsets(hypernetwork, codes)):
        for i in range(3):
            torch.testing.assert_close(lazy.select(i)["b8.conv1"], expected[i : i + 1])


@pytest.mark.parametrize("width", [6, 16, 40])
@pytest.mark.parametrize("count", [1, 9, 33])
def test_a_product_read_row_by_row_is_the_product(width: int, count: int) -> None:
    expander = SharedExpander(width)
    code, steps = torch.randn(count, width), torch.randint(1, 5, (count,)).float()
    with torch.no_grad():
        without_gradients = _rows(expander, code, steps)
    expected = code @ expander.w2 + steps[:, None] * expander.b2
    torch.testing.assert_close(without_gradients.flatten(1), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(expander.rows(code, steps).flatten(1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_offsets_of_one_image_are_made_in_the_order_in_which_weights_are_fused(dtype: torch.dtype) -> None:
    hypernetwork = network("shared", dtype)
    codes = codes_of(hypernetwork, 2)
    with torch.no_grad():
        expected = hypernetwork.offsets(codes)["b16.conv1"]
        every = cpu.offsets(hypernetwork, codes)
        single = every.select(1)
        torch.testing.assert_close(every["b16.conv1"], expected)
        delta = single["b16.conv1"]
    torch.testing.assert_close(delta, expected[1:])
    assert delta[0].flatten(1).t().is_contiguous()  # output channels innermost: nothing is left to be copied
    assert isinstance(single, FastOffsets)
    assert isinstance(every, FastOffsets)
    assert single.w1_image is every.w1_image is not None


def test_gradients_go_through_offsets_of_one_image() -> None:
    hypernetwork = network("shared")
    codes = codes_of(hypernetwork, 1).apply(lambda t: t.requires_grad_(t.is_floating_point()))
    cpu.offsets(hypernetwork, codes)["b16.conv1"].sum().backward()  # type: ignore[no-untyped-call]
    grad = codes.sums["b16.conv1"].grad
    assert grad is not None
    assert grad.abs().sum() > 0
