"""The parallelogram of a crop as a frame: points to the crop and back, and its bounding box in the photo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hyperstyle.align.seam import Frame, cell_centers

TILTED = [(30, 10), (10, 50), (50, 70), (70, 30)]  # pixel indices: top left, bottom left, bottom right, top right


def test_corners_of_the_crop_are_the_corners_of_the_quad_half_a_pixel_further() -> None:
    unit = torch.tensor([(0, 0), (0, 1), (1, 1), (1, 0)], dtype=torch.float64)
    np.testing.assert_allclose(Frame.of(TILTED).to_photo(unit), np.array(TILTED) + 0.5, atol=1e-12)


def test_pixel_centers_go_to_the_crop_and_back() -> None:
    frame = Frame.of(TILTED)
    unit = frame.pixel_centers(3, 5, 9, 8)
    assert unit.shape == (3, 6, 2)
    x, y = np.meshgrid(np.arange(3, 9) + 0.5, np.arange(5, 8) + 0.5)
    np.testing.assert_allclose(frame.to_photo(unit), np.stack([x, y], axis=-1), atol=1e-9)


def test_bounds_are_whole_pixels_within_the_photo() -> None:
    assert Frame.of(TILTED).bounds(100, 100) == (10, 10, 71, 71)
    assert Frame.of(TILTED).bounds(40, 60) == (10, 10, 40, 60)


def test_sides_are_lengths_in_pixels_of_the_photo() -> None:
    np.testing.assert_allclose(Frame.of([(0, 0), (0, 30), (40, 30), (40, 0)]).sides, (40, 30))


def test_cells_divide_the_crop_evenly() -> None:
    centers = cell_centers(4)
    assert centers[0, :, 0].tolist() == centers[:, 0, 1].tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize(
    ("quad", "share"),
    [
        ([(0, 0), (0, 9), (9, 9), (9, 0)], 0),
        ([(-10.5, -0.5), (-10.5, 9.5), (9.5, 9.5), (9.5, -0.5)], 0.5),
        ([(-10.5, -10.5), (-10.5, 9.5), (9.5, 9.5), (9.5, -10.5)], 0.75),
        ([(4.5, -5.5), (-5.5, 4.5), (4.5, 14.5), (14.5, 4.5)], 0.5),  # on its corner
        ([(100, 100), (100, 109), (109, 109), (109, 100)], 1),
    ],
)
def test_the_share_of_a_square_outside_the_photo(quad: Any, share: float) -> None:
    inside = Frame.of(quad).cells_inside(64, (10, 10))
    assert 1 - float(inside.double().mean()) == pytest.approx(share, abs=0.02)
