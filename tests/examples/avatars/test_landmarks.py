"""The recipe of the aligner runs from nothing to the two files, in miniature."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.avatars.landmarks import Recipe, cached_photos, main, train_detector, train_predictor
from examples.avatars.renderer.snapshots import snapshots
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.errors import ConfigError

pytest.importorskip("dlib")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    main(["--out", str(folder), "--tiny"])
    return folder


def test_what_it_writes_finds_faces_of_its_photos(run: Path) -> None:
    detector = DlibDetector(run / "predictor.dat", detector=run / "detector.svm")
    errors = []
    for photo in snapshots(6, seed=Recipe.tiny().seed):
        eyes = np.hypot(*(photo.landmarks[42:48].mean(axis=0) - photo.landmarks[36:42].mean(axis=0)))
        for face in detector(photo.image):
            errors.append(np.hypot(*(face - photo.landmarks).T).mean() / eyes)
    assert sum(error < 0.3 for error in errors) >= 3


def test_a_second_run_reads_the_photos_of_the_first_and_makes_the_same_predictor(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr("examples.avatars.landmarks.snapshots", never)
    before = {name: (run / name).read_bytes() for name in ("detector.svm", "predictor.dat")}
    main(["--out", str(run), "--tiny"])
    assert {name: (run / name).read_bytes() for name in before} == before
    assert {path.suffix for path in run.iterdir()} == {".safetensors", ".svm", ".dat"}


def test_every_fourth_photo_is_blurred(run: Path) -> None:
    recipe = Recipe.tiny()
    photos = cached_photos(recipe, run)
    rendered = list(snapshots(4, seed=recipe.seed, size=recipe.size))
    assert [a.image.tobytes() == b.image.tobytes() for a, b in zip(photos, rendered, strict=False)] == [
        True,
        True,
        True,
        False,
    ]
    np.testing.assert_allclose(photos[3].landmarks, rendered[3].landmarks)


def test_each_filter_of_the_detector_learns_from_the_faces_tilted_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import dlib

    photos = list(snapshots(12, seed=7, size=64))
    across = np.array([p.landmarks[42:48].mean(axis=0) - p.landmarks[36:42].mean(axis=0) for p in photos])
    clockwise = int((across[:, 1] > 0).sum())
    assert 0 < clockwise < 12
    monkeypatch.setattr(dlib, "train_simple_object_detector", lambda images, faces, _: (len(images), len(faces)))
    monkeypatch.setattr(dlib, "simple_object_detector", tuple)
    counts = train_detector(replace(Recipe(), tilts=((-90, 90), (-90, 0), (0, 90))), photos)
    assert counts == ((12, 12), (12 - clockwise,) * 2, (clockwise,) * 2)


def test_faces_that_the_detector_misses_are_learned_from_all_the_same(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = replace(Recipe.tiny(), cascades=1, trees=2, splits=2, oversampling=1)
    photos = cached_photos(recipe, run)[:4]
    with caplog.at_level(logging.INFO, "hyperstyle.training"):
        predictor = train_predictor(recipe, photos, lambda _: [])
    assert "missed 4 of the 4 faces" in caplog.text
    gray = np.asarray(Image.new("RGB", (64, 64)))
    import dlib

    assert predictor(gray, dlib.rectangle(0, 0, 63, 63)).num_parts == 68


def test_photos_whose_faces_are_smaller_than_the_window_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="photos of 256 px or more"):
        cached_photos(replace(Recipe.tiny(), size=128), tmp_path)
