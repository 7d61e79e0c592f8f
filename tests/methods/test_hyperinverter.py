"""HyperInverter as a method: one step, residuals kept as codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Step
from hyperstyle.inversion.state import GeneratorOverrides
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.hyperinverter import HyperInverterRefinement
from hyperstyle.methods.hyperstyle import HyperStyleRefinement
from hyperstyle.model.folder import check_parts, read_model, write_model
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.networks.stylegan2.generator import GeneratorConfig

TRUNK = TrunkConfig((8, 8, 16), (1, 1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")


def network(generator: GeneratorConfig, layers: tuple[str, ...] = ("b4.torgb", "b8.conv0", "b32.conv1")) -> Any:
    config = HyperInverterConfig(generator, layers, (32, 32), trunk=TRUNK, hidden=6, channels=8)
    hyperinverter = HyperInverter(config).eval().requires_grad_(False)
    for parameter in hyperinverter.weight_regressors.parameters():
        parameter.mul_(3)  # so that residuals show
    return hyperinverter


@pytest.fixture
def model(tiny_inverter: HyperStyleInverter) -> Model:
    model = tiny_inverter.model
    return model.with_parts(hyperinverter=network(model.generator.config))


@pytest.fixture
def crops() -> Tensor:
    return torch.rand(2, 3, 32, 32) * 2 - 1


@pytest.fixture
def start(model: Model, crops: Tensor) -> Inversion:
    assert model.encoder is not None
    return Inversion(model, model.encoder(crops), crop=crops)


def test_residuals_are_predicted_from_the_crop_and_the_plain_reconstruction(
    model: Model, crops: Tensor, start: Inversion
) -> None:
    refined = HyperInverterRefinement()(crops, start)
    assert refined.method == "hyperinverter"
    assert model.hyperinverter is not None
    plain = model.generator(start.w)
    expected = model.generator(start.w, residuals=model.hyperinverter.offsets(model.hyperinverter(crops, plain)))
    assert torch.equal(refined.w, start.w)
    torch.testing.assert_close(refined.tensor, expected, atol=2e-5, rtol=0)
    assert torch.equal(replace(refined).tensor, refined.tensor)
    assert not torch.allclose(expected, plain, atol=1e-2)
    assert refined.stored_metrics == refined.metrics()
    torch.testing.assert_close(refined.initial.tensor, plain, atol=2e-5, rtol=0)


def test_what_other_methods_changed_before_stays(model: Model, crops: Tensor, start: Inversion) -> None:
    noise = tuple(torch.randn(2, *maps.shape[1:]) for maps in model.generator.noises.buffers())
    value = {"conv1.conv.weight": model.generator.conv1.conv.weight * 1.5}
    changed = replace(
        HyperStyleRefinement()(crops, start), overrides=GeneratorOverrides(tuned=(value, value), noise=noise)
    )
    refined = HyperInverterRefinement()(crops, changed)
    assert refined.offset_codes is changed.offset_codes
    assert (refined.overrides.tuned, refined.overrides.noise) == (changed.overrides.tuned, changed.overrides.noise)
    assert model.hyperinverter is not None
    codes = model.hyperinverter(crops, changed.tensor)
    assert refined.overrides.residuals is not None
    for name, code in refined.overrides.residuals.sums.items():
        torch.testing.assert_close(code, codes.sums[name], atol=2e-5, rtol=0)


def test_it_looks_at_the_content_at_its_own_size(model: Model) -> None:
    domain = Domain("plates", 32, (16, 16), (8, 24))
    squeezed = replace(model, domain=domain, parts={"hyperinverter": model.hyperinverter})
    w = model.generator.broadcast(torch.randn(1, 16))
    with pytest.raises(ConfigError, match="expected both square"):
        HyperInverterRefinement()(torch.zeros(1, 3, 16, 16), Inversion(squeezed, w))


def test_edits_keep_the_residuals(crops: Tensor, start: Inversion) -> None:
    refined = HyperInverterRefinement()(crops, start)
    edited = refined.edit("age", 2.0)
    assert edited.overrides.residuals is refined.overrides.residuals
    network = refined.model.hyperinverter
    assert network is not None
    assert refined.overrides.residuals is not None
    expected = refined.model.generator(edited.w, residuals=network.offsets(refined.overrides.residuals))
    torch.testing.assert_close(edited.tensor, expected, atol=2e-5, rtol=0)


def test_interpolating_two_inversions_interpolates_codes_and_weights(crops: Tensor, start: Inversion) -> None:
    a, b = HyperInverterRefinement()(crops, start)
    middle = a.interpolate(b, 3)[1]
    network = a.model.hyperinverter
    assert network is not None
    ends = [network.offsets(x.overrides.residuals) for x in (a, b) if x.overrides.residuals is not None]
    between = {name: (ends[0][name] + ends[1][name]) / 2 for name in ends[0]}
    expected = a.model.generator((a.w + b.w) / 2, residuals=between)
    torch.testing.assert_close(middle.tensor, expected, atol=2e-5, rtol=0)


def test_the_step_is_seen_and_kept_and_can_be_left_out(crops: Tensor, start: Inversion) -> None:
    seen: list[Step] = []
    refined = HyperInverterRefinement(keep_intermediates=True)(crops, start, callback=seen.append)
    assert [(step.step, step.steps) for step in seen] == [(0, 1), (1, 1)]
    assert seen[0].codes is None
    assert seen[1].codes is refined.overrides.residuals
    assert torch.equal(refined.intermediates[0], start.tensor)
    assert refined.intermediates[1] is refined.tensor
    none = HyperInverterRefinement()(crops, start, steps=0)
    assert not none.overrides
    assert torch.equal(none.w, start.w)


def test_what_it_cannot_refine_is_refused(model: Model, crops: Tensor, start: Inversion) -> None:
    refined = HyperInverterRefinement()(crops, start)
    with pytest.raises(MethodError, match=r"predicts once.*Start from Inversion\.initial"):
        refined.refine()
    with pytest.raises(ConfigError, match="steps=2: HyperInverter predicts in one step"):
        HyperInverterRefinement()(crops, start, steps=2)
    with pytest.raises(MethodError, match="no HyperInverter"):
        HyperInverterRefinement()(crops, replace(start, model=model.with_parts(hyperinverter=None)))


def test_a_model_folder_carries_it(model: Model, crops: Tensor, start: Inversion, tmp_path: Path) -> None:
    write_model(model, tmp_path)
    loaded = read_model(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
    assert loaded.hyperinverter is not None
    assert model.hyperinverter is not None
    assert loaded.hyperinverter.config == model.hyperinverter.config
    expected = HyperInverterRefinement()(crops, start)
    refined = HyperInverterRefinement()(crops, replace(start, model=loaded))
    assert torch.equal(refined.tensor, expected.tensor)
    expected.save(tmp_path / "me.safetensors")
    reloaded = Inversion.load(tmp_path / "me.safetensors", refined)
    assert torch.equal(reloaded.tensor, expected.tensor)
    assert (tmp_path / "me.safetensors").stat().st_size < 10_000


def test_one_of_another_generator_is_refused(model: Model) -> None:
    other = network(replace(model.generator.config, channels=(8, 8, 8, 8)))
    with pytest.raises(ConfigError, match="HyperInverter for a generator of 32 px with channels"):
        check_parts(model.with_parts(hyperinverter=other))
