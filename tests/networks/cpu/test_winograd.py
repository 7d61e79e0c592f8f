"""Convolutions with half the multiplications give what convolutions give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.networks import cpu, reference
from hyperstyle.networks.cpu import winograd
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig


def channels_last(t: Tensor) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last)


def through(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    out = x.new_empty(1, x.shape[2] - 2, x.shape[3], len(bias)).permute(0, 3, 1, 2)
    transposed = weight.flip(2, 3).transpose(0, 1)  # that of the transposed convolution that is the same
    winograd.conv3x3(channels_last(x), winograd.transform_weight(channels_last(transposed)), bias, out)
    return out


@pytest.mark.parametrize("rows", [4, 8, 12])
@pytest.mark.parametrize("strip", [1, 8, 100])
def test_it_is_the_convolution_with_its_bias_strip_by_strip(
    monkeypatch: pytest.MonkeyPatch, rows: int, strip: int
) -> None:
    x, weight, bias = torch.randn(1, 5, rows + 2, 7), torch.randn(6, 5, 3, 3), torch.randn(6)
    monkeypatch.setattr(winograd, "_VALUES", strip * 7 * 5)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=(0, 1))
    torch.testing.assert_close(through(x.double(), weight.double(), bias.double()), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(through(x, weight, bias), expected.float(), rtol=0, atol=3e-5)


def test_what_it_is_given_stays_as_it_was() -> None:
    x, weight, bias = channels_last(torch.randn(1, 5, 6, 7)), channels_last(torch.randn(5, 6, 3, 3)), torch.randn(6)
    before = [t.clone() for t in (x, weight, bias)]
    winograd.conv3x3(x, winograd.transform_weight(weight), bias, channels_last(torch.empty(1, 6, 4, 7)))
    assert all(torch.equal(a, b) for a, b in zip((x, weight, bias), before, strict=True))


def test_its_rounding_is_near_that_of_the_convolution() -> None:
    x, weight = channels_last(torch.randn(1, 256, 34, 32)), channels_last(torch.randn(256, 256, 3, 3))
    bias = torch.zeros(256)
    exact = F.conv2d(x.double(), weight.double(), padding=(0, 1))
    of_convolution, of_winograd = (
        (y.double() - exact).square().mean().sqrt()
        for y in (F.conv2d(x, weight, padding=(0, 1)), through(x, weight, bias))
    )
    assert of_winograd < 1.6 * of_convolution


def test_half_precision_few_channels_and_small_maps_are_left_alone() -> None:
    assert winograd.is_faster(64, 512, torch.float32)
    assert winograd.is_faster(512, 32, torch.float64)
    assert not winograd.is_faster(64, 512, torch.bfloat16)
    assert not winograd.is_faster(32, 1024, torch.float32)
    assert not winograd.is_faster(512, 16, torch.float32)
    assert not winograd.is_faster(64, 64, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_generator_whose_layers_are_wide_enough_draws_what_the_plain_path_draws(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    generator = Generator(GeneratorConfig(64, (16, 16, 16, 256, 128), latent_width=16, mapping_layers=1)).to(dtype)
    generator.eval().requires_grad_(False)
    seen, conv3x3 = [], winograd.conv3x3

    def watched(x: Tensor, weights: list[Tensor], bias: Tensor, out: Tensor) -> None:
        seen.append(tuple(out.shape))
        conv3x3(x, weights, bias, out)

    monkeypatch.setattr(winograd, "conv3x3", watched)
    w = torch.randn(2, generator.config.rows, 16, dtype=dtype)
    offsets = {"b32.conv1": 0.3 * torch.randn(2, 256, 256, 3, 3, dtype=dtype)}
    images = cpu.synthesize(generator, generator.styles(w), offsets)
    torch.testing.assert_close(
        images, reference.synthesize(generator, w, offsets), rtol=0, atol=2e-5 if dtype == torch.float32 else 1e-12
    )
    assert seen == [(1, 256, 32, 32), (1, 128, 64, 64)] * 2


def test_images_that_share_weights_draw_what_the_plain_path_draws() -> None:
    generator = Generator(GeneratorConfig(32, (32, 32, 32, 256), latent_width=16, mapping_layers=1)).eval()
    generator.requires_grad_(False)
    assert generator.weight("b32.conv1").shape[0] * 9 >= 32**2  # shared, and wide enough
    w = torch.randn(3, generator.config.rows, 16)
    images = cpu.synthesize(generator, generator.styles(w))
    torch.testing.assert_close(images, reference.synthesize(generator, w, {}), rtol=0, atol=2e-5)
