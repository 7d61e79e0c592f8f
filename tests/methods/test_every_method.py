"""What every method must give: an Inversion with which everything works, alone and in chains."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hyperstyle.errors import EditWarning, InversionError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Step
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods import registry

CHAINS = ("e4e+offset-codes", "psp+optimize-w++pti", "optimize-w+hyperstyle", "hyperinverter+offsets+pti")
MORE_CHAINS = ("hyperstyle+pti", "hyperstyle+offsets", "w-encoder+offsets", "restyle-e4e+pti", "hyperstyle+optimize-w")
ALONE = (
    "hyperstyle",
    "hyperinverter",
    "w-encoder",
    "e4e",
    "psp",
    "restyle-e4e",
    "optimize-w",
    "optimize-w+",
    "pti",
    "offsets",
    "offset-codes",
)


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=5e-5, rtol=0)


@pytest.fixture(
    scope="module",
    params=[*ALONE, *CHAINS, *(pytest.param(chain, marks=pytest.mark.slow) for chain in MORE_CHAINS)],
)
def two(request: pytest.FixtureRequest, able: HyperStyleInverter, crops: list[Tensor]) -> Inversion:
    """Two images, inverted in few steps."""
    method: str = request.param
    way = registry.resolve_method(able.model, method)
    steps = {name: 1 if name == "hyperinverter" else 2 for name, _, _ in way.parts}
    return able.invert(crops, method=method, steps=steps, align=False)


def test_it_is_named_and_measured(two: Inversion) -> None:
    assert two.method in (*ALONE, *CHAINS, *MORE_CHAINS)
    assert two.stored_metrics["l2"] == pytest.approx(two.metrics()["l2"], abs=1e-5)
    assert two.crop is not None
    assert two.tensor.shape == (2, 3, 32, 32)
    assert not two.tensor.requires_grad
    assert not torch.allclose(two.tensor[0], two.tensor[1], atol=1e-3)


def test_a_batch_is_its_images(two: Inversion, able: HyperStyleInverter, crops: list[Tensor]) -> None:
    way = registry.resolve_method(able.model, two.method)
    steps = {name: 1 if name == "hyperinverter" else 2 for name, _, _ in way.parts}
    for i, single in enumerate(two):
        same(single.tensor, two.tensor[i : i + 1])
        alone = able.invert(crops[i], method=two.method, steps=steps, align=False)
        torch.testing.assert_close(alone.tensor, single.tensor, atol=1e-3, rtol=0)


def test_it_is_saved_and_loaded_bit_for_bit(two: Inversion, able: HyperStyleInverter, tmp_path: Path) -> None:
    edited = two.edit("age", 1)
    edited.save(tmp_path / "it.safetensors")
    again = Inversion.load(tmp_path / "it.safetensors", able)
    assert again.method == two.method
    assert torch.equal(again.tensor, edited.tensor)
    assert again.unedited is not None
    same(again.unedited.tensor, two.tensor)


def test_it_is_pickled_without_its_model_and_finds_it_again(two: Inversion, able: HyperStyleInverter) -> None:
    edited = two.edit("age", [1, 2])
    again = pickle.loads(pickle.dumps(edited))
    assert again.model is able.model
    assert torch.equal(again.tensor, edited.tensor)
    assert torch.equal(again.unedited.tensor, edited.unedited.tensor)  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", [pytest.param(torch.no_grad, marks=pytest.mark.slow), torch.inference_mode])
def test_it_is_the_same_where_no_gradients_are_recorded_and_usable_outside(
    two: Inversion, able: HyperStyleInverter, crops: list[Tensor], mode: type[torch.no_grad], tmp_path: Path
) -> None:
    if mode is torch.no_grad and two.method not in ALONE:
        return  # their parts are tested in both, and inference mode asks for more
    way = registry.resolve_method(able.model, two.method)
    steps = {name: 1 if name == "hyperinverter" else 2 for name, _, _ in way.parts}
    with mode():
        inverted = able.invert([crop.clone() for crop in crops], method=two.method, steps=steps, align=False)
        further = None if two.refinement is None or "hyperinverter" in two.method else two.refine(1)
        tensor = inverted.tensor
        edited = inverted.edit("age", 1)
        joined = Inversion.cat([inverted[1], edited[0]])
    assert torch.equal(tensor, two.tensor)
    assert torch.equal(edited.tensor, two.edit("age", 1).tensor)
    for inversion in (inverted, edited, joined):
        tensors = [inversion.tensor, *inversion.state.tensors, *([] if inversion.crop is None else [inversion.crop])]
        assert not any(t.is_inference() or t.requires_grad for t in tensors)
    if further is not None:
        assert torch.equal(further.tensor, two.refine(1).tensor)
        assert torch.equal(inverted.refine(1).tensor, further.tensor)
        assert joined.refine(1).tensor.isfinite().all()
    edited.save(tmp_path / "it.safetensors")
    weights = [p for network in able.model.networks.values() for p in (*network.parameters(), *network.buffers())]
    assert not any(weight.is_inference() or weight.requires_grad for weight in weights)


def test_edits_move_it_and_undo_themselves(two: Inversion) -> None:
    strip = two[0].edit("age", [-1, 0, 1])
    same(strip.tensor[1:2], two[0].tensor)
    assert (strip.tensor[0] - strip.tensor[2]).abs().max() > 1e-3
    same(two.edit("smile", 2).edit("smile", -2).tensor, two.tensor)


def test_a_point_of_it_is_dragged(two: Inversion, able: HyperStyleInverter, tmp_path: Path) -> None:
    steps: list[Step] = []
    with pytest.warns(EditWarning, match="px are left"):
        dragged = two[1].drag([((8, 20), (20, 20))], steps=3, callback=steps.append)
    same(steps[0].image, two[1].tensor)  # the image that is dragged is that of the method
    assert (dragged.tensor - two[1].tensor).abs().max() > 1e-3
    rest = [value for value in dragged.state.tensors if value is not dragged.w]
    assert all(torch.equal(a, b) for a, b in zip(rest, two[1].state.tensors[1:], strict=True))
    dragged.save(tmp_path / "it.safetensors")
    assert torch.equal(Inversion.load(tmp_path / "it.safetensors", able).tensor, dragged.tensor)


def test_interpolation_and_mixing_lead_from_one_to_the_other(two: Inversion) -> None:
    way = two[0].interpolate(two[1], 3)
    same(way.tensor[:1], two[0].tensor)
    same(way.tensor[2:], two[1].tensor)
    assert not torch.allclose(way.tensor[1], way.tensor[0], atol=1e-4)
    mixed = two[0].mix(two[1], ["b8.conv1", "b16.conv0"])
    assert not torch.allclose(mixed.tensor, two[0].tensor, atol=1e-4)
    same(two[0].mix(two[0], ["b8.conv1"]).tensor, two[0].tensor)


def test_it_goes_into_another_generator_and_back(two: Inversion) -> None:
    generator = two.model.generator
    other = generator.with_parameters({n: p.detach() * 1.05 for n, p in generator.named_parameters()})
    moved = two.transfer(other)
    assert (moved.tensor - two.tensor).abs().max() > 1e-3
    same(moved.transfer(generator).tensor, two.tensor)
    assert moved.edit("age", 1).tensor.isfinite().all()


def test_images_are_joined_again(two: Inversion) -> None:
    joined = Inversion.cat([two[1], two[0]])
    same(joined.tensor, two.tensor.flip(0))
    assert joined.stored_metrics["l2"] == two.stored_metrics["l2"][::-1]


def test_it_joins_and_leads_to_an_image_whose_generator_is_as_it_was(
    two: Inversion, able: HyperStyleInverter, crops: list[Tensor], tmp_path: Path
) -> None:
    plain = able.invert(crops[1], method="psp", align=False)
    for parts in ([two, plain], [plain, two[1]]):
        joined = Inversion.cat(parts)
        same(joined.tensor, torch.cat([part.tensor for part in parts]))
        same(joined[-1].tensor, parts[-1].tensor[-1:])
        joined.save(tmp_path / "it.safetensors")
        assert torch.equal(Inversion.load(tmp_path / "it.safetensors", able).tensor, joined.tensor)
    for a, b in ((two[0], plain), (plain, two[0])):
        way = a.interpolate(b, 3)
        same(way.tensor[:1], a.tensor)
        same(way.tensor[2:], b.tensor)


def test_images_of_all_methods_are_one_batch(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    parts = []
    for method in ALONE:
        steps = {name: 1 for name, _, _ in registry.resolve_method(able.model, method).parts}
        parts.append(able.invert(crops[0], method=method, steps=steps, align=False))
    joined = Inversion.cat(parts)
    same(joined.tensor, torch.cat([part.tensor for part in parts]))


def test_it_is_pasted_back_into_its_photo(two: Inversion, able: HyperStyleInverter) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (70, 60, 3), dtype=np.uint8)
    photo = Image.fromarray(noise)
    points = np.array([[22.0, 30.0], [38.0, 30.0], [30.0, 40.0], [24.0, 48.0], [36.0, 48.0]])
    way = registry.resolve_method(able.model, two.method)
    inversion = able.invert(photo, method=two.method, landmarks=points, steps={name: 1 for name, _, _ in way.parts})
    pasted = inversion.edit("age", 1).paste_back()
    assert pasted.size == photo.size
    assert pasted.tobytes() != photo.tobytes()


def test_more_steps_go_on_from_where_it_is(two: Inversion) -> None:
    if two.refinement is None:
        with pytest.raises(InversionError, match="its method"):
            two.refine(1)
        return
    if two.method == "hyperinverter":
        return  # predicts once; tests/methods/test_hyperinverter.py
    more = two.refine(3)
    assert len(more) == 2
    assert more.stored_metrics != two.stored_metrics
    assert two.refine(0).stored_metrics["l2"] == pytest.approx(two.stored_metrics["l2"], abs=1e-4)
