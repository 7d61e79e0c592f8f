"""The projector as a refinement: codes from where they are, noise maps kept or not, other overrides rendered."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import ConfigError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Step
from hyperstyle.inversion.synthesis import render
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.projector import Projection, Projector

QUICK = Projection(steps=15, lr=0.05, samples=50)
PLUS = replace(QUICK, space="w+")


@pytest.fixture(scope="module")
def begun(able: HyperStyleInverter, crops: list[Tensor]) -> Inversion:
    return able.invert(crops, method="w-encoder", align=False)


def run(inversion: Inversion, projector: Projector, steps: int | None = None) -> tuple[list[Step], Inversion]:
    seen: list[Step] = []
    assert inversion.crop is not None
    return seen, projector(inversion.crop, inversion, steps=steps, callback=seen.append)


def test_it_is_named_after_its_space_and_takes_its_steps(begun: Inversion) -> None:
    seen, inversion = run(begun, Projector(QUICK))
    assert [s.step for s in seen] == list(range(15))
    assert inversion.method == "w-encoder+optimize-w"


@pytest.mark.parametrize("settings", [QUICK, PLUS])
def test_the_image_comes_nearer_to_the_crop(begun: Inversion, settings: Projection) -> None:
    seen, inversion = run(begun, Projector(settings, loss=metrics.l2))
    assert inversion.crop is not None
    after = metrics.l2(begun.model.domain.resize_to_input(inversion.tensor), inversion.crop)
    assert (after < seen[0].losses).all()
    rows_differ = not torch.equal(inversion.w[:, 0], inversion.w[:, 1])
    assert rows_differ == (settings.space == "w+")


def test_the_published_loss_is_used_alone_and_the_models_own_with_l2(begun: Inversion) -> None:
    first = {
        weight: run(begun, Projector(QUICK, loss=metrics.l1, l2=weight), steps=1)[0][0].losses
        for weight in (None, 0.0, 1.0)
    }
    assert torch.equal(first[None], metrics.l1(*first_pair(begun)))
    assert torch.equal(first[None], first[0.0])
    assert (first[1.0] > first[0.0]).all()


def first_pair(begun: Inversion) -> tuple[Tensor, Tensor]:
    seen, _ = run(begun, Projector(QUICK, loss=metrics.l1), steps=1)
    assert begun.crop is not None
    return seen[0].image, begun.crop


def test_noise_maps_are_kept_where_they_are_wanted_and_seen(
    begun: Inversion, tiny_inverter: HyperStyleInverter
) -> None:
    assert len(run(begun, Projector(QUICK))[1].overrides.noise) == 7
    assert run(begun, Projector(QUICK, keep_noise=False))[1].overrides.noise == ()
    assert run(begun, Projector(replace(QUICK, optimize_noise=False)))[1].overrides.noise == ()
    silent = replace(begun, model=replace(begun.model, generator=tiny_inverter.model.generator))
    assert run(silent, Projector(QUICK))[1].overrides.noise == (), "no layer of this generator adds any noise"


def test_it_goes_on_with_the_noise_maps_and_offsets_that_are_there(
    able: HyperStyleInverter, crops: list[Tensor]
) -> None:
    first = able.invert(crops, method="hyperstyle+optimize-w", steps=4, align=False)
    assert first.overrides.noise
    seen, more = run(first, Projector(replace(QUICK, initial_noise=0.0)), steps=2)
    torch.testing.assert_close(seen[0].image, render(first.model, first.state, differentiable=True), atol=1e-5, rtol=0)
    assert more.offset_codes is first.offset_codes
    plain = run(first, Projector(replace(QUICK, optimize_noise=False)), steps=1)[1]
    assert plain.overrides.noise == first.overrides.noise, "kept though not optimized"


def test_no_steps_leave_the_image_as_it_is(begun: Inversion) -> None:
    assert torch.equal(run(begun, Projector(QUICK), steps=0)[1].tensor, begun.tensor)


def test_codes_of_several_rows_need_the_space_of_several_rows(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    begun = able.invert(crops, method="e4e", align=False)
    with pytest.raises(ConfigError, match=r"space='w\+'"):
        run(begun, Projector(QUICK))
    assert run(begun, Projector(PLUS))[1].method == "e4e+optimize-w+"
