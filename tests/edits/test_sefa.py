"""Directions from the weights alone."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from hyperstyle.edits.direction import DirectionEdit
from hyperstyle.edits.sefa import closed_form, sefa
from hyperstyle.edits.store import load_folder, save_edit
from hyperstyle.errors import ConfigError, EditError
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig


@pytest.fixture
def generator() -> Generator:
    return Generator(GeneratorConfig(32, channels=(12, 10, 8, 6), latent_width=16, mapping_layers=1))


def test_directions_are_unit_orthogonal_and_of_fixed_sign() -> None:
    values, vectors = closed_form([torch.randn(20, 6), torch.randn(5, 6)])
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(6, dtype=torch.float64))
    assert (values.diff() <= 0).all()
    torch.testing.assert_close(values.sum(), torch.tensor(25.0, dtype=torch.float64))  # a column of length 1 each
    assert (vectors.gather(1, vectors.abs().argmax(1, keepdim=True)) > 0).all()


def test_the_first_direction_moves_the_channels_most() -> None:
    weight = torch.nn.functional.normalize(torch.randn(40, 6), dim=1)
    first = closed_form([weight])[1][0].float()
    random_directions = torch.nn.functional.normalize(torch.randn(1000, 6), dim=1)
    assert (weight @ first).norm() >= (random_directions @ weight.T).norm(dim=1).max()


def test_a_factor_in_front_of_a_layer_changes_nothing() -> None:
    a, b = torch.randn(20, 6), torch.randn(5, 6)
    for actual, expected in zip(closed_form([a, b]), closed_form([4 * a, b / 2]), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], "expected one or more"),
        ([torch.ones(3)], "expected one or more"),
        ([torch.ones(3, 4), torch.ones(3, 5)], "of the same D"),
        ([torch.zeros(3, 4)], "all zeros or not finite"),
        ([torch.full((3, 4), float("nan"))], "all zeros or not finite"),
    ],
)
def test_weights_without_directions_are_refused(weights: list[torch.Tensor], message: str) -> None:
    with pytest.raises(EditError, match=message):
        closed_form(weights)


def test_a_generator_gives_the_directions_of_its_affine_layers(generator: Generator) -> None:
    state = generator.state_dict()
    weights = [state[f"{name}.conv.modulation.weight"] for name in ("convs.1", "convs.2", "convs.3")]
    values, vectors = closed_form(weights)
    edits = sefa(generator, ["b8.conv1", 5, "b16.conv1"], count=16)
    assert [edit.info.name for edit in edits[:2]] == ["sefa_0", "sefa_1"]
    for edit, value, vector in zip(edits, values, vectors, strict=True):
        assert edit.info.report["eigenvalue"] == pytest.approx(float(value), abs=1e-5)
        torch.testing.assert_close(edit.direction, vector.float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("layers", "rows"),
    [
        (None, range(7)),  # the last row feeds only a toRGB
        (["b8.conv0", "b8.conv1"], (1, 2)),
        (["b32.torgb", 0], (0, 7)),
    ],
)
def test_the_rows_that_feed_the_layers_move_and_no_others(
    generator: Generator, layers: list[str | int] | None, rows: Sequence[int]
) -> None:
    codes = torch.randn(2, 8, 16)
    moved = (sefa(generator, layers, count=1)[0](codes, 1.0) - codes).norm(dim=-1)
    expected = torch.zeros(2, 8)
    expected[:, list(rows)] = 1  # a unit of strength is a distance of 1
    torch.testing.assert_close(moved, expected)


def test_a_layer_asked_for_twice_counts_once(generator: Generator) -> None:
    once, twice = (sefa(generator, layers, count=1)[0] for layers in (["b8.conv0", "b8.conv1"], [2, 3, "b8.conv1"]))
    assert torch.equal(once.direction, twice.direction)
    assert once.info == twice.info


def test_a_direction_can_be_written_and_read(generator: Generator, tmp_path: Path) -> None:
    edit = sefa(generator, [2, 3], count=1, model="0123")[0]
    save_edit(edit, tmp_path)
    again = load_folder(tmp_path)
    assert isinstance(again, DirectionEdit)
    assert again.info == edit.info
    assert torch.equal(again.direction, edit.direction)


@pytest.mark.parametrize("count", [0, 17])
def test_more_directions_than_there_are_cannot_be_had(generator: Generator, count: int) -> None:
    with pytest.raises(EditError, match="expected 1 to 16"):
        sefa(generator, count=count)


def test_unknown_and_no_layers_are_refused(generator: Generator) -> None:
    with pytest.raises(ConfigError, match=r"b64\.conv0"):
        sefa(generator, ["b64.conv0"])
    with pytest.raises(EditError, match="expected one or more"):
        sefa(generator, [])


# ---- recordings ----


@pytest.fixture(scope="module")
def draw(reference_dir: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("detrand", reference_dir / "editing" / "detrand.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def weights(reference_dir: Path, draw: ModuleType) -> list[torch.Tensor]:
    base = json.loads((reference_dir / "editing/golden/set.json").read_text())["seed_base"]
    widths = (48, 48, 48, 40, 32, 24)
    return [torch.from_numpy(draw.normal(base + 30 + i, n, 64)).float() for i, n in enumerate(widths)]


@pytest.mark.reference
@pytest.mark.parametrize("layers", ["all", "2345", "01"])
def test_eigenvalues_and_separate_directions_are_those_recorded(
    layers: str, reference_dir: Path, weights: list[torch.Tensor]
) -> None:
    recorded = np.load(reference_dir / "editing/golden/ganspace_sefa.npz")
    values, vectors = closed_form(weights if layers == "all" else [weights[int(i)] for i in layers])
    expected = torch.from_numpy(recorded[f"sefa_{layers}_values"]).double()
    torch.testing.assert_close(values, expected, atol=4e-6, rtol=0)
    gaps = -values.diff()
    edge = torch.ones(1, dtype=torch.bool)
    separate = torch.cat([edge, gaps > 1e-2]) & torch.cat([gaps > 1e-2, edge]) & (values > 1e-2)
    cosines = (vectors * torch.from_numpy(recorded[f"sefa_{layers}_vectors"])).sum(1).abs()
    assert separate.sum() >= 30
    torch.testing.assert_close(cosines[separate], torch.ones_like(cosines[separate]), atol=4e-6, rtol=0)


@pytest.mark.reference
def test_the_recorded_edit_is_had_by_its_rows_which_are_one_below_its_layers(
    reference_dir: Path, weights: list[torch.Tensor]
) -> None:
    recorded = np.load(reference_dir / "editing/golden/ganspace_sefa.npz")
    boundary = torch.from_numpy(recorded["sefa_edit_boundary"])
    direction = closed_form(weights[2:6])[1][0].float()
    torch.testing.assert_close(direction * (direction @ boundary).sign(), boundary, atol=4e-6, rtol=0)
    generator = Generator(GeneratorConfig(1024, channels=(2,) * 9, latent_width=64, mapping_layers=1))
    # Layers 2 to 5 of the recording, counted without toRGB, are fed by rows 2 to 5; it moved rows 1 to 4.
    ours = sefa(generator, [s.name for s in generator.layers if not s.torgb and 1 <= s.row <= 4], count=1)[0]
    edit = dataclasses.replace(ours, direction=boundary)
    latent = torch.from_numpy(recorded["sefa_edit_latent"])
    edited = edit(latent.expand(3, -1, -1), torch.tensor([-2.0, 0.0, 2.0]))
    torch.testing.assert_close(edited, torch.from_numpy(recorded["sefa_edit_out"]), atol=4e-6, rtol=0)
