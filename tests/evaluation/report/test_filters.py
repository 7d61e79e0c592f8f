"""Filters that take images out of their domain."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyperstyle.evaluation import held_out_avatars
from hyperstyle.evaluation.report.filters import FILTERS, blurred, mosaic, painting, pencil


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return held_out_avatars(2, 64)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_makes_another_image_of_the_same_size_and_range(name: str, pictures: Tensor) -> None:
    before = pictures.clone()
    made = FILTERS[name](pictures)
    assert made.shape == pictures.shape
    assert made.isfinite().all()
    assert made.abs().max() <= 1 + 1e-5
    assert (made - pictures).square().mean() > 1e-3
    assert torch.equal(pictures, before)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_gives_an_image_alone_what_it_gives_it_in_a_batch(name: str, pictures: Tensor) -> None:
    torch.testing.assert_close(FILTERS[name](pictures)[1:], FILTERS[name](pictures[1:]), atol=1e-5, rtol=0)


def detail(picture: Tensor) -> float:
    """Mean difference of neighbors."""
    return float((picture[..., 1:] - picture[..., :-1]).abs().mean())


def test_blurring_and_painting_take_detail_away(pictures: Tensor) -> None:
    assert detail(blurred(pictures)) < 0.7 * detail(pictures)
    noisy = pictures + 0.2 * torch.randn(pictures.shape)
    assert detail(painting(noisy)) < 0.3 * detail(noisy)


def test_a_drawing_has_the_colour_of_its_paper_only(pictures: Tensor) -> None:
    levels = (pencil(pictures) + 1) / 2
    share = levels / levels[:, :1].clamp(min=1e-6)
    torch.testing.assert_close(share[:, 2], torch.full_like(share[:, 2], 0.91 / 0.98))


def test_a_mosaic_has_one_colour_in_each_square(pictures: Tensor) -> None:
    made = mosaic(pictures)
    assert len(made[0].flatten(1).unique(dim=1)[0]) <= 32 * 32
