"""Features by optimization, after any start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.features import FeatureTuner, default_layer


@pytest.mark.parametrize("start", ["w-encoder", "hyperstyle", "sfe", "sfe-inverter"])
def test_it_comes_nearer_to_the_crop_and_moves_features_alone(
    with_sfe: HyperStyleInverter, crops: list[Tensor], start: str
) -> None:
    before = with_sfe.invert(crops, method=start, align=False)
    after = with_sfe.invert(crops, method=f"{start}+features", steps={"features": 12}, align=False)
    assert after.method == f"{start}+features"
    assert all(new < old for new, old in zip(after.metrics()["l2"], before.metrics()["l2"], strict=True))
    assert torch.equal(after.w, before.w)
    features, previous = after.overrides.features, before.overrides.features
    assert features is not None
    if previous is None:
        assert features.maps.layer == default_layer(with_sfe.model) == "b8.conv1"
        assert features.maps.blend.tolist() == [[1.0, 1.0]] * 2, "added to the generator's own"
        assert features.guide is None
    else:
        assert torch.equal(features.maps.blend, previous.maps.blend)
        assert (features.guide is None) == (previous.guide is None)
        assert not torch.equal(features.maps.maps, previous.maps.maps)
    if before.offset_codes is not None:
        assert after.offset_codes is not None
        for a, b in zip(after.offset_codes.tensors, before.offset_codes.tensors, strict=True):
            assert torch.equal(a, b)


def test_no_steps_change_nothing(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    plain = able.invert(crops, method="w-encoder", align=False)
    none = able.invert(crops, method="features", steps=0, align=False)
    torch.testing.assert_close(none.tensor, plain.tensor, atol=2e-5, rtol=0)


def test_images_are_tuned_as_each_would_be_alone(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    both = able.invert(crops, method="features", steps=4, align=False)
    for crop, image in zip(crops, both.tensor, strict=True):
        alone = able.invert(crop, method="features", steps=4, align=False)
        torch.testing.assert_close(alone.tensor[0], image, atol=1e-3, rtol=0)


def test_another_layer(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    tuned = able.invert(crops, method=["w-encoder", FeatureTuner(2, layer="b16.conv1")], align=False)
    assert tuned.overrides.features is not None
    assert tuned.overrides.features.maps.maps.shape[2:] == (16, 16)
    more = tuned.refine(2).overrides.features
    assert more is not None
    assert more.maps.layer == "b16.conv1"
    assert tuned.crop is not None
    with pytest.raises(MethodError, match=r"features of b16\.conv1, and those of b8\.conv1 are to be tuned"):
        FeatureTuner(layer="b8.conv1")(tuned.crop, tuned)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such layer": ({"layer": "b8.torgb"}, r"features of layer 'b8\.torgb': expected one of b4\.conv1, b8\.conv1"),
    "the largest": ({"layer": "b32.conv1"}, r"features of layer 'b32\.conv1'"),
    "steps": ({"steps": -1}, "steps=-1"),
    "lr": ({"lr": 0.0}, "lr=0.0"),
}


@pytest.mark.parametrize(("settings", "message"), BAD.values(), ids=BAD)
def test_settings_that_cannot_be_used(
    able: HyperStyleInverter, crops: list[Tensor], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        able.invert(crops, method=["w-encoder", replace(FeatureTuner(2), **settings)], align=False)
