"""FIR resampling and the modulated convolution, against slow and obvious forms of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.networks.stylegan2.ops import (
    EqualLinear,
    bias_activation,
    fir_kernel,
    modulated_conv,
    upfirdn,
    upsample,
)


def slow_upfirdn(x: Tensor, kernel: Tensor, up: int, pad: tuple[int, int]) -> Tensor:
    """One output value at a time: sum over taps of kernel[a, b] * z[i - a, j - b], z the padded, zero-filled input."""
    batch, channels, height, width = x.shape
    size = kernel.shape[0]
    tall, wide = height * up + sum(pad), width * up + sum(pad)
    z = torch.zeros(batch, channels, tall, wide, dtype=x.dtype)
    for i in range(height):
        for j in range(width):
            z[:, :, pad[0] + i * up, pad[0] + j * up] = x[:, :, i, j]
    rows = range(tall - size + 1)
    columns = range(wide - size + 1)
    out = torch.zeros(batch, channels, len(rows), len(columns), dtype=x.dtype)
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            for a in range(size):
                for b in range(size):
                    out[:, :, i, j] += kernel[a, b] * z[:, :, top + size - 1 - a, left + size - 1 - b]
    return out


@pytest.mark.parametrize(("up", "pad"), [(1, (0, 0)), (2, (2, 1)), (3, (0, 2)), (1, (1, 1))])
def test_upfirdn_is_the_explicit_sum_also_for_a_lopsided_kernel(up: int, pad: tuple[int, int]) -> None:
    x, kernel = torch.randn(2, 3, 5, 4, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)
    expected = slow_upfirdn(x, kernel, up, pad)
    torch.testing.assert_close(upfirdn(x, kernel, up=up, pad=pad), expected)


def test_upsampling_doubles_the_size_and_keeps_a_constant_away_from_the_border() -> None:
    big = upsample(torch.full((1, 2, 6, 5), 0.7), fir_kernel())
    assert big.shape == (1, 2, 12, 10)
    torch.testing.assert_close(big[:, :, 2:-2, 2:-2], torch.full((1, 2, 8, 6), 0.7))


def test_the_low_pass_filter_sums_to_its_gain() -> None:
    assert fir_kernel().sum().item() == pytest.approx(4)
    assert fir_kernel(1.0).sum().item() == pytest.approx(1)


def test_bias_activation_is_written_out_by_hand() -> None:
    x, bias = torch.tensor([[[[1.0]], [[-3.0]]]]), torch.tensor([0.5, 1.0])
    out = bias_activation(x, bias)
    torch.testing.assert_close(out.flatten(), math.sqrt(2) * torch.tensor([1.5, -0.4]))
    assert x.flatten().tolist() == [1.0, -3.0]
    assert bias_activation(x, bias, in_place=True) is x
    assert torch.equal(x, out)


def test_an_equalized_layer_scales_its_stored_weights_when_it_runs() -> None:
    layer = EqualLinear(4, 3, bias_init=1.0, lr_multiplier=0.01)
    x = torch.randn(2, 4)
    expected = x @ (layer.weight * 0.01 / 2).T + 0.01 * layer.bias
    torch.testing.assert_close(layer(x), expected)
    assert 30 < layer.weight.std().item() < 300  # stored as if the variance were 1, divided by the rate


def arguments(up: bool, *, offset: str = "none", dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Inputs for a batch of 3 with 4 channels in and 5 out."""
    shapes = {"full": (3, 5, 4, 3, 3), "flat": (3, 5, 4, 1, 1), "shared": (5, 4, 3, 3)}
    return {
        "x": torch.randn(3, 4, 6, 6, dtype=dtype),
        "weight": torch.randn(5, 4, 3, 3, dtype=dtype),
        "style": torch.randn(3, 4, dtype=dtype),
        "change": (None if offset == "none" else 0.3 * torch.randn(shapes[offset], dtype=dtype), None),
        "kernel": fir_kernel().to(dtype) if up else None,
    }


def one_at_a_time(inputs: dict[str, Any], *, demodulate: bool) -> Tensor:
    """The modulated convolution of each image on its own, as the papers write it, without groups."""
    results = []
    for i in range(len(inputs["x"])):
        weight, (offset, _) = inputs["weight"], inputs["change"]
        if offset is not None:
            offset = offset if offset.ndim == 4 else offset[i]
            weight = weight * (1 + offset)
        weight = weight * inputs["style"][i][None, :, None, None] / math.sqrt(weight[0].numel())
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        x = inputs["x"][i : i + 1]
        if inputs["kernel"] is not None:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            results.append(upfirdn(x, inputs["kernel"], pad=(1, 1)))
        else:
            results.append(F.conv2d(x, weight, padding=1))
    return torch.cat(results)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("offset", ["none", "full", "flat", "shared"])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("modulation", ["weights", "activations"])
def test_both_ways_to_modulate_equal_each_image_on_its_own(
    modulation: Any, up: bool, offset: str, demodulate: bool
) -> None:
    inputs = arguments(up, offset=offset)
    out = modulated_conv(**inputs, demodulate=demodulate, modulation=modulation)
    assert out.shape == (3, 5, 12, 12) if up else (3, 5, 6, 6)
    torch.testing.assert_close(out, one_at_a_time(inputs, demodulate=demodulate), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("up", [False, True])
def test_wide_layers_take_the_grouped_path_and_agree_too(up: bool) -> None:
    inputs = arguments(up, offset="none")
    inputs["weight"] = torch.randn(72, 4, 3, 3)  # above the width up to which the CPU goes image by image
    inputs["change"] = 0.3 * torch.randn(3, 72, 4, 1, 1), None
    out = modulated_conv(**inputs, modulation="activations")
    torch.testing.assert_close(out, modulated_conv(**inputs), atol=1e-5, rtol=1e-5)


def test_demodulated_filters_have_unit_norm() -> None:
    size_in, taps = 4, 9
    weight, style = torch.randn(5, size_in, 3, 3), torch.randn(1, size_in)
    columns = torch.eye(size_in * taps).view(-1, size_in, 3, 3)  # each input picks one weight
    out = modulated_conv(columns, weight, style.expand(len(columns), -1))
    filters = out[:, :, 1, 1]  # [I*9, O]
    torch.testing.assert_close(filters.square().sum(0), torch.ones(5), atol=1e-5, rtol=0)


def test_demodulation_undoes_an_offset_that_scales_a_whole_filter() -> None:
    inputs = arguments(False)
    plain = modulated_conv(**inputs)
    inputs["change"] = torch.tensor([0.5, 2.0, 0.1, -0.3, 4.0]).view(1, 5, 1, 1, 1), None
    torch.testing.assert_close(modulated_conv(**inputs), plain, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(
        modulated_conv(**inputs, demodulate=False),
        modulated_conv(**{**inputs, "change": (None, None)}, demodulate=False),
    )


@pytest.mark.parametrize("modulation", ["weights", "activations"])
@pytest.mark.parametrize("up", [False, True])
def test_the_gradients_of_the_modulated_convolution_are_those_of_finite_differences(up: bool, modulation: Any) -> None:
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    style = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    offset = (0.3 * torch.randn(2, 3, 2, 3, 3, dtype=torch.float64)).requires_grad_()
    kernel = fir_kernel().double() if up else None

    def run(x: Tensor, weight: Tensor, style: Tensor, offset: Tensor) -> Tensor:
        return modulated_conv(x, weight, style, (offset, None), kernel=kernel, modulation=modulation)

    assert torch.autograd.gradcheck(run, (x, weight, style, offset))
