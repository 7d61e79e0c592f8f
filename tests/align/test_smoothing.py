"""Landmarks over time: what smoothing keeps and removes, how gaps are filled, which face is followed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hyperstyle.align.smoothing import LONGEST_GAP, drop_dissimilar, follow_face, quad_jitter, smooth
from hyperstyle.errors import ConfigError, LandmarkError

Points = npt.NDArray[np.float64]

FACE = np.array([(30, 30), (50, 30), (40, 42), (33, 54), (47, 54)], float)
FRAME = Image.new("RGB", (200, 100))


def moved(*shift: float) -> Points:
    return FACE + np.array(shift)


def track_of(count: int, noise: float = 0.0) -> list[Points]:
    random = np.random.default_rng(3)
    return [moved(0, 0) + random.normal(0, noise, FACE.shape) for _ in range(count)]


def arrays(track: list[Points | None]) -> Points:
    return np.stack([points for points in track if points is not None])


class TestSmooth:
    def test_noise_keeps_the_documented_share(self) -> None:
        noisy = track_of(2000, noise=1.0)
        smoothed = smooth(noisy)
        inner = arrays(smoothed)[20:-20] - FACE
        assert inner.std() == pytest.approx(0.40, abs=0.02)
        assert quad_jitter(smoothed) / quad_jitter(noisy) == pytest.approx(0.03, abs=0.01)

    def test_the_first_frame_keeps_the_documented_share(self) -> None:
        random = np.random.default_rng(4)
        starts = [arrays(smooth([FACE + random.normal(0, 1, FACE.shape) for _ in range(20)]))[0] for _ in range(300)]
        assert (np.stack(starts) - FACE).std() == pytest.approx(0.83, abs=0.04)

    def test_motion_along_a_parabola_passes_unchanged_up_to_both_ends(self) -> None:
        track = [moved(2 * t - 0.05 * t * t, 0.1 * t * t) for t in range(40)]
        np.testing.assert_allclose(arrays(smooth(track)), np.stack(track), atol=1e-8)

    def test_nothing_is_delayed_so_time_may_run_backwards(self) -> None:
        track = track_of(30, noise=2.0)
        forwards, backwards = arrays(smooth(track)), arrays(smooth(track[::-1]))
        np.testing.assert_allclose(forwards, backwards[::-1], atol=1e-9)

    def test_a_missed_frame_is_filled_on_the_line_between_its_neighbors(self) -> None:
        track: list[Points | None] = [moved(3 * t, -t) for t in range(12)]
        smoothed = arrays(smooth(track))
        track[5] = None
        np.testing.assert_allclose(arrays(smooth(track)), smoothed, atol=1e-8)

    def test_at_the_ends_the_nearest_points_are_held(self) -> None:
        filled = smooth([None, moved(4, 0), moved(4, 0), moved(9, 0), None, None], width=0)
        assert [None if points is None else points[0, 0] for points in filled] == [34, 34, 34, 39, 39, 39]

    def test_a_long_gap_stays_and_its_sides_are_smoothed_apart(self) -> None:
        left, right = track_of(10, noise=1.0), [moved(100, 40)] * 10
        gap: list[Points | None] = [None] * (LONGEST_GAP + 1)
        smoothed = smooth([*left, *gap, *right])
        assert all(points is None for points in smoothed[10 : 10 + len(gap)])
        np.testing.assert_array_equal(arrays(smoothed[:10]), arrays(smooth(left)))
        np.testing.assert_allclose(arrays(smoothed[-10:]), np.stack(right), atol=1e-9)

    def test_without_a_limit_every_gap_is_filled(self) -> None:
        smoothed = smooth([moved(0, 0), *[None] * 99, moved(100, 0)], width=0, longest_gap=None)
        np.testing.assert_allclose(arrays(smoothed)[:, 0, 0], np.arange(30, 131))

    def test_a_clip_of_one_or_two_frames_is_left_as_it_is(self) -> None:
        for count in (1, 2):
            track = track_of(count, noise=1.0)
            np.testing.assert_allclose(arrays(smooth(track)), np.stack(track), atol=1e-9)

    def test_a_clip_without_the_face_stays_without_it(self) -> None:
        assert smooth([None] * 3) == [None] * 3

    def test_the_track_given_is_not_changed(self) -> None:
        track = track_of(9, noise=1.0)
        before = np.stack(track)
        smooth(track)
        np.testing.assert_array_equal(np.stack(track), before)

    @pytest.mark.parametrize(
        ("track", "message"),
        [
            ([FACE, FACE[:4]], r"Frame 1 of the track: The landmarks have shape \[4, 2\]"),
            ([FACE, None, FACE * np.nan], "Frame 2 of the track: 5 of the 5 landmarks are NaN"),
            ([FACE, np.random.default_rng(0).normal(size=(68, 2)) * 9], "Frame 1 has 68 points .* 5"),
        ],
    )
    def test_points_that_cannot_be_used_name_their_frame(self, track: list[Points | None], message: str) -> None:
        with pytest.raises(LandmarkError, match=message):
            smooth(track)

    @pytest.mark.parametrize("options", [{"width": -1.0}, {"width": float("nan")}, {"longest_gap": -1}])
    def test_numbers_out_of_range_are_refused(self, options: dict[str, float]) -> None:
        with pytest.raises(ConfigError, match="expected"):
            smooth([FACE], **options)  # type: ignore[arg-type]


class TestAlike:
    """A textured image that brightens, its landmarks known in the first and the last frame only."""

    TRACK: tuple[Points | None, ...] = (moved(50, 0), None, None, None, moved(50, 0))

    @staticmethod
    def texture(seed: int, brightness: float = 1.0) -> Image.Image:
        levels = np.random.default_rng(seed).integers(0, 200, (10, 20, 3))
        return Image.fromarray((levels * brightness).astype(np.uint8)).resize((200, 100))

    def frames_kept(self, *between: Image.Image) -> list[bool]:
        frames = [self.texture(0), *between, self.texture(0)]
        filtered = drop_dissimilar(smooth(self.TRACK), self.TRACK, frames)
        return [points is not None for points in filtered]

    def test_frames_that_show_the_same_stay_filled_also_darker_ones(self) -> None:
        assert self.frames_kept(self.texture(0), self.texture(0, 0.5), self.texture(0, 1.2)) == [True] * 5

    def test_black_plain_and_other_images_are_left_out(self) -> None:
        plain = Image.new("RGB", (200, 100), (200, 180, 160))
        assert self.frames_kept(FRAME, plain, self.texture(1)) == [True, False, False, False, True]
        nearly_black = self.texture(0, 0.01)
        assert nearly_black.getextrema() == ((0, 1),) * 3
        assert self.frames_kept(*[nearly_black] * 3) == [True, False, False, False, True]

    def test_one_neighbor_that_looks_alike_is_enough(self) -> None:
        frames = [self.texture(0), self.texture(0), FRAME, self.texture(1), self.texture(1)]
        filtered = drop_dissimilar(smooth(self.TRACK), self.TRACK, frames)
        assert [points is not None for points in filtered] == [True, True, False, True, True]

    def test_held_frames_at_the_ends_are_compared_with_the_one_side_there_is(self) -> None:
        track = [None, None, moved(50, 0), None, None]
        frames = [FRAME, *[self.texture(0)] * 3, self.texture(1)]
        filtered = drop_dissimilar(smooth(track), track, frames)
        assert [points is not None for points in filtered] == [False, True, True, True, False]

    def test_without_gaps_no_frame_is_read(self) -> None:
        track = track_of(3)
        assert drop_dissimilar(track, track, iter(())) == track

    def test_a_clip_that_is_too_short_is_refused(self) -> None:
        with pytest.raises(LandmarkError, match="ends before frame 4"):
            drop_dissimilar(smooth(self.TRACK), self.TRACK, [self.texture(0)] * 4)


class TestJitter:
    def test_a_face_that_moves_evenly_does_not_shake(self) -> None:
        assert quad_jitter([moved(3 * t, -2 * t) for t in range(8)]) == pytest.approx(0, abs=1e-9)

    def test_one_jump_counts_in_full_at_its_frame_and_half_at_its_neighbors(self) -> None:
        track = [moved(0, 0)] * 9
        track[4] = moved(3, 4)
        assert quad_jitter(track) == pytest.approx(5 * np.sqrt(1.5 / 7))

    def test_frames_next_to_a_gap_are_left_out(self) -> None:
        still = [moved(0, 0)] * 3
        assert quad_jitter([*still, None, moved(50, 0), None, *still]) == pytest.approx(0, abs=1e-9)

    def test_without_three_frames_in_a_row_there_is_no_figure(self) -> None:
        with pytest.raises(ConfigError, match="None of the 4 frames"):
            quad_jitter([FACE, FACE, None, FACE])


class TestFollowing:
    @staticmethod
    def follow(faces_per_frame: list[list[Points]], **options: object) -> list[float | None]:
        """The x of the left eye in the face that was followed."""
        faces = iter(faces_per_frame)
        track = follow_face(lambda photo: next(faces), [FRAME] * len(faces_per_frame), **options)  # type: ignore[arg-type]
        return [None if points is None else float(points[0, 0]) for points in track]

    def test_the_face_is_the_same_however_they_are_listed(self) -> None:
        faces_per_frame = [[moved(0, 0), moved(60, 0)], [moved(62, 0), moved(2, 0)], [moved(4, 0), moved(64, 0)]]
        assert self.follow(faces_per_frame, face=0) == [30, 32, 34]
        assert self.follow(faces_per_frame, face=1) == self.follow(faces_per_frame, face=np.int64(1)) == [90, 92, 94]

    def test_it_starts_with_the_largest_or_the_one_in_the_middle(self) -> None:
        large = (FACE - FACE.mean(axis=0)) * 1.5 + (150, 50)
        faces_per_frame = [[moved(50, 0), large]] * 2
        assert self.follow(faces_per_frame) == [135, 135]
        assert self.follow(faces_per_frame, face="center") == [80, 80]

    def test_another_face_far_away_is_not_mistaken_for_it(self) -> None:
        assert self.follow([[moved(0, 0)], [moved(90, 0)], [moved(3, 0)]]) == [30, None, 33]

    def test_after_a_long_time_without_it_the_search_starts_anew(self) -> None:
        seen = self.follow([[moved(0, 0)], *[[moved(90, 0)]] * (LONGEST_GAP + 3)])
        assert seen == [30, *[None] * (LONGEST_GAP + 1), 120, 120]

    def test_a_number_waits_for_a_frame_with_so_many_faces(self) -> None:
        assert self.follow([[moved(0, 0)], [moved(0, 0), moved(60, 0)]], face=1) == [None, 90]

    def test_it_says_how_far_it_is(self) -> None:
        done: list[int] = []
        self.follow([[], [], [FACE]], on_frame=done.append)
        assert done == [1, 2, 3]

    @pytest.mark.parametrize("face", ["all", True, 1.5])
    def test_only_one_face_can_be_followed(self, face: object) -> None:
        with pytest.raises(ConfigError, match="one face of a clip is followed"):
            self.follow([[FACE]], face=face)
