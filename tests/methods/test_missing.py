"""What a model cannot do has one reason, wherever it is asked for."""

from __future__ import annotations

import pytest
import torch

from hyperstyle.errors import MethodError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.registry import METHODS, missing_methods, why_missing

NETWORKS = ("encoder", "hypernetwork", "psp", "e4e", "restyle", "hyperinverter", "idinvert", "vgg16")


def without(inverter: HyperStyleInverter, *parts: str) -> HyperStyleInverter:
    reduced = HyperStyleInverter.__new__(HyperStyleInverter)
    reduced._model = inverter.model.with_parts(**dict.fromkeys(parts))
    reduced.aligner = None
    return reduced


@pytest.mark.parametrize("present", [(), *((name,) for name in NETWORKS[:-2]), ("encoder", "hypernetwork")])
def test_what_is_missing_and_what_is_listed_are_all_methods_and_inverting_names_the_same_reason(
    able: HyperStyleInverter, present: tuple[str, ...]
) -> None:
    inverter = without(able, *(name for name in NETWORKS if name not in present))
    lost = missing_methods(inverter.model)
    assert lost.keys().isdisjoint(inverter.methods)
    assert {*lost, *inverter.methods} >= set(METHODS)
    assert inverter.describe()["missing_methods"] == lost
    crop = torch.zeros(3, *inverter.model.domain.input_size)
    for name, reason in lost.items():
        reason = why_missing(inverter.model, "hyperstyle") if name == "offset-codes" else reason
        with pytest.raises(MethodError) as caught:
            inverter.invert(crop, method=name, align=False)
        assert str(reason).partition("; use ")[0] in str(caught.value)


def test_reasons_say_which_network_is_not_there(able: HyperStyleInverter) -> None:
    bare = missing_methods(without(able, *NETWORKS).model)
    assert bare["hyperinverter"] == "the model has no HyperInverter network"
    assert bare["psp"] == "the model has no pSp encoder"
    assert bare["idinvert"] == "the model has no encoder of IDInvert"
    assert bare["offsets"] == "the model has no W encoder to start from"
    assert set(METHODS) - set(bare) == {"optimize-w", "optimize-w+", "pti"}
    assert why_missing(able.model, "hyperstyle") is None
