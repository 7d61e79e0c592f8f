"""FID and KID by torch-fidelity, from features computed without a download."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch

from hyperstyle import ConfigError, HyperStyleInverter, MethodError
from hyperstyle.errors import CheckpointError, MissingDependencyError, WeightsError
from hyperstyle.evaluation.distribution import distance, features_of

pytest.importorskip("torch_fidelity")


def test_equal_sets_are_at_no_distance_and_shifted_ones_at_the_square_of_the_shift() -> None:
    features = torch.randn(200, 4, dtype=torch.float64)
    same, moved = distance(features, features), distance(features, features + 2.0)
    assert same.fid == pytest.approx(0, abs=1e-6)
    assert moved.fid == pytest.approx(4 * 2.0**2, abs=1e-6)
    assert abs(same.kid) < 0.2 < moved.kid


def test_the_evaluator_gives_the_features_where_no_file_is_named(full_inverter: HyperStyleInverter) -> None:
    see, name = features_of(full_inverter.model, None)
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    assert (name, see(images).shape, see(images).dtype) == ("the evaluator", (3, 8), torch.float64)


def test_without_evaluator_and_file_there_are_no_features(tiny_inverter: HyperStyleInverter) -> None:
    with pytest.raises(MethodError, match="--fid FILE"):
        features_of(tiny_inverter.model, None)


def test_a_file_of_another_network_is_refused(tiny_inverter: HyperStyleInverter, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not hold the Inception network"):
        features_of(tiny_inverter.model, tmp_path / "other.pth")


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> object:
        return Path.touch, (self.target,)


def test_nothing_of_a_file_is_executed(tiny_inverter: HyperStyleInverter, tmp_path: Path) -> None:
    torch.save({"weight": _Bomb(tmp_path / "executed")}, tmp_path / "bad.pth", pickle_module=pickle)
    with pytest.raises(CheckpointError, match="nothing of it was executed"):
        features_of(tiny_inverter.model, tmp_path / "bad.pth")
    assert not (tmp_path / "executed").exists()


def test_one_image_is_too_few() -> None:
    with pytest.raises(ConfigError, match="2 or more"):
        distance(torch.zeros(1, 4), torch.zeros(1, 4))


def test_a_missing_package_is_named(full_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(MissingDependencyError, match=r"hyperstyle-inversion\[fid\]"):
        features_of(full_inverter.model, None)
