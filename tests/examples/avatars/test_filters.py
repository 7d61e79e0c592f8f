"""Filters that take images out of their domain."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from examples.avatars.filters import FILTERS, blurred, main, mosaic, painting, pencil
from hyperstyle.evaluation import held_out_avatars
from hyperstyle.images import load_image, save_image, to_images


@pytest.fixture(scope="module")
def images() -> Tensor:
    return held_out_avatars(2, 64)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_makes_another_image_of_the_same_size_and_range(name: str, images: Tensor) -> None:
    before = images.clone()
    filtered = FILTERS[name](images)
    assert filtered.shape == images.shape
    assert filtered.isfinite().all()
    assert filtered.abs().max() <= 1 + 1e-5
    assert (filtered - images).square().mean() > 1e-3
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_gives_an_image_alone_what_it_gives_it_in_a_batch(name: str, images: Tensor) -> None:
    torch.testing.assert_close(FILTERS[name](images)[1:], FILTERS[name](images[1:]), atol=1e-5, rtol=0)


def detail(image: Tensor) -> float:
    """Mean difference of neighboring pixels."""
    return float((image[..., 1:] - image[..., :-1]).abs().mean())


def test_blurring_and_painting_take_detail_away(images: Tensor) -> None:
    assert detail(blurred(images)) < 0.7 * detail(images)
    noisy = images + 0.2 * torch.randn(images.shape)
    assert detail(painting(noisy)) < 0.3 * detail(noisy)


def test_a_drawing_has_the_color_of_its_paper_only(images: Tensor) -> None:
    levels = (pencil(images) + 1) / 2
    share = levels / levels[:, :1].clamp(min=1e-6)
    torch.testing.assert_close(share[:, 2], torch.full_like(share[:, 2], 0.91 / 0.98))


def test_a_mosaic_has_one_color_in_each_square(images: Tensor) -> None:
    filtered = mosaic(images)
    assert len(filtered[0].flatten(1).unique(dim=1)[0]) <= 32 * 32


def test_the_command_writes_every_image_through_every_filter(images: Tensor, tmp_path: Path) -> None:
    save_image(to_images(images)[0], tmp_path / "face.png")
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(f"face-{name}.png" for name in FILTERS)
    assert load_image(tmp_path / "out" / "face-mosaic.png").size == (64, 64)
