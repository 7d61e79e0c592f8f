"""Residuals, tuned parameters and noise maps: what other methods change of a generator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.inversion.state import GeneratorOverrides, InversionState
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    network = Generator(GeneratorConfig(16, (8, 8, 6), latent_width=12, mapping_layers=2)).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("noise.weight"):
            torch.nn.init.constant_(parameter, 0.3)
    return network.requires_grad_(False)


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=0)


def dense(generator: Generator, seed: int, names: tuple[str, ...] = ("b4.conv1", "b16.torgb")) -> OffsetCodes:
    random = torch.Generator().manual_seed(seed)
    weights = {name: generator.weight(name) for name in names}
    return OffsetCodes.of_dense({n: torch.randn(1, *w.shape, generator=random) * 0.3 for n, w in weights.items()})


def tuned(generator: Generator, seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    names = generator.parameters_of("b8.conv0")
    parameters = dict(generator.named_parameters())
    return {n: parameters[n] + 0.2 * torch.randn(parameters[n].shape, generator=random) for n in names}


def state(*changes: object, count: int = 1) -> InversionState:
    """The state of `count` images of code zero, with residuals, tuned parameters and noise maps."""
    return InversionState(torch.zeros(count, 6, 12), overrides=GeneratorOverrides(*changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("modulation", ["weights", "activations"])
def test_a_residual_is_added_to_the_raw_weight(generator: Generator, modulation: str) -> None:
    w = torch.randn(2, 12)
    residuals = dict(dense(generator, 1).dense)
    changed = generator.with_parameters(
        {
            name: dict(generator.named_parameters())[name] + residuals[layer]
            for layer in residuals
            for name in generator.parameters_of(layer)
            if name.endswith("conv.weight")
        }
    )
    same(generator(w, residuals=residuals, modulation=modulation), changed(w))
    offsets = {"b4.conv1": torch.full((1, 8, 8, 1, 1), 0.5)}
    both = generator(w, offsets, residuals=residuals, modulation=modulation)
    residual = residuals["b4.conv1"] + 0.5 * generator.weight("b4.conv1")
    same(both, generator(w, residuals={**residuals, "b4.conv1": residual}))


def test_a_residual_for_no_layer_or_of_another_shape_is_refused(generator: Generator) -> None:
    with pytest.raises(ConfigError, match="unknown layer 'b5'"):
        generator(torch.zeros(1, 12), residuals={"b5": torch.zeros(1)})
    with pytest.raises(ConfigError, match="broadcasts to"):
        generator(torch.zeros(1, 12), residuals={"b4.conv1": torch.zeros(1, 7, 8, 3, 3)})


def test_a_generator_with_other_parameters_shares_the_rest(generator: Generator) -> None:
    values = tuned(generator, 1)
    changed = generator.with_parameters(values)
    left, right = dict(generator.named_parameters()), dict(changed.named_parameters())
    for name in left:
        assert (right[name].data_ptr() == left[name].data_ptr()) == (name not in values)
    assert not torch.equal(changed(torch.ones(1, 12)), generator(torch.ones(1, 12)))
    with pytest.raises(ConfigError, match=r"expected \(8,\)"):
        generator.with_parameters({"conv1.activate.bias": torch.zeros(3)})
    with pytest.raises(ConfigError, match="no parameter 'conv1'"):
        generator.with_parameters({"conv1": torch.zeros(3)})


def test_parameters_belong_to_one_layer_each(generator: Generator) -> None:
    names = [name for spec in generator.layers for name in generator.parameters_of(spec.name)]
    outside = {n for n, _ in generator.named_parameters() if n.startswith(("style.", "input."))}
    assert len(names) == len(set(names))
    assert set(names) | outside == {n for n, _ in generator.named_parameters()}


def test_images_are_taken_and_joined_again(generator: Generator) -> None:
    noise = tuple(torch.randn(2, 1, *m.shape[2:]) for m in generator.noises.buffers())
    codes = OffsetCodes.cat([dense(generator, 1), dense(generator, 2)])
    both = state(codes, (tuned(generator, 1), tuned(generator, 2)), noise, count=2)
    again = InversionState.cat([both.take([1]), both.take([0])], generator).take([1, 0, 0]).overrides
    assert again.tuned == tuple(both.overrides.tuned[i] for i in (0, 1, 1))
    assert torch.equal(again.noise[0], noise[0][[0, 1, 1]])
    assert again.residuals is not None
    assert torch.equal(again.residuals.dense["b4.conv1"], codes.dense["b4.conv1"][[0, 1, 1]])
    view = both.take(slice(1, 2)).overrides
    assert view.noise[0].data_ptr() == noise[0][1:].data_ptr(), "a slice copies nothing"
    assert view.tuned == both.overrides.tuned[1:]
    joined = InversionState.cat([both, state(count=2)], generator).overrides
    assert joined.residuals is not None
    assert torch.equal(joined.residuals.dense["b4.conv1"][:2], codes.dense["b4.conv1"])
    assert not joined.residuals.dense["b4.conv1"][2:].any()
    assert joined.tuned == (*both.overrides.tuned, {}, {})
    assert joined.tuned[2] is joined.tuned[3], "they share the model's own generator"
    buffers = list(generator.noises.buffers())
    assert all(torch.equal(m, torch.cat([n, o, o])) for m, n, o in zip(joined.noise, noise, buffers, strict=True))
    assert not InversionState.cat([state(), state()], generator).overrides


def test_the_way_between_two_ends_at_both_and_fills_what_one_lacks(generator: Generator) -> None:
    noise = tuple(torch.randn_like(m) for m in generator.noises.buffers())
    a, b = state(dense(generator, 1), (tuned(generator, 1),), noise), state()
    parameters = dict(generator.named_parameters())
    between = InversionState.between(a, b, 3, generator)
    start, middle, end = (between.take([i]).overrides for i in range(3))
    name = generator.parameters_of("b8.conv0")[0]
    assert torch.equal(start.tuned[0][name], a.overrides.tuned[0][name])
    same(middle.tuned[0][name], (a.overrides.tuned[0][name] + parameters[name]) / 2)
    assert torch.equal(end.tuned[0][name], parameters[name])
    assert torch.equal(start.noise[1], noise[1])
    assert torch.equal(end.noise[1], next(iter(list(generator.noises.buffers())[1:])))
    assert start.residuals is not None
    assert middle.residuals is not None
    assert end.residuals is not None
    assert torch.equal(start.residuals.dense["b4.conv1"], dense(generator, 1).dense["b4.conv1"])
    same(middle.residuals.dense["b4.conv1"], start.residuals.dense["b4.conv1"] / 2)
    assert float(end.residuals.dense["b4.conv1"].abs().max()) == 0
    nothing = state(None, ({},))  # tuned, but near enough at once
    assert not InversionState.between(nothing, b, 3, generator).overrides


def test_layers_are_mixed_with_all_that_belongs_to_them(generator: Generator) -> None:
    noise = tuple(torch.randn_like(m) for m in generator.noises.buffers())
    left, right = state(), state(dense(generator, 1), (tuned(generator, 1),), noise)
    mixed = InversionState.mixed(left, right, [generator.layer("b4.conv1")], generator).overrides
    assert mixed.residuals is not None
    assert mixed.residuals.layers == ("b4.conv1",)
    parameters = dict(generator.named_parameters())
    assert all(torch.equal(value, parameters[name]) for name, value in mixed.tuned[0].items())
    assert torch.equal(mixed.noise[0], noise[0])
    assert torch.equal(mixed.noise[2], list(generator.noises.buffers())[2])
    restricted = right.transferred(generator, generator, ["b8.conv0"], None).overrides
    assert restricted.residuals is not None
    assert not restricted.residuals.layers
    assert restricted.tuned[0].keys() == right.overrides.tuned[0].keys()
    assert torch.equal(restricted.noise[1], noise[1])
    assert torch.equal(restricted.noise[0], next(iter(generator.noises.buffers())))


def test_batches_are_mixed_where_one_side_has_the_generators_own_noise(generator: Generator) -> None:
    noise = tuple(torch.randn(2, *m.shape[1:]) for m in generator.noises.buffers())
    buffers = list(generator.noises.buffers())
    with_noise, without = state(None, (), noise, count=2), state(count=2)
    for left, right in ((with_noise, without), (without, with_noise)):
        mixed = InversionState.mixed(left, right, [generator.layer("b4.conv1")], generator).overrides.noise
        assert [len(m) for m in mixed] == [2] * len(buffers)
        first, second = (buffers, noise) if left is with_noise else (noise, buffers)
        assert torch.equal(mixed[0], first[0].expand_as(mixed[0]))
        assert torch.equal(mixed[1], second[1].expand_as(mixed[1]))


def test_the_constant_input_belongs_to_the_first_layer(generator: Generator) -> None:
    right = state(None, ({"input.input": torch.ones_like(generator.input.input)},))
    value = right.overrides.tuned[0]["input.input"]
    for layer, expected in (("b4.conv1", value), ("b8.conv0", generator.input.input)):
        mixed = InversionState.mixed(state(), right, [generator.layer(layer)], generator).overrides
        assert torch.equal(mixed.tuned[0]["input.input"], expected)
    kept, dropped = (
        right.transferred(generator, generator, [layer], None).overrides for layer in ("b4.conv1", "b8.conv0")
    )
    assert kept.tuned[0].keys() == {"input.input"}
    assert not dropped.tuned[0]


def test_tuned_parameters_keep_their_distance_in_another_generator(generator: Generator) -> None:
    torch.manual_seed(1)
    other = Generator(generator.config)
    before = state(None, (tuned(generator, 1),))
    name = generator.parameters_of("b8.conv0")[0]
    left, right = dict(generator.named_parameters()), dict(other.named_parameters())
    after = before.transferred(generator, other, None, None).overrides
    same(after.tuned[0][name] - right[name], before.overrides.tuned[0][name] - left[name])
