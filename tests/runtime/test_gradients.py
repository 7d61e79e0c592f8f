"""Calls within modes in which PyTorch records nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hyperstyle.errors import MethodError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.offsets import OffsetTuner
from hyperstyle.runtime.gradients import copy_inference_tensors, normal_tensors, outside_inference_mode, with_gradients


def test_normal_tensors_are_made_anywhere_and_gradients_stay_as_they_were() -> None:
    with torch.inference_mode(), normal_tensors():
        assert not torch.ones(1).is_inference()
        assert not torch.is_grad_enabled()
    with torch.no_grad(), normal_tensors():
        assert not torch.is_grad_enabled()
    with normal_tensors():
        assert torch.is_grad_enabled()
    assert torch.is_grad_enabled()

    @outside_inference_mode
    def modes() -> tuple[bool, bool]:
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    with torch.inference_mode():
        assert modes() == (False, False)
        assert torch.is_inference_mode_enabled()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_flow_through_tensors_that_were_made_in_any_mode(mode: type[torch.no_grad]) -> None:
    @with_gradients
    def slope(x: Tensor, more: dict[str, Tensor], *, several: list[Tensor]) -> Tensor:
        w = torch.ones(2, requires_grad=True)
        (w * x * more["a"] * several[0]).sum().backward()
        assert w.grad is not None
        return w.grad

    with mode():
        inputs = torch.full((2,), 3.0), {"a": torch.full((2,), 5.0)}
        grad = slope(*inputs, several=[inputs[0]])
    assert grad.tolist() == [45.0, 45.0]
    assert slope(*inputs, several=[inputs[0]]).tolist() == [45.0, 45.0]


def test_what_is_usable_is_passed_on_as_it_is() -> None:
    tensor, mapping, text = torch.ones(1), {"a": torch.ones(1)}, "text"
    assert copy_inference_tensors(tensor) is tensor
    assert copy_inference_tensors(mapping) is mapping
    assert copy_inference_tensors(text) is text
    assert copy_inference_tensors((tensor, None)) == (tensor, None)


def test_a_model_that_is_loaded_or_moved_in_inference_mode_can_be_optimized_against(
    tiny_model_dir: Path, tiny_inverter: HyperStyleInverter
) -> None:
    crop = torch.rand(3, 32, 32) * 2 - 1
    tuner = OffsetTuner(steps=1, loss=lambda a, b: (a - b).abs().mean((1, 2, 3)))
    with torch.inference_mode():
        loaded = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu").to("cpu")
        model = loaded.model
        composed = HyperStyleInverter(model.generator, model.encoder, domain=model.domain, device="cpu")
    expected = tiny_inverter.invert(crop, method=["w-encoder", tuner], align=False)
    for inverter in (loaded, composed):
        weights = [t for network in inverter.model.networks.values() for t in network.state_dict().values()]
        assert not any(weight.is_inference() for weight in weights)
        inversion = inverter.invert(
            crop, method=["w-encoder", OffsetTuner(1, layers=LAYERS, loss=tuner.loss)], align=False
        )
        assert torch.equal(inversion.tensor, expected.tensor)


LAYERS = ("b8.conv1", "b16.conv1", "b32.conv0")


def test_networks_that_were_built_in_inference_mode_are_refused_by_name(tiny_inverter: HyperStyleInverter) -> None:
    model = tiny_inverter.model
    with torch.inference_mode():
        values = {name: value + 0 for name, value in model.generator.named_parameters()}
        generator = model.generator.with_parameters(values)
    inverter = HyperStyleInverter(generator, model.encoder, model.hypernetwork, domain=model.domain)
    crop = torch.rand(3, 32, 32) * 2 - 1
    assert inverter.invert(crop, align=False).tensor.isfinite().all()  # no gradients needed
    tuner = OffsetTuner(steps=1, loss=lambda a, b: (a - b).abs().mean((1, 2, 3)))
    with pytest.raises(MethodError, match=r"weights of a Generator .* inside torch\.inference_mode\(\)"):
        inverter.invert(crop, method=["w-encoder", tuner], align=False)
    with torch.inference_mode():
        layer = nn.Linear(2, 2)
    with pytest.raises(MethodError, match="weights of a Linear"):
        with_gradients(lambda network: network)(layer)
