"""StyleFeatureEditor in the tiny model; with the published sizes: tests/parity/test_sfe.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, InversionError, MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods import registry


@pytest.fixture
def able(with_sfe: HyperStyleInverter) -> HyperStyleInverter:
    return with_sfe


def without(able: HyperStyleInverter, *parts: str) -> HyperStyleInverter:
    inverter = HyperStyleInverter.__new__(HyperStyleInverter)
    inverter._model, inverter.aligner = able.model.with_parts(**dict.fromkeys(parts)), able.aligner
    return inverter


@torch.no_grad()
def test_it_is_the_pipeline_of_the_specification(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    model, x = able.model, able.invert(crops, method="sfe", align=False).crop
    assert x is not None
    inverter, editor, generator, e4e = model.sfe_inverter, model.feature_editor, model.generator, model.e4e
    assert inverter is not None
    assert editor is not None
    assert e4e is not None
    w, predicted = inverter(x)
    fused = inverter.fuse(predicted, generator.synthesize(generator.styles(w), until="b8.conv1"))
    for method in ("sfe", "sfe-inverter"):
        inversion = able.invert(crops, method=method, align=False)
        features = inversion.overrides.features
        assert features is not None
        torch.testing.assert_close(inversion.w, w, atol=1e-5, rtol=0)
        torch.testing.assert_close(features.maps.maps, fused, atol=2e-5, rtol=0)
        assert (features.guide is not None) == (method == "sfe")
        assert inversion.start == inversion.method == method
        torch.testing.assert_close(inversion.initial.tensor, generator(w), atol=2e-5, rtol=0)
        if features.guide is not None:
            code = e4e(x) - e4e.latent_avg + generator.latent_avg
            torch.testing.assert_close(features.guide.before, code, atol=1e-5, rtol=0)
        # Of the first phase, features stay as they are in edits.
        edited = inversion.edit("age", 2).overrides.features
        assert edited is not None
        assert torch.equal(edited.maps.maps, features.maps.maps)


def test_steps_are_shown_and_kept(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    seen: list[Any] = []
    inversion = able.invert(crops, method="sfe", align=False, callback=seen.append, intermediates=True)
    assert [(step.step, step.steps) for step in seen] == [(0, 1), (1, 1)]
    assert len(inversion.intermediates) == 2
    torch.testing.assert_close(inversion.intermediates[0], inversion.initial.tensor, atol=2e-5, rtol=0)
    assert torch.equal(inversion.intermediates[1], inversion.tensor)
    codes = able.invert(crops, method="sfe", steps=0, align=False)
    assert codes.overrides.features is None
    assert torch.equal(codes.w, inversion.w)


@pytest.mark.parametrize("arguments", [{"method": "restyle-e4e+sfe"}, {"method": "sfe", "start": "e4e"}])
def test_behind_another_method_it_is_refused(
    able: HyperStyleInverter, crops: list[Tensor], arguments: dict[str, Any]
) -> None:
    with pytest.raises(MethodError, match="'sfe' predicts codes and features once, from the crop alone: put it first"):
        able.invert(crops[0], align=False, **arguments)


def test_it_predicts_once(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    with pytest.raises(ConfigError, match="steps=2: 'sfe' predicts in one step"):
        able.invert(crops[0], method="sfe", steps=2, align=False)
    inversion = able.invert(crops[0], method="sfe", align=False)
    with pytest.raises(MethodError, match="predicts codes and features once"):
        inversion.refine()


def test_a_model_without_a_network_says_which(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    for part, words in (("e4e", "e4e encoder"), ("feature_editor", "feature editor")):
        model = without(able, part)
        with pytest.raises(MethodError, match=rf"the model has no {words}.* --e4e E4E\.pt --generator"):
            model.invert(crops[0], method="sfe", align=False)
        model.invert(crops[0], method="sfe-inverter", align=False)
    with pytest.raises(MethodError, match=r"no Inverter of StyleFeatureEditor.*SFE_INVERTER\.pt --generator"):
        without(able, "sfe_inverter").invert(crops[0], method="sfe-inverter", align=False)


def test_it_is_the_default_of_a_model_that_has_it_and_no_start_of_others(able: HyperStyleInverter) -> None:
    assert registry.resolve_method(able.model).name == "sfe"
    bare = without(able, "encoder", "psp", "e4e", "restyle")
    assert registry.by_networks(bare.model)[0] == "sfe-inverter"
    assert "psp+hyperstyle" in registry.by_networks(without(able, "encoder", "e4e").model)


def test_a_model_is_saved_with_its_networks_and_edits_what_was_loaded(
    able: HyperStyleInverter, crops: list[Tensor], tmp_path: Path
) -> None:
    able.save_pretrained(tmp_path / "model")
    again = HyperStyleInverter.from_pretrained(tmp_path / "model", device="cpu")
    inversion = able.invert(crops, method="sfe", align=False)
    inversion.save(tmp_path / "it.safetensors")
    loaded = Inversion.load(tmp_path / "it.safetensors", again)
    assert torch.equal(loaded.edit("age", [1, 2]).tensor, inversion.edit("age", [1, 2]).tensor)
    with pytest.raises(InversionError, match="Load the model it was made with"):
        Inversion.load(tmp_path / "it.safetensors", without(able, "feature_editor"))


def test_parts_that_do_not_fit_are_refused(able: HyperStyleInverter) -> None:
    from hyperstyle.networks.encoders.sfe import FeatureEditor, FeatureEditorConfig, SfeInverterConfig

    model = able.model
    generator = model.generator.config
    other = FeatureEditor(FeatureEditorConfig(generator, "b4.conv1", 1))
    with pytest.raises(ConfigError, match=r"features of b8\.conv1, a feature editor for those of b4\.conv1"):
        HyperStyleInverter(model.generator, domain=model.domain, parts={**model.parts, "feature_editor": other})
    larger = FeatureEditor(FeatureEditorConfig(replace(generator, channels=(16, 8, 16, 8)), "b8.conv1", 1))
    with pytest.raises(ConfigError, match="feature editor for a generator of 32 px with channels"):
        HyperStyleInverter(model.generator, domain=model.domain, parts={**model.parts, "feature_editor": larger})
    with pytest.raises(ConfigError, match=r"crops of \(64, 64\) px and features of b8\.conv1: expected \(32, 32\)"):
        SfeInverterConfig(generator, "b8.conv1", input_size=(64, 64))
    with pytest.raises(ConfigError, match="blocks=0"):
        FeatureEditorConfig(generator, "b8.conv1", 0)
    with pytest.raises(ConfigError, match="expected four of each"):
        SfeInverterConfig(generator, "b8.conv1", 1, (32, 32), (4, 4, 4, 0))
    with pytest.raises(ConfigError, match="up to 256 blocks"):
        SfeInverterConfig(generator, "b8.conv1", 1, (32, 32), (4, 4, 4, 4), (1, 1, 1, 257))
