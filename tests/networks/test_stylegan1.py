"""The StyleGAN of IDInvert: its layers, its stages, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.fitting import sample_w
from hyperstyle.methods.pti import PivotalTuning, neighbor
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config, adain_table, blur_filter
from hyperstyle.networks.stylegan2.generator import GeneratorConfig


@pytest.fixture
def generator() -> StyleGan1:
    """Of 16 px, none of whose tensors is as it was initialized."""
    network = StyleGan1(StyleGan1Config(16, channels=(8, 6, 4), latent_width=12, mapping_layers=2))
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    return network.eval().requires_grad_(False)


@pytest.fixture
def w() -> Tensor:
    return torch.randn(2, 6, 12)


def test_the_published_size_has_fourteen_layers_with_a_row_each() -> None:
    config = StyleGan1Config.official()
    table = adain_table(config)
    assert (config.rows, len(table)) == (14, 14)
    assert [spec.row for spec in table] == list(range(14))
    assert [spec.name for spec in table[:4]] == ["b4.const", "b4.conv1", "b8.conv0", "b8.conv1"]
    assert [spec.style_width // 2 for spec in table[::2]] == [512, 512, 512, 512, 256, 128, 64]
    assert [spec.name for spec in table if spec.up] == [f"b{size}.conv0" for size in (8, 16, 32, 64, 128, 256)]


def test_its_numbers_are_never_taken_for_those_of_a_stylegan2() -> None:
    numbers = {"size": 16, "channels": (8, 6, 4)}
    assert StyleGan1Config(**numbers) == StyleGan1Config(**numbers)
    assert StyleGan1Config(**numbers) != GeneratorConfig(**numbers)


def test_codes_become_images_within_the_range(generator: StyleGan1, w: Tensor) -> None:
    image = generator(w)
    assert image.shape == (2, 3, 16, 16)
    assert image.abs().max() < 1
    torch.testing.assert_close(generator(w[:1]), image[:1])
    assert not torch.allclose(image[0], image[1], atol=1e-3)


@pytest.mark.parametrize("layer", ["b4.const", "b8.conv1", "b16.conv1"])
def test_synthesis_until_a_layer_gives_its_maps(generator: StyleGan1, w: Tensor, layer: str) -> None:
    outputs: list[Tensor] = []
    block = generator.block(generator.layer(layer))
    hook = block.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    generator(w)
    hook.remove()
    assert torch.equal(generator(w, until=layer), outputs[0])


def test_every_row_feeds_one_layer(generator: StyleGan1, w: Tensor) -> None:
    before, moved = generator.styles(w), w.clone()
    moved[:, 3] += 1
    after = generator.styles(moved)
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["b8.conv1"]


def test_a_layer_leaves_channels_with_the_mean_and_deviation_of_its_style(generator: StyleGan1) -> None:
    x, style = torch.randn(2, 8, 4, 4), torch.randn(2, 16)
    output = generator.convs[1](x, style, None, generator.blur)
    torch.testing.assert_close(output.mean((2, 3)), style[:, 8:], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.std((2, 3), correction=0), (1 + style[:, :8]).abs(), atol=1e-5, rtol=0)


def test_upsampling_layers_repeat_values_convolve_and_blur(generator: StyleGan1) -> None:
    layer, x = generator.convs[2], torch.randn(2, 8, 4, 4)
    repeated = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    plain = F.conv2d(repeated, layer.weight * math.sqrt(2 / (8 * 9)), padding=1)
    blurred = F.conv2d(plain, blur_filter().expand(6, 1, 3, 3), padding=1, groups=6)
    torch.testing.assert_close(layer._convolved(x, generator.blur), blurred, atol=1e-5, rtol=0)


def test_the_mapping_network_makes_a_code_for_every_row(generator: StyleGan1) -> None:
    z = torch.randn(3, 12)
    codes = generator.mapping(z)
    assert codes.shape == (3, 6, 12)
    assert not torch.allclose(codes[:, 0], codes[:, 1], atol=1e-3)
    torch.testing.assert_close(generator.mapping(z * 7), codes)  # only the direction of z counts
    with pytest.raises(ConfigError, match="no W of one row"):
        generator.check_has_w()
    with pytest.raises(ConfigError, match="no W of one row"):
        sample_w(generator, 4)
    with pytest.raises(ConfigError, match="no W of one row"):
        neighbor(torch.zeros(1, 6, 12), z[:1], generator, PivotalTuning())


def test_noise_is_the_stored_one_unless_asked_otherwise(generator: StyleGan1, w: Tensor) -> None:
    image = generator(w)
    assert torch.equal(generator(w, noise=list(generator.noises.buffers())), image)
    assert not torch.allclose(generator(w, noise="none"), image, atol=1e-4)
    with pytest.raises(ConfigError, match="noise maps of shapes"):
        generator(w, noise=list(generator.noises.buffers())[1:])


def test_parameters_of_a_layer_can_be_replaced(generator: StyleGan1, w: Tensor) -> None:
    names = generator.parameters_of("b8.conv0")
    assert "convs.2.weight" in names
    changed = generator.with_parameters({"convs.2.weight": generator.weight("b8.conv0") * 2})
    assert not torch.allclose(changed(w), generator(w), atol=1e-4)
    assert changed.constant is generator.constant


def test_what_it_has_no_place_for_is_refused(generator: StyleGan1, w: Tensor) -> None:
    change = {"b8.conv1": torch.zeros(1)}
    with pytest.raises(ConfigError, match="only StyleGAN2 generators have a place"):
        generator(w, change)
    with pytest.raises(ConfigError, match="only StyleGAN2 generators have a place"):
        generator(w, residuals=change)
    with pytest.raises(ConfigError, match="has no convolution"):
        generator.weight("b4.const")
    with pytest.raises(ConfigError, match=r"expected \[B, 6, 12\]"):
        generator(w[:, 1:])
    with pytest.raises(ConfigError, match="no layer"):
        generator.layer("b4.torgb")
