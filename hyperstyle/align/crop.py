"""The FFHQ crop: the square around a face that face generators were trained on, as pure mathematics.

Points are `(x, y)` in pixel indices of the upright source image, as landmark detectors give them: a whole
number is the center of a pixel, and pixel `i` reaches from `i - 0.5` to `i + 0.5`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperstyle.errors import ConfigError, LandmarkError
from hyperstyle.images import ImageSource, load_image
from hyperstyle.images.color_modes import quiet

__all__ = ["Crop", "crop", "ffhq_quad", "five_points"]

Points = npt.NDArray[np.float64]

_SMALLEST_SIDE = 2.0  # pixels; below, borders and blur round to nothing
_LARGEST_RATIO = 8.0  # quad side over image side; landmarks that lie in the image stay below 6
_BLUR_BLOCK = 1 << 22  # values that one Fourier transform of the blur works on, to bound its memory


@dataclass(frozen=True, eq=False)
class Crop:
    """A square cut out of an image around a face.

    Attributes:
        image: the crop, RGB, `size` x `size`.
        quad: [4, 2] float64, the square that the landmarks ask for: its corners (top left, bottom left,
            bottom right, top right) in pixel indices of the source image. They may lie outside of it.
        footprint: [4, 2] float64, the corners that the pixels of `image` were really taken from, in the same
            order and coordinates: what `paste_back` needs. It equals `quad` unless the image was shrunk
            first: the reference then moves the square by up to half a pixel of the shrunk image.
        landmarks: [68, 2] or [5, 2] float64, the points used, in pixel indices of the source image.
        source_size: (width, height) of the upright source image.
    """

    image: Image.Image
    quad: Points
    footprint: Points
    landmarks: Points
    source_size: tuple[int, int]


def ffhq_quad(landmarks: npt.ArrayLike) -> Points:
    """The FFHQ square of a face: [4, 2] float64 corners (top left, bottom left, bottom right, top right).

    Args:
        landmarks: [68, 2] points in the iBUG 300-W order, or [5, 2]: left eye, right eye, nose, left and
            right corner of the mouth. Left is left in the image. (x, y) in pixels.

    Raises:
        LandmarkError: a wrong shape, values that are not finite, or points so close together that the square
            has no size.
    """
    return _square(_checked(landmarks))[0]


def crop(
    image: ImageSource,
    landmarks: npt.ArrayLike,
    size: int = 1024,
    transform_size: int = 1024,
    *,
    padding: bool = True,
) -> Crop:
    """Cut the FFHQ square of a face out of an image, byte for byte as the reference scripts do.

    HyperStyle uses sizes 1024/1024, pSp, e4e and ReStyle 256/256, HyperInverter (and FFHQ itself) 1024/4096.

    Args:
        image: anything `load_image` takes; EXIF orientation is applied before the landmarks are looked at.
        landmarks: [68, 2] or [5, 2], see `ffhq_quad`, in pixel indices of the upright image.
        size: side of the crop in pixels.
        transform_size: side of the resampled square in pixels, at least `size`; where larger it is reduced to
            `size` with a Lanczos filter.
        padding: whether parts outside the image are filled with its blurred reflection; else they are
            black.

    Raises:
        LandmarkError: landmarks that `ffhq_quad` refuses, that all lie outside the image, or that span a
            square far larger than it.
        ConfigError: sizes below 1, or `transform_size` below `size`.
        ImageError: an image that `load_image` refuses.
    """
    if size < 1 or transform_size < size:
        raise ConfigError(
            f"Cannot crop to size {size} with transform_size {transform_size}: expected a size of at least 1 "
            f"and a transform_size of at least the size. Pass, say, transform_size={max(size, 1)}."
        )
    picture = load_image(image)
    source_size = picture.size
    points = _checked(landmarks)
    quad, side = _square(points)
    _check_position(points, side, source_size)

    # Shrink, so that the bilinear sampling below skips few pixels. The corners are divided by the whole
    # number, not by the ratio of the rounded sizes, and as indices: `_footprint` gives what that amounts to.
    moved, extent = quad, side
    shrink = int(np.floor(side / size * 0.5))
    if shrink > 1:
        width, height = (max(int(np.rint(n / shrink)), 1) for n in source_size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        moved, extent = quad / shrink, side / shrink
    footprint = _footprint(quad, max(shrink, 1), source_size, picture.size)

    # Cut away what is not needed.
    border = max(int(np.rint(extent * 0.1)), 3)
    low, high = _bounds(moved)
    start = np.maximum(low - border, 0)
    stop = np.minimum(high + border, picture.size)
    if (stop <= start).any():
        raise LandmarkError(
            f"The landmarks' square {_listed(quad)} lies outside the image of {_size_text(source_size)} px. "
            "Give landmarks of this very image, upright and at its full size."
        )
    if (stop - start < picture.size).any():
        with quiet():
            picture = picture.crop((int(start[0]), int(start[1]), int(stop[0]), int(stop[1])))
        moved = moved - start

    if padding:
        low, high = _bounds(moved)
        before, after = np.maximum(border - low, 0), np.maximum(high - picture.size + border, 0)
        if max(before.max(), after.max()) > border - 4:
            least = int(np.rint(extent * 0.3))
            before, after = np.maximum(before, least), np.maximum(after, least)
            picture = _padded(picture, before, after, blur=extent * 0.02)
            moved = moved + before

    # Indices to continuous coordinates, where the first pixel reaches from 0 to 1.
    corners = (moved + 0.5).ravel().tolist()
    picture = picture.transform(
        (transform_size, transform_size), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR
    )
    if size < transform_size:
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    for array in (quad, footprint, points):
        array.flags.writeable = False
    return Crop(picture, quad, footprint, points, source_size)


def _checked(landmarks: npt.ArrayLike) -> Points:
    """A float64 copy of 68 or 5 finite points."""
    expected = "Expected [68, 2] (dlib's points) or [5, 2] (eyes, nose, mouth corners): (x, y) in pixels."
    try:
        points = np.array(landmarks, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise LandmarkError(f"The landmarks are not an array of numbers ({error}). {expected}") from error
    if points.shape not in ((68, 2), (5, 2)):
        raise LandmarkError(f"The landmarks have shape {list(points.shape)}. {expected}")
    bad = int((~np.isfinite(points)).any(axis=1).sum())
    if bad:
        raise LandmarkError(f"{bad} of the {len(points)} landmarks are NaN or infinite. {expected}")
    return points


def five_points(points: Points) -> Points:
    """Of [68, 2] or [5, 2] points the five: left eye, right eye, nose, left and right corner of the mouth, [5, 2]."""
    if len(points) == 5:
        return points
    eyes = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    return np.stack([*eyes, points[30], points[48], points[54]])


def _square(points: Points) -> tuple[Points, float]:
    """The square's corners and its side."""
    left_eye, right_eye, _, left_mouth, right_mouth = five_points(points)
    eyes = (left_eye + right_eye) * 0.5
    across = right_eye - left_eye
    down = (left_mouth + right_mouth) * 0.5 - eyes

    # Both vectors say where "right" is, the second one after a quarter turn: their sum is steadier than one.
    # The order of operations is the reference's, since borders are rounded to whole pixels further on.
    half = across - down[::-1] * [-1, 1]
    length, half_side = np.hypot(*half), max(np.hypot(*across) * 2.0, np.hypot(*down) * 1.8)
    if length < 1e-6 * half_side or 2 * half_side < _SMALLEST_SIDE:
        raise LandmarkError(
            f"The landmarks span no square: the eyes are {np.hypot(*across):.3g} px apart and the mouth "
            f"{np.hypot(*down):.3g} px from them; expected a square of {_SMALLEST_SIDE:.0f} px or more. "
            "Give the points of one face in the documented order, in pixels (not fractions of the image)."
        )
    half = half / length * half_side
    perp = half[::-1] * [-1, 1]
    center = eyes + down * 0.1
    corners = np.stack([center - half - perp, center - half + perp, center + half + perp, center + half - perp])
    return corners, float(np.hypot(*half)) * 2


def _check_position(points: Points, side: float, size: tuple[int, int]) -> None:
    """Refuse points that cannot belong to an image of this (width, height)."""
    inside = ((points >= -0.5) & (points <= np.array(size) - 0.5)).all(axis=1)
    if not inside.any():
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        raise LandmarkError(
            f"All {len(points)} landmarks lie outside the image of {_size_text(size)} px: x from {left:.1f} to "
            f"{right:.1f}, y from {top:.1f} to {bottom:.1f}. "
            "Give landmarks of this very image, upright and at its full size."
        )
    if side > _LARGEST_RATIO * max(size):
        raise LandmarkError(
            f"The landmarks' square has a side of {side:.0f} px, over {_LARGEST_RATIO:.0f} times that of the "
            f"image ({_size_text(size)} px). Give landmarks of this very image, at its full size."
        )


def _bounds(quad: Points) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Whole (x, y) bounds of the corners, rounded outwards."""
    return np.floor(quad.min(axis=0)).astype(np.int64), np.ceil(quad.max(axis=0)).astype(np.int64)


def _footprint(quad: Points, shrink: int, before: tuple[int, int], after: tuple[int, int]) -> Points:
    """Where index `quad / shrink` of the shrunk image lies in the original one, in its pixel indices."""
    if shrink == 1:
        return np.array(quad)
    scale = np.array(before, dtype=np.float64) / np.array(after, dtype=np.float64)
    return np.array((quad / shrink + 0.5) * scale - 0.5)


def _padded(
    picture: Image.Image, before: npt.NDArray[np.int64], after: npt.NDArray[np.int64], blur: float
) -> Image.Image:
    """The image extended by its reflection, which is blurred towards the edges and fades to the median color.

    `before` is (left, top), `after` (right, bottom), `blur` a standard deviation, all in pixels. The image
    is held in float32 and each step computed in float64, as the reference does under NumPy 2, whatever NumPy
    is installed.
    """
    pad = [(before[1], after[1]), (before[0], after[0]), (0, 0)]
    pixels = np.pad(np.asarray(picture, dtype=np.float32), pad, "reflect")
    height, width, _ = pixels.shape

    def ramp(length: int, low: int, high: int) -> Points:
        index = np.arange(length, dtype=np.float64)
        values: Points = 1.0 - np.minimum(index / low, (length - 1 - index) / high)
        return values  # 1 at the edge, 0 where the photo begins

    fade = np.maximum(
        ramp(width, int(before[0]), int(after[0]))[None, :],
        ramp(height, int(before[1]), int(after[1]))[:, None],
    )
    weight_blur, weight_median = np.clip(fade * 3.0 + 1.0, 0.0, 1.0), np.clip(fade, 0.0, 1.0)
    for channel in range(3):  # one at a time, for the memory
        plane = pixels[..., channel]
        plane += (_gaussian(plane, blur) - plane) * weight_blur
        plane += (np.median(plane) - plane) * weight_median
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _gaussian(plane: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """Gaussian blur of [H, W]: cut at 4 sigma, reflected at the edges, rounded to float32 between the axes.

    The sums are taken in float64 through the Fourier transform, whose cost does not grow with the kernel: at
    4000 pixels it takes half the time of SciPy's running sum. Its error, about 1e-13, vanishes in the
    rounding, so that the values equal SciPy's, which the reference uses (a test compares them).
    """
    radius = int(4.0 * sigma + 0.5)
    kernel = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    kernel /= kernel.sum()
    for _ in range(2):  # along the columns, then along the rows
        lines = plane.T  # [lines, length]
        length = _fast_length(lines.shape[1] + 2 * radius)
        spectrum = np.fft.rfft(kernel, length)
        blurred = np.empty(lines.shape, dtype=np.float32)
        step = max(_BLUR_BLOCK // length, 1)
        for first in range(0, len(lines), step):
            block = np.pad(lines[first : first + step].astype(np.float64), [(0, 0), (radius, radius)], "symmetric")
            summed = np.fft.irfft(np.fft.rfft(block, length) * spectrum, length)
            blurred[first : first + step] = summed[:, 2 * radius : 2 * radius + lines.shape[1]]
        plane = blurred
    return plane


def _fast_length(length: int) -> int:
    """The smallest number from `length` on without prime factors above 5: quick to Fourier transform."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _listed(quad: Points) -> str:
    return ", ".join(f"({x:.1f}, {y:.1f})" for x, y in quad)
