"""Metrics that inversions carry."""

from __future__ import annotations

import pytest
import torch

from hyperstyle import HyperStyleInverter
from hyperstyle.inversion import measure
from hyperstyle.inversion.measure import with_metrics, without_metrics


def test_without_metrics_nothing_is_measured_and_the_inversion_is_the_same(
    tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = torch.rand(3, 32, 32) * 2 - 1
    expected = tiny_inverter.invert(crop, align=False)
    assert expected.stored_metrics["l2"]

    def refuse(*_: object) -> None:
        raise AssertionError("measured")

    with monkeypatch.context() as patch:
        patch.setattr(measure, "reconstruction_metrics", refuse)
        with without_metrics():
            inversion = tiny_inverter.invert(crop, align=False)
        with pytest.raises(AssertionError, match="measured"):
            tiny_inverter.invert(crop, align=False)
    assert inversion.stored_metrics == {}
    assert torch.equal(inversion.w, expected.w)
    assert torch.equal(inversion.tensor, expected.tensor)
    assert with_metrics(inversion).stored_metrics == expected.stored_metrics
