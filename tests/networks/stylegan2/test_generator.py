"""The generator: its table of layers, its stages, offsets and noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig, layer_table

ODD = {16: (12, 8, 20), 32: (8, 16, 4, 6), 64: (16, 8, 8, 12, 5)}


def build(size: int = 32) -> Generator:
    generator = Generator(GeneratorConfig(size, ODD[size], latent_width=16, mapping_layers=3)).eval()
    for name, parameter in generator.named_parameters():
        if "noise" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)  # zero at the start, and then nothing depends on them
    return generator.requires_grad_(False)


def some_offsets(generator: Generator, batch: int) -> dict[str, Tensor]:
    return {
        s.name: 0.2 * torch.randn(batch, s.channels_out, s.channels_in, s.kernel if s.index % 2 else 1, 1)
        for s in generator.layers[::2]
    }


# ---- the table ----


def test_the_official_table_has_the_numbers_of_the_published_network() -> None:
    table = layer_table(GeneratorConfig.official(1024))
    # (channels in, channels out, resolution, style row) by official index.
    expected = {0: (512, 512, 4, 0), 1: (512, 3, 4, 1)}
    channels, row = 512, 1
    for block, (resolution, width) in enumerate(
        [(8, 512), (16, 512), (32, 512), (64, 512), (128, 256), (256, 128), (512, 64), (1024, 32)]
    ):
        expected[2 + 3 * block] = (channels, width, resolution, row)
        expected[3 + 3 * block] = (width, width, resolution, row + 1)
        expected[4 + 3 * block] = (width, 3, resolution, row + 2)
        channels, row = width, row + 2
    numbers = {s.index: (s.channels_in, s.channels_out, s.resolution, s.row) for s in table}
    assert numbers == expected
    assert [s.index for s in table] == list(range(26))
    assert [s.index for s in table if s.torgb] == [1, 4, 7, 10, 13, 16, 19, 22, 25]
    assert [s.index for s in table if s.up] == [2, 5, 8, 11, 14, 17, 20, 23]
    assert {s.kernel for s in table if s.torgb} == {1}
    assert {s.kernel for s in table if not s.torgb} == {3}


def test_layer_names_say_resolution_and_place() -> None:
    names = [s.name for s in layer_table(GeneratorConfig.official(1024))]
    assert names[:6] == ["b4.conv1", "b4.torgb", "b8.conv0", "b8.conv1", "b8.torgb", "b16.conv0"]
    assert names[14] == "b128.conv0"
    assert names[-1] == "b1024.torgb"


@pytest.mark.parametrize(("size", "rows", "layers"), [(1024, 18, 26), (512, 16, 23), (256, 14, 20), (16, 6, 8)])
def test_rows_and_layers_follow_from_the_size(size: int, rows: int, layers: int) -> None:
    config = GeneratorConfig.official(size)
    table = layer_table(config)
    assert (config.rows, len(table)) == (rows, layers)
    assert max(s.row for s in table) == rows - 1


def test_a_torgb_shares_its_row_with_the_next_upsampling_convolution() -> None:
    table = layer_table(GeneratorConfig.official(1024))
    for torgb, following in zip(table[1:-1:3], table[2::3], strict=True):
        assert torgb.torgb
        assert following.up
        assert torgb.row == following.row


@pytest.mark.parametrize(
    ("size", "channels", "message"),
    [
        (48, (8, 8, 8, 8), "power of two"),
        (8, (8, 8), "16 to 4096"),
        (32, (8, 8, 8), "3 channel counts"),
        (32, (8, 8, 8, 0), "positive"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(size: int, channels: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GeneratorConfig(size, channels)


def test_a_half_width_official_generator_has_half_the_channels_from_64_px_on() -> None:
    assert GeneratorConfig.official(256, channel_multiplier=1).channels == (512, 512, 512, 512, 256, 128, 64)


# ---- the stages ----


@pytest.mark.parametrize("size", [16, 32, 64])
def test_any_size_and_channel_table_gives_images_of_that_size(size: int) -> None:
    generator = build(size)
    image = generator(generator.mapping(torch.randn(2, 16)))
    assert image.shape == (2, 3, size, size)
    assert torch.isfinite(image).all()
    assert image.std() > 0.01


@pytest.mark.parametrize("modulation", ["weights", "activations"])
def test_synthesize_of_styles_is_the_whole_generator(modulation: Any) -> None:
    generator, w = build(), torch.randn(2, 8, 16)
    offsets = some_offsets(generator, 2)
    image = generator(w, offsets, modulation=modulation)
    assert torch.equal(image, generator.synthesize(generator.styles(w), offsets, modulation=modulation))


@pytest.mark.parametrize("layer", ["b4.conv1", "b16.conv0", 6, "b32.conv1"])
def test_synthesis_until_a_layer_gives_its_maps_and_runs_no_later_one(layer: Any) -> None:
    generator, w = build(), torch.randn(2, 8, 16)
    spec, outputs = generator.layer(layer), []
    hook = generator.block(spec).register_forward_hook(lambda module, inputs, output: outputs.append(output))
    offsets = some_offsets(generator, 2)
    generator(w, offsets)
    hook.remove()
    for later in generator.layers[spec.index + 1 :]:
        generator.block(later).register_forward_pre_hook(lambda *_: pytest.fail("a later layer was run"))
    maps = generator(w, offsets, until=layer)
    assert torch.equal(maps, outputs[0])
    assert maps.shape == (2, spec.channels_out, spec.resolution, spec.resolution)


def test_the_maps_of_colors_and_unknown_layers_are_refused() -> None:
    generator, w = build(16), torch.randn(1, 6, 16)
    with pytest.raises(ConfigError, match=r"b8\.torgb is colors: expected a layer with feature maps"):
        generator(w, until="b8.torgb")
    with pytest.raises(ConfigError, match=r"no layer 'b32\.conv1'"):
        generator(w, until="b32.conv1")


def test_a_w_code_is_the_same_row_for_every_layer() -> None:
    generator, w = build().double(), torch.randn(2, 16).double()
    torch.testing.assert_close(generator(w), generator(w[:, None].repeat(1, 8, 1)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("row", range(8))
def test_each_row_feeds_exactly_the_layers_that_the_table_says(row: int) -> None:
    generator, w = build(), torch.randn(1, 8, 16)
    other = w.clone()
    other[:, row] += 1
    before, after = generator.styles(w), generator.styles(other)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {s.name for s in generator.layers if s.row == row}
    assert changed


@pytest.mark.parametrize("size", [16, 32])
def test_no_offsets_empty_offsets_and_zero_offsets_are_the_same_bit_for_bit(size: int) -> None:
    generator = build(size)
    w = torch.randn(2, generator.config.rows, 16)
    plain = generator(w)
    zeros = {s.name: torch.zeros(2, s.channels_out, s.channels_in, 1, 1) for s in generator.layers}
    assert torch.equal(generator(w, {}), plain)
    assert torch.equal(generator(w, zeros), plain)


@pytest.mark.parametrize("modulation", ["weights", "activations"])
@pytest.mark.parametrize("with_offsets", [False, True])
def test_a_batch_equals_its_images_one_by_one(with_offsets: bool, modulation: Any) -> None:
    generator, w = build(), torch.randn(3, 8, 16)
    offsets = some_offsets(generator, 3) if with_offsets else {}
    batch = generator(w, offsets, modulation=modulation)
    for i in range(3):
        own_offsets = {name: value[i : i + 1] for name, value in offsets.items()}
        torch.testing.assert_close(
            batch[i : i + 1], generator(w[i : i + 1], own_offsets, modulation=modulation), atol=2e-5, rtol=0
        )


def test_every_offset_changes_the_image_and_the_two_modulations_agree() -> None:
    generator, w = build(), torch.randn(2, 8, 16)
    plain = generator(w)
    for spec in generator.layers:
        offsets = {spec.name: 0.5 * torch.randn(2, spec.channels_out, spec.channels_in, 1, 1)}
        image = generator(w, offsets)
        assert not torch.allclose(image, plain, atol=1e-4), spec.name
        torch.testing.assert_close(generator(w, offsets, modulation="activations"), image, atol=1e-5, rtol=1e-5)


def test_an_offset_is_a_relative_change_of_the_stored_weight() -> None:
    generator, w = build(), torch.randn(2, 8, 16)
    spec = generator.layer("b16.conv1")
    delta = 0.3 * torch.randn(spec.channels_out, spec.channels_in, 3, 3)
    image = generator(w, {spec.name: delta})
    generator.weight(spec.name).mul_(1 + delta)
    torch.testing.assert_close(generator(w), image, atol=1e-5, rtol=1e-5)


def test_noise_is_stored_random_or_absent() -> None:
    generator, w = build(), torch.randn(2, 8, 16)
    const = generator(w)
    assert torch.equal(generator(w, noise="const"), const)
    assert not torch.allclose(generator(w, noise="none"), const, atol=1e-3)

    def random_image(seed: int) -> Tensor:
        image: Tensor = generator(w, noise="random", random=torch.Generator().manual_seed(seed))
        return image

    assert torch.equal(random_image(1), random_image(1))
    assert not torch.equal(random_image(1), random_image(2))
    generator.noises.at(0).add_(1)
    assert torch.equal(random_image(1), random_image(1))
    assert not torch.equal(generator(w), const)


def test_random_noise_differs_between_the_images_of_a_batch() -> None:
    generator, w = build(), torch.randn(1, 8, 16).expand(2, -1, -1)
    image = generator(w, noise="random", random=torch.Generator().manual_seed(0))
    assert not torch.allclose(image[0], image[1], atol=1e-3)
    stored = generator(w)
    torch.testing.assert_close(stored[0], stored[1], atol=2e-5, rtol=0)


@pytest.mark.parametrize("modulation", ["weights", "activations"])
def test_given_noise_maps_take_the_place_of_the_stored_ones_for_each_image(modulation: Any) -> None:
    generator, w = build(), torch.randn(2, 8, 16)
    stored = list(generator.noises.buffers())
    assert torch.equal(
        generator(w, noise=stored, modulation=modulation), generator(w, noise="const", modulation=modulation)
    )
    maps = [torch.randn(2, 1, *m.shape[2:], requires_grad=True) for m in stored]
    image = generator(w, noise=maps, modulation=modulation)
    for i in range(2):
        alone = generator(w[i : i + 1], noise=[m[i : i + 1] for m in maps], modulation=modulation)
        torch.testing.assert_close(image[i : i + 1], alone, atol=2e-5, rtol=0)
    for gradient in torch.autograd.grad(image[0].square().sum(), maps):
        assert gradient[0].abs().max() > 0
        assert not gradient[1].any()


@pytest.mark.parametrize(
    "noise",
    [
        None,
        [],
        [torch.zeros(1, 1, 4, 4)],
        [torch.zeros(1, 1, 8, 8)] * 7,
        [torch.zeros(3, 1, r, r) for r in (4, 8, 8, 16, 16, 32, 32)],
    ],
)
def test_noise_maps_that_do_not_fit_are_refused(noise: Any) -> None:
    with pytest.raises(ConfigError, match="noise"):
        build()(torch.zeros(2, 8, 16), noise=noise)


def test_the_mean_code_is_deterministic_and_leaves_the_global_random_state_alone() -> None:
    generator = build()
    state = torch.random.get_rng_state()
    mean = generator.mean_w(5000)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(mean, generator.mean_w(5000))
    assert not torch.equal(mean, generator.mean_w(5000, seed=1))
    z = torch.randn(20_000, 16)
    torch.testing.assert_close(mean, generator.mapping(z).mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(generator.bfloat16().mean_w(5000).float(), mean, atol=0.02, rtol=0)


# ---- what is refused ----


def test_layers_are_found_by_name_and_official_index() -> None:
    generator = build()
    assert generator.layer("b8.conv0") is generator.layer(2)
    assert generator.weight(2).shape == (16, 8, 3, 3)
    with pytest.raises(ConfigError, match=r"'b8.conv2'.*Did you mean 'b8.conv"):
        generator.layer("b8.conv2")
    with pytest.raises(ConfigError, match="99"):
        generator.layer(99)


@pytest.mark.parametrize("shape", [(2, 7, 16), (2, 8, 15), (16,), (1, 2, 8, 16)])
def test_codes_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"expected \[B, 8, 16\]"):
        build().styles(torch.zeros(shape))


def test_offsets_that_do_not_fit_are_refused() -> None:
    generator, w = build(), torch.zeros(2, 8, 16)
    with pytest.raises(ConfigError, match=r"unknown layer 'b128.conv0'"):
        generator(w, {"b128.conv0": torch.zeros(1)})
    with pytest.raises(ConfigError, match=r"\(3, 16, 8, 1, 1\) for b8.conv0.*\(2, 16, 8, 3, 3\)"):
        generator(w, {"b8.conv0": torch.zeros(3, 16, 8, 1, 1)})


def test_styles_that_lack_a_layer_are_refused() -> None:
    generator = build()
    styles = generator.styles(torch.zeros(1, 8, 16))
    del styles["b16.torgb"]
    with pytest.raises(ConfigError, match=r"lack 1 layer.*'b16.torgb'"):
        generator.synthesize(styles)


def test_an_unknown_noise_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="noise='constant'"):
        build()(torch.zeros(1, 8, 16), noise="constant")


def test_a_mean_of_no_codes_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        build().mean_w(0)
