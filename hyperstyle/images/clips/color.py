"""The colors of a decoded video frame as sRGB: its matrix, range and primaries; HDR is mapped to SDR.

The numbers are those of ITU-T H.273, which MP4, Matroska, H.264, HEVC, VP9 and AV1 share. The formulas:

- HLG and PQ: ITU-R BT.2100, tables 5 and 4. Diffuse white is where ITU-R BT.2408 has it: 75 % of the HLG signal,
  203 cd/m2 in PQ. It becomes 1 in the linear light of sRGB.
- HLG is relative to the display. BT.2390 gives the exponent of its OOTF for a peak L as 1.2 * 1.111^log2(L / 1000).
  With diffuse white at the 80 cd/m2 of sRGB (IEC 61966-2-1), the peak is 80 / 0.265 = 302 cd/m2 and the exponent 1.00:
  the light of the scene is the light of the display, and there is no OOTF to apply.
- primaries: linear light times the matrix from their chromaticities (ITU-R BT.2020, SMPTE EG 432-1, ITU-R BT.709).
- highlights: each channel of the sRGB signal stays as it is up to `_KNEE` and goes smoothly towards 1 above it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperstyle.errors import ImageError

BT709 = 1
"""ITU-R BT.709 among the matrices, the primaries and the transfer functions."""
STUDIO_RANGE = 1
"""Levels from 16 to 235, as players expect them."""

_FULL_RANGE = 2
_UNSPECIFIED = 2
_PQ, _HLG = 16, 18
_BT2020 = 9  # among the primaries, and among the matrices
_DCI_P3, _DISPLAY_P3 = 11, 12
# Matrix -> the number that swscale has for it. The constant-luminance form of BT.2020 (10) is taken as the usual one,
# as FFmpeg does.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_RGB = 0
# swscale's bilinear filter, accurate rounding and chroma for every pixel: exact to a level. Its default is off by up to
# three, and darker on average. By number, as PyAV names them only from version 15 on.
_EXACT = 0x2 | 0x40000 | 0x2000
_D65 = (0.3127, 0.3290)
_BT709_PRIMARIES = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
# Those of standard definition are nearly those of BT.709, and players take them as these.
_WIDE = {_BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), _DCI_P3: _P3, _DISPLAY_P3: _P3}

_HLG_WHITE = 0.75  # of the signal
_PQ_WHITE = 203.0  # cd/m2
_KNEE = 0.9  # of the sRGB signal
_BRIGHTEST = 9.0  # times diffuse white; brighter light becomes white as well
_ENTRIES = 3 << 14  # of the table from linear light to levels, spaced by the square root: fine near black
# The level that swscale gives a signal of 1 in planes of 16 bits: 255 of 8 bits, shifted; 1023 of 10 bits, shifted.
_WHITE_STUDIO, _WHITE_FULL = 0xFF00, 0xFFC0
_ROWS = 64  # converted at a time, so that they stay in the processor's cache

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ColorTags:
    """How the levels of a frame are to be read.

    Attributes:
        matrix: from YCbCr to RGB, as H.273 numbers it; 0 where the levels are RGB.
        transfer: the transfer function.
        primaries: the primaries.
        full_range: whether black is level 0 and white the last one, of 8 bits 255; False: 16 and 235.
    """

    matrix: int
    transfer: int
    primaries: int
    full_range: bool

    @property
    def is_hdr(self) -> bool:
        """Whether white is not the brightest level."""
        return self.transfer in (_PQ, _HLG)


def read_tags(frame: Any, context: Any, *, is_dolby: bool = False) -> ColorTags:
    """The tags of an `av.VideoFrame` and of its codec context; what is not said is guessed as players do.

    HDR is BT.2020. Else clips from 720 lines or 1280 columns on are BT.709, smaller ones BT.601.

    Args:
        is_dolby: the frame comes with data of Dolby Vision; where its levels are those of HDR10 or HLG, they say so.

    Raises:
        ImageError: levels of a kind that cannot be converted.
    """
    transfer, primaries, matrix = context.color_trc, context.color_primaries, frame.colorspace
    is_hdr = transfer in (_PQ, _HLG)
    if primaries == _UNSPECIFIED and is_hdr:
        primaries = _BT2020
    pixels = frame.format
    if pixels.is_rgb:
        matrix = _RGB
    elif matrix in (_UNSPECIFIED, _RGB):
        if matrix == _UNSPECIFIED and is_dolby:
            raise ImageError(
                "it is Dolby Vision without a base layer for other players (profile 5). Export it as HDR10, HLG or SDR "
                "with the program or phone it is from"
            )
        is_large = frame.height >= 720 or frame.width >= 1280
        matrix = _BT2020 if primaries == _BT2020 else BT709 if is_large else 6
    elif matrix not in _MATRICES:
        raise ImageError(
            f"its colors are of a kind that is not read (matrix coefficients {matrix} of ITU-T H.273). Convert it: "
            "ffmpeg -i CLIP -pix_fmt yuv420p -colorspace bt709 converted.mp4"
        )
    # FFmpeg's old names of full-range formats (yuvj420p) say it themselves.
    full_range = frame.color_range == _FULL_RANGE or pixels.name.startswith("yuvj")
    return ColorTags(matrix, transfer, primaries, full_range)


def to_srgb(frame: Any, tags: ColorTags, reformatter: Any) -> npt.NDArray[np.uint8]:
    """The levels of an `av.VideoFrame` as sRGB, [height,width,3]; alpha is left out.

    Args:
        frame: any pixel format.
        tags: see `read_tags`.
        reformatter: an `av.video.reformatter.VideoReformatter`, one for all frames of a clip: it keeps its tables.
    """
    is_wide = tags.is_hdr or tags.primaries in _WIDE
    matrix = _MATRICES.get(tags.matrix, BT709)
    levels: npt.NDArray[Any] = reformatter.reformat(
        frame,
        # Planes of 16 bits: the chroma of packed ones (rgb48le) is wrong in FFmpeg 8 with these flags.
        format="gbrp16le" if is_wide else "rgb24",
        src_colorspace=matrix,
        # RGB has no matrix; up to version 16 PyAV heeded neither matrix nor range where both are the same.
        dst_colorspace=5 if matrix == BT709 else BT709,
        src_color_range=_FULL_RANGE if tags.full_range or tags.matrix == _RGB else STUDIO_RANGE,
        dst_color_range=_FULL_RANGE,
        interpolation=_EXACT,
    ).to_ndarray()
    if not is_wide:
        return levels
    light = _linear_table(tags.transfer, _WHITE_FULL if tags.full_range else _WHITE_STUDIO)
    return _convert(levels, light, _to_bt709(tags.primaries), _level_table(tags.is_hdr))


def _convert(
    levels: npt.NDArray[np.uint16], linear_table: Floats, matrix: Floats, level_table: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Levels of 16 bits [height,width,3] -> linear light -> other primaries -> levels of 8 bits, by tables."""
    result = np.empty(levels.shape, np.uint8)
    scale = np.float32(_ENTRIES / _BRIGHTEST**0.5)
    for top in range(0, len(levels), _ROWS):
        light = linear_table.take(levels[top : top + _ROWS].reshape(-1, 3)) @ matrix.T
        np.sqrt(np.maximum(light, 0, out=light), out=light)
        light *= scale
        part = result[top : top + _ROWS]
        level_table.take(light.astype(np.int32), out=part.reshape(-1, 3), mode="clip")
    return result


@lru_cache(maxsize=8)
def _linear_table(transfer: int, white: int) -> Floats:
    """[65536] linear light of levels of which one is a signal of 1; diffuse white is 1."""
    signal = np.arange(1 << 16) / white
    curves: dict[int, Callable[[Any], Any]] = {_PQ: _pq_light, _HLG: _hlg_light}
    light: Floats = curves.get(transfer, _srgb_light)(signal).astype(np.float32)
    return light


@lru_cache(maxsize=2)
def _level_table(is_hdr: bool) -> npt.NDArray[np.uint8]:
    """[_ENTRIES] levels of sRGB, by the square root of linear light."""
    root = (np.arange(_ENTRIES) + 0.5) / _ENTRIES * _BRIGHTEST**0.5
    signal = _srgb_signal(root**2)
    levels = np.clip(_roll_off(signal) if is_hdr else signal, 0, 1) * 255
    return np.asarray(levels.round(), np.uint8)


@lru_cache(maxsize=8)
def _to_bt709(primaries: int) -> Floats:
    """[3,3] linear RGB of these primaries -> linear RGB of BT.709."""
    if primaries not in _WIDE:
        return np.eye(3, dtype=np.float32)
    matrix = np.linalg.inv(_to_xyz(_BT709_PRIMARIES)) @ _to_xyz(_WIDE[primaries])
    return matrix.astype(np.float32)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> npt.NDArray[np.float64]:
    """[3,3] linear RGB of chromaticities (x, y) with white at D65 -> CIE XYZ."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (*primaries, _D65)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def _hlg_light(signal: Any) -> Any:
    """BT.2100 table 5: the inverse of the OETF, over its value for diffuse white."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)

    def light(signal: Any) -> Any:
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)

    return light(signal) / light(_HLG_WHITE)


def _pq_light(signal: Any) -> Any:
    """BT.2100 table 4: the EOTF, in cd/m2, over diffuse white."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = signal ** (1 / m2)
    return 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) / _PQ_WHITE


def _srgb_light(signal: Any) -> Any:
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _srgb_signal(light: Any) -> Any:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _roll_off(signal: Any) -> Any:
    """The signal up to the knee; above it, its slope there is 1 and its limit is 1."""
    over = np.maximum(signal - _KNEE, 0) / (1 - _KNEE)
    return np.minimum(signal, _KNEE) + (1 - _KNEE) * over / (1 + over**1.5) ** (2 / 3)
