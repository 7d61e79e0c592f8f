"""Boundaries: the direction is found, the accuracies are correct, the recorded boundaries are reproduced."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.edits.interfacegan import fit_boundary
from hyperstyle.errors import EditError, MissingDependencyError

sklearn = pytest.importorskip("sklearn", reason="boundaries need scikit-learn")


@pytest.fixture(scope="module")
def sample() -> tuple[Tensor, Tensor]:
    """2000 codes [N,8] that are far from isotropic, and a score that follows their second entry with some noise."""
    torch.manual_seed(0)
    codes = torch.randn(2000, 8) * torch.linspace(3.0, 0.5, 8) + 2
    return codes, codes[:, 1] + 0.1 * torch.randn(2000)


def test_the_normal_points_to_higher_scores_and_has_length_one(sample: tuple[Tensor, Tensor]) -> None:
    boundary = fit_boundary(*sample, chosen=0.1)
    assert boundary.chosen == 200
    assert boundary.normal.norm().item() == pytest.approx(1.0, abs=1e-6)
    assert boundary.normal[1].item() > 0.98
    assert boundary.held_out_accuracy is not None
    assert boundary.held_out_accuracy > 0.99
    assert boundary.remaining_accuracy is not None
    assert 0.7 < boundary.remaining_accuracy < 0.8  # the middle of the scores is not where the middle of the codes is


def test_scores_without_meaning_are_not_held_out_well(sample: tuple[Tensor, Tensor]) -> None:
    boundary = fit_boundary(sample[0], torch.randn(2000, generator=torch.Generator().manual_seed(1)), chosen=0.1)
    assert boundary.held_out_accuracy is not None
    assert abs(boundary.held_out_accuracy - 0.5) < 0.15


def test_opposite_scores_give_the_opposite_normal(sample: tuple[Tensor, Tensor]) -> None:
    codes, scores = sample
    forward, backward = (
        fit_boundary(codes, scores, chosen=100, split=1.0),
        fit_boundary(codes, -scores, chosen=100, split=1.0),
    )
    torch.testing.assert_close(forward.normal, -backward.normal, atol=2e-3, rtol=0)  # as near as libsvm solves it


def test_without_a_rest_there_is_nothing_to_check_with(sample: tuple[Tensor, Tensor]) -> None:
    boundary = fit_boundary(*sample, chosen=0.5, split=1.0)
    assert (boundary.held_out_accuracy, boundary.remaining_accuracy) == (None, None)


def test_codes_without_a_score_are_left_out(sample: tuple[Tensor, Tensor]) -> None:
    codes, scores = sample
    gaps = scores.clone()
    gaps[::2] = float("nan")
    with_gaps = fit_boundary(codes, gaps, chosen=100)
    alone = fit_boundary(codes[1::2], scores[1::2], chosen=100)
    assert torch.equal(with_gaps.normal, alone.normal)


def test_the_codes_are_left_as_they_are(sample: tuple[Tensor, Tensor]) -> None:
    before = sample[0].clone()
    fit_boundary(*sample, chosen=0.5)
    assert torch.equal(sample[0], before)


@pytest.mark.parametrize("chosen", [0, 0.0, 1001, 0.6, -1])
def test_a_number_of_codes_that_cannot_be_chosen_is_refused(sample: tuple[Tensor, Tensor], chosen: float | int) -> None:
    with pytest.raises(EditError, match="at most half"):
        fit_boundary(*sample, chosen=chosen)


@pytest.mark.parametrize("split", [0.0, 1.5, float("nan"), 0.001])
def test_a_split_that_leaves_nothing_to_fit_to_is_refused(sample: tuple[Tensor, Tensor], split: float) -> None:
    with pytest.raises(EditError, match="split"):
        fit_boundary(*sample, chosen=100, split=split)


def test_ends_of_equal_scores_are_refused(sample: tuple[Tensor, Tensor]) -> None:
    flag = (torch.arange(2000) < 100).float()  # a twentieth has it
    assert fit_boundary(sample[0], flag, chosen=100).chosen == 100
    with pytest.raises(EditError, match="overlap"):
        fit_boundary(sample[0], flag, chosen=2000 - 1001)


def test_shapes_that_do_not_fit_and_codes_that_are_not_finite_are_refused(sample: tuple[Tensor, Tensor]) -> None:
    codes, scores = sample
    with pytest.raises(EditError, match=r"\[N, D\]"):
        fit_boundary(codes, scores[1:])
    with pytest.raises(EditError, match="finite"):
        fit_boundary(codes / 0, scores)


def test_infinite_scores_and_seeds_that_cannot_be_are_refused(sample: tuple[Tensor, Tensor]) -> None:
    codes, scores = sample
    with pytest.raises(EditError, match="scores that are infinite"):
        fit_boundary(codes, torch.where(scores > 1, torch.inf, scores))
    for seed in (-1, 1 << 32):
        with pytest.raises(EditError, match="expected 0 to 4294967295"):
            fit_boundary(codes, scores, seed=seed)


def test_without_scikit_learn_the_message_says_what_to_install(
    sample: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(MissingDependencyError, match=r"pip install \"hyperstyle-inversion\[fit\]\""):
        fit_boundary(*sample)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "chosen", "split"), [("svm_split1", 0.2, 1.0), ("svm_ratio02", 0.2, 0.7), ("svm_n150", 150, 0.8)]
)
def test_the_recorded_boundaries_are_met_with_the_same_shuffling(
    reference_dir: Path, name: str, chosen: float | int, split: float
) -> None:
    folder = reference_dir / "editing"
    draw = _script(folder / "detrand.py")
    base = json.loads((folder / "golden" / "set.json").read_text(encoding="utf-8"))["seed_base"]
    codes = draw.normal(base + 92, 2000, 40) @ draw.normal(base + 93, 40, 40) / np.sqrt(40)
    scores = codes @ draw.unit_rows(base + 94, 1, 40)[0] + 0.3 * draw.normal(base + 95, 2000)
    boundary = fit_boundary(torch.from_numpy(codes), torch.from_numpy(scores), chosen=chosen, split=split)
    with np.load(folder / "golden" / "fitting.npz") as stored:
        recorded = torch.from_numpy(stored[name][0]).double()
    assert 1 - (boundary.normal @ recorded).item() < 1e-7


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
