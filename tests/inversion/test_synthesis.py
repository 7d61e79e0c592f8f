"""Images that share their weights, and those between them that do not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.synthesis import baked, render, synthesize
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks import cpu
from hyperstyle.networks.cpu.offsets import FastOffsets
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

STRENGTHS = [k / 4 for k in range(-5, 6)]


@pytest.fixture(scope="module")
def batch(tiny_inverter: HyperStyleInverter) -> Inversion:
    """Three inverted images."""
    torch.manual_seed(1)
    return tiny_inverter.invert(list(torch.rand(3, 3, 32, 32) * 2 - 1), align=False)


@pytest.fixture
def offset_counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts for how many images the offset of each layer is made."""
    counter: Counter[str] = Counter()
    make = FastOffsets.__getitem__

    def counted(self: FastOffsets, layer: str) -> Tensor:
        counter[layer] += len(self.codes)
        return make(self, layer)

    monkeypatch.setattr(FastOffsets, "__getitem__", counted)
    return counter


def singly(inversion: Inversion) -> Tensor:
    return torch.cat([single.tensor for single in inversion])


def test_a_strip_is_the_same_images_and_makes_each_offset_once(batch: Inversion, offset_counts: Counter[str]) -> None:
    strip = batch[0].edit("age", STRENGTHS).tensor
    assert set(offset_counts.values()) == {1}
    assert len(offset_counts) == 3
    expected = torch.cat([batch[0].edit("age", s).tensor for s in STRENGTHS])
    torch.testing.assert_close(strip, expected, rtol=0, atol=2e-5)


def test_strips_of_several_images_make_each_offset_once_for_each(batch: Inversion, offset_counts: Counter[str]) -> None:
    strips = batch.edit("age", STRENGTHS)
    assert strips.tensor.shape[0] == 33
    assert set(offset_counts.values()) == {3}
    torch.testing.assert_close(strips.tensor, singly(strips), rtol=0, atol=2e-5)


@pytest.mark.parametrize("order", [[0, 1, 1, 2, 0, 0, 0], [1, 1, 2], [0, 1, 2] * 4, [2] * 3 + [0, 1] * 5])
def test_alike_and_different_neighbors_mix(batch: Inversion, order: list[int]) -> None:
    mixed = batch._take(order).edit("smile", 0.5)
    torch.testing.assert_close(mixed.tensor, singly(mixed), rtol=0, atol=2e-5)


def test_offsets_in_styles_belong_to_their_image(batch: Inversion) -> None:
    change = torch.linspace(-1, 1, 6)[:, None].expand(6, batch.model.generator.layer("b16.conv1").channels_in)
    strip = replace(batch._take([1] * 6), style_offsets={"b16.conv1": change})
    torch.testing.assert_close(strip.tensor, singly(strip), rtol=0, atol=2e-5)
    assert (strip.tensor[0] - strip.tensor[5]).abs().max() > 1e-3


def test_codes_without_offsets_are_all_alike(batch: Inversion) -> None:
    torch.testing.assert_close(batch.initial.tensor, singly(batch.initial), rtol=0, atol=2e-5)


def test_dense_offsets_are_shared_like_codes(batch: Inversion) -> None:
    dense = {name: 0.1 * torch.randn(1, 16, 16, 3, 3) for name in ("b8.conv1", "b16.conv1")}
    inversion = replace(batch[0], offset_codes=OffsetCodes.of_dense(dense))
    strip = inversion.edit("age", [-1.0, 0.0, 1.0])
    torch.testing.assert_close(strip.tensor, singly(strip), rtol=0, atol=2e-5)


def test_codes_without_the_network_that_expands_them_are_an_error(batch: Inversion) -> None:
    bare = batch.model.with_parts(hypernetwork=None)
    with pytest.raises(ConfigError, match=r"codes of weight offsets for \d+ layers, first 'b.*lacks the network"):
        render(bare, batch.state)
    dense = OffsetCodes.of_dense({"b8.conv1": torch.zeros(3, 16, 16, 1, 1)})
    rendered = render(bare, replace(batch.state, offset_codes=dense))
    torch.testing.assert_close(rendered, batch.initial.tensor, rtol=0, atol=2e-5)


def test_drawing_a_strip_leaves_the_generator_as_it_was(batch: Inversion) -> None:
    before = {name: value.clone() for name, value in batch.model.generator.state_dict().items()}
    assert batch[0].edit("age", STRENGTHS).tensor.isfinite().all()
    after = batch.model.generator.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_cpu_form_is_chosen_on_a_cpu_without_gradients_and_for_stylegan2_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = Generator(GeneratorConfig(16, (8, 8, 8), latent_width=16, mapping_layers=1)).requires_grad_(False)
    older = StyleGan1(StyleGan1Config(16, (8, 8, 8), latent_width=16, mapping_layers=1)).requires_grad_(False)
    calls: list[object] = []
    form = cpu.synthesize

    def watched(*arguments: Any, **options: Any) -> Tensor:
        calls.append(arguments[0])
        return form(*arguments, **options)

    monkeypatch.setattr(cpu, "synthesize", watched)
    w = torch.randn(2, generator.config.rows, 16)
    by_modules = synthesize(generator, generator.styles(w))
    assert calls == []
    with torch.no_grad():
        synthesize(older, older.styles(torch.randn(2, older.config.rows, 16)))
        assert calls == []
        fused = synthesize(generator, generator.styles(w))
        assert calls == [generator]
    torch.testing.assert_close(fused, by_modules, rtol=0, atol=2e-5)


def test_a_baked_generator_renders_the_image_of_the_whole_state(batch: Inversion) -> None:
    model = batch.model
    tuned = {n: p.detach() * 1.1 for n, p in model.generator.named_parameters() if n.startswith("convs.0.conv")}
    residuals = OffsetCodes.of_dense({"b8.conv1": torch.randn_like(model.generator.weight("b8.conv1"))[None] * 0.1})
    state = batch[0].edit("age", 1).state
    state = replace(state, overrides=replace(state.overrides, tuned=(tuned,), residuals=residuals))
    generator, rest = baked(model, state)
    assert rest.offset_codes is None
    assert not rest.overrides
    image = render(model, state)
    torch.testing.assert_close(render(model, rest, generator=generator), image, rtol=0, atol=1e-5)
    assert (image - batch[0].edit("age", 1).tensor).abs().max() > 1e-2


def test_maps_of_a_layer_are_those_of_the_image(batch: Inversion) -> None:
    maps = render(batch.model, batch.state, until="b16.conv1")
    assert maps.shape[2:] == (16, 16)
    with_gradients = render(batch.model, batch.state, differentiable=True, until="b16.conv1")
    torch.testing.assert_close(maps, with_gradients, rtol=0, atol=1e-5)
    plain = batch.model.generator(batch.w, until="b16.conv1")
    assert (maps - plain).abs().max() > 1e-4  # the offsets are in them
