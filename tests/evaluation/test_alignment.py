"""The figures of alignment, on detectors whose errors are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from examples.avatars.renderer.snapshots import snapshots
from hyperstyle.align.crop import ffhq_quad
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.alignment import compare_detectors, evaluate_alignment, photos_of

Points = npt.NDArray[np.float64]


class Known:
    """Gives the true landmarks of the photos in turn, moved and with more faces or none as asked for."""

    def __init__(self, truth: list[Points], *, move: float = 0.0, five: bool = False) -> None:
        self.truth, self.move, self.five = truth, move, five
        self.calls = 0

    def __call__(self, photo: Image.Image) -> list[Points]:
        points = self.truth[self.calls % len(self.truth)] + [self.move, 0]
        self.calls += 1
        if self.five:
            left, right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
            points = np.stack([left, right, points[30], points[48], points[54]])
        return [points]


@pytest.fixture(scope="module")
def truth() -> list[Points]:
    return [photo.landmarks for photo in snapshots(3, seed=7, size=64)]


@pytest.mark.parametrize("five", [False, True])
def test_a_detector_that_is_off_by_a_pixel_has_an_error_of_one_pixel(truth: list[Points], five: bool) -> None:
    seen = []
    rows = evaluate_alignment(
        Known(truth, move=1, five=five),
        count=3,
        size=64,
        crop_size=32,
        seed=7,
        on_progress=lambda *step: seen.append(step),
    )
    row = rows[0]
    eyes = [np.hypot(*(p[42:48].mean(axis=0) - p[36:42].mean(axis=0))) for p in truth]
    sides = [np.hypot(*(quad[1] - quad[0])) for quad in map(ffhq_quad, truth)]
    assert (row.pictures, row.count, row.detected, row.false) == ("photos 64 px", 3, 1.0, 0)
    assert row.pixels == pytest.approx(1)
    assert row.relative == pytest.approx(np.mean([1 / e for e in eyes]))
    assert row.relative_95 == pytest.approx(np.percentile([1 / e for e in eyes], 95))
    assert row.corners == pytest.approx(np.mean([1 / side for side in sides]))
    assert row.corners_95 == pytest.approx(np.percentile([1 / side for side in sides], 95))
    assert rows[1].pictures == "crops 32 px"
    assert seen == [("photos 64 px", i, 3) for i in (1, 2, 3)] + [("crops 32 px", i, 3) for i in (1, 2, 3)]


def test_what_lies_beside_the_face_is_a_false_detection_and_no_face_is_none(truth: list[Points]) -> None:
    beside = evaluate_alignment(Known(truth, move=200), count=3, size=64, crop_size=32, seed=7)[0]
    assert (beside.detected, beside.false) == (0.0, 3)
    assert beside.pixels is beside.relative is beside.corners is beside.relative_95 is beside.corners_95 is None
    both = Known(truth)
    doubled = evaluate_alignment(
        lambda p: [t + np.array([200 * i, 0]) for t in both(p) for i in (1, 0)], count=3, size=64, crop_size=32, seed=7
    )
    assert (doubled[0].detected, doubled[0].false) == (1.0, 3)
    nothing = evaluate_alignment(lambda _: [], count=2, size=64, crop_size=32)
    assert [(row.detected, row.false) for row in nothing] == [(0.0, 0), (0.0, 0)]


def test_the_landmarks_of_crops_are_the_renderers() -> None:
    from examples.avatars.renderer.factors import sample_factors
    from examples.avatars.renderer.render import render

    points = [p.double().numpy() for p in render(sample_factors(2, seed=7), 32).landmarks]
    row = evaluate_alignment(Known(points), count=2, size=64, crop_size=32, seed=7)[1]
    assert row.pixels == pytest.approx(0, abs=1e-4)


def test_two_detectors_are_compared_face_by_face(tmp_path: Path, truth: list[Points]) -> None:
    for name in ("b.png", "a.png"):
        Image.new("RGB", (80, 64)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    first, second = truth[0], truth[1]

    def one(_: Image.Image) -> list[Points]:
        return [second + np.array([3, 4]), first]

    def other(_: Image.Image) -> list[Points]:
        return [first, first + np.array([500, 0]), second]

    found = compare_detectors(one, other, photos_of(tmp_path).images)
    assert [(d.photo, d.size, d.faces) for d in found] == [("a.png", (80, 64), (2, 3)), ("b.png", (80, 64), (2, 3))]
    assert found[0].corners == pytest.approx((0, 5))
    sides = [np.hypot(*(quad[1] - quad[0])) for quad in map(ffhq_quad, (first, second))]
    assert found[0].sides == pytest.approx(sides)
    assert compare_detectors(one, lambda _: [], photos_of(tmp_path).images)[0].corners == ()


def test_photos_are_judged_by_what_they_hold_and_what_is_left_out_is_kept(tmp_path: Path) -> None:
    (tmp_path / "b.svg").write_bytes(b"<svg/>")
    with pytest.raises(ConfigError, match=r"no pictures in .*'b\.svg' is an SVG file"):
        photos_of(tmp_path)
    Image.new("RGB", (80, 64)).save(tmp_path / "a", "JPEG")
    found = photos_of(tmp_path)
    assert [file.name for file in found.images] == ["a"]
    assert [file.name for file, _ in found.left_out] == ["b.svg"]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no pictures in"):
        photos_of(tmp_path)
