"""Clips of a face that moves: found, smoothed, edited, pasted back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from hyperstyle.align import ffhq_quad
from hyperstyle.align.smoothing import quad_jitter, smooth
from hyperstyle.errors import AlignmentError, ConfigError, EditError, ImageError, LandmarkError, NoFaceError
from hyperstyle.images import to_images
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.video import edit_frames, steady_track, track_face

if TYPE_CHECKING:
    from conftest import MovingPortrait

Points = npt.NDArray[np.float64]
SIZE = (96, 80)
COUNT = 14


@pytest.fixture(scope="module")
def clip(moving_portrait: MovingPortrait) -> list[tuple[Image.Image, Points]]:
    return moving_portrait(COUNT, SIZE)


@pytest.fixture(scope="module")
def frames(clip: list[tuple[Image.Image, Points]]) -> list[Image.Image]:
    return [frame for frame, _ in clip]


@pytest.fixture(scope="module")
def truth(clip: list[tuple[Image.Image, Points]]) -> list[Points]:
    return [points for _, points in clip]


@pytest.fixture
def inverter(tiny_inverter: HyperStyleInverter, clip: list[tuple[Image.Image, Points]]) -> HyperStyleInverter:
    """The tiny model with a stand-in for a detector: the true landmarks with noise; one frame is missed."""
    random = np.random.default_rng(0)
    known = {frame.tobytes(): points + random.normal(0, 0.5, points.shape) for frame, points in clip}
    missed = clip[5][0].tobytes()

    def detector(photo: Image.Image) -> list[Points]:
        return [known[photo.tobytes()]] if photo.tobytes() != missed else []

    adapted = HyperStyleInverter.__new__(HyperStyleInverter)
    adapted.__dict__.update(tiny_inverter.__dict__)
    adapted.aligner = detector
    return adapted


def levels(images: Iterator[Image.Image] | list[Image.Image]) -> npt.NDArray[np.int64]:
    return np.stack([np.asarray(image, dtype=np.int64) for image in images])


def outside(points: Points) -> npt.NDArray[np.bool_]:
    """Which pixels of a frame have their center outside the crop."""
    corners = ffhq_quad(points)
    axes = np.stack([corners[3] - corners[0], corners[1] - corners[0]])
    pixels = np.stack(np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1])), axis=-1)
    unit = (pixels - corners[0]) @ np.linalg.inv(axes)
    mask: npt.NDArray[np.bool_] = ((unit < 0) | (unit > 1)).any(axis=-1)
    return mask


def test_smoothing_takes_the_shaking_away_and_fills_the_missed_frame(
    inverter: HyperStyleInverter, frames: list[Image.Image], truth: list[Points]
) -> None:
    track = track_face(inverter, frames)
    smoothed = smooth(track)
    assert [number for number, points in enumerate(track) if points is None] == [5]
    assert all(points is not None for points in smoothed)
    moving = quad_jitter(truth)
    assert quad_jitter(smoothed) - moving < 0.5 * (quad_jitter(track) - moving)


def test_every_frame_is_edited_inside_the_crop_and_untouched_outside(
    inverter: HyperStyleInverter, frames: list[Image.Image]
) -> None:
    track = smooth(track_face(inverter, frames))
    changed = np.abs(levels(edit_frames(inverter, frames, {"age": 3.0})) - levels(frames)).max(axis=-1)
    for change, points in zip(changed, track, strict=True):
        assert points is not None
        assert change.max() > 10
        assert change[outside(points)].max() == 0


@pytest.mark.parametrize("offsets", ["clip", "frame"])
def test_without_a_change_every_frame_comes_back_as_it_was(
    inverter: HyperStyleInverter, frames: list[Image.Image], offsets: Any
) -> None:
    same = edit_frames(inverter, frames, {"age": 0.0}, offsets=offsets)
    assert [frame.tobytes() for frame in same] == [frame.tobytes() for frame in frames]


def test_frames_without_landmarks_stay_as_they_are(
    tiny_inverter: HyperStyleInverter, frames: list[Image.Image], truth: list[Points]
) -> None:
    track = [None if number in (0, 3, 4) else points for number, points in enumerate(truth)]
    edited = list(edit_frames(tiny_inverter, frames, {"age": 3.0}, landmarks=track))
    same = [a.tobytes() == b.tobytes() for a, b in zip(edited, frames, strict=True)]
    assert [number for number, equal in enumerate(same) if equal] == [0, 3, 4]


def test_frames_without_the_face_in_a_gap_stay_as_they_are(
    inverter: HyperStyleInverter, frames: list[Image.Image]
) -> None:
    """Black, and another image, in addition to frame 5, which shows the face and is only missed."""
    other = Image.fromarray(np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)).resize(SIZE)
    cut = {2: Image.new("RGB", SIZE), 8: other, COUNT - 1: Image.new("RGB", SIZE)}
    shown = [cut.get(number, frame) for number, frame in enumerate(frames)]
    find = inverter.aligner
    assert find is not None
    inverter.aligner = lambda photo: [] if photo in cut.values() else find(photo)
    edited = edit_frames(inverter, shown, {"age": 3.0})
    same = [a.tobytes() == b.tobytes() for a, b in zip(edited, shown, strict=True)]
    assert [number for number, equal in enumerate(same) if equal] == sorted(cut)
    crops = steady_track(shown, track_face(inverter, shown), paste_back=False)
    assert all(points is not None for points in crops)


def test_landmarks_that_are_given_are_taken_as_they_are(
    tiny_inverter: HyperStyleInverter, frames: list[Image.Image], truth: list[Points]
) -> None:
    """Against the same, one image at a time, through the facade."""
    edited = edit_frames(tiny_inverter, frames[:3], {"age": 2.0}, landmarks=truth[:3], offsets="frame")
    alone = [
        tiny_inverter.invert(frame, landmarks=points).edit("age", 2.0).paste_back()
        for frame, points in zip(frames[:3], truth[:3], strict=True)
    ]
    assert np.abs(levels(edited) - levels(alone)).max() <= 1


def test_offsets_of_the_clip_are_the_mean_of_those_of_its_frames(
    tiny_inverter: HyperStyleInverter, frames: list[Image.Image], truth: list[Points]
) -> None:
    few, points = frames[:4], truth[:4]
    inversion = tiny_inverter.invert(few, landmarks=points)
    layers = inversion.offsets
    edit = tiny_inverter.edits["age"]
    generator = tiny_inverter.model.generator
    with torch.no_grad():
        w = edit(inversion.w, torch.full((4,), 2.0))
        mean = {name: offset.mean(0, keepdim=True) for name, offset in layers.items()}
        expected = generator.synthesize(generator.styles(w), mean)
    shared = edit_frames(tiny_inverter, few, {"age": 2.0}, landmarks=points, paste_back=False)
    single = edit_frames(tiny_inverter, few, {"age": 2.0}, landmarks=points, paste_back=False, offsets="frame")
    expected_levels, single_levels = levels(to_images(expected)), levels(single)
    assert np.abs(levels(shared) - expected_levels).max() <= 1
    assert np.abs(single_levels - expected_levels).max() > 1  # the frames' own offsets do differ


def test_crops_are_as_many_and_as_large_as_the_model_makes_them(
    inverter: HyperStyleInverter, frames: list[Image.Image]
) -> None:
    crops = list(edit_frames(inverter, frames, {"smile": 1.0}, paste_back=False))
    assert [crop.size for crop in crops] == [(32, 32)] * COUNT


def test_frames_that_are_crops_need_no_landmarks(tiny_inverter: HyperStyleInverter, frames: list[Image.Image]) -> None:
    squares = [frame.resize((32, 32)) for frame in frames[:3]]
    options: dict[str, Any] = {"align": False, "paste_back": False, "offsets": "frame"}
    edited = edit_frames(tiny_inverter, squares, {"age": 2.0}, **options)
    alone = [tiny_inverter.invert(square, align=False).edit("age", 2.0).image for square in squares]
    assert np.abs(levels(edited) - levels(alone)).max() <= 1


def test_only_a_few_frames_are_read_ahead(
    tiny_inverter: HyperStyleInverter, frames: list[Image.Image], truth: list[Points]
) -> None:
    class Counted:
        read = 0

        def __iter__(self) -> Iterator[Image.Image]:
            for number in range(2 * COUNT):
                self.read += 1
                yield frames[number % COUNT]

    counted = Counted()
    edited = edit_frames(tiny_inverter, counted, {"age": 1.0}, landmarks=truth * 2, offsets="frame")
    for number, _ in enumerate(edited):
        assert counted.read <= number + DEFAULT_BATCH_SIZE
    assert number == 2 * COUNT - 1


def test_it_says_what_it_is_doing_and_how_far_it_is(inverter: HyperStyleInverter, frames: list[Image.Image]) -> None:
    seen: list[tuple[str, int, int | None]] = []
    list(edit_frames(inverter, frames, {"age": 1.0}, on_progress=lambda *state: seen.append(state)))
    assert seen[:COUNT] == [("finding the face", n, COUNT) for n in range(1, COUNT + 1)]
    assert seen[-1] == ("editing", COUNT, COUNT)


class TestRefused:
    @pytest.mark.parametrize(
        ("edits", "options", "error", "message"),
        [
            ({}, {}, EditError, "no edit was given"),
            ({"aeg": 2.0}, {}, EditError, "Did you mean 'age'"),
            ({"age": 2.0}, {"offsets": "all"}, ConfigError, "expected 'clip' or 'frame'"),
            ({"age": 2.0}, {"align": False}, ConfigError, "paste_back=False"),
        ],
    )
    def test_wrong_arguments_are_refused_before_anything_is_asked_for(
        self, tiny_inverter: HyperStyleInverter, frames: list[Image.Image], edits: Any, options: Any, error: Any,
        message: str,
    ) -> None:  # fmt: skip
        with pytest.raises(error, match=message):
            edit_frames(tiny_inverter, frames, edits, **options)

    def test_an_iterator_cannot_be_gone_through_twice(
        self, tiny_inverter: HyperStyleInverter, frames: list[Image.Image]
    ) -> None:
        with pytest.raises(ConfigError, match="only once"):
            edit_frames(tiny_inverter, iter(frames), {"age": 2.0})

    @pytest.mark.parametrize(("count", "message"), [(3, "goes on after the 3 frames"), (5, "has 4 frames, .* for 5")])
    def test_a_track_of_another_length(
        self, tiny_inverter: HyperStyleInverter, frames: list[Image.Image], truth: list[Points], count: int,
        message: str,
    ) -> None:  # fmt: skip
        with pytest.raises(LandmarkError, match=message):
            list(edit_frames(tiny_inverter, frames[:4], {"age": 2.0}, landmarks=truth[:count], offsets="frame"))

    def test_crops_of_frames_without_landmarks(
        self, tiny_inverter: HyperStyleInverter, frames: list[Image.Image], truth: list[Points]
    ) -> None:
        track = [truth[0], None, truth[2]]
        with pytest.raises(LandmarkError, match="1 of 3 frames have no landmarks, the first is frame 1"):
            list(edit_frames(tiny_inverter, frames[:3], {"age": 2.0}, landmarks=track, paste_back=False))

    @pytest.mark.parametrize(
        ("aligner", "error", "message"),
        [
            (None, AlignmentError, "no aligner"),
            (lambda photo: [], NoFaceError, "any of 14 frames of 96x80 px"),
        ],
    )
    def test_a_face_that_cannot_be_found(
        self, inverter: HyperStyleInverter, frames: list[Image.Image], aligner: Any, error: Any, message: str
    ) -> None:
        inverter.aligner = aligner
        with pytest.raises(error, match=message):
            list(edit_frames(inverter, frames, {"age": 2.0}))

    def test_no_frames_at_all(self, inverter: HyperStyleInverter) -> None:
        with pytest.raises(ConfigError, match="no frames"):
            list(edit_frames(inverter, [], {"age": 2.0}))
        with pytest.raises(ConfigError, match="no frames"):
            list(edit_frames(inverter, [], {"age": 2.0}, align=False, paste_back=False))

    def test_frames_of_several_sizes_when_the_first_other_one_is_looked_at(
        self, inverter: HyperStyleInverter, frames: list[Image.Image]
    ) -> None:
        mixed = [*frames[:2], frames[2].resize((48, 40)), *frames[3:]]
        with pytest.raises(ImageError, match="Frame 2 is 48 x 40 px and those before it 96 x 80"):
            list(edit_frames(inverter, mixed, {"age": 2.0}))
