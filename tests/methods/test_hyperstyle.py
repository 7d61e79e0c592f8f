"""The loop of the paper, as a function and as a refinement of inversions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MethodError, QualityWarning
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Step
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.hyperstyle import HyperStyleRefinement, refine
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.stylegan2.generator import Generator

Parts = tuple[Tensor, Tensor, Generator, Hypernetwork, Callable[[Tensor], Tensor]]


@pytest.fixture
def parts(tiny_inverter: HyperStyleInverter) -> Parts:
    """Two crops, their codes, the networks, and the way from an image to the network's input."""
    model = tiny_inverter.model
    assert model.encoder is not None
    assert model.hypernetwork is not None
    crop = torch.rand(2, 3, 32, 32) * 2 - 1
    return crop, model.encoder(crop), model.generator, model.hypernetwork, model.domain.resize_to_input


def run(parts: Parts, steps: int, codes: OffsetCodes | None = None) -> tuple[list[Step], OffsetCodes | None, Tensor]:
    seen: list[Step] = []
    codes, image = refine(*parts, steps=steps, codes=codes, callback=seen.append)
    return seen, codes, image


def test_the_callback_sees_the_start_and_every_step(parts: Parts) -> None:
    seen, codes, image = run(parts, 3)
    assert [(s.step, s.steps) for s in seen] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert seen[0].codes is None
    assert seen[-1].codes is codes
    assert torch.equal(seen[-1].image, image)
    assert all(not torch.equal(a.image, b.image) for a, b in pairwise(seen))


def test_without_a_step_the_image_is_that_of_the_code(parts: Parts) -> None:
    _, w, generator, *_ = parts
    seen, codes, image = run(parts, 0)
    assert len(seen) == 1
    assert codes is None
    assert torch.equal(image, generator(w))


def test_offsets_are_the_sum_of_what_each_step_predicts(parts: Parts) -> None:
    crop, w, generator, hypernetwork, to_input = parts
    image = generator(w)
    total: dict[str, Tensor] = {}
    for _ in range(3):
        predicted = hypernetwork.offsets(hypernetwork(crop, to_input(image)))
        total = {name: value + total.get(name, 0) for name, value in predicted.items()}
        image = generator(w, total)
    _, codes, final_image = run(parts, 3)
    assert codes is not None
    for name, value in hypernetwork.offsets(codes).items():
        torch.testing.assert_close(value, total[name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(final_image, image, atol=5e-5, rtol=0)


def test_two_and_three_steps_are_five_steps_exactly(parts: Parts) -> None:
    _, five, image = run(parts, 5)
    _, two, _ = run(parts, 2)
    seen, both, continued = run(parts, 3, two)
    assert five is not None
    assert both is not None
    assert torch.equal(continued, image)
    assert torch.equal(five.count, both.count)
    assert all(torch.equal(five.sums[name], both.sums[name]) for name in five.sums)
    assert seen[0].codes is two


def test_gradients_reach_the_hypernetwork(parts: Parts) -> None:
    hypernetwork = parts[3]
    with torch.enable_grad():
        first = hypernetwork.refinement_blocks["3"]
        weight = next(first.parameters()).requires_grad_()
        _, _, image = run(parts, 2)
        (gradient,) = torch.autograd.grad(image.square().mean(), weight)
        weight.requires_grad_(False)
    assert gradient.abs().max() > 0


# ---- as a refinement ----


@pytest.fixture
def start(tiny_inverter: HyperStyleInverter, parts: Parts) -> Inversion:
    return tiny_inverter.invert(list(parts[0]), method="w-encoder", align=False)


def test_a_refinement_takes_the_models_number_of_steps_and_measures_itself(start: Inversion) -> None:
    assert start.crop is not None
    refined = HyperStyleRefinement()(start.crop, start)
    assert refined.offset_codes is not None
    assert refined.offset_codes.count.tolist() == [2, 2]
    assert refined.method == "hyperstyle"
    assert refined.stored_metrics == refined.metrics()
    assert refined.stored_metrics != start.stored_metrics
    assert refined.intermediates == ()


def test_the_image_kept_from_the_loop_is_the_one_the_inversion_makes(start: Inversion) -> None:
    assert start.crop is not None
    refined = HyperStyleRefinement()(start.crop, start)
    assert torch.equal(refined.tensor, replace(refined).tensor)


def test_intermediates_are_the_images_before_and_after_each_step(start: Inversion) -> None:
    assert start.crop is not None
    refined = HyperStyleRefinement(keep_intermediates=True)(start.crop, start, steps=3)
    assert len(refined.intermediates) == 4
    torch.testing.assert_close(refined.intermediates[0], start.tensor, atol=2e-5, rtol=0)
    assert torch.equal(refined.intermediates[-1], refined.tensor)


def test_a_negative_number_of_steps_is_refused(start: Inversion) -> None:
    assert start.crop is not None
    with pytest.raises(ConfigError, match="steps=-1"):
        HyperStyleRefinement()(start.crop, start, steps=-1)


def test_a_model_without_a_hypernetwork_is_refused(start: Inversion) -> None:
    assert start.crop is not None
    bare = replace(start, model=start.model.with_parts(hypernetwork=None))
    with pytest.raises(MethodError, match="no hypernetwork"):
        HyperStyleRefinement()(start.crop, bare)


def test_twice_as_many_steps_as_trained_are_warned_of_further_ones_included(tiny_inverter: HyperStyleInverter) -> None:
    crop = torch.rand(3, 32, 32) * 2 - 1  # trained with 2, says the model
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        three = tiny_inverter.invert(crop, steps=3, align=False)
        three.refine(0)
        four = three.refine(1)
        tiny_inverter.invert(crop, steps=4, align=False)
        four.refine(0)
    caught = [warning for warning in caught if " steps of " in str(warning.message)]
    assert [(str(warning.message).partition(",")[0], warning.filename) for warning in caught] == [
        ("4 steps of 'hyperstyle'", __file__)
    ] * 2
    assert "trained with 2" in str(caught[0].message)
    assert "method='hyperstyle+offsets'" in str(caught[0].message)
    assert issubclass(caught[0].category, QualityWarning)
