"""The reconstruction table: its figures are those of the inversions, for the images it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hyperstyle import ConfigError, HyperStyleInverter, MethodError
from hyperstyle.evaluation import Optimization, evaluate_reconstruction, held_out_avatars
from hyperstyle.evaluation.grids import reconstruction_grid


@pytest.fixture(scope="module")
def inverter(tiny_inverter: HyperStyleInverter) -> HyperStyleInverter:
    return tiny_inverter


def test_rows_hold_the_means_over_the_images(full_inverter: HyperStyleInverter) -> None:
    crops = held_out_avatars(3, 32)
    result = evaluate_reconstruction(full_inverter, crops, curve=0)
    assert [row.method for row in result.rows] == ["w-encoder", "hyperstyle"]
    inversion = full_inverter.invert(list(crops), align=False)
    for row, same in zip(result.rows, (inversion.initial, inversion), strict=True):
        for figure, values in same.metrics().items():
            assert getattr(row, figure) == pytest.approx(sum(values) / 3, rel=1e-4), (row.method, figure)
        assert row.images == 3
        assert 0 < row.quartiles[0] <= row.seconds <= row.quartiles[1]
    assert result.optimized is None


def test_the_curve_is_that_of_inversions_with_so_many_steps(full_inverter: HyperStyleInverter) -> None:
    crops = held_out_avatars(3, 32)
    result = evaluate_reconstruction(full_inverter, crops, curve=4)
    assert [point.step for point in result.curve] == [0, 1, 2, 3, 4]
    for point in result.curve:
        inversion = full_inverter.invert(list(crops), align=False, steps=point.step)
        assert point.l2 == pytest.approx(sum(inversion.metrics()["l2"]) / 3, rel=1e-4)
        assert point.identity == pytest.approx(sum(inversion.metrics()["identity"]) / 3, rel=1e-4)
    assert result.curve[2].l2 == result.rows[1].l2  # the model's own number of steps is 2


def test_without_an_evaluator_and_a_curve_there_is_less(inverter: HyperStyleInverter) -> None:
    progress: list[tuple[str, int, int]] = []
    result = evaluate_reconstruction(
        inverter, held_out_avatars(2, 32), curve=0, on_progress=lambda *now: progress.append(now)
    )
    assert result.curve == ()
    assert [(row.perceptual, row.identity) for row in result.rows] == [(None, None)] * 2
    assert [now for now in progress if now[0] == "hyperstyle"] == [("hyperstyle", 1, 2), ("hyperstyle", 2, 2)]


def test_a_model_without_a_hypernetwork_has_the_encoders_row_alone(full_inverter: HyperStyleInverter) -> None:
    model = full_inverter.model
    alone = HyperStyleInverter(
        model.generator, model.encoder, domain=model.domain, parts={"perceptual": model.perceptual}
    )
    result = evaluate_reconstruction(
        alone, held_out_avatars(2, 32), optimized=Optimization(2, projection=1, tuning=1, offsets=1)
    )
    assert [row.method for row in result.rows] == ["w-encoder"]
    assert result.curve == ()
    assert result.optimized is not None
    assert [row.method for row in result.optimized.rows] == ["w-encoder", "optimize-w", "pti"]
    assert result.optimized.equivalence == ()


def test_a_sheet_shows_every_column_at_128_px_or_more(full_inverter: HyperStyleInverter) -> None:
    settings = Optimization(2, projection=1, tuning=1, offsets=1)
    result = evaluate_reconstruction(full_inverter, held_out_avatars(9, 32), curve=3, optimized=settings)
    titles = ["input", "W encoder", "T = 1", "T = 3", "W optimization", "PTI", "offsets (bound)"]
    assert list(result.shown) == titles
    assert [len(images) for images in result.shown.values()] == [8, 8, 8, 8, 2, 2, 2]
    page = reconstruction_grid(result.shown)
    assert page.width >= 7 * 128
    assert page.height >= 8 * 128
    # Enlarged without smoothing: every pixel of the input is a square of one color.
    tile = torch.tensor(list(page.crop((5, page.height - 5 - 128, 133, page.height - 5)).tobytes())).view(128, 128, 3)
    blocks = tile.view(32, 4, 32, 4, 3).permute(0, 2, 1, 3, 4).reshape(1024, 16, 3)
    assert torch.equal(blocks, blocks[:, :1].expand_as(blocks))


def test_held_out_avatars_are_the_same_each_time_and_start_alike() -> None:
    assert torch.equal(held_out_avatars(3, 32), held_out_avatars(3, 32))
    assert torch.allclose(held_out_avatars(3, 32)[:2], held_out_avatars(2, 32), atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 32, 32), (2, 3, 64, 64), (3, 32, 32), (2, 1, 32, 32)])
def test_images_of_another_size_are_refused(inverter: HyperStyleInverter, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"expected \[N, 3, 32, 32\]"):
        evaluate_reconstruction(inverter, torch.zeros(shape))


def test_numbers_that_cannot_be_used_are_refused(inverter: HyperStyleInverter) -> None:
    crops = held_out_avatars(1, 32)
    with pytest.raises(ConfigError, match="curve=-1"):
        evaluate_reconstruction(inverter, crops, curve=-1)
    with pytest.raises(ConfigError, match="expected numbers from 1 on"):
        Optimization(0)


def test_the_evaluator_does_not_replace_a_missing_perceptual_network(full_inverter: HyperStyleInverter) -> None:
    model = full_inverter.model.with_parts(perceptual=None)
    without = HyperStyleInverter(
        model.generator, model.encoder, model.hypernetwork, domain=model.domain, parts={"judge": model.evaluator}
    )
    with pytest.raises(MethodError, match="no perceptual network to optimize against"):
        evaluate_reconstruction(without, held_out_avatars(1, 32), optimized=Optimization(1))


def test_a_model_without_an_encoder_is_refused(tiny_model_dir: Path, inverter: HyperStyleInverter) -> None:
    bare = HyperStyleInverter(inverter.model.generator, domain=inverter.model.domain)
    with pytest.raises(MethodError, match="no encoder"):
        evaluate_reconstruction(bare, held_out_avatars(1, 32))
