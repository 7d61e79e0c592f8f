"""Inversions written by the published script, imported."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.align.source import Provenance
from hyperstyle.convert.deltas import load_official, official_names
from hyperstyle.errors import CheckpointError, InversionError, MissingFileError, WeightsError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.stylegan2.generator import Generator


@pytest.fixture(scope="module")
def batch(tiny_inverter: HyperStyleInverter) -> Inversion:
    """Two images, each with its own files."""
    crops = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    inversion = tiny_inverter.invert(list(crops), align=False)
    return replace(inversion, sources=(Provenance("photos/me.v2.jpg"), Provenance("friend.png")))


@pytest.fixture
def folder(batch: Inversion, tmp_path: Path) -> Path:
    """The two images in the official layout."""
    batch.export(tmp_path / "results", "official")
    return tmp_path / "results"


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=0)


def test_imported_images_are_those_that_were_exported(
    batch: Inversion, folder: Path, tiny_inverter: HyperStyleInverter
) -> None:
    assert official_names(folder) == ("me.v2.jpg", "friend.png")
    converted = load_official(folder, tiny_inverter)
    assert torch.equal(converted.w, batch.w)
    same(converted.tensor, batch.tensor)
    assert [source.name for source in converted.sources] == ["me.v2.jpg", "friend.png"]
    for name, offset in batch.offsets.items():
        same(converted.offsets[name], offset.expand_as(converted.offsets[name]))
    assert torch.equal(converted.initial.tensor, batch.initial.tensor)


def test_some_images_can_be_chosen_and_their_order(
    batch: Inversion, folder: Path, tiny_inverter: HyperStyleInverter
) -> None:
    converted = load_official(folder, tiny_inverter, names=["friend.png", "me.v2.jpg"])
    same(converted.tensor, batch.tensor.flip(0))
    same(load_official(folder, tiny_inverter, names=["friend.png"]).tensor, batch[1].tensor)
    with pytest.raises(InversionError, match=r"no image 'freind.png'.*Did you mean 'friend.png'\?"):
        load_official(folder, tiny_inverter, names=["freind.png"])
    with pytest.raises(InversionError, match="no image was read"):
        load_official(folder, tiny_inverter, names=[])


def test_codes_alone_are_read_from_their_file(
    batch: Inversion, folder: Path, tiny_inverter: HyperStyleInverter
) -> None:
    converted = load_official(folder / "latents.npy", tiny_inverter)
    assert converted.offset_codes is None
    assert torch.equal(converted.tensor, batch.initial.tensor)


# ---- what can be done with offsets that have no codes ----


def test_imported_images_are_edited_indexed_and_saved_like_others(
    batch: Inversion, folder: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    converted = load_official(folder, tiny_inverter)
    same(converted.edit("age", 2).tensor, batch.edit("age", 2).tensor)
    same(converted[1].tensor, batch[1].tensor)
    same(converted[0].edit("age", [-1, 1]).tensor, batch[0].edit("age", [-1, 1]).tensor)
    edited = converted.edit("smile", -1)
    edited.save(tmp_path / "x.safetensors")
    loaded = Inversion.load(tmp_path / "x.safetensors", tiny_inverter)
    assert torch.equal(loaded.tensor, edited.tensor)
    assert loaded.unedited is not None
    assert torch.equal(loaded.unedited.tensor, converted.tensor)
    dense = sum(value.numel() for value in converted.offsets.values())
    assert (tmp_path / "x.safetensors").stat().st_size < 4 * dense + 4096  # once, not for the unedited one again
    with pytest.raises(InversionError, match="invert the image again"):
        converted.refine()


def test_imported_offsets_move_and_mix_with_imported_and_predicted_ones(
    batch: Inversion, folder: Path, tiny_inverter: HyperStyleInverter
) -> None:
    converted = load_official(folder, tiny_inverter)
    expected = batch[0].interpolate(batch[1], 4)
    for a, b in ((converted[0], converted[1]), (converted[0], batch[1]), (batch[0], converted[1])):
        path = a.interpolate(b, 4)
        same(path.tensor, expected.tensor)
        same(path[2].tensor, expected[2].tensor)
        mixed = a.mix(b, ["b16.conv1", "b32.conv0"])
        same(mixed.tensor, batch[0].mix(batch[1], ["b16.conv1", "b32.conv0"]).tensor)
    plain = batch[1].initial
    same(converted[0].interpolate(plain, 3).tensor, batch[0].interpolate(plain, 3).tensor)
    assert set(converted.mix(batch.initial, ["b16.conv1"]).offsets) == {"b8.conv1", "b32.conv0"}


def test_imported_offsets_go_into_another_generator(
    batch: Inversion, folder: Path, tiny_inverter: HyperStyleInverter
) -> None:
    converted = load_official(folder, tiny_inverter)
    other = Generator(batch.model.generator.config).eval().requires_grad_(False)
    same(converted.transfer(other, layers=["b8.conv1"]).tensor, batch.transfer(other, layers=["b8.conv1"]).tensor)


def test_more_steps_add_to_imported_offsets(batch: Inversion, folder: Path, tiny_inverter: HyperStyleInverter) -> None:
    assert batch.refinement is not None
    assert batch.crop is not None
    converted = replace(load_official(folder, tiny_inverter), refinement=batch.refinement, crop=batch.crop)
    same(converted.refine(1).tensor, batch.refine(1).tensor)
    # The imported passes are in the dense offsets: only the new one is counted.
    assert converted.refine(1).offset_codes.count.tolist() == [1, 1]  # type: ignore[union-attr]


def test_a_model_without_a_hypernetwork_makes_the_same_images(
    batch: Inversion, folder: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    parts = tiny_inverter.model
    bare = HyperStyleInverter(parts.generator, domain=parts.domain)
    converted = load_official(folder, bare)
    same(converted.tensor, batch.tensor)
    converted.export(tmp_path / "again", "official")
    for name in ("latents.npy", "weight_deltas/me.npy", "weight_deltas/friend.npy"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


# ---- what is refused ----


def rewrite(path: Path, change: Any) -> None:
    """The object array of a file after a change, in the format of numpy."""
    array = np.load(path, allow_pickle=True)
    np.save(path, change(array.item() if array.shape == () else array))


def test_files_of_another_model_are_refused(folder: Path, tiny_inverter: HyperStyleInverter) -> None:
    deltas = folder / "weight_deltas" / "friend.npy"
    rewrite(deltas, lambda row: row[:-3])
    with pytest.raises(InversionError, match=r"friend\.npy has offsets for 8 layers; this model's generator has 11"):
        load_official(folder, tiny_inverter)
    rewrite(deltas, lambda row: np.array([np.zeros((16, 16, 1, 1), "f4"), *[None] * 10], dtype=object))
    with pytest.raises(InversionError, match=r"layer 0 have the shape \(16, 16, 1, 1\); this model's b4\.conv1"):
        load_official(folder, tiny_inverter)
    rewrite(folder / "latents.npy", lambda codes: {"me.v2.jpg": np.zeros((18, 512), "f4")})
    with pytest.raises(InversionError, match=r"shape \(18, 512\); this model's have \(8, 16\)"):
        load_official(folder, tiny_inverter)


def test_images_may_have_offsets_for_different_layers_or_none(
    batch: Inversion, folder: Path, tiny_inverter: HyperStyleInverter
) -> None:
    deltas = folder / "weight_deltas" / "friend.npy"
    rewrite(deltas, lambda row: np.array([None, *row[1:3], None, *row[4:]], dtype=object))
    both = load_official(folder, tiny_inverter)
    same(both[0].tensor, batch[0].tensor)
    same(both[1].tensor, batch[1].mix(batch[1].initial, ["b8.conv1"]).tensor)
    rewrite(deltas, lambda row: np.array([None] * 11, dtype=object))
    both = load_official(folder, tiny_inverter)
    same(both.tensor, torch.cat([batch[0].tensor, batch[1].initial.tensor]))
    assert load_official(folder, tiny_inverter, names=["friend.png"]).offsets == {}


def test_missing_files_are_named(folder: Path, tiny_inverter: HyperStyleInverter) -> None:
    (folder / "weight_deltas" / "me.npy").unlink()
    with pytest.raises(MissingFileError, match=r"me\.npy is missing"):
        load_official(folder, tiny_inverter)
    (folder / "latents.npy").unlink()
    with pytest.raises(MissingFileError, match=r"latents\.npy is missing"):
        load_official(folder, tiny_inverter)


def test_images_that_share_a_file_of_offsets_are_refused(
    batch: Inversion, folder: Path, tiny_inverter: HyperStyleInverter
) -> None:
    rewrite(folder / "latents.npy", lambda codes: {**codes, "me.png": codes["friend.png"]})
    with pytest.raises(InversionError, match=r"'me\.png' and 'me\.v2\.jpg', whose offsets share one file"):
        load_official(folder, tiny_inverter)
    same(load_official(folder, tiny_inverter, names=["friend.png"]).tensor, batch[1].tensor)
    assert len(load_official(folder / "latents.npy", tiny_inverter)) == 3


def test_a_name_leads_to_no_other_folder(folder: Path, tiny_inverter: HyperStyleInverter) -> None:
    (folder / "weight_deltas" / "me.npy").rename(folder / "me.npy")
    rewrite(folder / "latents.npy", lambda codes: {"../me.jpg": codes["friend.png"]})
    with pytest.raises(MissingFileError, match=r"weight_deltas/me\.npy is missing"):
        load_official(folder, tiny_inverter)


class Runs:
    """Makes a folder where it is executed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["latents.npy", "weight_deltas/me.npy"])
def test_files_that_would_run_something_are_refused_and_nothing_runs(
    folder: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter, name: str
) -> None:
    trace = tmp_path / "trace"
    content: Any = {"me.v2.jpg": Runs(trace)} if name == "latents.npy" else np.array([Runs(trace), None], dtype=object)
    np.save(folder / name, content)
    with pytest.raises(WeightsError, match="nothing of it was executed"):
        load_official(folder, tiny_inverter)
    assert not trace.exists()
    (folder / name).write_bytes(b"<html>Not found</html>")
    with pytest.raises(CheckpointError, match="is a web page"):
        load_official(folder, tiny_inverter)
