"""Landmarks over time: following one face through a clip, smoothing its landmarks, measuring how much its crop shakes.

A *track* has an entry for each frame: [68,2] or [5,2] points (x, y) in pixels of the upright frame, or None where no
face was found.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, pairwise
from numbers import Integral
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperstyle.align.crop import Points, crop_rgb, ffhq_quad
from hyperstyle.align.decision import LandmarkDetector, choose_face
from hyperstyle.errors import ConfigError, LandmarkError

LONGEST_GAP = 12
"""The longest run of frames without the face that is bridged: half a second of film."""

_REACH = 4  # widths of the filter after which its weights, below 0.0004, count as nothing
_DEGREE = 2
_FARTHEST = 0.5  # of the crop's side: a face that is farther away than this from where it was is another one
_THUMBNAIL_SIDE = 16  # side in pixels at which crops are compared
_LEAST_CORRELATION = 0.25  # of their colors; unrelated photos mostly have less, a face that turns more
_FAINT = 2.0  # levels; a crop whose colors deviate by less shows next to nothing


def follow_face(
    detector: LandmarkDetector,
    frames: Iterable[Image.Image],
    *,
    face: Literal["largest", "center"] | int = "largest",
    on_frame: Callable[[int], None] | None = None,
) -> list[Points | None]:
    """Finds one face in every frame: first the requested one, then always the one nearest to its last position.

    A face more than half a crop away from that position counts as another one, and its frame as one without the face.
    After more than `LONGEST_GAP` such frames the search starts anew.

    Args:
        detector: finds the faces of one frame.
        frames: upright RGB images, in order; one is held at a time.
        face: the face that the search starts with: the largest one, the one nearest to the center, or a number in the
            detector's list, in the first frame that has so many faces.
        on_frame: called with the number of frames done.

    Returns:
        The track: the detector's own points, not smoothed; None where the face was not found.

    Raises:
        ConfigError: another `face`. Errors of the detector.
    """
    if isinstance(face, bool) or not (isinstance(face, Integral) or face in ("largest", "center")):
        raise ConfigError(
            f"face={face!r}: one face of a clip is followed, 'largest', 'center' or the number of a face."
        )
    track: list[Points | None] = []
    last: Points | None = None
    missed = 0
    for done, frame in enumerate(frames, 1):
        faces = detector(frame)
        if last is None:
            number = choose_face(faces, face, frame.size)
            points = None if number is None else faces[number]
        else:
            points = _nearest(faces, last)
        missed = missed + 1 if points is None else 0
        if points is not None or missed > LONGEST_GAP:
            last = points
        track.append(points)
        if on_frame is not None:
            on_frame(done)
    return track


def smooth(
    track: Sequence[npt.ArrayLike | None], *, width: float = 3.0, longest_gap: int | None = LONGEST_GAP
) -> list[Points | None]:
    """A track without the shaking of the detector, and with its short gaps filled.

    Gaps are filled on a straight line between their neighbors; at the ends of the clip the nearest points are held.
    Then every coordinate becomes the value at its frame of a parabola fitted to the frames around, weighted by a
    Gaussian of standard deviation `width`, all the frames being known (local quadratic regression; Cleveland 1979).
    The weights are symmetric, so nothing is delayed (zero phase), and any motion that is a parabola over a few frames
    passes unchanged. With the default, independent noise keeps 0.40 of its size and, measured by `quad_jitter`, 0.03.
    At the first and last frames, where only one side is known, these are 0.83 and 0.09.

    Args:
        track: one entry for each frame, all with the same number of points; see the module.
        width: of the Gaussian, in frames; 0 only fills gaps.
        longest_gap: frames; a longer gap stays, and what lies before and after it is smoothed on its own. None fills
            every gap.

    Returns:
        The new track, float64; None in the gaps that stay, and everywhere where no frame has points.

    Raises:
        LandmarkError: points of a wrong shape, not finite, or not of one kind.
        ConfigError: a width that is negative or not finite, or a negative gap.
    """
    if not (math.isfinite(width) and width >= 0):
        raise ConfigError(f"A smoothing width of {width} frames: expected 0 or more, such as 3.")
    if longest_gap is not None and longest_gap < 0:
        raise ConfigError(f"longest_gap={longest_gap}: expected a number of frames from 0 on, or None for no limit.")
    smoothed: list[Points | None] = [None] * len(track)
    for start, points in _fill_gaps(_checked(track), longest_gap):
        smoothed[start : start + len(points)] = _regress(points, width) if width else points
    return smoothed


def drop_dissimilar(
    smoothed: Sequence[Points | None], track: Sequence[npt.ArrayLike | None], frames: Iterable[Image.Image]
) -> list[Points | None]:
    """A smoothed track without the filled frames that do not look like the frames around them: black, or a cut.

    The crop of a filled frame is compared at 16 x 16 px with those of the nearest frame before and the nearest one
    after in which the face was found. Where the correlation of the colors is below 0.25 with both, the frame has
    None. Plain frames correlate with nothing, and brightness does not count.

    Args:
        smoothed: what `smooth` made of `track`.
        track: the landmarks as detected, with their gaps.
        frames: as many upright RGB images, which are read up to the last filled frame and its neighbor.

    Raises:
        LandmarkError: fewer frames than that, or landmarks that give no crop.
    """
    result = list(smoothed)
    known = [number for number, points in enumerate(track) if points is not None]
    around: dict[int, list[int]] = {}
    for number, (before, after) in enumerate(zip(track, smoothed, strict=True)):
        if before is None and after is not None:
            place = bisect(known, number)
            around[number] = known[max(place - 1, 0) : place + 1]
    needed = {*around, *(number for numbers in around.values() for number in numbers)}
    thumbnails = {
        number: _thumbnail(frame, points)
        for number, frame in enumerate(islice(frames, max(needed, default=-1) + 1))
        if number in needed and (points := smoothed[number]) is not None
    }
    if len(thumbnails) < len(needed):
        raise LandmarkError(f"The clip ends before frame {max(needed)} of its track: expected a frame for each entry.")
    for number, neighbors in around.items():
        if all(float((thumbnails[number] * thumbnails[other]).sum()) < _LEAST_CORRELATION for other in neighbors):
            result[number] = None
    return result


def quad_jitter(track: Sequence[npt.ArrayLike | None]) -> float:
    """How much the crop of a track shakes, in pixels of the frame.

    The root mean square, over the corners of the crop and the frames, of the distance of a corner from the middle
    between its places one frame before and one frame after. A crop that rests or moves evenly has 0; corners with
    independent noise of standard deviation s along x and y have s times the root of 3.

    Raises:
        ConfigError: no three successive frames have points. LandmarkError: points that give no crop.
    """
    quads = [None if points is None else ffhq_quad(points) for points in track]
    bends = [
        b - (a + c) / 2
        for a, b, c in zip(quads, quads[1:], quads[2:], strict=False)
        if a is not None and b is not None and c is not None
    ]
    if not bends:
        raise ConfigError(f"None of the {len(track)} frames has points together with both its neighbors.")
    return float(np.sqrt(np.square(bends).sum(axis=-1).mean()))


def _thumbnail(frame: Image.Image, points: Points) -> npt.NDArray[np.float64]:
    """[16,16,3] the crop, each color with mean 0, all with norm 1 (less where faint): products are correlations."""
    pixels = np.asarray(crop_rgb(frame, points, _THUMBNAIL_SIDE, _THUMBNAIL_SIDE).image, dtype=np.float64)
    pixels -= pixels.mean(axis=(0, 1))
    pixels /= max(float(np.linalg.norm(pixels)), _FAINT * pixels.size**0.5)
    return pixels


def _nearest(faces: Sequence[Points], last: Points) -> Points | None:
    def distance(points: Points) -> float:
        return float(np.linalg.norm(points.mean(axis=0) - last.mean(axis=0)))

    corners = ffhq_quad(last)
    reach = _FARTHEST * float(np.linalg.norm(corners[1] - corners[0]))
    return min((face for face in faces if distance(face) <= reach), key=distance, default=None)


def _checked(track: Sequence[npt.ArrayLike | None]) -> list[Points | None]:
    """The points of every frame, which are of one kind, as float64."""
    checked: list[Points | None] = []
    count = 0  # of points in the frames so far
    for frame, landmarks in enumerate(track):
        if landmarks is None:
            checked.append(None)
            continue
        points = np.array(landmarks, dtype=np.float64)
        try:
            ffhq_quad(points)
        except LandmarkError as error:
            raise LandmarkError(f"Frame {frame} of the track: {error}") from error
        if len(points) != (count or len(points)):
            raise LandmarkError(
                f"Frame {frame} has {len(points)} points and the frames before it {count}: expected 68 in every frame "
                "or 5 in every frame. Use one detector for the whole clip."
            )
        count = len(points)
        checked.append(points)
    return checked


def _fill_gaps(track: Sequence[Points | None], longest_gap: int | None) -> list[tuple[int, Points]]:
    """The stretches between the gaps that stay: first frame, and points [T,N,2] without a gap."""
    known = {frame: points.ravel() for frame, points in enumerate(track) if points is not None}
    if not known:
        return []
    count, frames = len(track), list(known)
    columns = np.stack(list(known.values()), axis=1)  # [2N, known frames]; np.interp holds the values at both ends
    filled = np.stack([np.interp(np.arange(count), frames, column) for column in columns], axis=1)  # [count, 2N]
    stretches = []
    first = 0
    for before, after in pairwise([-1, *frames, count]):
        if longest_gap is not None and after - before - 1 > longest_gap:
            stretches.append((first, before + 1))
            first = after
    stretches.append((first, count))
    return [(first, filled[first:end].reshape(end - first, -1, 2)) for first, end in stretches if first < end]


def _regress(points: Points, width: float) -> Points:
    """[T,N,2] -> the values of the local parabolas, each at its own frame."""
    count, reach = len(points), math.ceil(_REACH * width)
    result = np.empty_like(points)
    for frame in range(count):
        first, end = max(frame - reach, 0), min(frame + reach + 1, count)
        offset = (np.arange(first, end) - frame) / width  # [window], in widths of the filter
        # Least squares with Gaussian weights g = exp(-offset^2 / 2): both sides are multiplied by the root of g. The
        # parabola is c0 + c1 offset + c2 offset^2, so its value at this frame is c0: row 0 of the pseudoinverse.
        root = np.exp(-offset * offset / 4)
        powers = np.vander(offset, min(_DEGREE + 1, end - first), increasing=True)  # [window, degree + 1]
        weights = np.linalg.pinv(powers * root[:, None])[0] * root
        result[frame] = np.tensordot(weights, points[first:end], axes=1)  # [window] x [window,N,2] -> [N,2]
    return result
