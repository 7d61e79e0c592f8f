"""Edits of StyleSpace, channel by channel."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from hyperstyle.edits import EditInfo
from hyperstyle.edits.catalog import CHANNELS
from hyperstyle.edits.protocol import StoredEdit
from hyperstyle.edits.stylespace import StyleEdit, channel_edit, published_channels
from hyperstyle.errors import EditError
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig, layer_table

if TYPE_CHECKING:
    from hyperstyle.inverter import HyperStyleInverter

INFO = EditInfo("smiling", space="styles")
CONFIG = GeneratorConfig(16, channels=(6, 4, 2), latent_width=8, mapping_layers=1)
LAYERS = layer_table(CONFIG)  # conv1 6, toRGB 6; conv0 6, conv1 4, toRGB 4; conv0 4, conv1 2, toRGB 2


@pytest.fixture
def styles() -> dict[str, torch.Tensor]:
    return Generator(CONFIG).styles(torch.randn(3, 8))


def test_the_change_is_added_times_the_strength_of_each_image(styles: dict[str, torch.Tensor]) -> None:
    change = torch.randn(4)
    edited = StyleEdit({"b8.conv1": change}, INFO)(styles, torch.tensor([0.0, 1.0, -2.0]))
    assert torch.equal(edited["b8.conv1"][0], styles["b8.conv1"][0])
    torch.testing.assert_close(edited["b8.conv1"][1], styles["b8.conv1"][1] + change)
    torch.testing.assert_close(edited["b8.conv1"][2], styles["b8.conv1"][2] - 2 * change)


def test_other_layers_are_the_same_objects_and_nothing_is_changed_in_place(styles: dict[str, torch.Tensor]) -> None:
    before = {name: style.clone() for name, style in styles.items()}
    edited = StyleEdit({"b8.conv1": torch.ones(4)}, INFO)(styles, 1.0)
    assert list(edited) == list(styles)
    assert [name for name in styles if edited[name] is not styles[name]] == ["b8.conv1"]
    assert all(torch.equal(style, before[name]) for name, style in styles.items())


def test_parts_make_the_same_edit_again(styles: dict[str, torch.Tensor]) -> None:
    edit = channel_edit(LAYERS, [("b8.conv1", 3), (0, 1)], "smiling", step=0.5)
    assert isinstance(edit, StoredEdit)
    again = StyleEdit.from_parts(edit.info, *edit.parts())
    for name, style in edit(styles, 2.0).items():
        assert torch.equal(again(styles, 2.0)[name], style)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b8.conv1": torch.zeros(5)}, r"moves 5 channels of b8.conv1, and this generator has \(3, 4\)"),
        ({"b64.conv1": torch.zeros(5)}, "b64.conv1, and this generator has no such layer"),
    ],
)
def test_styles_of_another_generator_are_refused(
    changes: dict[str, torch.Tensor], message: str, styles: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(EditError, match=message):
        StyleEdit(changes, INFO)(styles, 1.0)


def test_latent_codes_are_no_styles() -> None:
    with pytest.raises(EditError, match=r"generator.styles\(w\)"):
        StyleEdit({}, INFO)(torch.zeros(1, 4, 8), 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [torch.zeros(1, 4), torch.tensor([float("nan")])])
def test_a_malformed_change_is_refused(change: torch.Tensor) -> None:
    with pytest.raises(EditError, match="expected finite numbers"):
        StyleEdit({"b8.conv1": change}, INFO)


def test_an_edit_that_says_it_moves_codes_is_refused() -> None:
    with pytest.raises(EditError, match="space='styles'"):
        StyleEdit({}, EditInfo("smiling"))


def test_an_edit_on_disk_with_values_is_refused() -> None:
    with pytest.raises(EditError, match="rows"):
        StyleEdit.from_parts(INFO, {}, {"rows": None})


@pytest.mark.parametrize("layer", [3, "b8.conv1"])
def test_a_channel_is_named_by_layer_name_or_official_index(layer: str | int) -> None:
    edit = channel_edit(LAYERS, [(layer, 2)], "smiling")
    assert edit.changes.keys() == {"b8.conv1"}
    assert edit.changes["b8.conv1"].tolist() == [0, 0, 1, 0]
    assert edit.info.unit == "units of each channel"


def test_a_unit_of_strength_may_be_deviations_of_the_channel() -> None:
    deviations = {"b8.conv1": torch.tensor([0.5, 0.25, 4.0, 1.0])}
    edit = channel_edit(LAYERS, [("b8.conv1", 1), ("b8.conv1", 2)], "smiling", deviations=deviations, step=3)
    assert edit.changes["b8.conv1"].tolist() == [0, 0.75, 12, 0]
    assert edit.info.unit == "3 standard deviations of each channel"


def test_numbers_count_all_layers_where_every_channel_then_exists() -> None:
    assert channel_edit(LAYERS, [(4, 3)], "x").changes.keys() == {"b8.torgb"}
    assert channel_edit(LAYERS, [(4, 3)], "x", torgb_counted=True).changes.keys() == {"b8.torgb"}


def test_widths_tell_numbers_that_count_only_convolutions() -> None:
    # All layers: the third has 6 channels, the fourth 4. Convolutions: conv1 6, conv0 6, conv1 4, conv0 4, conv1 2.
    assert channel_edit(LAYERS, [(3, 3), (1, 5)], "x").changes.keys() == {"b8.conv1", "b4.torgb"}
    widths = GeneratorConfig(16, channels=(4, 6, 8), latent_width=8, mapping_layers=1)
    assert channel_edit(layer_table(widths), [(4, 7), (2, 5)], "x").changes.keys() == {"b16.conv1", "b8.conv1"}


def test_a_flag_says_that_numbers_count_only_convolutions() -> None:
    edit = channel_edit(LAYERS, [(2, 3), ("b4.torgb", 0)], "x", torgb_counted=False)
    assert edit.changes.keys() == {"b8.conv1", "b4.torgb"}


@pytest.mark.parametrize(
    ("channels", "flag", "message"),
    [
        ([], None, "names no channel"),
        ([(3, 4)], True, "moves channel 4 of layer 3: this generator has 4 there"),
        ([(3, -1)], None, "moves channel -1 of layer 3"),
        ([(8, 0)], None, "has no layer 8, but b4.conv1 to b16.torgb"),
        ([(5, 0)], False, "has no layer 5, but .* numbers 0 to 4"),
        ([("b32.conv1", 0)], None, "has no layer 'b32.conv1'"),
        ([(3, 1), ("b8.conv1", 1)], None, "names channel 1 of b8.conv1 twice"),
        (("b8.conv1", 1), None, "expected pairs"),
        ([("b8.conv1", "1")], None, "expected pairs"),
        ([([3], 1)], None, "expected pairs"),
    ],
)
def test_channels_that_are_not_there_are_refused(
    channels: list[tuple[str | int, int]], flag: bool | None, message: str
) -> None:
    with pytest.raises(EditError, match=message):
        channel_edit(LAYERS, channels, "x", torgb_counted=flag)


def test_an_edit_that_moves_no_channel_is_refused() -> None:
    with pytest.raises(EditError, match="moves no channel"):
        channel_edit(LAYERS, [(3, 1)], "x", step=0.0)
    with pytest.raises(EditError, match="moves no channel"):
        channel_edit(LAYERS, [(3, 1)], "x", deviations={"b8.conv1": torch.zeros(4)})


def test_channels_of_a_stylegan_are_those_of_its_styles() -> None:
    generator = StyleGan1(StyleGan1Config(16, channels=(8, 8, 4), latent_width=16, mapping_layers=2))
    styles = generator.styles(torch.randn(1, 6, 16))
    edit = channel_edit(generator.layers, [("b4.const", 15), ("b16.conv1", 7)], "x")
    moved = edit(styles, 2.0)
    assert torch.equal(moved["b4.const"] - styles["b4.const"] > 1, torch.arange(16)[None] == 15)
    assert torch.equal(moved["b16.conv1"] - styles["b16.conv1"] > 1, torch.arange(8)[None] == 7)


@pytest.mark.parametrize("deviations", [{}, {"b8.conv1": torch.ones(5)}])
def test_deviations_that_do_not_fit_are_refused(deviations: dict[str, torch.Tensor]) -> None:
    with pytest.raises(EditError, match=r"needs \[4\] deviations of b8.conv1"):
        channel_edit(LAYERS, [(3, 1)], "x", deviations=deviations)


@pytest.mark.parametrize("name", ["wavy hair", "wavy_hair"])
def test_published_channels_are_found_by_name(name: str) -> None:
    edit = published_channels(name, layer_table(GeneratorConfig.official(1024)))
    moved = {(layer, int(c)) for layer, change in edit.changes.items() for c in change.nonzero()}
    assert moved == {("b16.conv1", 500), ("b32.conv0", 128), ("b16.conv0", 92), ("b16.conv1", 394), ("b16.conv1", 323)}
    assert {float(change.max()) for change in edit.changes.values()} == {3.0}
    assert edit.info.name == "wavy hair"


def test_published_channels_may_be_moved_by_deviations() -> None:
    layers = layer_table(GeneratorConfig.official(512))
    deviations = {spec.name: torch.full((spec.channels_in,), 0.25) for spec in layers}
    edit = published_channels("wheel angle", layers, domain="cars", deviations=deviations)
    assert float(edit.changes["b32.conv0"][420]) == 0.25


@pytest.mark.parametrize("domain", list(CHANNELS))
def test_every_published_name_is_one_of_its_generator(domain: str) -> None:
    published = CHANNELS[domain]
    layers = layer_table(GeneratorConfig.official(published.size))
    for name, channels in published.channels.items():
        edit = published_channels(name, layers, domain=domain)
        assert sum(int(change.count_nonzero()) for change in edit.changes.values()) == len(channels)


@pytest.mark.parametrize(
    ("name", "domain", "size", "message"),
    [
        ("smilling", "faces", 1024, "Did you mean 'smiling'"),
        ("smiling", "face", 1024, "Did you mean 'faces'"),
        ("smiling", "faces", 512, "generator of 1024 px, and this one has 512 px"),
    ],
)
def test_what_was_not_published_is_refused(name: str, domain: str, size: int, message: str) -> None:
    with pytest.raises(EditError, match=message):
        published_channels(name, layer_table(GeneratorConfig.official(size)), domain=domain)


def test_an_inversion_stores_the_edit_separately_from_its_codes_and_undoing_it_restores_the_image(
    tiny_inverter: HyperStyleInverter,
) -> None:
    inversion = tiny_inverter.invert(torch.rand(1, 3, 32, 32) * 2 - 1, align=False)
    edit = channel_edit(tiny_inverter.model.generator.layers, [("b8.conv1", 3), ("b32.torgb", 1)], "spots")
    edited = inversion.edit(edit, 2.0)
    assert torch.equal(edited.w, inversion.w)
    assert set(edited.style_offsets) == {"b8.conv1", "b32.torgb"}
    assert not torch.equal(edited.tensor, inversion.tensor)
    torch.testing.assert_close(edited.edit(edit, -2.0).tensor, inversion.tensor, atol=1e-5, rtol=0)
    torch.testing.assert_close(inversion.edit(edit, 0.0).tensor, inversion.tensor, atol=0, rtol=0)
    assert set(inversion.edit(edit, 2.0, layers=["b8.conv1"]).style_offsets) == {"b8.conv1"}


# ---- recordings ----


def _detrand(reference_dir: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("detrand", reference_dir / "editing" / "detrand.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.reference
def test_a_channel_changes_the_recorded_image_as_recorded(reference_dir: Path) -> None:
    golden = reference_dir / "editing" / "golden"
    recorded, draw = np.load(golden / "stylespace.npz"), _detrand(reference_dir)
    base = json.loads((golden / "set.json").read_text())["seed_base"]
    generator = Generator(GeneratorConfig.official(64)).eval()
    state = generator.state_dict()
    for k, name, shape, is_parameter in json.loads((golden / "key_order.json").read_text())["generator64"]:
        if not is_parameter:
            continue
        values = draw.normal(base + 300 + k, *shape)
        if len(shape) >= 2:
            values = values / np.sqrt(np.prod(shape) / shape[0])
        else:
            values = np.clip(1 + 0.1 * values, 0.5, 1.5) if name.endswith("weight") else 0.1 * values
        state[name] = torch.from_numpy(values).float() + ("modulation.bias" in name)
    for i in range(9):
        noise = f"noises.noise_{i}"
        state[noise] = torch.from_numpy(draw.normal(base + 900 + i, *state[noise].shape)).float()
    generator.load_state_dict(state)
    edit = channel_edit(generator.layers, [(3, 5)], "channel 5")
    with torch.no_grad():
        styles = generator.styles(torch.from_numpy(recorded["latent"]))
        for spec in generator.layers:
            recorded_style = torch.from_numpy(recorded[f"s{spec.index}"])
            torch.testing.assert_close(styles[spec.name], recorded_style, atol=1e-5, rtol=0)
        image, edited = (generator.synthesize(edit(styles, strength)) for strength in (0.0, 4.0))
    torch.testing.assert_close(image, torch.from_numpy(recorded["image"]), atol=1e-4, rtol=0)
    torch.testing.assert_close(edited, torch.from_numpy(recorded["image_edited_s3c5_plus4"]), atol=1e-4, rtol=0)


@pytest.mark.reference
@pytest.mark.parametrize("size", [64, 256, 512, 1024])
def test_numbers_rows_and_widths_of_layers_are_those_recorded(size: int, reference_dir: Path) -> None:
    recorded = json.loads((reference_dir / "editing/golden/stylespace.json").read_text())[str(size)]["styles"]
    ours = [(s.index, s.row, s.resolution, s.torgb, s.channels_in) for s in layer_table(GeneratorConfig.official(size))]
    assert ours == [(r["index"], r["latent_row"], r["resolution"], r["to_rgb"], r["channels"]) for r in recorded]


@pytest.mark.reference
def test_the_published_channels_are_those_of_the_catalog(reference_dir: Path) -> None:
    catalog = json.loads((reference_dir / "editing/edits_catalog.json").read_text())["stylespace_single_channels"]
    for domain, published in CHANNELS.items():
        assert {n: [list(pair) for pair in pairs] for n, pairs in published.channels.items()} == catalog[domain]
