"""Principal axes: exact, of a fixed sign, the same for every order of the codes, and the recorded ones."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperstyle.edits.sampling import deviations, principal_axes
from hyperstyle.errors import EditError


def codes(count: int = 500) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=random))[0]
    return torch.randn(count, 6, generator=random) * torch.tensor([3.0, 2.0, 1.5, 1.0, 0.5, 0.2]) @ turn + 5


def test_the_axes_diagonalize_the_covariance_largest_first() -> None:
    x = codes()
    mean, axes, shares = principal_axes([x], 6)
    torch.testing.assert_close(mean, x.mean(0), atol=1e-5, rtol=0)
    turned = axes.double() @ x.double().T.cov() @ axes.double().T
    variances = turned.diagonal()
    torch.testing.assert_close(turned, variances.diag(), atol=1e-5, rtol=0)
    assert (variances[:-1] > variances[1:]).all()
    torch.testing.assert_close(shares.double(), variances / variances.sum(), atol=1e-6, rtol=0)
    torch.testing.assert_close(deviations(axes, x).double(), variances.sqrt(), atol=1e-5, rtol=0)


def test_neither_the_batches_nor_their_order_matter() -> None:
    x = codes()
    axes = principal_axes([x], 4)
    parts = principal_axes(reversed(x.split(77)), 4)
    for actual, expected in zip(axes, parts, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)


def test_the_largest_entry_of_an_axis_is_positive() -> None:
    axes = principal_axes([codes()], 6)[1]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()
    mirrored = principal_axes([-codes()], 6)[1]
    torch.testing.assert_close(mirrored, axes, atol=1e-6, rtol=0)


@pytest.mark.parametrize("count", [0, 7])
def test_a_number_of_axes_that_there_are_not_is_refused(count: int) -> None:
    with pytest.raises(EditError, match="expected 1 to 6"):
        principal_axes([codes()], count)


def test_codes_that_cannot_be_analysed_are_refused() -> None:
    for wrong in ([], [torch.zeros(1, 4)], [torch.full((3, 4), torch.nan)]):
        with pytest.raises(EditError, match="two or more"):
            principal_axes(wrong, 1)
    with pytest.raises(EditError, match=r"expected \[b, 4\]"):
        principal_axes([torch.zeros(3, 4), torch.zeros(3, 5)], 1)
    with pytest.raises(EditError, match=r"expected \[b, D\]"):
        principal_axes([torch.zeros(3, 2, 4)], 1)


@pytest.mark.reference
def test_the_recorded_axes_are_met(reference_dir: Path) -> None:
    folder = reference_dir / "editing"
    spec = importlib.util.spec_from_file_location("detrand", folder / "detrand.py")
    assert spec is not None
    assert spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    base = json.loads((folder / "golden" / "set.json").read_text(encoding="utf-8"))["seed_base"]
    turn = np.linalg.qr(draw.normal(base + 97, 32, 32))[0]
    x = torch.from_numpy((draw.normal(base + 96, 6000, 32) * np.linspace(3, 0.2, 32)) @ turn + 1.5)
    mean, axes, shares = principal_axes(x.split(2000), 8)
    with np.load(folder / "golden" / "fitting.npz") as stored:
        golden = {name: torch.from_numpy(stored[name]) for name in stored}

    torch.testing.assert_close(mean, golden["pca_pca_mean"][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(shares, golden["pca_pca_ratio"], atol=1e-5, rtol=0)
    torch.testing.assert_close(deviations(axes, x), golden["pca_pca_std"], atol=0, rtol=1e-4)
    cosines = (axes.double() * golden["pca_pca_comp"].double()).sum(1).abs()  # the sign there is nobody's choice
    assert (1 - cosines).max().item() < 1e-6
    # The incremental algorithm of the original is an approximation: 0.4 % of a deviation, 0.03 of a cosine.
    torch.testing.assert_close(deviations(axes, x), golden["pca_ipca_std"], atol=0, rtol=4e-3)
    cosines = (axes.double() * golden["pca_ipca_comp"].double()).sum(1).abs()
    assert (1 - cosines).max().item() < 0.03
