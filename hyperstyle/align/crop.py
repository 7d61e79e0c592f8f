"""The FFHQ crop: the square around a face that face generators were trained on, computed from its landmarks.

Points are `(x, y)` in pixel indices of the upright source image, as landmark detectors give them: a whole
number is the center of a pixel, and pixel `i` reaches from `i - 0.5` to `i + 0.5`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperstyle.errors import ConfigError, LandmarkError
from hyperstyle.images import ImageSource, view_image
from hyperstyle.images.bands import cut

Points = npt.NDArray[np.float64]
"""[N, 2] points (x, y) in pixels."""

MAX_CROP_SIZE = 8192
"""Side of the largest crop, in pixels: twice the largest that was published."""

_SMALLEST_SIDE = 2.0  # pixels; below, borders and blur round to nothing
_LARGEST_RATIO = 8.0  # quad side over image side; landmarks that lie in the image stay below 6
_BLUR_BLOCK = 1 << 22  # values that are convolved at a time, to bound the memory
_Plane = npt.NDArray[np.float32]  # [H, W], one channel of an image


@dataclass(frozen=True, eq=False)
class Crop:
    """A square cut out of an image around a face.

    Attributes:
        image: the crop, RGB, `size` x `size`.
        quad: [4, 2] float64, the square that the landmarks ask for: its corners (top left, bottom left,
            bottom right, top right) in pixel indices of the source image. They may lie outside of it.
        footprint: [4, 2] float64, corners of the area that `image` was actually sampled from, in the order and
            coordinates of `quad`; `paste_back` needs them. They equal `quad` unless the image was shrunk before
            sampling, as it is for large faces: the published procedure then shifts the square by up to half a pixel
            of the shrunk image.
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


def crop(image: ImageSource, landmarks: npt.ArrayLike, size: int = 1024, transform_size: int = 1024) -> Crop:
    """Cut the FFHQ square of a face out of an image; the result has the same bytes as that of the published scripts.

    HyperStyle uses sizes 1024/1024, pSp, e4e and ReStyle 256/256, HyperInverter (and FFHQ itself) 1024/4096. Parts
    outside the image are filled with its blurred reflection.

    Args:
        image: anything `load_image` takes; EXIF orientation is applied before the landmarks are looked at.
        landmarks: [68, 2] or [5, 2], see `ffhq_quad`, in pixel indices of the upright image.
        size: side of the crop in pixels.
        transform_size: side of the resampled square in pixels, at least `size`; where larger it is reduced to
            `size` with a Lanczos filter.

    Raises:
        LandmarkError: landmarks that `ffhq_quad` refuses, that all lie outside the image, or that span a
            square far larger than it.
        ConfigError: sizes below 1 or above `MAX_CROP_SIZE`, or `transform_size` below `size`.
        ImageError: an image that `load_image` refuses.
    """
    check_crop_size(size, transform_size, f"Cannot crop to size {size} with transform_size {transform_size}")
    return crop_rgb(view_image(image), landmarks, size, transform_size)


def check_crop_size(size: int, transform_size: int, subject: str) -> None:
    """Raises ConfigError, whose message begins with `subject`, for sizes that `crop` refuses."""
    if not 1 <= size <= transform_size <= MAX_CROP_SIZE:
        raise ConfigError(
            f"{subject}: expected 1 to {MAX_CROP_SIZE} pixels, and for the second no less than for the first."
        )


def crop_rgb(image: Image.Image, landmarks: npt.ArrayLike, size: int, transform_size: int) -> Crop:
    """`crop` of an upright RGB image. The landmarks are checked; image and sizes are not, and it is not copied."""
    source_size = image.size
    points = _checked(landmarks)
    quad, side = _square(points)  # [4, 2], pixels
    _check_position(points, side, source_size)

    # 1. Shrink by a whole number, so that the bilinear sampling of step 4 skips few pixels: a pixel of the crop then
    # covers 2 to 3 of them along each side. The reference divides the corners by that number, from which the ratio of
    # the rounded sizes differs a little, and divides pixel indices, whose origin lies half a pixel inside the edge.
    # The footprint is the square of the source image that this amounts to: the corners as coordinates from the edge
    # (+ 0.5), times the true ratio of the sizes, as indices again (- 0.5).
    shrink = max(int(side / size * 0.5), 1)
    corners, side = quad / shrink, side / shrink
    footprint = quad.copy()
    if shrink > 1:
        width, height = (max(int(np.rint(n / shrink)), 1) for n in source_size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
        footprint = (corners + 0.5) * np.divide(source_size, image.size) - 0.5

    # 2. Cut the image down to the square's bounding box and a border of a tenth of its side.
    border = max(int(np.rint(side * 0.1)), 3)
    low, high = _bounds(corners)
    start, stop = np.maximum(low - border, 0), np.minimum(high + border, image.size)
    if (stop <= start).any():
        raise LandmarkError(
            f"The landmarks' square {quad_text(quad)} lies outside the image of {_size_text(source_size)} px. "
            "Give landmarks of this very image, upright and at its full size."
        )
    image = cut(image, (int(start[0]), int(start[1]), int(stop[0]), int(stop[1])))
    corners = corners - start

    # 3. Pad if a corner lies outside the image or within 4 px of its edge. `before` (left, top) and `after` (right,
    # bottom) are the pixels that the border of step 2 lacks; if anything is padded, every side gets at least 0.3 of the
    # square's side, over which the padding fades.
    low, high = _bounds(corners)
    before, after = np.maximum(border - low, 0), np.maximum(high - image.size + border, 0)
    if max(before.max(), after.max()) > border - 4:
        least = int(np.rint(side * 0.3))
        before, after = np.maximum(before, least), np.maximum(after, least)
        image = _padded(image, before, after, blur=side * 0.02)
        corners = corners + before

    # 4. Resample the square. Pillow's coordinates begin at the edge of the first pixel, so the center of the pixel
    # with index i lies at i + 0.5.
    image = image.transform(
        (transform_size, transform_size),
        Image.Transform.QUAD,
        (corners + 0.5).ravel().tolist(),  # x and y of each corner: 8 numbers
        Image.Resampling.BILINEAR,
    )
    if size < transform_size:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    for array in (quad, footprint, points):
        array.flags.writeable = False
    return Crop(image, quad, footprint, points, source_size)


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
    """The points [5, 2] left eye, right eye, nose, left and right corner of the mouth, from [68, 2] or [5, 2] points.

    An eye is the mean of the points around it; five points are returned as they are.
    """
    if len(points) == 5:
        return points
    # iBUG 300-W: 36..41 and 42..47 surround the eyes, 30 is the tip of the nose, 48 and 54 the corners of the mouth.
    eyes = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    return np.stack([*eyes, points[30], points[48], points[54]])


def _square(points: Points) -> tuple[Points, float]:
    """The corners [4, 2] of the FFHQ square, and its side in pixels.

    The operations are in the same order as in the published scripts. Their rounding errors must be the same, because
    `crop_rgb` rounds borders to whole pixels.
    """
    left_eye, right_eye, _, left_mouth, right_mouth = five_points(points)
    eyes = (left_eye + right_eye) * 0.5
    across = right_eye - left_eye
    down = (left_mouth + right_mouth) * 0.5 - eyes

    # Both vectors say where the right of the face is, `down` after a quarter turn (x, y) -> (y, -x); their sum is
    # steadier than either. Its length is set to half the side: 2 distances of the eyes, or 1.8 from eyes to mouth.
    half = across - down[::-1] * [-1, 1]
    length, half_side = np.hypot(*half), max(np.hypot(*across) * 2.0, np.hypot(*down) * 1.8)
    if length < 1e-6 * half_side or 2 * half_side < _SMALLEST_SIDE:
        raise LandmarkError(
            f"The landmarks span no square: the eyes are {np.hypot(*across):.3g} px apart and the mouth "
            f"{np.hypot(*down):.3g} px from them; expected a square of {_SMALLEST_SIDE:.0f} px or more. "
            "Give the points of one face in the documented order, in pixels (not fractions of the image)."
        )
    half = half / length * half_side  # from the center to the right side
    perp = half[::-1] * [-1, 1]  # from the center to the bottom: a quarter turn (x, y) -> (-y, x)
    center = eyes + down * 0.1
    corners = np.stack([center - half - perp, center - half + perp, center + half + perp, center + half - perp])
    return corners, float(np.hypot(*half)) * 2


def _check_position(points: Points, side: float, size: tuple[int, int]) -> None:
    """Raise LandmarkError if all points lie outside an image of this (width, height), or their square is far larger."""
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
    """The lowest and the highest (x, y) of the corners [4, 2], rounded outwards to integers."""
    return np.floor(quad.min(axis=0)).astype(np.int64), np.ceil(quad.max(axis=0)).astype(np.int64)


def _padded(
    image: Image.Image, before: npt.NDArray[np.int64], after: npt.NDArray[np.int64], blur: float
) -> Image.Image:
    """The image extended by its reflection, which is blurred towards the edges and fades to the median color.

    `before` is (left, top), `after` (right, bottom), `blur` a standard deviation, all in pixels. Pixels are stored
    in float32 and each step is computed in float64, as in the published scripts under NumPy 2; here that does not
    depend on the version of NumPy.
    """
    # NumPy's axes are rows, columns, channels; those of `before` and `after` are x, y.
    pad = [(before[1], after[1]), (before[0], after[0]), (0, 0)]
    pixels = np.pad(np.asarray(image, dtype=np.float32), pad, "reflect")  # [H, W, 3]
    height, width, _ = pixels.shape

    def ramp(length: int, low: int, high: int) -> Points:
        """[length]: 1 at both edges, 0 where the photo begins, negative within it."""
        index = np.arange(length, dtype=np.float64)
        values: Points = 1.0 - np.minimum(index / low, (length - 1 - index) / high)
        return values

    across = ramp(width, int(before[0]), int(after[0]))[None, :]  # [1, W]
    down = ramp(height, int(before[1]), int(after[1]))[:, None]  # [H, 1]

    def blend(plane: _Plane, target: _Plane, slope: float, offset: float) -> None:
        """Moves `plane` towards `target` by the fade times `slope` plus `offset`; some rows at a time, for memory."""
        step = max(_BLUR_BLOCK // width, 1)
        for first in range(0, height, step):
            part = slice(first, first + step)
            weight = np.clip(np.maximum(across, down[part]) * slope + offset, 0.0, 1.0)
            plane[part] += (target[part] - plane[part]) * weight

    for channel in range(3):
        plane = pixels[..., channel]
        # The blur begins within the photo, a third of a ramp from its edge, and is complete at that edge.
        blend(plane, _gaussian(plane, blur), 3.0, 1.0)
        blend(plane, np.broadcast_to(np.median(plane), plane.shape), 1.0, 0.0)
    np.clip(np.rint(pixels, out=pixels), 0, 255, out=pixels)
    return Image.fromarray(pixels.astype(np.uint8))


def _gaussian(plane: _Plane, sigma: float) -> _Plane:
    """The same as `scipy.ndimage.gaussian_filter(plane, sigma)` of [H, W], computed with the Fourier transform.

    The published scripts use SciPy's filter. The values are equal (a test compares them): the errors of the transform,
    about 1e-13, vanish when the result is rounded to float32 after each axis. The time does not grow with sigma; at
    4000 pixels it is an eighth of that of SciPy's filter.
    """
    from scipy.signal import fftconvolve

    radius = int(4.0 * sigma + 0.5)
    kernel = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)  # [2 radius + 1]
    kernel /= kernel.sum()
    for _ in range(2):  # along the columns, then along the rows; each pass transposes
        lines = np.pad(plane.T, [(0, 0), (radius, radius)], "symmetric")  # [W, H + 2 radius]
        blocks = np.array_split(lines, -(-lines.size // _BLUR_BLOCK))
        blurred = [fftconvolve(block.astype(np.float64), kernel[None], "valid", axes=1) for block in blocks]
        plane = np.concatenate([block.astype(np.float32) for block in blurred])  # [W, H]
    return plane


def quad_text(quad: npt.ArrayLike) -> str:
    """Corners [4, 2] as text for messages: "(x, y), (x, y), ..." with one decimal."""
    return ", ".join(f"({x:.1f}, {y:.1f})" for x, y in np.asarray(quad))


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
