from __future__ import annotations

import math

import numpy as np
import pytest

from examples.avatars.renderer.snapshots import FACE_SHARES, Snapshot, face_box, snapshots
from hyperstyle.errors import ConfigError


@pytest.fixture(scope="module")
def photos() -> list[Snapshot]:
    return list(snapshots(24, seed=5, size=64))


def test_faces_are_large_and_small_tilted_and_anywhere_but_wholly_in_the_photo(photos: list[Snapshot]) -> None:
    boxes = np.array([face_box(photo.landmarks) for photo in photos])
    centers, sides = boxes[:, :2], boxes[:, 2]
    assert (centers - sides[:, None] / 2 > -0.6).all()  # the first pixel reaches from -0.5 on
    assert (centers + sides[:, None] / 2 < 63.6).all()
    low, high = FACE_SHARES
    assert 64 * low - 0.1 < sides.min() < 64 * (low + 0.1)
    assert 64 * (high - 0.15) < sides.max() < 64 * high + 0.1
    assert (centers.max(axis=0) - centers.min(axis=0) > 20).all()
    across = np.array([p.landmarks[42:48].mean(axis=0) - p.landmarks[36:42].mean(axis=0) for p in photos])
    tilts = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    assert tilts.min() < -10
    assert tilts.max() > 10


def test_the_landmarks_lie_on_the_rendered_face() -> None:
    # An eye's white is brighter than the skin around it only where the landmarks are right.
    photo = next(snapshots(1, seed=900_002, size=256))
    gray = np.asarray(photo.image.convert("L"), dtype=np.float64)
    eye = photo.landmarks[36:42]
    inside = eye.mean(axis=0) + 0.75 * (eye - eye.mean(axis=0))
    outside = eye.mean(axis=0) + 0.75 * (eye - eye.mean(axis=0)) + [0, 3 * np.ptp(eye[:, 1])]

    def contrast(points: np.ndarray) -> float:
        x, y = np.rint(points).astype(int).T
        return float(np.ptp(gray[y, x]))

    assert contrast(inside) > 3 * contrast(outside)


def test_the_same_arguments_give_the_same_photos_and_more_of_them_start_with_these(photos: list[Snapshot]) -> None:
    again = list(snapshots(2, seed=5, size=64))
    assert [photo.image for photo in again] == [photo.image for photo in photos[:2]]
    assert next(snapshots(1, seed=6, size=64)).image != photos[0].image


def test_the_box_turns_with_no_tilt_and_grows_with_the_face(photos: list[Snapshot]) -> None:
    points = photos[0].landmarks
    x, y, side = face_box(points)
    angle = math.radians(30)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    assert face_box((points - [x, y]) @ turn * 2) == pytest.approx((0, 0, 2 * side), abs=1e-6)


def test_a_size_too_small_for_faces_is_refused() -> None:
    with pytest.raises(ConfigError, match="few pixels"):
        next(snapshots(1, seed=1, size=32))
