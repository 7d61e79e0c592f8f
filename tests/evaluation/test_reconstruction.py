"""The reconstruction table: its figures are those of the inversions, for the pictures it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hyperstyle import ConfigError, HyperStyleInverter
from hyperstyle.evaluation import evaluate_reconstruction, held_out_avatars


@pytest.fixture(scope="module")
def inverter(tiny_model_dir: Path) -> HyperStyleInverter:
    return HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")


def test_rows_hold_the_means_over_the_pictures(inverter: HyperStyleInverter) -> None:
    crops = held_out_avatars(5, 32)
    seen: list[tuple[str, int, int]] = []
    rows = evaluate_reconstruction(inverter, crops, timed=1, on_progress=lambda *now: seen.append(now))
    assert [row.method for row in rows] == ["w-encoder", "hyperstyle"]
    inversion = inverter.invert(list(crops), align=False)
    assert rows[1].l2 == pytest.approx(sum(inversion.metrics()["l2"]) / 5, rel=1e-4)
    assert rows[0].l2 == pytest.approx(sum(inversion.initial.metrics()["l2"]) / 5, rel=1e-4)
    assert rows[0].perceptual is None  # this model has no judge
    assert all(row.images == 5 and row.seconds > 0 for row in rows)
    assert seen == [("w-encoder", 5, 5), ("hyperstyle", 5, 5)]


def test_held_out_avatars_are_the_same_each_time_and_start_alike() -> None:
    assert torch.equal(held_out_avatars(3, 32), held_out_avatars(3, 32))
    assert torch.allclose(held_out_avatars(3, 32)[:2], held_out_avatars(2, 32), atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 32, 32), (2, 3, 64, 64), (3, 32, 32)])
def test_pictures_of_another_size_are_refused(inverter: HyperStyleInverter, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"expected \[N, 3, 32, 32\]"):
        evaluate_reconstruction(inverter, torch.zeros(shape))
