"""Inversions whose method changed more of the generator than relative offsets: everything works with them too."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hyperstyle import HyperStyleInverter, Inversion
from hyperstyle.convert import read_generator
from hyperstyle.errors import InversionError
from hyperstyle.inversion.exports import baked_generator
from hyperstyle.inversion.state import GeneratorOverrides, InversionState
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.generator import Generator

KINDS = ("residuals", "tuned", "noise", "all")


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=5e-6)


def changes(generator: Generator, kind: str, seed: int) -> GeneratorOverrides:
    """Changes of one image."""
    random = torch.Generator().manual_seed(seed)

    def near(t: Tensor) -> Tensor:
        return t.detach() + 0.3 * torch.randn(t.shape, generator=random)

    residuals = OffsetCodes.of_dense({n: near(torch.zeros(1, *generator.weight(n).shape)) for n in ("b4.conv1",)})
    parameters = dict(generator.named_parameters())
    tuned = {name: near(parameters[name]) for name in (*generator.parameters_of("b8.conv1"), "input.input")}
    noise = tuple(near(m) for m in generator.noises.buffers())
    overrides = GeneratorOverrides(residuals, (tuned,), noise)
    return {
        "residuals": GeneratorOverrides(residuals),
        "tuned": GeneratorOverrides(tuned=(tuned,)),
        "noise": GeneratorOverrides(noise=noise),
        "all": overrides,
    }[kind]


@pytest.fixture(params=KINDS)
def two(request: pytest.FixtureRequest, tiny_inverter: HyperStyleInverter) -> Inversion:
    """Two inverted images, each with changes of its own."""
    size = tiny_inverter.model.domain.input_size
    crops = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3)) * 2 - 1
    plain = tiny_inverter.invert(list(crops), align=False)
    generator = plain.model.generator
    noisy = {n: torch.full_like(p, 0.2) for n, p in generator.named_parameters() if n.endswith("noise.weight")}
    model = dataclasses.replace(plain.model, generator=generator.with_parameters(noisy))
    codes = torch.zeros(1, model.generator.config.rows, 1)
    parts = [InversionState(codes, overrides=changes(model.generator, request.param, seed)) for seed in (1, 2)]
    return dataclasses.replace(plain, model=model, overrides=InversionState.cat(parts, model.generator).overrides)


def render_baked(inversion: Inversion) -> Tensor:
    """The image of a single inversion, from a generator that has everything in it."""
    return baked_generator(inversion)(inversion.w)


def test_images_are_those_of_the_changed_generator(two: Inversion) -> None:
    plain = dataclasses.replace(two, overrides=GeneratorOverrides())
    for image, single in zip(two.tensor.split(1), two, strict=True):
        same(image, single.tensor)
        same(image, render_baked(single))
    assert float((two.tensor - plain.tensor).abs().max()) > 1e-2
    same(two.initial.tensor, two.model.generator(two.w))


def test_a_strip_of_edits_keeps_the_changes(two: Inversion) -> None:
    strip = two.edit("age", [-1, 0, 2])
    assert len(strip) == 6
    for i, edited in enumerate(strip):
        single = two[i // 3].edit("age", [-1, 0, 2][i % 3])
        same(edited.tensor, single.tensor)
        same(strip.tensor[i : i + 1], render_baked(single))


def test_saved_and_loaded_the_image_is_the_same_bit_for_bit(two: Inversion, tmp_path: Path) -> None:
    edited = two.edit("age", 1)
    edited.save(tmp_path / "it.safetensors")
    loaded = Inversion.load(tmp_path / "it.safetensors", two)
    assert torch.equal(loaded.tensor, edited.tensor)
    assert loaded.unedited is not None
    assert torch.equal(loaded.unedited.tensor, two.tensor)


def test_a_shared_generator_is_stored_once(two: Inversion, tmp_path: Path) -> None:
    two[0].edit("age", 1).save(tmp_path / "one.safetensors")
    two[0].edit("age", [0, 1, 2]).save(tmp_path / "three.safetensors")
    sizes = [(tmp_path / name).stat().st_size for name in ("one.safetensors", "three.safetensors")]
    if two.overrides.tuned and not two.overrides.noise:
        assert sizes[1] - sizes[0] < 4 * sum(value.numel() for value in two.overrides.tuned[0].values())
    loaded = Inversion.load(tmp_path / "three.safetensors", two)
    assert torch.equal(loaded.tensor, two[0].edit("age", [0, 1, 2]).tensor)


def test_interpolation_ends_at_both(two: Inversion) -> None:
    way = two[0].interpolate(two[1], 3)
    same(way.tensor[:1], two[0].tensor)
    same(way.tensor[2:], two[1].tensor)
    assert not torch.equal(way.tensor[1], way.tensor[0])


def test_mixing_all_layers_takes_all(two: Inversion) -> None:
    layers = [spec.name for spec in two.model.generator.layers]
    if "input.input" in (two.overrides.tuned or ({},))[0]:
        return  # the constant input belongs to no layer and stays
    same(two[0].mix(two[1], layers).tensor, two[1].tensor)


def test_after_transfer_the_changes_are_made_in_the_other_generator(two: Inversion) -> None:
    random = torch.Generator().manual_seed(9)
    parameters = dict(two.model.generator.named_parameters())
    style = {n: p + 0.05 * torch.randn(p.shape, generator=random) for n, p in parameters.items()}
    other = two.model.generator.with_parameters(style)
    moved = two[0].transfer(other)
    same(moved.tensor, render_baked(moved))
    back = moved.transfer(two.model.generator)
    same(back.tensor, two[0].tensor)
    same(moved.edit("age", 1).tensor, render_baked(moved.edit("age", 1)))


def test_joined_again_they_are_the_batch(two: Inversion) -> None:
    edited = two.edit("age", 1)
    joined = Inversion.cat([edited[0], edited[1]])
    same(joined.tensor, edited.tensor)
    assert joined.unedited is not None
    assert joined.sources == edited.sources
    plain = dataclasses.replace(edited[1], overrides=GeneratorOverrides())
    for parts in ([edited[0], plain], [plain, edited[0], plain]):
        mixed = Inversion.cat(parts)
        same(mixed.tensor, torch.cat([part.tensor for part in parts]))
        same(mixed[1].tensor, parts[1].tensor)
    with pytest.raises(InversionError, match="at least one"):
        Inversion.cat([])


def test_a_generator_can_be_exported_and_forms_for_offsets_are_refused(two: Inversion, tmp_path: Path) -> None:
    two[0].export(tmp_path / "g.pt")
    same(read_generator(tmp_path / "g.pt")(two[0].w), two[0].tensor)
    for form in ("official", "offsets"):
        with pytest.raises(InversionError, match="form='generator'"):
            two[0].export(tmp_path / "out", form)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
