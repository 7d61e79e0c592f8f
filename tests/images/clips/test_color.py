"""The colors of clips: charts with YCbCr levels by the formulas of the standards, and the sRGB that is read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hyperstyle.errors import ImageError
from hyperstyle.images.clips.color import ColorTags, read_tags
from hyperstyle.images.frames import open_frames

av = pytest.importorskip("av")

SIDE = 16
CHART = np.array(
    [
        *[(0, 0, 0), (40, 40, 40), (128, 128, 128), (200, 200, 200), (224, 224, 224), (224, 172, 150)],
        *[(120, 70, 50), (190, 50, 40), (60, 140, 70), (50, 60, 160), (200, 190, 60), (60, 160, 180)],
    ]
)
# Kr and Kb of ITU-T H.273, table 4.
WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)}
WEIGHTS |= {9: (0.2627, 0.0593)}
# Linear BT.709 -> linear BT.2020, ITU-R BT.2087 table 2.
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
# Linear BT.709 -> linear P3 with white at D65, from the chromaticities of SMPTE EG 432-1.
TO_P3 = np.array([[0.8225, 0.1775, 0.0], [0.0332, 0.9668, 0.0], [0.0171, 0.0724, 0.9105]])

Floats = npt.NDArray[np.float64]


def linear(signal: Floats) -> Floats:
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def srgb(light: Floats) -> Floats:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


def hlg(light: Floats) -> Floats:
    """Light, of which 1 is diffuse white at 75 % of the signal, -> signal."""
    scene = light * 0.26496
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * np.maximum(scene, 0)), high)


def pq(light: Floats) -> Floats:
    """Light, of which 1 is diffuse white at 203 cd/m2, -> signal."""
    power = (np.maximum(light, 0) * 203 / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def write_chart(
    path: Path,
    signal: Floats,
    matrix: int,
    *,
    written_matrix: int | None = None,
    transfer: int = 1,
    primaries: int = 1,
    full: bool = False,
    format: str = "yuv420p",
    size: tuple[int, int] | None = None,
) -> None:
    """Patches [n,3] of an RGB signal from 0 to 1 as a lossless clip of one frame, patches side by side.

    Args:
        matrix: what the levels are computed with.
        written_matrix: what the file says instead.
        size: width and height; the chart stands in the corner at the upper left.
    """
    bits = 10 if "10" in format else 8
    top, low, scale, color_scale = (1 << bits) - 1, 16 << (bits - 8), 219 << (bits - 8), 224 << (bits - 8)
    kr, kb = WEIGHTS[matrix]
    luma = signal @ (kr, 1 - kr - kb, kb)
    blue, red = (signal[:, 2] - luma) / (2 - 2 * kb), (signal[:, 0] - luma) / (2 - 2 * kr)
    if full:
        planes = [luma * top, blue * top + (top + 1) / 2, red * top + (top + 1) / 2]
    else:
        planes = [luma * scale + low, *(color * color_scale + (top + 1) / 2 for color in (blue, red))]
    width, height = size or (SIDE * len(signal), SIDE)
    frame = av.VideoFrame(width, height, format)
    for number, (plane, values) in enumerate(zip(frame.planes, planes, strict=False)):
        side = SIDE // 2 if number and "420" in format else SIDE
        levels = np.zeros((plane.height, plane.line_size // (2 if bits > 8 else 1)), "<u2" if bits > 8 else np.uint8)
        levels[:side, : side * len(signal)] = np.repeat(values.round(), side)
        plane.update(levels.tobytes())
    tags = (matrix if written_matrix is None else written_matrix, transfer, primaries, 2 if full else 1)
    write_frame(path, frame, "ffv1", tags)


def write_frame(path: Path, frame: Any, codec: str, tags: tuple[int, int, int, int] = (2, 2, 2, 0)) -> None:
    """A clip of one frame; the tags are matrix, transfer function, primaries and range."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        context = stream.codec_context
        context.colorspace, context.color_trc, context.color_primaries, context.color_range = tags
        frame.colorspace, frame.color_range = tags[0], tags[3]
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_patches(path: Path, count: int = len(CHART)) -> Floats:
    """[n,3] the levels in the middle of the patches."""
    levels = np.asarray(next(iter(open_frames(path))), float)
    return levels[SIDE // 2, SIDE // 2 : SIDE * count : SIDE]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 9])
def test_every_matrix_and_range_gives_the_colors_back(tmp_path: Path, matrix: int, full: bool) -> None:
    write_chart(tmp_path / "a.mkv", CHART / 255, matrix, full=full)
    np.testing.assert_allclose(read_patches(tmp_path / "a.mkv"), CHART, atol=2)


@pytest.mark.parametrize(("matrix", "range"), [(0, 2), (2, 0), (1, 1)])
def test_rgb_stays_as_it_is_whatever_the_tags_say(tmp_path: Path, matrix: int, range: int) -> None:
    image = np.repeat(np.repeat(CHART[None].astype(np.uint8), SIDE, axis=0), SIDE, axis=1)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgr0")
    write_frame(tmp_path / "a.mkv", frame, "ffv1", (matrix, 1, 1, range))
    np.testing.assert_array_equal(read_patches(tmp_path / "a.mkv"), CHART)


@pytest.mark.parametrize("format", ["yuv420p10le", "yuv444p10le", "yuv444p", "yuva420p"])
def test_every_depth_and_sampling_gives_the_colors_back(tmp_path: Path, format: str) -> None:
    write_chart(tmp_path / "a.mkv", CHART / 255, 1, format=format)
    np.testing.assert_allclose(read_patches(tmp_path / "a.mkv"), CHART, atol=2)


@pytest.mark.parametrize(
    ("size", "matrix"), [((256, 32), 6), ((256, 718), 6), ((256, 720), 1), ((1280, 64), 1), ((1278, 64), 6)]
)
def test_a_clip_that_does_not_say_is_high_definition_from_720_lines_on(
    tmp_path: Path, size: tuple[int, int], matrix: int
) -> None:
    write_chart(tmp_path / "a.mkv", CHART / 255, matrix, written_matrix=2, transfer=2, primaries=2, size=size)
    np.testing.assert_allclose(read_patches(tmp_path / "a.mkv"), CHART, atol=2)


@pytest.mark.parametrize("written", [9, 10, 2])
@pytest.mark.parametrize("transfer", [1, 14, 15])
def test_wide_primaries_without_hdr_become_those_of_srgb(tmp_path: Path, transfer: int, written: int) -> None:
    signal = srgb(linear(CHART / 255) @ TO_BT2020.T)
    write_chart(
        *(tmp_path / "a.mkv", signal, 9),
        written_matrix=written,
        transfer=transfer,
        primaries=9,
        format="yuv420p10le",
    )
    np.testing.assert_allclose(read_patches(tmp_path / "a.mkv"), CHART, atol=3)


@pytest.mark.parametrize("transfer", [1, 13])
def test_the_primaries_of_phones_and_screens_become_those_of_srgb(tmp_path: Path, transfer: int) -> None:
    signal = srgb(linear(CHART / 255) @ TO_P3.T)
    write_chart(tmp_path / "a.mkv", signal, 1, transfer=transfer, primaries=12)
    np.testing.assert_allclose(read_patches(tmp_path / "a.mkv"), CHART, atol=3)


@pytest.mark.parametrize("primaries", [9, 2])
@pytest.mark.parametrize(("transfer", "curve"), [(18, hlg), (16, pq)])
def test_hdr_gives_the_scene_back_as_it_is_in_sdr(tmp_path: Path, transfer: int, curve: Any, primaries: int) -> None:
    signal = curve(linear(CHART / 255) @ TO_BT2020.T)
    write_chart(
        *(tmp_path / "a.mkv", signal, 9),
        written_matrix=primaries,
        transfer=transfer,
        primaries=primaries,
        format="yuv420p10le",
    )
    np.testing.assert_allclose(read_patches(tmp_path / "a.mkv"), CHART, atol=3)


@pytest.mark.parametrize(("transfer", "curve", "peak"), [(18, hlg, 3.77), (16, pq, 49.0)])
def test_highlights_of_hdr_go_smoothly_to_white(tmp_path: Path, transfer: int, curve: Any, peak: float) -> None:
    light = np.array([0.6, 0.8, 1, 1.25, 1.6, 2, 2.7, 3.7, peak])
    gray = np.repeat(light[:, None], 3, axis=1)
    write_chart(tmp_path / "a.mkv", curve(gray), 9, transfer=transfer, primaries=9, format="yuv420p10le")
    levels = read_patches(tmp_path / "a.mkv", len(light))
    np.testing.assert_allclose(levels, levels[:, [0]].repeat(3, axis=1), atol=1)
    brightness = levels.mean(axis=1)
    assert 243 <= brightness[2] <= 250  # diffuse white
    assert (np.diff(brightness)[:5] > 0).all()
    assert (np.diff(brightness) >= 0).all()
    assert brightness[-1] >= 254


def test_a_saturated_light_keeps_its_hue(tmp_path: Path) -> None:
    light = np.array([[3.0, 0.4, 0.2], [0.0, 0.8, 0.0], [0.0, 0.0, 1.0]])  # the last two are outside of BT.709
    write_chart(tmp_path / "a.mkv", hlg(light), 9, transfer=18, primaries=9, format="yuv420p10le")
    levels = read_patches(tmp_path / "a.mkv", 3)
    assert [int(np.argmax(color)) for color in levels] == [0, 1, 2]
    assert levels[1][0] <= 1
    assert levels[1][1] > 200


@pytest.mark.parametrize("matrix", [8, 14])
def test_a_matrix_that_is_not_known_is_refused_with_the_name_of_the_file(tmp_path: Path, matrix: int) -> None:
    write_chart(tmp_path / "a.mkv", CHART / 255, 1, written_matrix=matrix)
    with pytest.raises(ImageError, match=rf"a\.mkv.*matrix coefficients {matrix}.*ffmpeg"):
        read_patches(tmp_path / "a.mkv")


def test_dolby_vision_is_read_by_its_base_layer_and_refused_without_one() -> None:
    pixels = SimpleNamespace(is_rgb=False, name="yuv420p10le")
    frame = SimpleNamespace(colorspace=9, color_range=1, format=pixels, height=2160, width=3840)
    hlg = SimpleNamespace(color_trc=18, color_primaries=9)
    assert read_tags(frame, hlg, is_dolby=True) == ColorTags(9, 18, 9, False)
    frame.colorspace = 2
    with pytest.raises(ImageError, match=r"profile 5.*HDR10, HLG or SDR"):
        read_tags(frame, SimpleNamespace(color_trc=2, color_primaries=2), is_dolby=True)


def test_the_form_that_ffmpeg_names_full_range_by_its_pixels_is_read_so(tmp_path: Path) -> None:
    frame = av.VideoFrame(64, 32, "yuvj420p")
    for plane, level in zip(frame.planes, (200, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    write_frame(tmp_path / "a.avi", frame, "mjpeg")
    np.testing.assert_allclose(next(iter(open_frames(tmp_path / "a.avi"))).getpixel((30, 16)), 200, atol=1)
