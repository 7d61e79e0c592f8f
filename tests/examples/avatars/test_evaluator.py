"""The evaluator of the bundled model reads the factors of portraits that are rendered for it."""

from __future__ import annotations

import torch

from examples.avatars.renderer.factors import sample_factors
from examples.avatars.renderer.render import render
from hyperstyle import HyperStyleInverter


def test_the_judge_reads_traits_it_never_saw() -> None:
    model = HyperStyleInverter.from_pretrained("avatars", device="cpu").model
    assert model.evaluator is not None
    factors = sample_factors(32, seed=900_002)
    with torch.no_grad():
        read = model.evaluator(render(factors, model.domain.size).images)
    for name in ("yaw", "smile", "age", "glasses"):
        values = read[:, model.evaluator.config.traits.index(name)]
        assert torch.corrcoef(torch.stack([values, factors[name]]))[0, 1] > 0.7, name
