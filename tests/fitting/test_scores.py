"""Scores: every image is scored once, invalid scorers are refused, tables are read as they were written."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle import HyperStyleInverter
from hyperstyle.errors import EditError, MissingFileError
from hyperstyle.fitting import Scores, load_scores, network_scorer, save_scores, score_codes
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig


def brightness(images: Tensor) -> Tensor:
    return images.mean((1, 2, 3))


def test_every_code_gets_the_score_of_its_own_image(tiny_inverter: HyperStyleInverter) -> None:
    model, codes, reported = tiny_inverter.model, torch.randn(11, 16), []
    scores = score_codes(model, codes, brightness, on_progress=lambda *args: reported.append(args))
    with torch.no_grad():
        expected = brightness(model.generator(codes))
    assert torch.equal(scores.codes, codes)
    torch.testing.assert_close(scores.values["score"], expected, atol=1e-5, rtol=0)
    assert reported == [("scoring", 8, 11), ("scoring", 11, 11)]


def test_a_network_gives_the_scores_of_all_its_traits(tiny_inverter: HyperStyleInverter) -> None:
    trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    network = AttributeNetwork(AttributeNetworkConfig(("age", "smile"), trunk, input_size=32)).eval()
    scores = score_codes(tiny_inverter.model, torch.randn(3, 16), network_scorer(network))
    assert {name: tuple(values.shape) for name, values in scores.values.items()} == {"age": (3,), "smile": (3,)}


@pytest.mark.parametrize("wrong", [lambda x: x, lambda x: 1.0, lambda x: {"age": x.mean()}, lambda x: {"age": [1, 2]}])
def test_a_scorer_that_gives_no_score_for_each_image_is_refused(
    tiny_inverter: HyperStyleInverter, wrong: object
) -> None:
    with pytest.raises(EditError, match=r"for 2 images: expected a tensor \[B\]"):
        score_codes(tiny_inverter.model, torch.randn(2, 16), wrong)  # type: ignore[arg-type]


def test_a_trait_that_the_scorer_does_not_give_ends_it_with_the_first_images(
    tiny_inverter: HyperStyleInverter,
) -> None:
    calls = []

    def scorer(images: Tensor) -> dict[str, Tensor]:
        calls.append(len(images))
        return {"smile": brightness(images)}

    with pytest.raises(EditError, match="Did you mean 'smile'"):
        score_codes(tiny_inverter.model, torch.randn(20, 16), scorer, needed=["smiel"])
    assert calls == [8]
    with pytest.raises(EditError, match="no codes"):
        score_codes(tiny_inverter.model, torch.randn(0, 16), scorer)


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    smile = torch.tensor([0.0, 1.0, float("nan"), 2.0, 3.0])
    table = Scores(torch.randn(5, 4), {"age": torch.rand(5), "smile": smile, "file": torch.rand(5)})
    save_scores(table, tmp_path / "scores.npz")
    back = load_scores(tmp_path / "scores.npz")
    assert torch.equal(back.codes, table.codes)
    assert list(back.values) == ["age", "smile", "file"]
    assert all(torch.equal(back.values[k], table.values[k]) for k in ("age", "file"))
    assert torch.equal(back.values["smile"].isnan(), table.values["smile"].isnan())
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]


def test_a_trait_cannot_take_the_place_of_the_codes(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="codes"):
        save_scores(Scores(torch.zeros(2, 4), {"codes": torch.zeros(2)}), tmp_path / "scores.npz")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    with pytest.raises(MissingFileError, match="is missing"):
        load_scores(path)
    path.write_bytes(b"no archive")
    with pytest.raises(EditError, match="no table of scores"):
        load_scores(path)
    np.savez(path, age=np.zeros(3))
    with pytest.raises(EditError, match="no array 'codes'"):
        load_scores(path)
    np.savez(path, codes=np.zeros((3, 4)), age=np.zeros(2))
    with pytest.raises(EditError, match=r"expected codes \[N, D\]"):
        load_scores(path)
    np.savez(path, codes=np.zeros((3, 4)))
    with pytest.raises(EditError, match="one trait or more"):
        load_scores(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(EditError, match="no table of scores"):
        load_scores(path)


def test_objects_in_a_table_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", codes=np.zeros((1, 4)), age=np.array([{}], dtype=object))
    with pytest.raises(EditError, match="no table of scores"):
        load_scores(tmp_path / "scores.npz")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    np.savez_compressed(path, codes=np.arange(400.0).reshape(100, 4), age=np.arange(100.0))
    content = path.read_bytes()
    for place in range(40, len(content) - 100, 40):
        path.write_bytes(content[:place] + bytes(8) + content[place + 8 :])
        with contextlib.suppress(EditError):  # anything else fails the test; a zero over a zero is no damage
            load_scores(path)
