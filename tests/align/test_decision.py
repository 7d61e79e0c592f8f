"""When an image is cut out, when it is taken as it is, and around which face."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hyperstyle.align import LandmarkDetector, ffhq_quad
from hyperstyle.align.decision import MAX_MISPLACEMENT, Choice, decide, misplacement, warn_of_unaligned
from hyperstyle.errors import (
    AlignmentError,
    CheckpointError,
    ConfigError,
    LandmarkError,
    MissingDependencyError,
    MissingFileError,
    NoFaceError,
    QualityWarning,
)

SQUARE = Image.new("RGB", (200, 200))
PHOTO = Image.new("RGB", (200, 300))


def face(x: float, y: float, side: float) -> npt.NDArray[np.float64]:
    """Five points whose square has this center and side."""
    shape = [(-0.125, -0.025), (0.125, -0.025), (0, 0.1), (-0.1, 0.225), (0.1, 0.225)]
    return np.array(shape) * side + (x, y)


IN_FRAME = face(99.5, 99.5, 200)
FACES = [face(60, 60, 40), face(150, 220, 90), face(110, 140, 50)]


def finding(*faces: npt.NDArray[np.float64]) -> LandmarkDetector:
    return lambda photo: list(faces)


def failing(error: Exception) -> LandmarkDetector:
    def detector(photo: Image.Image) -> list[npt.NDArray[np.float64]]:
        raise error

    return detector


def decide_single(photo: Image.Image, aligner: LandmarkDetector | None, **options: Any) -> Choice:
    (choice,) = decide(photo, "me.jpg", aligner=aligner, **options)
    return choice


def test_the_points_of_these_tests_span_the_squares_they_are_meant_to() -> None:
    np.testing.assert_allclose(ffhq_quad(face(30, 50, 40)), [(10, 30), (10, 70), (50, 70), (50, 30)], atol=1e-9)
    assert misplacement(IN_FRAME, 200) == pytest.approx(0)


def test_landmarks_that_are_given_decide_and_nothing_is_looked_for() -> None:
    for photo in (SQUARE, PHOTO):
        choice = decide_single(photo, failing(RuntimeError("must not run")), landmarks=IN_FRAME)
        assert choice.landmarks is IN_FRAME
        assert choice.note == "cut out by the landmarks given"


@pytest.mark.parametrize("landmarks", [face(99.5, 99.5, 200 * 0.87), face(99.5 + 0.09 * 200, 99.5, 200)])
def test_a_square_image_whose_face_is_in_place_is_taken_as_it_is(landmarks: npt.NDArray[np.float64]) -> None:
    choice = decide_single(SQUARE, finding(landmarks))
    assert (choice.landmarks, choice.unaligned) == (None, "")
    assert f"its face is in place, within {misplacement(landmarks, 200):.1%} of the side" in choice.note
    assert decide_single(SQUARE, finding(landmarks), align=True).landmarks is landmarks


@pytest.mark.parametrize("landmarks", [face(99.5, 99.5, 200 * 0.84), face(99.5, 99.5 + 0.11 * 200, 200)])
def test_a_square_image_whose_face_is_elsewhere_is_cut_out(landmarks: npt.NDArray[np.float64]) -> None:
    assert misplacement(landmarks, 200) > MAX_MISPLACEMENT
    choice = decide_single(SQUARE, finding(landmarks))
    assert choice.landmarks is landmarks
    assert choice.note == "cut out around a detected face (largest of 1)"


def test_a_photo_that_is_not_square_is_always_cut_out() -> None:
    assert decide_single(PHOTO, finding(IN_FRAME)).landmarks is IN_FRAME


def test_a_square_image_without_a_face_counts_as_a_crop() -> None:
    choice = decide_single(SQUARE, finding())
    assert choice.landmarks is None
    assert choice.note == "square and taken as an aligned crop: no face was found in it"
    assert choice.unaligned == "no face was found in it"


@pytest.mark.parametrize(("photo", "align"), [(PHOTO, "auto"), (PHOTO, True), (SQUARE, True)])
def test_where_a_face_must_be_found_none_is_an_error_that_says_what_to_try(photo: Image.Image, align: Any) -> None:
    with pytest.raises(NoFaceError) as caught:
        decide_single(photo, finding(), align=align)
    text = str(caught.value)
    for part in (f"'me.jpg' ({photo.width}x{photo.height} px)", "sideways=True", "closer crop", "landmarks="):
        assert part in text


@pytest.mark.parametrize("error", [MissingDependencyError, MissingFileError])
def test_without_dlib_or_its_file_a_square_image_counts_as_a_crop(error: type[Exception]) -> None:
    aligner = failing(error("No predictor here. Get it there."))
    choice = decide_single(SQUARE, aligner)
    assert choice.landmarks is None
    assert choice.unaligned == "no face could be detected (No predictor here)"
    for photo, align in ((PHOTO, "auto"), (SQUARE, True)):
        with pytest.raises(error, match="Get it there"):
            decide_single(photo, aligner, align=align)


def test_a_file_that_cannot_be_used_is_an_error_for_square_images_too() -> None:
    with pytest.raises(CheckpointError, match="wrong hash"):
        decide_single(SQUARE, failing(CheckpointError("wrong hash")))


def test_without_an_aligner_only_square_images_are_taken() -> None:
    assert decide_single(SQUARE, None).unaligned == "there is no aligner to find a face"
    for photo, align in ((PHOTO, "auto"), (SQUARE, True)):
        with pytest.raises(AlignmentError, match=r"landmarks=.*align=False"):
            decide_single(photo, None, align=align)


@pytest.mark.parametrize(("which", "place"), [("largest", 1), ("center", 2), (0, 0), (2, 2), (np.int64(2), 2)])
def test_one_of_several_faces_is_chosen(which: Any, place: int) -> None:
    choice = decide_single(PHOTO, finding(*FACES), face=which)
    assert choice.landmarks is FACES[place]
    assert choice.note.endswith("of 3)")


def test_all_faces_come_in_the_order_in_which_they_were_found() -> None:
    choices = decide(SQUARE, "me.jpg", aligner=finding(*FACES), face="all")
    assert [choice.landmarks for choice in choices] == FACES
    assert [choice.note for choice in choices] == [
        f"cut out around a detected face (number {i} of 3)" for i in range(3)
    ]
    assert decide_single(SQUARE, finding(IN_FRAME), face="all").landmarks is None  # the only face, in place


@pytest.mark.parametrize(
    ("faces", "which", "faces_found"), [(3, 3, "3 faces, numbered from 0"), (1, -1, "one face, number 0")]
)
def test_a_face_that_is_not_there_is_refused(faces: int, which: int, faces_found: str) -> None:
    with pytest.raises(AlignmentError, match=f"face={which}, but 'me.jpg' has {faces_found}"):
        decide_single(PHOTO, finding(*FACES[:faces]), face=which)


@pytest.mark.parametrize("which", ["smallest", None, True, 1.0, np.True_])
def test_another_word_for_a_face_is_refused_before_anything_is_looked_for(which: Any) -> None:
    with pytest.raises(ConfigError, match=r"face=.*'largest', 'center', 'all' or the number"):
        decide_single(PHOTO, failing(RuntimeError("must not run")), face=which)


def test_what_an_aligner_returns_is_checked() -> None:
    with pytest.raises(LandmarkError, match=r"shape \[4, 2\]"):
        decide_single(SQUARE, finding(np.zeros((4, 2))))


@pytest.mark.parametrize("degrees", [-30, -15, 15, 30, 90, 180])
def test_a_face_that_is_tilted_in_a_square_image_is_cut_out(degrees: float) -> None:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    tilted = (IN_FRAME - 99.5) @ np.array([(cos, sin), (-sin, cos)]) + 99.5
    choice = decide_single(SQUARE, finding(tilted))
    assert choice.landmarks is tilted
    assert choice.unaligned == ""


def test_one_warning_for_each_reason_names_all_its_images() -> None:
    none, no_dlib = "no face was found in it", "no face could be detected (no dlib)"
    with pytest.warns(QualityWarning) as caught:
        warn_of_unaligned([("'a.png'", none), ("'b.png'", ""), ("'c.png'", no_dlib), ("'d.png'", none)])
    first, second = (str(warning.message) for warning in caught)
    assert first == (
        "'a.png', 'd.png': square and taken as an aligned crop, since no face was found in it. If it shows a face, "
        "pass landmarks=... or an aligner that finds it; if it already is an aligned crop, align=False says so."
    )
    assert second.startswith("'c.png': square and taken as an aligned crop, since no face could be detected (no dlib).")


def test_a_warning_of_very_many_images_counts_those_it_does_not_name() -> None:
    with pytest.warns(QualityWarning, match=r"^'0', .*'99' and 1,400 more: square"):
        warn_of_unaligned((f"'{i}'", "no face was found in it") for i in range(1500))


def test_images_that_are_aligned_are_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unaligned([("'a.png'", ""), ("'b.png'", "")])
