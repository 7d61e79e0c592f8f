"""Latent mappers: the published layouts, what they add, and their form on disk."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.edits import Edit, EditInfo, StoredEdit, load_edit
from hyperstyle.edits.mapper import LatentMapper, MapperEdit, StyleMapper, load_mapper
from hyperstyle.errors import CheckpointError, EditError, WeightsError
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig, layer_table

LEVELS = ("course_mapping", "medium_mapping", "fine_mapping")


def tensors_of(part: str, width: int) -> dict[str, Tensor]:
    """The eight tensors of one mapping, as checkpoints store them."""
    return {
        f"{part}.mapping.{i}.{name}": torch.randn((width, width) if name == "weight" else (width,)) * 50
        for i in range(1, 5)
        for name in ("weight", "bias")
    }


def checkpoint(path: Path, tensors: dict[str, Any], **options: Any) -> Path:
    decoder = {"decoder.input.input": torch.randn(1, 4, 4, 4)}
    state = {f"mapper.{name}": tensor for name, tensor in tensors.items()}
    torch.save({"state_dict": {**decoder, **state}, "opts": options}, path)
    return path


def levels(path: Path, *parts: str, width: int = 6, **options: Any) -> MapperEdit:
    tensors = {name: tensor for part in parts for name, tensor in tensors_of(part, width).items()}
    return load_mapper(checkpoint(path, tensors, **options))


def test_a_mapper_adds_its_output_times_the_strength_of_each_image(tmp_path: Path) -> None:
    edit = levels(tmp_path / "afro.pt", *LEVELS)
    w = torch.randn(2, 18, 6)
    change = edit.network(w)
    edited = edit(w, torch.tensor([0.1, -0.2]))
    torch.testing.assert_close(edited[0], w[0] + 0.1 * change[0])
    torch.testing.assert_close(edited[1], w[1] - 0.2 * change[1])
    assert torch.equal(edit(w, 0), w)
    assert (edit.info.name, edit.info.space, edit.info.relative) == ("afro", "w", True)
    assert edit.info.low <= 0.1 <= edit.info.high


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_mapper_is_read_with_the_prefixes_of_training(tmp_path: Path, prefix: str) -> None:
    path = checkpoint(tmp_path / "afro.pt", tensors_of("mapping", 6))
    plain = load_mapper(path)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "state_dict": {prefix + k: v for k, v in content["state_dict"].items()}}, path)
    w = torch.randn(1, 18, 6)
    for loaded in (load_mapper(path), load_edit(path, width=6)):
        assert torch.equal(loaded(w, 0.1), plain(w, 0.1))


def test_levels_that_are_absent_leave_their_rows_as_they_are(tmp_path: Path) -> None:
    edit = levels(tmp_path / "a.pt", "medium_mapping", no_coarse_mapper=True, no_fine_mapper=True)
    w = torch.randn(1, 18, 6)
    moved = (edit(w, 0.1) != w).any(2)[0]
    assert moved.nonzero().flatten().tolist() == [4, 5, 6, 7]


def test_the_rows_of_a_level_are_normalized_together(tmp_path: Path) -> None:
    # Twice the code in one row changes the other rows of its level, and no row of another level.
    edit = levels(tmp_path / "a.pt", *LEVELS)
    w = torch.randn(1, 18, 6)
    louder = w.clone()
    louder[:, 5] *= 2
    changed = (edit.network(louder) != edit.network(w)).any(2)[0]
    assert changed.nonzero().flatten().tolist() == [4, 5, 6, 7]


def test_one_mapping_alone_moves_all_rows_of_any_number(tmp_path: Path) -> None:
    edit = levels(tmp_path / "a.pt", "mapping")
    w = torch.randn(1, 7, 6)
    assert (edit(w, 0.1) != w).any(2).all()


def test_codes_are_computed_in_their_own_type(tmp_path: Path) -> None:
    edit = levels(tmp_path / "a.pt", *LEVELS)
    w = torch.randn(1, 18, 6)
    exact = edit(w.double(), 0.1)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), edit(w, 0.1))


def test_a_mapper_of_styles_moves_the_layers_that_it_has(tmp_path: Path) -> None:
    generator = Generator(GeneratorConfig(16, channels=(6, 4, 3), latent_width=5, mapping_layers=1))
    widths = {spec.index: spec.channels_in for spec in generator.layers if not spec.torgb}
    tensors = {n: t for index, width in widths.items() for n, t in tensors_of(f"mapper_{index}", width).items()}
    edit = load_mapper(checkpoint(tmp_path / "beard.pt", tensors))
    assert (edit.info.name, edit.info.space) == ("beard", "styles")
    styles = generator.styles(torch.randn(2, 5))
    edited = edit(styles, torch.tensor([0.1, 0.0]))
    assert list(edited) == list(styles)
    for spec in generator.layers:
        if spec.torgb:
            assert edited[spec.name] is styles[spec.name]
        else:
            assert not torch.isclose(edited[spec.name][0], styles[spec.name][0]).any()
            assert torch.equal(edited[spec.name][1], styles[spec.name][1])
    with pytest.raises(EditError, match=r"\[B, 6\] of layer 'b4.conv1' and was given \(2, 5\)"):
        edit({**styles, "b4.conv1": torch.zeros(2, 5)}, 0.1)
    with pytest.raises(EditError, match=r"'b16\.conv0' and was given nothing"):
        edit({name: style for name, style in styles.items() if name != "b16.conv0"}, 0.1)


@pytest.mark.parametrize("part", ["mapping", "fine_mapping", "mapper_3"])
def test_a_mapper_comes_back_from_its_parts(tmp_path: Path, part: str) -> None:
    edit = load_mapper(checkpoint(tmp_path / "a.pt", tensors_of(part, 6)))
    assert isinstance(edit, Edit)
    assert isinstance(edit, StoredEdit)
    again = MapperEdit.from_parts(edit.info, *edit.parts())
    codes: Any = {"b8.conv1": torch.randn(1, 6)} if part == "mapper_3" else torch.randn(1, 18, 6)
    for actual, expected in zip(again(codes, 0.1), edit(codes, 0.1), strict=True):
        assert actual == expected if isinstance(actual, str) else torch.equal(actual, expected)


def test_options_of_the_trainer_may_be_a_namespace_and_give_the_text(tmp_path: Path) -> None:
    content = {f"mapper.{name}": tensor for name, tensor in tensors_of("mapping", 6).items()}
    options = argparse.Namespace(description="afro hairstyle", no_fine_mapper=False)
    torch.save({"state_dict": content, "opts": options}, tmp_path / "a.pt")
    assert "'afro hairstyle'" in load_mapper(tmp_path / "a.pt").info.source


def test_codes_that_a_mapper_cannot_move_are_refused(tmp_path: Path) -> None:
    edit = levels(tmp_path / "a.pt", *LEVELS)
    for codes, message in (
        (torch.zeros(1, 18, 7), r"\[B, L, 6\]"),
        (torch.zeros(1, 6), r"\[B, L, 6\]"),
        (torch.zeros(1, 8, 6), "8 rows have none for this mapper's 'fine_mapping'"),
    ):
        with pytest.raises(EditError, match=message):
            edit(codes, 0.1)


def test_a_file_that_is_no_mapper_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    fine_mapping = tensors_of("fine_mapping", 6)
    torch.save({"mean": torch.zeros(1, 512)}, path)
    with pytest.raises(WeightsError, match=r"holds \['mean'\].*StyleCLIP mapper"):
        load_mapper(path)
    for tensors, message in (
        ({}, r"\(none\)"),
        ({**fine_mapping, **tensors_of("other_mapping", 6)}, "other_mapping"),
        ({**fine_mapping, **tensors_of("mapper_0", 6)}, "mapper_0"),
        ({n: t for n, t in fine_mapping.items() if n != "fine_mapping.mapping.4.bias"}, "missing"),
        ({n: t for n, t in fine_mapping.items() if n != "fine_mapping.mapping.1.bias"}, "'fine_mapping' has no"),
        ({**fine_mapping, "fine_mapping.mapping.2.weight": torch.zeros(6, 5)}, "wrong shape"),
        ({**fine_mapping, "fine_mapping.mapping.2.weight": torch.full((6, 6), torch.nan)}, "NaN"),
        ({**fine_mapping, "fine_mapping.mapping.2.weight": 1.0}, "is a float"),
    ):
        with pytest.raises(WeightsError, match=message):
            load_mapper(checkpoint(path, tensors))
    for flag in ({"no_fine_mapper": True}, {"no_medium_mapper": False}):
        with pytest.raises(WeightsError, match=next(iter(flag))):
            load_mapper(checkpoint(path, fine_mapping, **flag))


def test_a_file_with_code_in_it_is_not_executed(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    torch.save({"state_dict": tensors_of("mapping", 6), "opts": {"x": Touch()}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="nothing of it was executed"):
        load_mapper(tmp_path / "a.pt")
    assert not (tmp_path / "executed").exists()


def test_parts_that_make_no_mapper_are_refused(tmp_path: Path) -> None:
    edit = levels(tmp_path / "a.pt", *LEVELS)
    tensors, values = edit.parts()
    with pytest.raises(EditError, match="layout"):
        MapperEdit.from_parts(edit.info, tensors, {"rows": None})
    with pytest.raises(EditError, match="missing"):
        MapperEdit.from_parts(edit.info, dict(list(tensors.items())[1:]), values)
    with pytest.raises(EditError, match="in space 'styles'"):
        MapperEdit.from_parts(dataclasses.replace(edit.info, space="styles"), tensors, values)
    with pytest.raises(EditError, match="StyleMapper in space 'w'"):
        MapperEdit(StyleMapper({0: 4}), EditInfo("a"))


@pytest.mark.reference
@pytest.mark.parametrize(
    ("key", "parts", "flags"),
    [
        ("single", ("mapping",), ()),
        ("levels_all", LEVELS, ()),
        ("levels_no_fine", LEVELS[:2], ("no_fine_mapper",)),
        ("levels_no_coarse_medium", LEVELS[2:], ("no_coarse_mapper", "no_medium_mapper")),
    ],
)
def test_mappers_equal_the_recording(
    reference_dir: Path, tmp_path: Path, key: str, parts: tuple[str, ...], flags: tuple[str, ...]
) -> None:
    folder = reference_dir / "editing"
    spec = importlib.util.spec_from_file_location("detrand", folder / "detrand.py")
    assert spec is not None
    assert spec.loader is not None
    detrand = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(detrand)
    golden = np.load(folder / "golden" / "styleclip_other.npz")
    base = json.loads((folder / "golden" / "set.json").read_text(encoding="utf-8"))["seed_base"]

    tensors = {
        name: torch.from_numpy(detrand.normal(base + 60 + k, *tensor.shape) * (10 if tensor.ndim == 1 else 100)).float()
        for k, (name, tensor) in enumerate(LatentMapper(512, parts).state_dict().items())
    }
    options = {flag: flag in flags for flag in ("no_coarse_mapper", "no_medium_mapper", "no_fine_mapper")}
    edit = load_mapper(checkpoint(tmp_path / "a.pt", tensors, **options))
    edit.network.double()  # only the recording is rounded then, on every processor alike
    w = torch.from_numpy(0.5 * detrand.normal(base + 50, 2, 18, 512)).float().double()
    torch.testing.assert_close(edit.network(w), torch.from_numpy(golden[key]).double(), atol=4e-6, rtol=0)
    if key == "levels_no_fine":
        expected = torch.from_numpy(golden[f"{key}_edit_0.1"]).double()
        torch.testing.assert_close(edit(w, 0.1), expected, atol=4e-6, rtol=0)


@pytest.mark.reference
def test_tensors_have_their_published_names(reference_dir: Path) -> None:
    path = reference_dir / "editing" / "golden" / "styleclip_other.json"
    names = json.loads(path.read_text(encoding="utf-8"))
    with torch.device("meta"):
        assert list(LatentMapper(512).state_dict()) == names["levels_all_keys"]
        assert list(LatentMapper(512, ("mapping",)).state_dict()) == names["single_keys"]
        layers = layer_table(GeneratorConfig.official(1024))
        of_styles = list(StyleMapper({spec.index: spec.channels_in for spec in layers if not spec.torgb}).state_dict())
    assert of_styles[:5] == names["stylespace_mapper_keys_first5"]
    assert len(of_styles) == names["stylespace_mapper_n_keys"]
