"""Figures of alignment on rendered photos, of detectors whose errors are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from examples.avatars.renderer.factors import sample_factors
from examples.avatars.renderer.render import render
from examples.avatars.renderer.snapshots import snapshots
from examples.avatars.studies.alignment import evaluate_alignment, main
from hyperstyle import HyperStyleInverter
from hyperstyle.align.crop import ffhq_quad
from hyperstyle.evaluation import HELD_OUT_SEED

ROW = {
    "pictures",
    "count",
    "detected",
    "false",
    "pixels",
    "relative",
    "relative_95",
    "corners",
    "corners_95",
    "seconds",
}

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


def test_a_detection_off_the_face_is_false_and_no_face_is_none(truth: list[Points]) -> None:
    moved = evaluate_alignment(Known(truth, move=200), count=3, size=64, crop_size=32, seed=7)[0]
    assert (moved.detected, moved.false) == (0.0, 3)
    assert moved.pixels is moved.relative is moved.corners is moved.relative_95 is moved.corners_95 is None
    both = Known(truth)
    doubled = evaluate_alignment(
        lambda p: [t + np.array([200 * i, 0]) for t in both(p) for i in (1, 0)], count=3, size=64, crop_size=32, seed=7
    )
    assert (doubled[0].detected, doubled[0].false) == (1.0, 3)
    nothing = evaluate_alignment(lambda _: [], count=2, size=64, crop_size=32)
    assert [(row.detected, row.false) for row in nothing] == [(0.0, 0), (0.0, 0)]


def test_the_landmarks_of_crops_are_the_renderers() -> None:
    points = [p.double().numpy() for p in render(sample_factors(2, seed=7), 32).landmarks]
    row = evaluate_alignment(Known(points), count=2, size=64, crop_size=32, seed=7)[1]
    assert row.pixels == pytest.approx(0, abs=1e-4)


def first_photo(photo: Image.Image) -> list[Points]:
    """Knows the first held-out photo, and finds nothing else."""
    known = next(snapshots(1, seed=HELD_OUT_SEED, size=64, supersample=2))
    return [known.landmarks + np.array([0, 2])] if photo == known.image else []


def test_it_prints_the_table_and_writes_the_same_figures(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
    inverter.aligner = first_photo
    monkeypatch.setattr("examples.avatars.studies.alignment.load_inverter", lambda _: inverter)
    assert main(["--count", "2", "--size", "64", "--json", "rows.json", "--quiet"]) == 0
    printed, error = capsys.readouterr()
    assert error == ""
    report = json.loads(Path("rows.json").read_text(encoding="utf-8"))
    assert set(report) == {"machine", "pictures", "aligner", "rows"}
    assert report["pictures"] == {"count": 2, "seed": HELD_OUT_SEED}
    assert report["aligner"] == "model"
    photos, crops = report["rows"]
    assert set(photos) == set(crops) == ROW
    assert (photos["detected"], photos["false"], round(photos["pixels"], 6)) == (0.5, 0, 2.0)
    assert (crops["detected"], crops["pixels"]) == (0.0, None)
    lines = [line.split() for line in printed.splitlines()]
    assert lines[1][:7] == ["photos", "64", "px", "2", "50.0%", "0", "2.00"]
    assert lines[2][:6] == ["crops", "32", "px", "2", "0.0%", "0"]
