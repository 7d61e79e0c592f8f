from __future__ import annotations

import pytest
import torch

from examples.avatars.renderer.factors import DETAILS, FACTORS, NAMES, TRAITS, check, sample_factors, select
from hyperstyle.errors import ConfigError


def test_every_factor_is_either_a_trait_or_a_detail() -> None:
    assert sorted(TRAITS + DETAILS) == sorted(NAMES)
    assert len(set(NAMES)) == len(NAMES)


def test_values_lie_between_0_and_1_and_flags_are_exactly_0_or_1() -> None:
    factors = sample_factors(200, seed=3)
    for factor in FACTORS:
        values = factors[factor.name]
        assert values.shape == (200,)
        assert values.dtype == torch.float32
        assert 0 <= values.min() <= values.max() <= 1
        if factor.kind == "flag":
            assert set(values.tolist()) == {0.0, 1.0}
            assert values.mean().item() == pytest.approx(factor.probability, abs=0.12)


def test_an_avatar_depends_on_the_seed_and_its_place_only() -> None:
    many, few = sample_factors(8, seed=5), sample_factors(4, seed=5)
    assert all(torch.equal(many[name][:4], few[name]) for name in NAMES)
    other = sample_factors(4, seed=6)
    assert not torch.equal(other["yaw"], few["yaw"])


def test_drawing_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    sample_factors(3, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_details_the_traits_stay_and_every_detail_is_absent() -> None:
    full, plain = sample_factors(50, seed=9), sample_factors(50, seed=9, details=False)
    for factor in FACTORS:
        if factor.group == "trait":
            assert torch.equal(full[factor.name], plain[factor.name])
        else:
            assert set(plain[factor.name].tolist()) == {factor.absent}


def test_select_keeps_the_order_asked_for_and_a_batch_dimension() -> None:
    factors = sample_factors(6, seed=0)
    assert torch.equal(select(factors, [4, 1])["yaw"], factors["yaw"][[4, 1]])
    assert torch.equal(select(factors, 2)["yaw"], factors["yaw"][2:3])
    assert torch.equal(select(factors, slice(1, 3))["yaw"], factors["yaw"][1:3])
    assert check(select(factors, torch.tensor([5, 0, 0]))) == 3


@pytest.mark.parametrize(("count", "seed"), [(0, 1), (-2, 1), (1, -1), (1, 2**63)])
def test_an_impossible_draw_is_refused(count: int, seed: int) -> None:
    with pytest.raises(ConfigError):
        sample_factors(count, seed=seed)


def test_an_unknown_factor_is_named_with_the_one_that_was_meant() -> None:
    factors = sample_factors(2, seed=0)
    factors["smlie"] = factors["smile"]
    with pytest.raises(ConfigError, match="Did you mean 'smile'"):
        check(factors)


def test_a_missing_factor_is_named() -> None:
    factors = sample_factors(2, seed=0)
    del factors["gaze"]
    with pytest.raises(ConfigError, match="gaze"):
        check(factors)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.rand(3),
        torch.rand(2, 1),
        torch.zeros(2, dtype=torch.long),
        torch.tensor([0.5, 1.2]),
        torch.tensor([0.5, float("nan")]),
    ],
    ids=["count", "shape", "type", "range", "nan"],
)
def test_values_of_a_wrong_shape_type_or_range_are_refused(wrong: torch.Tensor) -> None:
    factors = sample_factors(2, seed=0)
    factors["smile"] = wrong
    with pytest.raises(ConfigError, match="smile"):
        check(factors)
