"""Masks of regions of a face, and points of a photo in its crop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hyperstyle.align import crop, ffhq_quad
from hyperstyle.align.regions import MARGIN, RIM, region_mask
from hyperstyle.align.source import Placement
from hyperstyle.domain import REGIONS

if TYPE_CHECKING:
    from conftest import Portrait

SIZE = 128


@pytest.fixture(scope="module")
def placed(portrait: Portrait) -> Placement:
    photo, points = portrait(2, (640, 800))
    cut = crop(photo, points, SIZE, SIZE)
    return Placement(cut.footprint, cut.landmarks, cut.source_size)


def test_points_of_the_photo_come_to_their_places_in_the_crop(placed: Placement) -> None:
    corners = placed.to_crop(placed.footprint, (64, SIZE))
    np.testing.assert_allclose(corners, np.array([[0, 0], [0, 64], [128, 64], [128, 0]]) - 0.5, atol=0.1)
    face = placed.to_crop(placed.landmarks, (SIZE, SIZE))
    frame = np.array([[0, 0], [0, SIZE], [SIZE, SIZE], [SIZE, 0]]) - 0.5
    np.testing.assert_allclose(ffhq_quad(face), frame, atol=0.5)  # of the crop, the face's square is all


@pytest.mark.parametrize(
    ("region", "inside", "outside"),
    [
        ("mouth", [*range(48, 68)], [27, 30, *range(36, 48), 8]),
        ("eyes", [*range(36, 48)], [30, 33, 8, *range(48, 60)]),
        ("brows", [*range(17, 27)], [*range(28, 36), *range(48, 60)]),
        ("nose", [*range(27, 36)], [36, 45, 57, 8]),
        ("face", [*range(68)], []),
    ],
)
def test_a_region_holds_its_landmarks_and_not_those_of_others(
    placed: Placement, region: str, inside: list[int], outside: list[int]
) -> None:
    points = placed.to_crop(placed.landmarks, (SIZE, SIZE))
    mask = region_mask(region, points, (SIZE, SIZE))
    assert mask.dtype == np.float32
    at = np.rint(points).astype(int).clip(0, SIZE - 1)
    assert (mask[at[inside, 1], at[inside, 0]] > 0.999).all()
    assert (mask[at[outside, 1], at[outside, 0]] == 0).all()
    share = {"mouth": 0.05, "eyes": 0.08, "brows": 0.08, "nose": 0.05, "face": 0.5}[region]
    assert share / 3 < mask.mean() < share * 1.5


def test_there_is_a_mask_for_every_region_and_the_face_holds_all(placed: Placement) -> None:
    points = placed.to_crop(placed.landmarks, (SIZE, SIZE))
    masks = {region: region_mask(region, points, (SIZE, SIZE)) for region in REGIONS}
    assert all((masks["face"] >= mask - 0.01).all() for mask in masks.values())


def test_the_rim_is_a_fraction_of_the_image_and_smooth() -> None:
    points = np.full((68, 2), 500.0)
    points[48:60] = [[400, 500], *[[400, 700]] * 5, *[[600, 700]] * 3, *[[600, 500]] * 3]  # a square mouth
    row = region_mask("mouth", points, (1000, 1000))[600]
    assert (row[400:601] == 1).all()
    ones = np.nonzero(row > 1 - 1e-6)[0]
    some = np.nonzero(row)[0]
    assert 400 - ones.min() == pytest.approx(1000 * MARGIN, abs=1)
    assert 400 - some.min() == pytest.approx(1000 * (MARGIN + RIM), abs=1)
    assert row[400 - 60] == pytest.approx(0.5, abs=0.01), "half way of the rim"
    steps = np.diff(row[:400])
    assert (steps >= 0).all()
    assert steps.max() < 1.6 / (1000 * RIM)


def test_a_concave_outline_is_filled_and_parts_outside_of_the_image_are_cut_off() -> None:
    points = np.zeros((68, 2))
    points[48:60] = [[-50, 40], *[[50, 40]] * 3, *[[50, 90]] * 3, *[[0, 60]] * 2, *[[-50, 90]] * 3]
    mask = region_mask("mouth", points, (100, 100))
    assert (mask[41:60, 0] == 1).all()
    assert mask[88, 48] == 1
    assert mask[88, 5] == 0, "below the notch"
    assert not region_mask("mouth", points - 500, (100, 100)).any()
