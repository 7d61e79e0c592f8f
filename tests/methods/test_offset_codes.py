"""Offset codes by optimization: they stay codes of the hypernetwork, and begin with what it predicts or with zeros."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Step
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.offsets import OffsetCodeTuner
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig

TUNER = OffsetCodeTuner(steps=12, loss=metrics.l1)


@pytest.fixture(scope="module")
def predicted(able: HyperStyleInverter, crops: list[Tensor]) -> Inversion:
    return able.invert(crops, method="hyperstyle", align=False)


@pytest.fixture(scope="module")
def plain(predicted: Inversion) -> Inversion:
    return predicted.initial


def run(inversion: Inversion, tuner: OffsetCodeTuner = TUNER, steps: int | None = None) -> Inversion:
    assert inversion.crop is not None
    return tuner(inversion.crop, inversion, steps=steps)


def codes_of(inversion: Inversion) -> OffsetCodes:
    assert inversion.offset_codes is not None
    return inversion.offset_codes


@pytest.mark.parametrize("name", ["predicted", "plain"])
def test_the_image_comes_nearer_and_the_codes_keep_their_form(name: str, request: pytest.FixtureRequest) -> None:
    begun: Inversion = request.getfixturevalue(name)
    seen: list[Step] = []
    assert begun.crop is not None
    tuned = TUNER(begun.crop, begun, callback=seen.append)
    assert (seen[-1].losses < seen[0].losses).all()
    codes = codes_of(tuned)
    assert codes.dense == {}
    assert {n: c.shape for n, c in codes.sums.items()} == {n: torch.Size([2, 16]) for n in codes.sums}
    assert not any(c.requires_grad for c in codes.sums.values())
    assert torch.equal(tuned.w, begun.w)


def test_it_begins_with_the_prediction_or_with_no_offsets_at_all(predicted: Inversion, plain: Inversion) -> None:
    assert torch.equal(run(predicted, steps=0).tensor, predicted.tensor)
    none = run(plain, steps=0)
    torch.testing.assert_close(none.tensor, plain.tensor, atol=2e-5, rtol=0)
    assert codes_of(none).count.tolist() == [0, 0]
    assert codes_of(run(predicted)).count.tolist() == codes_of(predicted).count.tolist()


def test_dense_offsets_that_are_there_stay(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    both = able.invert(crops, method="w-encoder+offsets", steps=3, align=False)
    tuned = run(both)
    dense = codes_of(tuned).dense
    assert all(torch.equal(value, dense[name]) for name, value in codes_of(both).dense.items())
    torch.testing.assert_close(run(both, steps=0).tensor, both.tensor, atol=1e-5, rtol=0)


def test_steps_are_measured_in_the_size_of_the_code(predicted: Inversion) -> None:
    tuned = run(predicted, replace(TUNER, lr=1.25), steps=1)  # the first step is a fifth of that
    for name, code in codes_of(predicted).sums.items():
        moved = (codes_of(tuned).sums[name] - code).abs()
        size = code.square().mean(1, keepdim=True).sqrt()
        torch.testing.assert_close(moved, 0.25 * size.expand_as(moved), rtol=1e-2, atol=1e-5)


def test_an_image_stops_when_it_is_near_enough(predicted: Inversion) -> None:
    seen: list[Step] = []
    assert predicted.crop is not None
    TUNER(predicted.crop, predicted, callback=seen.append)
    losses = torch.stack([s.losses for s in seen])
    threshold = losses[4].max().item()
    stopped: list[Step] = []
    tuned = replace(TUNER, threshold=threshold)(predicted.crop, predicted, callback=stopped.append)
    assert len(stopped) < 12
    assert tuned.stored_metrics["l2"] != predicted.stored_metrics["l2"]
    at_once = replace(TUNER, threshold=100.0)(predicted.crop, predicted)
    assert torch.equal(at_once.tensor, predicted.tensor)


def test_heads_that_are_not_affine_need_a_prediction_to_begin_with(
    able: HyperStyleInverter, crops: list[Tensor]
) -> None:
    model = able.model
    assert model.hypernetwork is not None
    config = model.hypernetwork.config
    separable = Hypernetwork(
        HypernetworkConfig(config.generator, config.layers, (32, 32), config.trunk, "separable", 16)
    )
    inversion = replace(able.invert(crops, method="w-encoder", align=False))
    inversion = replace(inversion, model=model.with_parts(hypernetwork=separable.eval().requires_grad_(False)))
    with pytest.raises(MethodError, match=r"'hyperstyle\+offset-codes'"):
        run(inversion)
    assert inversion.crop is not None
    with torch.no_grad():
        codes = separable(inversion.crop, model.domain.as_network_input(model.generator(inversion.w)))
    begun = replace(inversion, offset_codes=codes + codes)
    tuned = run(begun)
    assert {n: c.shape for n, c in codes_of(tuned).terms.items()} == {n: (2, 2, 16) for n in codes.terms}
    assert sum(tuned.metrics()["l2"]) < sum(begun.metrics()["l2"])


def test_a_model_without_hypernetwork_and_a_rate_of_zero_are_refused(predicted: Inversion) -> None:
    with pytest.raises(ConfigError, match="lr=0"):
        run(predicted, OffsetCodeTuner(lr=0.0))
    bare = replace(predicted.initial, model=predicted.model.with_parts(hypernetwork=None))
    with pytest.raises(MethodError, match="method='offsets'"):
        run(bare)


def test_the_file_is_as_small_as_that_of_a_prediction(predicted: Inversion, tmp_path: Path) -> None:
    predicted.save(tmp_path / "a.safetensors")
    run(predicted).save(tmp_path / "b.safetensors")
    sizes = [(tmp_path / name).stat().st_size for name in ("a.safetensors", "b.safetensors")]
    assert abs(sizes[0] - sizes[1]) < 200
