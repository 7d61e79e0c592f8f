"""Generators in the layout of the PyTorch port, from every file that has one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hyperstyle.convert import convert, read_generator
from hyperstyle.convert.generators import find_generator, generator_from_state
from hyperstyle.convert.sniff import sniff
from hyperstyle.errors import CheckpointError, ConfigError, WeightsError
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

if TYPE_CHECKING:
    from conftest import OfficialFiles


@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(16, (8, 8, 8), 16, mapping_layers=1),
        GeneratorConfig(64, (4, 5, 6, 7, 8), 12, mapping_layers=8),
        GeneratorConfig(128, (16, 16, 16, 16, 8, 4), 16, mapping_layers=4),
    ],
)
def test_sizes_channels_width_and_depth_follow_from_the_tensors(
    config: GeneratorConfig, assert_same: Callable[..., None]
) -> None:
    generator = Generator(config).eval().requires_grad_(False)
    state = dict(generator.state_dict())
    assert_same(generator_from_state(state, state.pop("latent_avg")).network, generator)


def test_official_channels_of_both_multipliers_are_found(assert_same: Callable[..., None]) -> None:
    for multiplier in (1, 2):
        with torch.device("meta"):
            generator = Generator(GeneratorConfig.official(1024, channel_multiplier=multiplier))
        shapes = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in generator.state_dict().items()}
        for name in shapes:
            if name.endswith(".kernel"):
                shapes[name] = Generator(GeneratorConfig(16, (1, 1, 1), 1)).convs[0].conv.blur.kernel
        assert generator_from_state(shapes, shapes.pop("latent_avg")).network.config == generator.config


@pytest.mark.parametrize("shape", [(16,), (1, 16), (8, 16)])
def test_a_file_gives_the_same_images_and_its_mean_code_in_any_shape(
    official: OfficialFiles, assert_same: Callable[..., None], shape: tuple[int, ...]
) -> None:
    state, mean = official.decoder()
    path = official.save("g.pt", {"g_ema": state, "latent_avg": mean.expand(shape).clone()})
    converted = find_generator(sniff(path))
    assert_same(converted.network, official.generator)
    assert (converted.consumed, converted.computed) == (len(state) + 1, ())
    network, z = converted.network, torch.randn(2, 16)
    assert torch.equal(network(network.mapping(z)), official.generator(official.generator.mapping(z)))


def test_every_official_file_gives_its_generator(official: OfficialFiles, assert_same: Callable[..., None]) -> None:
    for path in (official.bare(), official.hyperstyle()[0]):
        assert_same(read_generator(path), official.generator)
    for path, encoder in (official.w_encoder(), official.restyle()):
        converted = read_generator(path)
        assert torch.equal(converted.latent_avg, encoder.latent_avg[0])
        converted.latent_avg = official.generator.latent_avg
        assert_same(converted, official.generator)


def test_numbers_in_float32_are_not_copied_and_others_become_float32(official: OfficialFiles) -> None:
    state, mean = official.decoder()
    path = official.save("g.pt", {"g_ema": state, "latent_avg": mean})
    source = sniff(path)
    converted = find_generator(source).network
    assert converted.conv1.conv.weight.data_ptr() == source.tensors["conv1.conv.weight"].data_ptr()
    halves = {name: tensor.half() for name, tensor in state.items()}
    half = read_generator(official.save("half.pt", {"g_ema": halves, "latent_avg": mean.half()}))
    assert {tensor.dtype for tensor in half.state_dict().values()} == {torch.float32}
    assert torch.equal(half.conv1.conv.weight, halves["conv1.conv.weight"].float())


def test_a_mean_code_that_is_missing_is_computed_and_that_is_said(official: OfficialFiles) -> None:
    state, _ = official.decoder()
    converted = find_generator(sniff(official.save("toonify.pt", {"g_ema": state})))
    assert torch.equal(converted.network.latent_avg, official.generator.mean_w(100_000))
    assert converted.computed == ("the mean code, from 100,000 samples: toonify.pt has none",)
    assert converted.consumed == len(state)


def test_noise_maps_that_are_missing_are_sampled_and_that_is_said(
    official: OfficialFiles, assert_same: Callable[..., None]
) -> None:
    state, mean = official.decoder()
    bare = {name: tensor for name, tensor in state.items() if not name.startswith("noises.")}
    path = official.save("550000.pt", {"g_ema": bare, "latent_avg": mean})
    converted = find_generator(sniff(path))
    assert converted.computed == ("the noise maps, 7 of standard normal noise with seed 0: 550000.pt has none",)
    assert converted.consumed == len(bare) + 1
    maps = converted.network.noises.state_dict()
    assert_same(read_generator(path), converted.network)  # the same ones every time
    for name, tensor in maps.items():
        assert tensor.shape == state[f"noises.{name}"].shape
    everything = torch.cat([tensor.flatten() for tensor in maps.values()])
    assert abs(everything.mean().item()) < 0.1
    assert abs(everything.std().item() - 1) < 0.1
    torch.testing.assert_close(maps["noise_0"].flatten()[:3], torch.tensor([1.7640524, 0.4001572, 0.9787380]))
    for name, tensor in bare.items():
        assert torch.equal(converted.network.state_dict()[name], tensor)


def test_low_pass_filters_that_are_missing_are_the_published_one_and_that_is_said(
    official: OfficialFiles, assert_same: Callable[..., None]
) -> None:
    state, mean = official.decoder()
    bare = {name: tensor for name, tensor in state.items() if not name.endswith(".kernel")}
    converted = find_generator(sniff(official.save("g.pt", {"g_ema": bare, "latent_avg": mean})))
    assert_same(converted.network, official.generator)
    assert converted.computed == ("the low-pass filters, [1, 3, 3, 1] as published: g.pt has none",)
    del state["convs.0.conv.blur.kernel"]
    with pytest.raises(WeightsError, match=r"1 missing \('convs.0.conv.blur.kernel'\)"):
        generator_from_state(state, mean)


def test_a_decoder_without_noise_maps_is_read_too(official: OfficialFiles, tmp_path: Path) -> None:
    content = official.hyperstyle_content(official.hypernetwork())
    state = {name: t for name, t in content["state_dict"].items() if not name.startswith("decoder.noises.")}
    converted = find_generator(sniff(official.save("hs.pt", {**content, "state_dict": state})))
    assert converted.computed == ("the noise maps, 7 of standard normal noise with seed 0: hs.pt has none",)


def test_some_noise_maps_without_the_others_are_a_damaged_file(official: OfficialFiles) -> None:
    state, mean = official.decoder()
    for index in range(1, 7):
        del state[f"noises.noise_{index}"]
    with pytest.raises(WeightsError, match=r"6 missing \(first 'noises.noise_1', 'noises.noise_2'\)"):
        generator_from_state(state, mean)


def _gray(state: dict[str, Any]) -> None:
    _channels(state, 1)


def _rgba(state: dict[str, Any]) -> None:
    _channels(state, 4)


def _wavelets(state: dict[str, Any]) -> None:
    _channels(state, 12)


def _channels(state: dict[str, Any], count: int) -> None:
    for name in [name for name in state if name.startswith("to_rgb") and not name.endswith(".kernel")]:
        if name.endswith((".bias", "conv.weight")) and "modulation" not in name:
            shape = list(state[name].shape)
            state[name] = torch.zeros([1, count, *shape[2:]])


def _class_table(state: dict[str, Any]) -> None:
    state["embed.weight"] = torch.zeros(10, 16)


def _class_layer(state: dict[str, Any]) -> None:
    state["style.embedding.weight"], state["style.embedding.bias"] = torch.zeros(16, 10), torch.zeros(16)


def _wide_mapping(state: dict[str, Any]) -> None:
    state["style.1.weight"] = torch.zeros(16, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_gray, r"is a generator of gray images, with 1 channel\(s\): expected 3"),
        (_rgba, r"is a generator of RGBA images, with 4 channel\(s\): expected 3"),
        (_wavelets, r"is a SWAGAN generator, with 12 channel\(s\): expected 3"),
        (_class_table, "is a class-conditional generator with 10 class labels: only unconditional ones"),
        (_class_layer, "is a class-conditional generator with 10 class labels: only unconditional ones"),
        (_wide_mapping, "the mapping network takes 32 numbers and gives 16, as those of class-conditional"),
    ],
)
def test_generators_of_another_kind_are_refused_by_what_they_are(
    official: OfficialFiles, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    state, mean = official.decoder()
    change(state)
    path = official.save("other.pt", {"g_ema": state, "latent_avg": mean})
    with pytest.raises(WeightsError, match=rf"other\.pt:? {message}"):
        read_generator(path)
    with pytest.raises(WeightsError, match=message):
        convert(path, tmp_path / "m", domain="faces")
    assert not (tmp_path / "m").exists()


def test_rows_that_differ_are_averaged_and_that_is_said(official: OfficialFiles) -> None:
    state, _ = official.decoder()
    rows = torch.randn(8, 16)
    converted = generator_from_state(state, rows)
    assert torch.equal(converted.network.latent_avg, rows.mean(0))
    assert converted.computed == ("the generator's mean code is the mean of the 8 rows of latent_avg",)


def _without(state: dict[str, Any]) -> None:
    del state["convs.2.noise.weight"], state["noises.noise_3"]


def _with(state: dict[str, Any]) -> None:
    state["to_rgbs.0.iwt.ll"] = torch.zeros(2)


def _reshaped(state: dict[str, Any]) -> None:
    state["to_rgb1.bias"] = torch.zeros(1, 4, 1, 1)


def _nan(state: dict[str, Any]) -> None:
    state["convs.1.activate.bias"] = torch.tensor([float("nan"), *[0.0] * 15])


def _infinite(state: dict[str, Any]) -> None:
    state["convs.1.activate.bias"] = torch.tensor([float("-inf"), *[0.0] * 15], dtype=torch.float16)


def _other_filter(state: dict[str, Any]) -> None:
    state["convs.2.conv.blur.kernel"] = state["convs.2.conv.blur.kernel"] * 0.25


def _whole_numbers(state: dict[str, Any]) -> None:
    state["convs.1.activate.bias"] = torch.zeros(16, dtype=torch.int32)


def _no_conv(state: dict[str, Any]) -> None:
    del state["convs.3.conv.weight"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without, r"tensors 2 missing \(first 'convs.2.noise.weight', 'noises.noise_3'\)"),
        (_with, r"tensors 1 unexpected \('to_rgbs.0.iwt.ll'\)"),
        (_reshaped, r"tensors 1 of a wrong shape \('to_rgb1.bias'\): \(1, 4, 1, 1\), expected \(1, 3, 1, 1\)"),
        (_nan, "'convs.1.activate.bias' holds NaN or infinite"),
        (_infinite, "'convs.1.activate.bias' holds NaN or infinite"),
        (_other_filter, r"'convs.2.conv.blur.kernel' is another low-pass filter than \[1, 3, 3, 1\]"),
        (_whole_numbers, "'convs.1.activate.bias' is torch.int32: expected torch.float32"),
        (_no_conv, r"1 convolution\(s\) of the generator missing \('convs.3.conv.weight'\)"),
    ],
)
def test_what_is_wrong_with_the_tensors_is_counted_and_named(
    official: OfficialFiles, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    state, mean = official.decoder()
    change(state)
    with pytest.raises(WeightsError, match=rf"bad\.pt: {message}"):
        read_generator(official.save("bad.pt", {"g_ema": state, "latent_avg": mean}))


def test_messages_name_the_tensors_as_the_file_does(official: OfficialFiles) -> None:
    content = official.hyperstyle_content(official.hypernetwork())
    del content["state_dict"]["decoder.input.input"]
    with pytest.raises(WeightsError, match=r"1 missing \('decoder\.input\.input'\)"):
        read_generator(official.save("hs.pt", content))


@pytest.mark.parametrize("mean", [torch.zeros(12), torch.zeros(7, 16), torch.full((16,), float("nan"))])
def test_a_mean_code_that_does_not_fit_is_refused(official: OfficialFiles, mean: torch.Tensor) -> None:
    state, _ = official.decoder()
    with pytest.raises(WeightsError, match=r"'latent_avg' (has the shape .* expected \(16,\) or \(8, 16\)|holds NaN)"):
        generator_from_state(state, mean)


def test_files_without_a_generator_are_refused(official: OfficialFiles, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"w\.pt is a W encoder without a generator: give the generator's own"):
        read_generator(official.w_encoder("w.pt", with_decoder=False)[0])


def test_a_generator_that_is_too_small_is_refused(official: OfficialFiles) -> None:
    state, mean = official.decoder()
    small = {name: tensor for name, tensor in state.items() if not name.startswith(("convs", "to_rgbs"))}
    with pytest.raises(ConfigError, match="generator size 4"):
        generator_from_state(small, mean)
