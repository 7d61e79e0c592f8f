"""Faces on turned copies of a photo: which turn is taken, and where its points are in the upright photo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperstyle.align.mtcnn import MtcnnDetector
from hyperstyle.align.turns import ScoredFaces, find_sideways

SIZE = (50, 30)
MARKS = [(7, 4), (40, 9), (21, 25)]  # (x, y), none of them the mirror image of another
LEVELS = (80, 160, 240)


@pytest.fixture
def photo() -> Image.Image:
    """Black, with three pixels of different levels."""
    image = Image.new("RGB", SIZE)
    for mark, level in zip(MARKS, LEVELS, strict=True):
        image.putpixel(mark, (level, level, level))
    return image


def marks_of(photo: Image.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    pixels = np.asarray(photo)[..., 0]
    return np.array([np.argwhere(pixels == level)[0][::-1] for level in LEVELS], dtype=np.float64)


@pytest.mark.parametrize("best", range(3))
def test_the_turn_with_the_highest_score_is_taken_and_its_points_are_turned_back(photo: Image.Image, best: int) -> None:
    searched: list[tuple[int, int]] = []

    def find(turned: Image.Image) -> ScoredFaces:
        searched.append(turned.size)
        marks = marks_of(turned)
        if len(searched) == 1:
            return -np.inf, []
        return (0.9, [marks, marks[::-1]]) if len(searched) - 2 == best else (0.8, [marks + 5])

    first, second = find_sideways(find, photo, sure=0.95)
    assert searched == [(50, 30), (30, 50), (50, 30), (30, 50)]
    np.testing.assert_array_equal(first, MARKS)
    np.testing.assert_array_equal(second, MARKS[::-1])


def test_without_a_face_on_any_turn_there_is_none(photo: Image.Image) -> None:
    assert find_sideways(lambda turned: (-np.inf, []), photo, sure=0.0) == []


@pytest.mark.parametrize(("turned_score", "is_turned"), [(0.94, False), (0.96, True)])
def test_a_face_that_is_seen_as_it_is_gives_way_to_a_sure_one_only(
    photo: Image.Image, turned_score: float, is_turned: bool
) -> None:
    def find(image: Image.Image) -> ScoredFaces:
        return (0.9, [np.zeros((3, 2))]) if image is photo else (turned_score, [marks_of(image)])

    (points,) = find_sideways(find, photo, sure=0.95)
    np.testing.assert_array_equal(points, MARKS if is_turned else np.zeros((3, 2)))


def test_a_photo_with_a_sure_face_is_not_turned(photo: Image.Image) -> None:
    searched: list[Image.Image] = []

    def find(turned: Image.Image) -> ScoredFaces:
        searched.append(turned)
        return 0.95, [marks_of(turned)]

    (points,) = find_sideways(find, photo, sure=0.95)
    np.testing.assert_array_equal(points, MARKS)
    assert searched == [photo]


def test_mtcnn_turns_a_photo_only_where_no_face_is_sure_and_only_if_asked_to(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = photo.transpose(Image.Transpose.ROTATE_90)
    searched: list[tuple[int, int]] = []

    def find(self: MtcnnDetector, image: Image.Image) -> ScoredFaces:
        searched.append(image.size)
        is_upright = image.tobytes() == photo.tobytes()
        return (0.9995, [marks_of(image)]) if is_upright else (0.99, [np.zeros((3, 2))])

    monkeypatch.setattr(MtcnnDetector, "_faces", find)
    for detector in (MtcnnDetector(), MtcnnDetector(sideways=True)):
        (points,) = detector(photo)
        np.testing.assert_array_equal(points, MARKS)
    assert searched == [SIZE] * 2
    (wrong,) = MtcnnDetector()(turned)
    np.testing.assert_array_equal(wrong, np.zeros((3, 2)))
    (points,) = MtcnnDetector(sideways=True)(turned)
    np.testing.assert_array_equal(points, marks_of(turned))
