"""Random codes: the first codes do not depend on how many are sampled, and truncation moves them towards the mean."""

from __future__ import annotations

import pytest
import torch

from hyperstyle import HyperStyleInverter
from hyperstyle.errors import ConfigError
from hyperstyle.fitting import sample_w


def sampled(inverter: HyperStyleInverter, count: int, seed: int = 0, truncation: float = 1.0) -> torch.Tensor:
    return torch.cat(list(sample_w(inverter.model.generator, count, seed=seed, truncation=truncation)))


def test_more_codes_begin_with_the_fewer(tiny_inverter: HyperStyleInverter) -> None:
    many = sampled(tiny_inverter, 5000)
    assert many.shape == (5000, 16)
    torch.testing.assert_close(sampled(tiny_inverter, 7), many[:7])
    assert not torch.equal(sampled(tiny_inverter, 7, seed=1), many[:7])


def test_truncation_draws_codes_towards_the_mean_of_w(tiny_inverter: HyperStyleInverter) -> None:
    mean, codes = tiny_inverter.model.generator.latent_avg, sampled(tiny_inverter, 5)
    torch.testing.assert_close(sampled(tiny_inverter, 5, truncation=0.5), (codes + mean) / 2)
    torch.testing.assert_close(sampled(tiny_inverter, 5, truncation=0.0), mean.expand(5, -1))


@pytest.mark.parametrize(("count", "truncation"), [(0, 1.0), (3, float("nan"))])
def test_what_cannot_be_sampled_is_refused_at_once(
    tiny_inverter: HyperStyleInverter, count: int, truncation: float
) -> None:
    with pytest.raises(ConfigError, match="expected 1 or more"):
        sample_w(tiny_inverter.model.generator, count, truncation=truncation)
