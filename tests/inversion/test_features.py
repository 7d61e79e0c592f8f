"""Features in the state: what the generator does with them, and what every operation makes of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.errors import ConfigError, InversionError
from hyperstyle.inversion.features import Features, Guide
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.state import GeneratorOverrides
from hyperstyle.inversion.synthesis import render
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks import cpu
from hyperstyle.networks.encoders.sfe import FeatureEditor, FeatureEditorConfig
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config
from hyperstyle.networks.stylegan2.features import FeatureMaps
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

LAYER = "b8.conv1"


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=0)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    network = Generator(GeneratorConfig(32, (10, 8, 6, 4), latent_width=12, mapping_layers=2)).eval()
    for name, parameter in network.named_parameters():
        if name.endswith(("noise.weight", "bias")):
            torch.nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False)


# ---- in the generator ----


def plain(generator: Generator, w: Tensor, features: FeatureMaps | None) -> Tensor:
    """The definition, layer by layer: only the next convolution reads the features."""
    styles, noise = generator.styles(w), iter(generator.noises.buffers())
    x, image = generator.input.input.expand(len(w), -1, -1, -1), None
    for spec in generator.layers:
        block = generator.block(spec)
        if not spec.torgb:
            before = x
            if features is not None and spec.name == "b16.conv0":
                own, maps = features.blend[:, 0, None, None, None], features.blend[:, 1, None, None, None]
                before = own * x + maps * features.maps
            x = block(before, styles[spec.name], (None, None), next(noise), "weights")
        else:
            image = block(x, styles[spec.name], (None, None), image, "weights")
    assert image is not None
    return image


BLENDS = {"replaced": (0.0, 1.0), "added": (1.0, 1.0), "a quarter": (0.75, 0.25), "nothing": (1.0, 0.0)}


@pytest.mark.parametrize("blend", BLENDS.values(), ids=BLENDS)
def test_all_ways_to_render_give_the_defined_image(generator: Generator, blend: tuple[float, float]) -> None:
    w, maps = torch.randn(3, 8, 12), torch.randn(3, 8, 8, 8)
    features = FeatureMaps(LAYER, maps, torch.tensor([blend, (0.0, 1.0), (1.0, 0.5)]))
    expected, styles = plain(generator, w, features), generator.styles(w)
    same(generator.synthesize(styles, features=features), expected)
    same(generator.synthesize(styles, features=features, modulation="activations"), expected)
    same(cpu.synthesize(generator, styles, features=features), expected)
    first = FeatureMaps(LAYER, maps[:1], features.blend[:1])
    same(cpu.synthesize(generator, {n: s[:1] for n, s in styles.items()}, features=first), expected[:1])
    if blend == BLENDS["nothing"]:
        same(expected[:1], generator(w[:1]))
    else:
        assert (expected[:1] - generator(w[:1])).abs().max() > 1e-2


def test_the_maps_of_the_layer_are_its_own_and_those_above_are_not(generator: Generator) -> None:
    features = FeatureMaps(LAYER, torch.randn(1, 8, 8, 8) * 9, torch.tensor([[0.0, 1.0]]))
    styles = generator.styles(torch.randn(1, 8, 12))
    same(generator.synthesize(styles, until=LAYER, features=features), generator.synthesize(styles, until=LAYER))
    upper = generator.synthesize(styles, until="b16.conv0", features=features)
    assert not torch.allclose(upper, generator.synthesize(styles, until="b16.conv0"), atol=1e-2)


def test_the_own_maps_in_their_place_change_nothing(generator: Generator) -> None:
    w = torch.randn(2, 8, 12)
    for layer in ("b4.conv1", "b8.conv1", "b16.conv1"):
        own = generator.synthesize(generator.styles(w), until=layer)
        same(cpu.maps_after(generator, layer, generator.styles(w)), own)
        features = FeatureMaps(layer, own, torch.tensor([[0.0, 1.0]]).expand(2, 2))
        same(generator.synthesize(generator.styles(w), features=features), generator(w))
        same(cpu.synthesize(generator, generator.styles(w), features=features), generator(w))


def test_gradients_flow_to_the_maps(generator: Generator) -> None:
    maps = torch.randn(1, 8, 8, 8, requires_grad=True)
    styles = generator.styles(torch.randn(1, 8, 12))
    image = generator.synthesize(styles, features=FeatureMaps(LAYER, maps, torch.tensor([[1.0, 1.0]])))
    (gradient,) = torch.autograd.grad(image.square().sum(), maps)
    assert gradient.abs().min() > 0


@pytest.mark.parametrize(
    ("layer", "maps", "blend", "message"),
    [
        ("b8.conv0", (1, 8, 8, 8), (1, 2), r"features of layer 'b8.conv0': expected one of b4.conv1, b8.conv1, b16"),
        ("b32.conv1", (1, 4, 32, 32), (1, 2), r"features of layer 'b32.conv1': expected one of"),
        ("b8.conv1", (1, 8, 16, 16), (1, 2), r"expected \(1, 8, 8, 8\) and \(1, 2\)"),
        ("b8.conv1", (2, 8, 8, 8), (2, 2), r"expected \(1, 8, 8, 8\) and \(1, 2\)"),
        ("b8.conv1", (1, 8, 8, 8), (1,), r"expected \(1, 8, 8, 8\) and \(1, 2\)"),
    ],
)
def test_features_that_do_not_fit_are_refused(
    generator: Generator, layer: str, maps: tuple[int, ...], blend: tuple[int, ...], message: str
) -> None:
    styles, features = generator.styles(torch.zeros(1, 12)), FeatureMaps(layer, torch.zeros(maps), torch.zeros(blend))
    synthesize: Callable[..., Tensor]
    for synthesize in (generator.synthesize, lambda *a, **k: cpu.synthesize(generator, *a, **k)):
        with pytest.raises(ConfigError, match=message):
            synthesize(styles, features=features)


def test_a_stylegan_takes_no_features_and_shows_its_maps() -> None:
    generator = StyleGan1(StyleGan1Config(16, channels=(8, 8, 4), latent_width=16, mapping_layers=2)).eval()
    styles = generator.styles(generator.mapping(torch.randn(1, 16)))
    with pytest.raises(ConfigError, match="only StyleGAN2 generators take them"):
        generator.synthesize(styles, features=FeatureMaps("b4.conv", torch.zeros(1), torch.zeros(1)))
    assert generator.synthesize(styles, until=generator.layers[2].name).shape == (1, 8, 8, 8)


# ---- in an inversion ----


@pytest.fixture(scope="module")
def inverter(tiny_inverter: HyperStyleInverter) -> HyperStyleInverter:
    """The tiny model with a feature editor, and an edit that depends on the code that it moves."""
    torch.manual_seed(3)
    model = tiny_inverter.model
    editor = FeatureEditor(FeatureEditorConfig(model.generator.config, LAYER, 1)).eval().requires_grad_(False)
    inverter = HyperStyleInverter.__new__(HyperStyleInverter)
    inverter._model = replace(model.with_parts(feature_editor=editor), edits={**model.edits, "cap": Cap()})  # type: ignore[dict-item]
    inverter.aligner = tiny_inverter.aligner
    return inverter


class Cap:
    """An edit that sets what it moves: its change is another one for every code."""

    info = EditInfo("cap", -3.0, 3.0, "units")

    def __call__(self, w: Tensor, strengths: Tensor) -> Tensor:
        return torch.cat([w[..., :1] * 0 + strengths[:, None, None], w[..., 1:]], 2)


@pytest.fixture
def two(inverter: HyperStyleInverter) -> Inversion:
    """Two images with features and a guide."""
    random = torch.Generator().manual_seed(1)
    w, code = (torch.randn(2, 8, 16, generator=random) for _ in range(2))
    maps = FeatureMaps(LAYER, torch.randn(2, 16, 8, 8, generator=random), torch.tensor([[0.0, 1.0]] * 2))
    features = Features(maps, Guide(code, code, torch.ones(2)))
    return Inversion(inverter.model, w, overrides=GeneratorOverrides(features=features), method="sfe")


@pytest.fixture
def added(inverter: HyperStyleInverter) -> Inversion:
    """Two images with features that are added to the generator's own, without a guide."""
    random = torch.Generator().manual_seed(2)
    maps = FeatureMaps(LAYER, torch.randn(2, 16, 8, 8, generator=random), torch.ones(2, 2))
    w = torch.randn(2, 8, 16, generator=random)
    return Inversion(inverter.model, w, overrides=GeneratorOverrides(features=Features(maps)), method="features")


@pytest.fixture
def bare(inverter: HyperStyleInverter) -> Inversion:
    """One image without features."""
    return Inversion(inverter.model, torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(4)), method="psp")


def expected_image(inversion: Inversion) -> Tensor:
    """G(w, H(F, S(before) - S(now))) as it is defined, from the plain generator."""
    model, features = inversion.model, inversion.overrides.features
    assert features is not None
    assert features.guide is not None
    assert model.feature_editor is not None
    generator, guide = model.generator, features.guide
    edited = {n: s + guide.style_offsets.get(n, 0) for n, s in generator.styles(guide.w).items()}
    difference = generator.synthesize(generator.styles(guide.before), until=LAYER) - generator.synthesize(
        edited, until=LAYER
    )
    maps = replace(features.maps, maps=model.feature_editor(features.maps.maps, difference))
    styles = {n: s + inversion.style_offsets.get(n, 0) for n, s in generator.styles(inversion.w).items()}
    return generator.synthesize(styles, features=maps)


@torch.no_grad()
def test_the_feature_editor_runs_for_images_with_and_without_edits(two: Inversion) -> None:
    same(two.tensor, expected_image(two))
    assert two.overrides.features is not None
    given = replace(two, overrides=GeneratorOverrides(features=replace(two.overrides.features, guide=None)))
    assert (given.tensor - two.tensor).abs().max() > 1e-2, "H(F, 0) is not F"
    for edited in (two.edit("age", 2), two.edit("age", 1).edit("cap", 2), two.edit("age", [1, 2, 3])):
        same(edited.tensor, expected_image(edited))
    only_w = replace(two, w=two.edit("age", 2).w)
    assert (two.edit("age", 2).tensor - only_w.tensor).abs().max() > 1e-2


def test_an_edit_is_applied_to_the_code_of_the_guide_itself(two: Inversion) -> None:
    """A change carried over from w would be another one."""
    edited = two.edit("cap", 2)
    features = edited.overrides.features
    assert features is not None
    assert features.guide is not None
    assert features.guide.w[..., 0].unique().tolist() == [2.0]
    assert (edited.w - two.w)[0, 0, 0] != (features.guide.w - features.guide.before)[0, 0, 0]
    same(edited.edit("age", 2).edit("age", -2).tensor, edited.tensor)


@torch.no_grad()
def test_an_edit_of_styles_moves_the_styles_of_the_guide(two: Inversion) -> None:
    class Styles:
        info = EditInfo("styles", -3.0, 3.0, "units", space="styles")

        def __call__(self, styles: dict[str, Tensor], strengths: Tensor) -> dict[str, Tensor]:
            return {**styles, "b8.conv0": styles["b8.conv0"] + strengths[:, None]}

    edited = two.edit(Styles(), 2)  # type: ignore[arg-type]
    same(edited.tensor, expected_image(edited))
    assert (edited.tensor - replace(two, style_offsets=edited.style_offsets).tensor).abs().max() > 1e-3
    assert edited.overrides.features is not None
    assert edited.overrides.features.guide is not None
    same(edited.overrides.features.guide.style_offsets["b8.conv0"], torch.full((2, 16), 2.0))


def test_an_edit_limited_to_layers_limits_that_of_the_guide(two: Inversion) -> None:
    edited = two.edit("age", 2, layers=["b4.conv1"])
    assert edited.overrides.features is not None
    guide = edited.overrides.features.guide
    assert guide is not None
    moved = (guide.w != guide.before).any(2)
    assert moved.tolist() == [[True] + [False] * 7] * 2
    with pytest.warns(UserWarning, match="moves other layers") as caught:
        two.edit(
            DirectionEdit(torch.eye(8)[0][:, None] * torch.ones(16), EditInfo("row", -3, 3)), 1, layers=["b32.torgb"]
        )
    assert len(caught) == 1


@torch.no_grad()
def test_a_mask_limits_what_the_feature_editor_is_told_of_an_edit(two: Inversion) -> None:
    """D <- D * mask, and of the image what the mask says of every edit."""
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 4:30] = 255
    edited, masked, model = two.edit("age", 2), two.edit("age", 2, mask=mask), two.model
    features = edited.overrides.features
    assert features is not None
    assert features.guide is not None
    assert model.feature_editor is not None
    codes, network = (features.guide.before, features.guide.w), model.generator
    own = [network.synthesize(network.styles(w), until=LAYER) for w in codes]
    small = F.interpolate(torch.from_numpy(mask)[None, None] / 255, (8, 8), mode="bilinear", align_corners=False)
    maps = model.feature_editor(features.maps.maps, (own[0] - own[1]) * small)
    replaced = FeatureMaps(LAYER, maps, torch.tensor([[0.0, 1.0]] * 2))
    expected = network.synthesize(network.styles(edited.w), features=replaced)
    same(masked.unmasked(), expected)
    assert (expected - edited.tensor).abs().max() > 1e-3
    inside = torch.from_numpy(mask) > 0
    same(masked.tensor[..., inside], expected[..., inside])
    assert torch.equal(masked.tensor[..., ~inside], two.tensor[..., ~inside])


def test_the_gradient_form_is_the_same(two: Inversion, added: Inversion) -> None:
    for inversion in (two, added, two.edit("age", [1, 2])):
        same(render(inversion.model, inversion.state, differentiable=True), inversion.tensor)
    edited = two.edit("age", 2).state
    assert edited.overrides.features is not None
    given = edited.overrides.features
    maps = given.maps.maps.clone().requires_grad_()
    features = replace(given, maps=replace(given.maps, maps=maps))
    image = render(two.model, replace(edited, overrides=GeneratorOverrides(features=features)), differentiable=True)
    (gradient,) = torch.autograd.grad(image.sum(), maps)
    assert gradient.abs().max() > 0


def test_added_features_follow_edits_by_the_maps_beneath(added: Inversion) -> None:
    edited, model = added.edit("age", 2), added.model
    styles = model.generator.styles(edited.w)
    assert added.overrides.features is not None
    own = model.generator.synthesize(styles, until=LAYER)
    replaced = FeatureMaps(LAYER, own + added.overrides.features.maps.maps, torch.tensor([[0.0, 1.0]] * 2))
    same(edited.tensor, model.generator.synthesize(styles, features=replaced))


@pytest.mark.parametrize("fixture", ["two", "added"])
def test_batches_are_their_images(request: pytest.FixtureRequest, fixture: str, bare: Inversion) -> None:
    two: Inversion = request.getfixturevalue(fixture)
    for i, single in enumerate(two):
        same(single.tensor, two.tensor[i : i + 1])
    joined = Inversion.cat([bare, two[1], two[0].edit("age", 2), bare])
    same(joined.tensor, torch.cat([bare.tensor, two[1].tensor, two[0].edit("age", 2).tensor, bare.tensor]))
    same(joined[0].tensor, bare.tensor)
    same(joined.edit("age", 1)[1].tensor, two[1].edit("age", 1).tensor)
    strip = two[0].edit("age", [0.0, 1, 2])
    assert strip.overrides.features is not None
    assert strip.overrides.features.maps.maps.stride(0) == 0, "one copy for all strengths"
    same(strip.tensor[:1], two[0].tensor)


def test_images_with_and_without_a_guide_are_one_batch(two: Inversion, added: Inversion, bare: Inversion) -> None:
    joined = Inversion.cat([added, two, bare])
    same(joined.tensor, torch.cat([added.tensor, two.tensor, bare.tensor]))
    for a, b in ((added[0], two[0]), (two[0], added[0]), (two[0], bare), (bare, added[0]), (two[0], two[1])):
        way = a.interpolate(b, 3)
        same(way.tensor[:1], a.tensor)
        same(way.tensor[2:], b.tensor)
        assert not torch.allclose(way.tensor[1], way.tensor[0], atol=1e-3)


def test_towards_an_image_without_features_they_are_taken_less_and_less(two: Inversion, bare: Inversion) -> None:
    """The blend of the training: (1 - s) of the generator's own and s of the edited features."""
    middle = two[0].interpolate(replace(bare, w=two[0].w), 3)[1]
    model, features = two.model, two[0].overrides.features
    assert features is not None
    assert model.feature_editor is not None
    maps = model.feature_editor(features.maps.maps, torch.zeros(1, 16, 8, 8))
    halves = FeatureMaps(LAYER, maps, torch.tensor([[0.5, 0.5]]))
    same(middle.tensor, model.generator.synthesize(model.generator.styles(two[0].w), features=halves))


def test_mixing_takes_features_with_their_layer(two: Inversion, added: Inversion, bare: Inversion) -> None:
    assert two[0].mix(bare, ["b16.conv0"]).overrides.features is not None
    assert two[0].mix(bare, [LAYER]).overrides.features is None
    assert bare.mix(two[0], ["b16.conv0"]).overrides.features is None
    taken = bare.mix(two[0], [LAYER])
    assert taken.overrides.features is not None
    assert (taken.tensor - bare.tensor).abs().max() > 1e-2
    same(two[0].mix(two[0], [LAYER, "b16.conv1"]).tensor, two[0].tensor)
    mixed = two[0].mix(added[1], [LAYER]).overrides.features
    assert mixed is not None
    assert mixed.guide is None


def test_features_of_different_layers_are_not_combined(two: Inversion, inverter: HyperStyleInverter) -> None:
    maps = FeatureMaps("b4.conv1", torch.zeros(1, 16, 4, 4), torch.ones(1, 2))
    other = Inversion(inverter.model, two[0].w, overrides=GeneratorOverrides(features=Features(maps)))
    for combine in (
        lambda: Inversion.cat([two, other]),
        lambda: two[0].interpolate(other),
        lambda: two[0].mix(other, ["b4.conv1"]),
    ):
        with pytest.raises(InversionError, match=r"features of layer 'b4.conv1' and of 'b8.conv1' cannot be combined"):
            combine()
    assert two[0].mix(other, [LAYER, "b4.conv1"]).overrides.features is not None


def test_in_another_generator_they_stay_or_go_with_their_layer(two: Inversion) -> None:
    generator = two.model.generator
    other = generator.with_parameters({n: p.detach() * 1.05 for n, p in generator.named_parameters()})
    moved = two.transfer(other)
    assert moved.overrides.features is not None
    assert (moved.tensor - two.tensor).abs().max() > 1e-3
    same(moved.transfer(generator).tensor, two.tensor)
    assert two.transfer(other, layers=["b16.conv0"]).overrides.features is None
    assert two.transfer(other, layers=[LAYER]).overrides.features is not None


def test_points_are_dragged_beneath_added_features_alone(two: Inversion, added: Inversion) -> None:
    with pytest.raises(InversionError, match=r"stand in place of the output of b8\.conv1 and hide"):
        two[0].drag([((8, 20), (20, 20))], steps=2)
    with pytest.warns(UserWarning, match="px are left"):
        dragged = added[0].drag([((8, 20), (20, 20))], steps=2)
    assert dragged.overrides.features is not None
    assert (dragged.tensor - added[0].tensor).abs().max() > 1e-3


def test_initial_is_plain(two: Inversion) -> None:
    assert two.initial.overrides.features is None
    same(two.initial.tensor, two.model.generator(two.w))


@pytest.mark.parametrize("fixture", ["two", "added"])
def test_it_is_saved_and_pickled_bit_for_bit_and_edited_when_it_is_loaded(
    request: pytest.FixtureRequest, fixture: str, inverter: HyperStyleInverter, tmp_path: Path
) -> None:
    edited: Inversion = request.getfixturevalue(fixture).edit("age", 2)
    edited.save(tmp_path / "it.safetensors")
    for again in (Inversion.load(tmp_path / "it.safetensors", inverter), pickle.loads(pickle.dumps(edited))):
        assert torch.equal(again.tensor, edited.tensor)
        assert again.unedited is not None
        assert edited.unedited is not None
        assert torch.equal(again.unedited.tensor, edited.unedited.tensor)
        assert torch.equal(again.edit("smile", 1).tensor, edited.edit("smile", 1).tensor)
    with safe_open(tmp_path / "it.safetensors", "pt") as file:
        assert f"features/{LAYER}/maps" in file.keys()  # noqa: SIM118
        assert f"unedited/features/{LAYER}/maps" not in file.keys(), "they are stored once"  # noqa: SIM118


def test_features_are_saved_in_half_the_size_with_a_small_error(
    two: Inversion, inverter: HyperStyleInverter, tmp_path: Path
) -> None:
    edited = two.edit("age", 2)
    edited.save(tmp_path / "whole.safetensors")
    edited.save(tmp_path / "half.safetensors", features="float16")
    whole, half = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half"))
    assert whole - half == pytest.approx(2 * 2 * 16 * 8 * 8, abs=64)
    loaded = Inversion.load(tmp_path / "half.safetensors", inverter)
    features, first = loaded.overrides.features, edited.overrides.features
    assert features is not None
    assert first is not None
    assert features.maps.maps.dtype == torch.float32
    assert torch.equal(features.maps.maps, first.maps.maps.half().float())
    torch.testing.assert_close(loaded.tensor, edited.tensor, atol=5e-3, rtol=0)
    with pytest.raises(ConfigError, match="features='int8': expected 'float32' or 'float16'"):
        edited.save(tmp_path / "other.safetensors", features="int8")  # type: ignore[arg-type]
    large = replace(first, maps=replace(first.maps, maps=first.maps.maps * 1e6))
    loud = replace(two, overrides=GeneratorOverrides(features=large))
    with pytest.raises(InversionError, match="beyond the range of float16"):
        loud.save(tmp_path / "other.safetensors", features="float16")
    assert not (tmp_path / "other.safetensors").exists()


def damaged(tmp_path: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    with safe_open(tmp_path / "it.safetensors", "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    change(tensors)
    save_file(tensors, tmp_path / "damaged.safetensors", metadata)
    return tmp_path / "damaged.safetensors"


DAMAGES: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "no maps": (lambda t: t.pop(f"features/{LAYER}/maps"), "the tensor 'maps' of its features is missing"),
    "no scale": (lambda t: t.pop(f"features/{LAYER}/guide/scale"), "'guide/scale' of its features is missing"),
    "of another size": (
        lambda t: t.update({f"features/{LAYER}/maps": torch.zeros(2, 16, 4, 4)}),
        r"expected floating-point numbers of the shape \(2, 16, 8, 8\)",
    ),
    "two layers": (
        lambda t: t.update({"features/b4.conv1/maps": torch.zeros(2, 16, 4, 4)}),
        "features of the layers 'b4.conv1', 'b8.conv1'",
    ),
    "no such layer": (lambda t: t.update({"features/b8.conv0/maps": torch.zeros(2)}), "conv0/maps' is unknown"),
    "the largest": (lambda t: t.update({"features/b32.conv1/maps": torch.zeros(2)}), "conv1/maps' is unknown"),
    "not finite": (lambda t: t[f"features/{LAYER}/maps"].fill_(torch.nan), "not finite|NaN"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGES.values(), ids=DAMAGES)
def test_files_with_other_features_are_refused(
    two: Inversion,
    inverter: HyperStyleInverter,
    tmp_path: Path,
    change: Callable[[dict[str, Tensor]], None],
    message: str,
) -> None:
    two.save(tmp_path / "it.safetensors")
    with pytest.raises(InversionError, match=message):
        Inversion.load(damaged(tmp_path, change), inverter)


def test_no_export_holds_features(two: Inversion, tmp_path: Path) -> None:
    for form, name in (("generator", "it.pt"), ("official", "it"), ("offsets", "it.safetensors")):
        with pytest.raises(InversionError, match=r"it has features, .* no form but save"):
            two[0].export(tmp_path / name, form)  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_without_the_feature_editor_nothing_is_rendered(two: Inversion) -> None:
    model = two.model.with_parts(feature_editor=None)
    with pytest.raises(ConfigError, match="a feature editor completes, and the model has none"):
        _ = replace(two, model=model).tensor
