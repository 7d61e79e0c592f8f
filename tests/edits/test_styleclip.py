"""Global directions from text."""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.edits.protocol import TextEdits
from hyperstyle.edits.styleclip import StyleClip, default_templates
from hyperstyle.errors import (
    CheckpointError,
    ConfigError,
    EditError,
    EditWarning,
    HyperStyleError,
    MissingDependencyError,
    MissingFileError,
    WeightsError,
)
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, layer_table

LAYERS = layer_table(GeneratorConfig(256, channels=(3, 3, 3, 3, 3, 2, 2), latent_width=8, mapping_layers=1))
CONVOLUTIONS = [spec for spec in LAYERS if not spec.torgb]
ROWS = sum(spec.channels_in for spec in CONVOLUTIONS)
WIDTH = 4


class Words:
    """A text encoder: a seeded feature for each word but {}, and their sum for a sentence."""

    def __init__(self, width: int = WIDTH) -> None:
        self.width, self.asked = width, [""]

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        self.asked = list(texts)
        return torch.stack([sum((self.word(w) for w in text.split()), torch.zeros(self.width)) for text in texts])

    def word(self, word: str) -> Tensor:
        return torch.randn(self.width, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))

    def encode_image(self, images: Tensor) -> Tensor:
        raise NotImplementedError


def unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


@pytest.fixture
def clip() -> StyleClip:
    effects = {spec.name: unit(torch.randn(spec.channels_in, WIDTH)) for spec in CONVOLUTIONS}
    deviations = {spec.name: torch.rand(spec.channels_in) + 0.5 for spec in CONVOLUTIONS if spec.resolution <= 128}
    return StyleClip(effects, deviations, Words(), ["a photo of {}", "art of {}"], "0123456789abcdef")


def write_files(folder: Path, rows: int = ROWS, *, torgb: bool = True) -> tuple[Path, Path]:
    effects, statistics = folder / "fs3.npy", folder / "S_mean_std"
    np.save(effects, unit(torch.randn(rows, WIDTH)).numpy())
    vectors = [np.full(spec.channels_in, 1.0 + spec.index, np.float32) for spec in LAYERS if torgb or not spec.torgb]
    statistics.write_bytes(pickle.dumps(([0 * vector for vector in vectors], vectors)))
    return effects, statistics


def test_a_description_is_the_mean_of_unit_features_of_all_sentences(clip: StyleClip) -> None:
    feature, words = clip.describe("a face"), Words()
    assert isinstance(clip.encoder, Words)
    assert clip.encoder.asked == ["a photo of a face", "art of a face"]
    expected = unit(unit(words.encode_text(clip.encoder.asked).double()).mean(0))
    torch.testing.assert_close(feature, expected)


def test_channels_move_by_their_reaction_times_their_deviation(clip: StyleClip) -> None:
    change = unit(torch.randn(WIDTH))
    direction = clip.direction(change, 0.3)
    reactions = {name: effect @ change for name, effect in clip.effects.items()}
    largest = max(float(r.abs().max()) for r in reactions.values())
    for name, deviation in clip.deviations.items():
        expected = torch.where(reactions[name].abs() >= 0.3, reactions[name], 0.0) / largest * deviation
        torch.testing.assert_close(direction.get(name, torch.zeros_like(deviation)), expected)


def test_layers_without_deviations_stay_and_yet_count_for_the_largest_reaction(clip: StyleClip) -> None:
    change = unit(torch.randn(WIDTH))
    weak = {name: 0.5 * effect for name, effect in clip.effects.items()}
    strong = {**weak, "b256.conv1": torch.stack([2 * change, change])}
    (a, b) = (StyleClip(effects, clip.deviations).direction(change, 0.0) for effects in (weak, strong))
    largest = max(float((effect @ change).abs().max()) for effect in weak.values())
    assert "b256.conv1" not in b
    for name, move in a.items():
        torch.testing.assert_close(b[name], move * largest / 2)


def test_a_beta_of_zero_moves_every_channel_and_a_higher_one_fewer(clip: StyleClip) -> None:
    counts = [clip("a face with a beard", beta=beta).info.report["channels"] for beta in (0.0, 0.2, 0.5)]
    assert counts[0] == sum(len(deviation) for deviation in clip.deviations.values())
    assert counts[0] > counts[1] > counts[2] > 0


def test_an_edit_says_what_it_is(clip: StyleClip) -> None:
    edit = clip("a face with a beard", neutral="a person", beta=0.1)
    assert edit.info.name == "a face with a beard"
    assert edit.info.space == "styles"
    assert edit.info.model == "0123456789abcdef"
    assert "'a person', beta 0.1" in edit.info.source
    assert isinstance(clip, TextEdits)


def test_the_way_back_is_the_opposite_edit(clip: StyleClip) -> None:
    forward, backward = clip("a beard", neutral="a face", beta=0.1), clip("a face", neutral="a beard", beta=0.1)
    for name, change in forward.changes.items():
        torch.testing.assert_close(backward.changes[name], -change)


def test_where_nothing_reacts_the_edit_changes_nothing_and_says_so(clip: StyleClip) -> None:
    with pytest.warns(EditWarning, match="beta=1.5 or more"):
        edit = clip("a beard", beta=1.5)
    styles = {spec.name: torch.randn(1, spec.channels_in) for spec in LAYERS}
    assert all(style is styles[name] for name, style in edit(styles, 3.0).items())


def test_the_same_text_twice_is_no_edit(clip: StyleClip) -> None:
    with pytest.raises(EditError, match="'a face' and 'a face' are the same"):
        clip("a face", neutral="a face", beta=0.1)


@pytest.mark.parametrize("text", ["", " ", None, ["a face"]])
def test_a_text_without_words_is_refused(clip: StyleClip, text: Any) -> None:
    with pytest.raises(EditError, match="expected two descriptions in words"):
        clip(text)
    with pytest.raises(EditError, match="expected two descriptions in words"):
        clip("a beard", neutral=text)


def test_an_encoder_of_another_width_is_refused(clip: StyleClip) -> None:
    other = StyleClip(clip.effects, clip.deviations, Words(5), ["{}"])
    with pytest.raises(EditError, match="measured with another text encoder"):
        other("a beard", neutral="a face", beta=0.1)


@pytest.mark.parametrize("beta", [-0.1, float("nan")])
def test_a_beta_that_is_none_is_refused(clip: StyleClip, beta: float) -> None:
    with pytest.raises(EditError, match="expected 0 or more"):
        clip("a beard", beta=beta)


@pytest.mark.parametrize(
    ("effects", "deviations", "templates", "message"),
    [
        ({}, {}, None, "expected"),
        ({"a": torch.ones(2, 3)}, {}, None, "of 0 layers"),
        ({"a": torch.ones(2, 3), "b": torch.ones(2, 4)}, {"a": torch.ones(2)}, None, "by layer"),
        ({"a": torch.ones(2)}, {"a": torch.ones(2)}, None, "by layer"),
        ({"a": torch.ones(2, 3)}, {"a": torch.ones(3)}, None, r"deviations \(3,\) of a, whose effects are \(2, 3\)"),
        ({"a": torch.ones(2, 3)}, {"b": torch.ones(2)}, None, "of b, whose effects are missing"),
        ({"a": torch.full((2, 3), float("nan"))}, {"a": torch.ones(2)}, None, "NaN"),
        ({"a": torch.ones(2, 3)}, {"a": torch.ones(2)}, [], "templates"),
        ({"a": torch.ones(2, 3)}, {"a": torch.ones(2)}, ["a photo"], "templates"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(
    effects: dict[str, Tensor], deviations: dict[str, Tensor], templates: list[str] | None, message: str
) -> None:
    with pytest.raises(EditError, match=message):
        StyleClip(effects, deviations, templates=templates)


def test_a_folder_carries_everything_but_the_encoder(clip: StyleClip, tmp_path: Path) -> None:
    clip.save(tmp_path / "styleclip")
    again = StyleClip.load(tmp_path / "styleclip", encoder=Words())
    assert again.templates == ("a photo of {}", "art of {}")
    assert again.model == clip.model
    edit, loaded_edit = clip("a beard", beta=0.1), again("a beard", beta=0.1)
    assert edit.info == loaded_edit.info
    assert edit.changes.keys() == loaded_edit.changes.keys()
    assert all(torch.equal(change, loaded_edit.changes[name]) for name, change in edit.changes.items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"type": "DirectionEdit"}, "describes a 'DirectionEdit': expected 'StyleClip'"),
        ({"templates": None}, "'type' of _Config is missing"),
        ({"type": "StyleClip", "templates": [1]}, "templates is 1"),
        ({"type": "StyleClip", "model": 3}, "model is 3"),
    ],
)
def test_a_folder_of_something_else_is_refused(
    clip: StyleClip, tmp_path: Path, content: dict[str, object], message: str
) -> None:
    clip.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        StyleClip.load(tmp_path)


def test_a_folder_without_weights_or_with_others_is_refused(clip: StyleClip, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    clip.save(tmp_path)
    save_file({"direction": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="'direction'"):
        StyleClip.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(MissingFileError):
        StyleClip.load(tmp_path)


# ---- the published files ----


@pytest.mark.parametrize("torgb", [True, False])
def test_published_files_give_effects_and_deviations_by_layer(tmp_path: Path, torgb: bool) -> None:
    effects, statistics = write_files(tmp_path, torgb=torgb)
    clip = StyleClip.from_files(effects, statistics, layers=LAYERS, model="0123")
    table = torch.cat(list(clip.effects.values()))
    assert torch.equal(table, torch.from_numpy(np.load(effects)))
    assert list(clip.effects) == [spec.name for spec in CONVOLUTIONS]
    assert list(clip.deviations) == [spec.name for spec in CONVOLUTIONS if spec.resolution <= 128]
    assert clip.deviations["b8.conv1"].tolist() == [4.0] * 3
    assert clip.model == "0123"


def test_effects_may_end_with_any_convolution(tmp_path: Path) -> None:
    effects, statistics = write_files(tmp_path, rows=9)
    clip = StyleClip.from_files(effects, statistics, layers=LAYERS)
    assert list(clip.effects) == list(clip.deviations) == ["b4.conv1", "b8.conv0", "b8.conv1"]


@pytest.mark.parametrize("rows", [8, ROWS + 1, 0])
def test_effects_that_end_elsewhere_are_of_another_generator(tmp_path: Path, rows: int) -> None:
    effects, statistics = write_files(tmp_path, rows=rows)
    with pytest.raises(EditError):
        StyleClip.from_files(effects, statistics, layers=LAYERS)


def test_statistics_of_another_generator_are_refused(tmp_path: Path) -> None:
    effects, statistics = write_files(tmp_path, rows=9)
    layers = layer_table(GeneratorConfig(64, channels=(3, 3, 3, 3, 3), latent_width=8, mapping_layers=1))
    with pytest.raises(EditError, match="S_mean_std holds 20 vectors"):
        StyleClip.from_files(effects, statistics, layers=layers)


@pytest.mark.parametrize("content", [{"mean": 1}, ([1.0], [2.0]), ([np.ones(3)],)])
def test_statistics_that_are_none_are_refused(tmp_path: Path, content: object) -> None:
    effects, statistics = write_files(tmp_path)
    statistics.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match="no pair of means and deviations"):
        StyleClip.from_files(effects, statistics, layers=LAYERS)


class Danger:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_statistics_that_would_execute_something_are_refused(tmp_path: Path) -> None:
    effects, statistics = write_files(tmp_path)
    statistics.write_bytes(pickle.dumps(([], [Danger(tmp_path / "owned")])))
    with pytest.raises(WeightsError, match="not needed"):
        StyleClip.from_files(effects, statistics, layers=LAYERS)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'"])
def test_effects_that_cannot_be_read_are_refused(tmp_path: Path, content: bytes) -> None:
    effects, statistics = write_files(tmp_path)
    effects.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"fs3\.npy"):
        StyleClip.from_files(effects, statistics, layers=LAYERS)


def test_effects_of_objects_or_of_one_row_are_refused(tmp_path: Path) -> None:
    effects, statistics = write_files(tmp_path)
    for array in (np.array([Danger(tmp_path / "owned")], dtype=object), np.ones(3, np.float32)):
        np.save(effects, array, allow_pickle=True)
        with pytest.raises(CheckpointError, match=r"fs3\.npy"):
            StyleClip.from_files(effects, statistics, layers=LAYERS)
    assert not (tmp_path / "owned").exists()


def test_templates_are_lines_of_a_file(tmp_path: Path) -> None:
    effects, statistics = write_files(tmp_path)
    templates = tmp_path / "templates.txt"
    templates.write_text("a photo of {}.\n\n  art of {}. \na {}", encoding="utf-8")
    clip = StyleClip.from_files(effects, statistics, layers=LAYERS, templates=templates)
    assert clip.templates == ["a photo of {}.", "art of {}.", "a {}"]
    for missing in (tmp_path / "none.txt", effects):
        with pytest.raises(HyperStyleError, match="templates"):
            StyleClip.from_files(effects, statistics, layers=LAYERS, templates=missing)


def test_without_open_clip_the_error_says_what_to_install_or_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingDependencyError, match=r"pip install \"hyperstyle-inversion\[clip\]\".*templates="):
        default_templates()


# ---- recordings ----


@pytest.fixture(scope="module")
def draw(reference_dir: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("detrand", reference_dir / "editing" / "detrand.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class RecordedWords:
    """The text encoder of the recordings: a random feature seeded by the text's checksum."""

    def __init__(self, draw: ModuleType) -> None:
        self.draw = draw

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        features = [self.draw.normal(zlib.crc32(text.strip().encode()), 512) for text in texts]
        return torch.from_numpy(np.stack(features)).float()

    def encode_image(self, images: Tensor) -> Tensor:
        raise NotImplementedError


@pytest.mark.reference
@pytest.mark.parametrize("rows", [5376, 6048])
def test_directions_and_counts_of_channels_are_those_recorded(
    rows: int, reference_dir: Path, draw: ModuleType, tmp_path: Path
) -> None:
    folder = reference_dir / "editing" / "golden"
    settings, recorded = json.loads((folder / "set.json").read_text()), np.load(folder / "styleclip_global.npz")
    facts = json.loads((folder / "hyperstyle_edits.json").read_text())["styleclip"]
    np.save(tmp_path / "fs3.npy", draw.unit_rows(settings["seed_base"] + 11, rows, 512))
    published = reference_dir / "editing" / "directions" / "styleclip"
    layers = layer_table(GeneratorConfig.official(1024))
    clip = StyleClip.from_files(
        tmp_path / "fs3.npy",
        published / "S_mean_std",
        layers=layers,
        encoder=RecordedWords(draw),
        templates=published / "templates.txt",
    )
    changes = {"unit": torch.from_numpy(draw.unit_rows(settings["seed_base"] + 10, 1, 512)[0])}
    for i, (neutral, target) in enumerate(settings["prompts"]):
        difference = clip.describe(target) - clip.describe(neutral)
        changes[f"pair{i}"] = difference / difference.norm()
    for case, change in changes.items():
        torch.testing.assert_close(
            change.double(), torch.from_numpy(recorded[f"{case}_delta_i"]).double(), atol=1e-6, rtol=0
        )
        for j, beta in enumerate([0.05, 0.08, *np.linspace(0.11, 0.16, 5), 0.3]):
            name = f"r{rows}_{case}_b{j}"
            if case == "unit" or beta == 0.3:
                moves = clip.direction(change, float(beta))
            else:
                neutral, target = settings["prompts"][int(case[-1])]
                edit = clip(target, neutral=neutral, beta=float(beta))
                moves = dict(edit.changes)
                assert edit.info.report["channels"] == facts[name]["channels_in_direction"]
            assert sum(int(move.count_nonzero()) for move in moves.values()) == facts[name]["channels_in_direction"]
            ours = torch.cat([moves.get(spec.name, torch.zeros(spec.channels_in)) for spec in layers])
            torch.testing.assert_close(ours, torch.from_numpy(recorded[name]).float().flatten(), atol=1e-6, rtol=0)


@pytest.mark.reference
def test_the_default_sentences_are_those_published(reference_dir: Path) -> None:
    pytest.importorskip("open_clip")
    published = reference_dir / "editing" / "directions" / "styleclip" / "templates.txt"
    assert default_templates() == [line.strip() for line in published.read_text().splitlines()]
