"""Any image in, plain RGB out; the errors for those that are none; the image grid; saving."""

from __future__ import annotations

import io
import os
import re
import struct
import sys
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from hyperstyle.errors import ConfigError, ImageError, QualityWarning
from hyperstyle.images import (
    MAX_PIXELS,
    ImageSource,
    bands,
    flatten,
    image_grid,
    load_image,
    load_photo,
    resize,
    save_image,
    to_images,
    to_levels,
    to_pil,
    to_tensor,
    upright,
    view_image,
)

if TYPE_CHECKING:
    from conftest import RunPython

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def rgb_image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels)


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


# What load_image reads


@pytest.mark.parametrize("kind", ["str", "Path", "PIL", "array", "tensor", "batch of one"])
def test_every_kind_of_source_gives_the_same_pixels(
    kind: str, tmp_path: Path, rgb_image: Image.Image, pixels: Pixels
) -> None:
    path = tmp_path / "image.png"
    rgb_image.save(path)
    tensor = to_tensor(rgb_image)
    sources: dict[str, ImageSource] = {
        "str": str(path),
        "Path": path,
        "PIL": rgb_image,
        "array": pixels,
        "tensor": tensor,
        "batch of one": tensor[None],
    }
    loaded = load_image(sources[kind])
    assert loaded.mode == "RGB"
    assert np.array_equal(np.asarray(loaded), pixels)


def test_the_result_shares_nothing_with_a_given_image(rgb_image: Image.Image) -> None:
    rgb_image.info["comment"] = "hidden"
    loaded = load_image(rgb_image)
    assert loaded.info == {}
    loaded.putpixel((0, 0), (1, 2, 3))
    assert rgb_image.getpixel((0, 0)) != (1, 2, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    upright_pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    upright_pixels[:8, :8] = (255, 0, 0)  # marks top left
    upright_pixels[:8, -8:] = (0, 255, 0)  # marks top right
    turned = {
        1: upright_pixels,
        2: upright_pixels[:, ::-1],
        3: upright_pixels[::-1, ::-1],
        4: upright_pixels[::-1],
        5: upright_pixels.transpose(1, 0, 2),
        6: np.rot90(upright_pixels, 1),  # stored so that a quarter turn to the right makes it upright
        7: np.rot90(upright_pixels, 2).transpose(1, 0, 2),
        8: np.rot90(upright_pixels, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    Image.fromarray(np.ascontiguousarray(turned)).save(path, exif=exif)
    assert np.array_equal(np.asarray(load_image(path)), upright_pixels)
    with Image.open(path) as opened:
        once = upright(opened)
        assert np.array_equal(np.asarray(upright(once)), upright_pixels)


def test_broken_exif_counts_as_none(tmp_path: Path, rgb_image: Image.Image, pixels: Pixels) -> None:
    path = tmp_path / "photo.png"
    rgb_image.save(path, exif=b"Exif\x00\x00MM\x00")
    assert np.array_equal(np.asarray(load_image(path)), pixels)


@pytest.mark.parametrize("mode", ["L", "1", "YCbCr", "CMYK", "HSV", "LAB", "P"])
def test_other_color_modes_become_rgb(mode: str, rgb_image: Image.Image) -> None:
    converted = rgb_image.convert(mode)
    expected = np.asarray(converted.convert("RGB"))
    assert np.array_equal(np.asarray(load_image(converted)), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa", "La", "PA"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    half = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    half.paste((0, 0, 0, 255), (0, 0, 16, 32))
    source = half.convert("LA") if mode in ("LA", "La") else half
    if mode == "PA":
        source = half.convert("P").convert("PA")
        source.putalpha(half.getchannel("A"))
    elif mode != source.mode:
        source = source.convert(mode)
    loaded = np.asarray(load_image(source))
    assert (loaded[:, :16] == 0).all()
    assert (loaded[:, 16:] == 255).all()


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_transparent_palette_entry_is_white(tmp_path: Path, as_bytes: bool) -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (16, 0, 32, 32))
    image.save(tmp_path / "p.png", transparency=b"\x00\xff" if as_bytes else 0)
    loaded = np.asarray(load_image(tmp_path / "p.png"))
    assert (loaded[:, :16] == 255).all()
    assert (loaded[:, 16:] == (200, 100, 50)).all()


def test_an_alpha_channel_of_an_array_is_laid_over_white() -> None:
    array = np.zeros((20, 20, 4), dtype=np.uint8)
    array[..., 3] = 51  # a fifth of black
    assert np.asarray(load_image(array)).min() == np.asarray(load_image(array)).max() == 204


def test_a_gray_array_becomes_rgb() -> None:
    gray = np.arange(400, dtype=np.uint16).clip(0, 255).astype(np.uint8).reshape(20, 20)
    assert np.array_equal(np.asarray(load_image(gray)), np.repeat(gray[..., None], 3, axis=2))


def test_16_bit_grays_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 32 * 32).round().astype(np.uint16).reshape(32, 32)
    Image.fromarray(values).save(tmp_path / "deep.png")
    Image.fromarray(values).save(tmp_path / "deep.tif")
    expected = np.rint(values / 257)
    for name in ("deep.png", "deep.tif"):
        assert np.array_equal(np.asarray(load_image(tmp_path / name))[..., 1], expected)


@pytest.mark.parametrize(("kind", "top"), [("int32", 255), ("int32", 65535), ("float32", 1), ("float32", 255)])
def test_32_bit_grays_are_scaled_by_their_range(kind: str, top: int) -> None:
    ramp = np.linspace(0, 1, 32 * 32).reshape(32, 32)
    values = (ramp * top).astype(kind)
    loaded = np.asarray(load_image(Image.fromarray(values))).astype(float)[..., 0]
    assert np.abs(loaded - ramp * 255).max() <= 1


def test_grays_of_an_unclear_range_are_refused() -> None:
    for values in (np.full((20, 20), -1.0), np.full((20, 20), 1e6), np.full((20, 20), np.nan)):
        with pytest.raises(ImageError, match=r"expected 0\.\.255"):
            load_image(Image.fromarray(values.astype(np.float32)))


# What load_image refuses


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "CMYK", "P"])
def test_a_photo_keeps_its_transparency_and_is_the_plain_image_once_flattened(
    tmp_path: Path, mode: str, rgb_image: Image.Image
) -> None:
    image = rgb_image.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(rgb_image.size))
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    if mode == "P":
        image.info["transparency"] = 3
    image.save(path)
    photo = load_photo(path)
    assert photo.mode == ("RGBA" if mode in ("RGBA", "LA", "P") else "RGB")
    assert flatten(photo).tobytes() == load_image(path).tobytes()


def test_a_photo_keeps_its_profile_and_its_exif_data_turned_upright(tmp_path: Path, rgb_image: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", 6
    rgb_image.save(tmp_path / "a.jpg", exif=exif, icc_profile=b"a profile")
    photo = load_photo(tmp_path / "a.jpg")
    assert photo.size == rgb_image.size[::-1]
    assert dict(photo.getexif()) == {0x010F: "a camera", 0x0112: 1}
    assert photo.info["icc_profile"] == b"a profile"
    assert load_image(tmp_path / "a.jpg").info == {}


def test_a_missing_file_is_named_with_where_it_was_looked_for(in_tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no file 'photo\.jpg'.*Check the name") as caught:
        load_image("photo.jpg")
    assert repr(os.getcwd()) in str(caught.value)


def test_an_address_is_not_a_file() -> None:
    with pytest.raises(ImageError, match="Download it first"):
        load_image("https://example.org/a.jpg")


def test_a_folder_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)


@pytest.mark.parametrize("content", [b"", b"these are words, not an image\n" * 20])
def test_text_named_jpg_is_not_an_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "words.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=r"words\.jpg' is not an image"):
        load_image(tmp_path / "words.jpg")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("fraction", [0.5, 0.8])
def test_an_image_cut_off_is_damaged(tmp_path: Path, rgb_image: Image.Image, suffix: str, fraction: float) -> None:
    path = tmp_path / f"cut{suffix}"
    rgb_image.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(ImageError, match=r"cut\.(png|jpg|webp|tif)'"):
        load_image(path)


def test_a_cut_off_image_that_the_caller_opened_is_damaged_too(tmp_path: Path, rgb_image: Image.Image) -> None:
    path = tmp_path / "cut.png"
    rgb_image.save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with Image.open(path) as opened, pytest.raises(ImageError, match=r"cut\.png' is damaged"):
        load_image(opened)


def test_every_damaged_file_gives_an_image_or_our_error(tmp_path: Path, rgb_image: Image.Image) -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for suffix in (".png", ".jpg", ".gif", ".bmp", ".webp"):
        rgb_image.save(tmp_path / f"whole{suffix}")
        data = np.frombuffer((tmp_path / f"whole{suffix}").read_bytes(), dtype=np.uint8)
        for _ in range(60):
            damaged = data.copy()
            damaged[rng.integers(0, min(len(data), 300), 3)] = rng.integers(0, 256, 3)
            (tmp_path / f"broken{suffix}").write_bytes(damaged.tobytes())
            try:
                seen.add(load_image(tmp_path / f"broken{suffix}").mode)
            except ImageError as error:
                seen.add(type(error).__name__)
    assert seen == {"RGB", "ImageError"}


@pytest.mark.parametrize("size", [(30_000, 30_000), (15_000, 14_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(*size))
    with pytest.raises(ImageError, match=rf"bomb\.png.* {MAX_PIXELS:,}"):
        load_image(tmp_path / "bomb.png")


def test_the_limit_holds_where_pillow_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "bomb.png").write_bytes(png_header(30_000, 30_000))
    with pytest.raises(ImageError, match=r"30000 x 30000 = 900,000,000 pixels; expected at most"):
        load_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("limit", [None, 60 * 40 - 1, 100])
def test_pillows_limit_of_the_process_neither_counts_nor_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rgb_image: Image.Image, pixels: Pixels, limit: int | None
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # Pillow warns from here on, and refuses twice as many
    for name in ("large.png", "large.bmp", "large.ppm", "large.tga"):
        rgb_image.save(tmp_path / name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(np.asarray(load_image(tmp_path / name)), pixels)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_photos_of_200_megapixels_are_within_the_limit() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="damaged or cut off"):  # not: too large
            load_image(png_header(16384, 12288))


def test_where_pillows_limit_stays_in_force_it_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rgb_image: Image.Image
) -> None:
    rgb_image.save(tmp_path / "plain.ico")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"plain\.ico' is too large for a file of its format"):
        load_image(tmp_path / "plain.ico")


def test_arrays_and_tensors_of_absurd_sizes_are_refused_before_they_are_copied() -> None:
    for array in (np.broadcast_to(np.uint8(7), (100_000, 100_000, 3)), np.broadcast_to(np.uint8(7), (10**9, 10**9))):
        with pytest.raises(ImageError, match=r"given array has \d+ x \d+ = [\d,]+ pixels"):
            load_image(array)
    with pytest.raises(ImageError, match="given tensor has 100000 x 100000 = "):
        load_image(torch.zeros(1).expand(3, 100_000, 100_000))
    assert load_image(np.broadcast_to(np.uint8(7), (20, 30, 3))).size == (30, 20)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I", "F", "I;16", "CMYK"])
def test_conversion_in_bands_gives_the_same_as_in_one_piece(
    monkeypatch: pytest.MonkeyPatch, rgb_image: Image.Image, mode: str
) -> None:
    image = rgb_image.convert("L").convert(mode) if mode in ("LA", "I", "F", "I;16") else rgb_image.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    if mode == "P":
        image.info["transparency"] = 7
    whole, whole_photo = load_image(image), load_photo(image)
    monkeypatch.setattr(bands, "BAND_PIXELS", 200)  # three rows
    assert load_image(image).tobytes() == whole.tobytes()
    assert load_photo(image).tobytes() == whole_photo.tobytes()
    assert np.array_equal(bands.levels_of(whole, (3, 5, 50, 33)), np.asarray(whole)[5:33, 3:50])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "La", "P", "CMYK", "I;16"])
def test_images_are_turned_while_they_are_converted(
    monkeypatch: pytest.MonkeyPatch, rgb_image: Image.Image, mode: str
) -> None:
    with_alpha = rgb_image.copy()
    with_alpha.putalpha(Image.linear_gradient("L").resize(rgb_image.size))
    through = {"La": "LA", "I;16": "L"}.get(mode, mode)  # Pillow converts in two steps
    image = (with_alpha if "a" in mode.lower() else rgb_image).convert(through).convert(mode)
    if mode == "P":
        image.info["transparency"] = 7
    monkeypatch.setattr(bands, "BAND_PIXELS", 200)  # three rows
    for orientation in range(2, 9):
        image.getexif()[0x0112] = orientation
        turned = upright(image)
        assert 0x0112 not in turned.getexif()
        assert turned.tobytes() != image.tobytes()
        for load in (load_image, view_image, load_photo):
            result, expected = load(image), load(turned)
            assert (result.size, result.mode) == (expected.size, expected.mode)
            assert result.tobytes() == expected.tobytes()


def test_pixels_are_shared_only_where_nothing_else_can_change_them(rgb_image: Image.Image, pixels: Pixels) -> None:
    assert view_image(rgb_image).im is rgb_image.im
    array = np.dstack([pixels, pixels[..., :1]])
    photos = load_photo(rgb_image), load_photo(array), load_image(array)
    before = [photo.tobytes() for photo in photos]
    rgb_image.paste((1, 2, 3), (0, 0, 30, 30))
    array[:] = 0
    assert [photo.tobytes() for photo in photos] == before


_PEAK = """
import resource, sys
from hyperstyle.align import crop
from hyperstyle.images import load_image, load_photo, flatten
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # on Linux it is counted in kB
load_photo(sys.argv[2])
before = peak()
photo = load_photo(sys.argv[1])
width, height = photo.size
rgb = photo if photo.mode == "RGB" else flatten(photo)
points = [(-99, 0), (99, 0), (0, 60), (-60, 99), (60, 99)]
crop(rgb, [(height / 2 + x, height / 2 + y) for x, y in points], 256, 256)
del photo, rgb
load_image(sys.argv[1])
print((peak() - before) / (4 * width * height))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
@pytest.mark.parametrize("side", [4000, pytest.param(13376, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("mode", "suffix", "orientation", "copies"),
    [
        ("RGB", "png", 1, 1.2),
        ("RGB", "png", 6, 2.2),
        ("RGBA", "png", 6, 2.2),
        pytest.param("RGBA", "png", 1, 2.2, marks=pytest.mark.slow),
        pytest.param("LA", "png", 6, 2.2, marks=pytest.mark.slow),
        pytest.param("CMYK", "jpg", 6, 2.2, marks=pytest.mark.slow),
    ],
)
def test_reading_a_large_photo_takes_few_copies_of_it(
    tmp_path: Path, run_python: RunPython, side: int, mode: str, suffix: str, orientation: int, copies: float
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    color = (1, 2, 3, 128)[: len(mode)]
    large, small = tmp_path / f"large.{suffix}", tmp_path / f"small.{suffix}"
    Image.new(mode, (side, side), color).save(large, exif=exif, compress_level=1)
    Image.new(mode, (64, 64), color).save(small, exif=exif)
    result = run_python("-c", _PEAK, str(large), str(small))
    slack = 60e6 / (4 * side * side)  # buffers that do not grow with the image
    assert float(result.stdout) < copies + slack, result.stderr


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (400, 15)])
def test_a_tiny_image_is_refused_with_its_size(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"{size[0]} x {size[1]} pixels; expected at least 16"):
        load_image(Image.new("RGB", size))


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (np.zeros((20, 20, 3)), "255 * array"),
        (np.zeros((20, 20, 3), dtype=np.int64), "astype('uint8')"),
        (np.zeros((3, 20, 20), dtype=np.uint8), "transpose(1, 2, 0)"),
        (np.zeros((20, 20, 2), dtype=np.uint8), "Expected uint8 [H, W, 3]"),
        (np.zeros((1, 20, 20, 3), dtype=np.uint8), "Give a single image"),
        (np.zeros((0, 20, 3), dtype=np.uint8), "[0, 20, 3]"),
    ],
)
def test_arrays_of_another_kind_are_refused_with_advice(array: npt.NDArray[np.generic], advice: str) -> None:
    with pytest.raises(ImageError, match=re.escape(advice)):
        load_image(array)


@pytest.mark.parametrize(
    ("tensor", "advice"),
    [
        (torch.zeros(3, 20, 20, dtype=torch.uint8), "x.float() / 127.5 - 1"),
        (torch.zeros(20, 20, 3), "three channels first"),
        (torch.zeros(2, 3, 20, 20), "image by image"),
        (torch.full((3, 20, 20), float("nan")), "not finite"),
        (torch.full((3, 20, 20), float("-inf")), "Scale it first"),
        (torch.full((3, 20, 20), 255.0), "from 255 to 255"),
        (torch.arange(1200.0).view(3, 20, 20) / 5, "From 0..255: x / 127.5 - 1."),
        (torch.zeros(3, 0, 20), "without a value"),
        (torch.zeros(3, 8, 8), "8 x 8 pixels"),
    ],
)
def test_tensors_of_another_kind_are_refused_with_advice(tensor: torch.Tensor, advice: str) -> None:
    with pytest.raises(ImageError, match=re.escape(advice)):
        load_image(tensor)


def test_a_tensor_that_overshoots_is_clipped() -> None:
    tensor = torch.full((3, 20, 20), 1.3, requires_grad=True)
    assert np.asarray(load_image(tensor)).min() == 255


def test_a_tensor_without_a_value_below_0_is_taken_with_a_warning_that_names_the_range() -> None:
    made_by_to_tensor = torch.rand(3, 20, 20)
    with pytest.warns(QualityWarning, match=r"none below 0, and \[-1, 1\] is expected.*x \* 2 - 1") as caught:
        load_image(made_by_to_tensor)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_image(made_by_to_tensor * 2 - 1)


def test_another_type_is_refused_by_name() -> None:
    with pytest.raises(ImageError, match="type int"):
        load_image(7)  # type: ignore[arg-type]


# Bytes and open files


class Upload:
    """What a web framework hands over: `read`, and perhaps more."""

    def __init__(self, content: bytes, **more: object) -> None:
        self._file = io.BytesIO(content)
        self.read = self._file.read
        vars(self).update(more)


@pytest.fixture
def png(rgb_image: Image.Image) -> bytes:
    file = io.BytesIO()
    rgb_image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO, Upload])
def test_the_bytes_of_a_file_and_open_files_give_what_the_file_gives(
    png: bytes, pixels: Pixels, kind: type[bytes]
) -> None:
    assert np.array_equal(np.asarray(load_image(kind(png))), pixels)
    assert np.array_equal(np.asarray(load_photo(kind(png))), pixels)


def test_an_open_file_is_read_from_where_it_stands_and_put_back_there(
    tmp_path: Path, png: bytes, pixels: Pixels
) -> None:
    path = tmp_path / "archive"
    path.write_bytes(b"before it" + png)
    with path.open("rb") as file:
        file.seek(9)
        for _ in range(2):
            assert np.array_equal(np.asarray(load_image(file)), pixels)
            assert file.tell() == 9
        file.seek(0, os.SEEK_END)
        with pytest.raises(ImageError, match=r"no bytes left.*seek\(0\)"):
            load_image(file)
    with pytest.raises(ImageError, match=r"cannot be read: .*closed"):
        load_image(file)


def test_a_file_spooled_by_a_server_is_read(png: bytes, pixels: Pixels) -> None:
    with tempfile.SpooledTemporaryFile() as file:
        file.write(png)
        file.seek(0)
        assert np.array_equal(np.asarray(load_image(file)), pixels)


def test_files_that_give_no_bytes_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xff\xd8\xff")
    for name in ("a.txt", "b.txt"):
        with (tmp_path / name).open(encoding="utf-8") as file, pytest.raises(ImageError, match=r"binary mode \('rb'\)"):
            load_image(file)  # type: ignore[arg-type]

    async def read() -> bytes:
        return b""

    with pytest.raises(ImageError, match=r"Upload is read asynchronously\. Give the file in it \(`upload\.file`\)"):
        load_image(Upload(b"", read=read))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "given bytes is not an image that Pillow can read: it is empty"),
        (b"words" * 20, "given bytes is not an image"),
        (png_header(8, 8), "given bytes is 8 x 8 pixels"),
        (png_header(64, 64), "given bytes is damaged"),
        (png_header(30_000, 30_000), "given bytes has 30000 x 30000 = 900,000,000 pixels"),
    ],
)
def test_what_is_wrong_with_bytes_is_said_of_the_given_bytes(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(content)


# Tensors


def test_pixels_go_to_a_tensor_and_back_exactly() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([levels, levels.T, 255 - levels], axis=-1))
    tensor = to_tensor(image)
    assert tensor.shape == (3, 16, 16)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert (float(tensor.min()), float(tensor.max())) == (-1, 1)
    assert np.array_equal(np.asarray(to_pil(tensor)), np.asarray(image))


def test_a_tensor_is_rounded_and_clipped() -> None:
    level = torch.tensor([-3.0, 100.4 / 127.5 - 1, 100.6 / 127.5 - 1, 3.0])
    assert np.asarray(to_pil(level.expand(3, 1, 4)))[0, :, 0].tolist() == [0, 100, 101, 255]


def test_half_precision_and_gradients_are_no_obstacle() -> None:
    tensor = torch.zeros(3, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    assert np.asarray(to_pil(tensor)).max() == 128


def test_a_batch_gives_a_list() -> None:
    batch = torch.stack([torch.full((3, 4, 5), value) for value in (-1.0, 1.0)])
    images = to_images(batch)
    assert [image.size for image in images] == [(5, 4), (5, 4)]
    assert [image.getpixel((0, 0)) for image in images] == [(0, 0, 0), (255, 255, 255)]


def test_wrong_shapes_point_at_the_other_function() -> None:
    with pytest.raises(ImageError, match="to_images"):
        to_pil(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ImageError, match="to_pil"):
        to_images(torch.zeros(3, 4, 4))


def test_values_that_are_not_finite_are_counted() -> None:
    tensor = torch.zeros(3, 4, 4)
    tensor[0, 1, 2] = float("nan")
    tensor[2, 0, 0] = float("inf")
    with pytest.raises(ImageError, match=r"2 of the 48 values"):
        to_levels(tensor)


def test_resizing_is_pillows_antialiased_bilinear(rgb_image: Image.Image) -> None:
    small = resize(rgb_image, (20, 15))
    assert small.size == (15, 20)
    expected = rgb_image.resize((15, 20), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(small), np.asarray(expected))
    assert resize(rgb_image, (40, 60)) is rgb_image


# Saving


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".jpeg", ".webp", ".tiff", ".bmp"])
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    save_image(Image.new("RGB", (20, 20), (200, 100, 50)), path)
    assert os.listdir(tmp_path) == [path.name]
    loaded = np.asarray(load_image(path)).astype(int)
    assert np.abs(loaded - (200, 100, 50)).max() <= 3


def test_jpeg_takes_transparent_images(tmp_path: Path) -> None:
    save_image(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), tmp_path / "a.jpg")
    assert np.asarray(load_image(tmp_path / "a.jpg")).min() == 255


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_icc_profile_is_kept(tmp_path: Path, rgb_image: Image.Image, suffix: str) -> None:
    rgb_image.info["icc_profile"] = b"a profile"
    save_image(rgb_image, tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as saved:
        assert saved.info["icc_profile"] == b"a profile"


def test_exif_data_that_jpeg_has_no_place_for_are_left_out(tmp_path: Path, rgb_image: Image.Image) -> None:
    for length, fits in ((65533, True), (65534, False)):
        rgb_image.info["exif"] = b"Exif\0\0".ljust(length, b" ")
        save_image(rgb_image, tmp_path / "a.jpg")
        with Image.open(tmp_path / "a.jpg") as saved:
            assert ("exif" in saved.info) == fits


def test_a_side_that_webp_cannot_hold_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"WEBP does not take this RGB image of 16384 x 16 px \(encoding error 5"):
        save_image(Image.new("RGB", (16384, 16)), tmp_path / "a.webp")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["image.xyz", "picture", "image.psd"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, rgb_image: Image.Image, name: str) -> None:
    with pytest.raises(ImageError, match=r"no image format.*Use \.png"):
        save_image(rgb_image, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_refused(tmp_path: Path, rgb_image: Image.Image) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        save_image(rgb_image, tmp_path / "nowhere" / "a.png")


@pytest.mark.skipif(
    sys.platform == "win32" or (hasattr(os, "geteuid") and os.geteuid() == 0),
    reason="this user may write everywhere",
)
def test_a_read_only_folder_is_refused(tmp_path: Path, rgb_image: Image.Image) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ImageError, match=r"Cannot write .*Permission denied"):
        save_image(rgb_image, tmp_path / "a.png")
    tmp_path.chmod(0o700)


def test_an_image_that_the_format_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("old")
    with pytest.raises(ImageError, match="Cannot write"):
        save_image(Image.new("CMYK", (20, 20)), path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.png"]


# The image grid


def test_an_image_grid_places_its_images_with_even_gutters() -> None:
    colors = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (9, 9, 9)]]
    page = image_grid([[Image.new("RGB", (32, 32), c) for c in row] for row in colors], cell=96)
    array = np.asarray(page)
    assert page.size == (2 * 96 + 3 * 4, 2 * 96 + 3 * 4)
    for i, row in enumerate(colors):
        for j, color in enumerate(row):
            top, left = 4 + 100 * i, 4 + 100 * j
            assert (array[top : top + 96, left : left + 96] == color).all()
    gutters = np.r_[0:4, 100:104, 200:204]
    assert (array[gutters] == (250, 250, 248)).all()
    assert (array[:, gutters] == (250, 250, 248)).all()


def test_images_keep_their_shape_and_rows_may_differ_in_length() -> None:
    wide = Image.new("RGB", (64, 48))
    page = image_grid([[wide, wide], [wide]], cell=128)
    assert page.size == (2 * 128 + 3 * 5, 2 * 96 + 3 * 5)


def test_small_images_are_enlarged_by_default() -> None:
    assert image_grid([[Image.new("RGB", (16, 16))]]).size == (128 + 2 * 5, 128 + 2 * 5)


def test_captions_stand_out_above_and_at_the_side() -> None:
    background = (250, 250, 248)
    tile = Image.new("RGB", (32, 32), background)
    plain = image_grid([[tile, tile]], cell=128)
    page = image_grid([[tile, tile]], cell=128, labels=["in", "out"], row_labels=["a long name"])
    assert page.width > plain.width
    assert page.height > plain.height
    gray = np.asarray(page.convert("L")).astype(int) - round(sum(background) / 3)
    ink = gray < -120
    head, side = page.height - plain.height, page.width - plain.width
    gutter = 128 // 24
    top, left = head + gutter, side + gutter  # where the images begin
    assert ink[:top, left:].any()
    assert ink[top:, :left].any()
    assert not ink[top:, left:].any()
    assert not ink[:top, :left].any()


def test_a_caption_too_wide_is_cut_to_its_column() -> None:
    tile = Image.new("RGB", (32, 32), "white")
    page = np.asarray(image_grid([[tile, tile]], cell=100, labels=["in", "word " * 40]).convert("L"))
    assert (page[:, -4:] > 200).all()
    assert (page[:, 106:204] < 120).any()


def test_an_image_grid_without_images_or_with_too_few_captions_is_refused() -> None:
    tile = Image.new("RGB", (32, 32))
    with pytest.raises(ConfigError, match="at least one image"):
        image_grid([[]])
    with pytest.raises(ConfigError, match="2 columns and 1 captions"):
        image_grid([[tile, tile]], labels=["one"])
    with pytest.raises(ConfigError, match="1 rows and 2 captions"):
        image_grid([[tile, tile]], row_labels=["one", "two"])
    with pytest.raises(ConfigError, match="0 pixels"):
        image_grid([[tile]], cell=0)
    with pytest.raises(ImageError, match=r"given a Tensor\. Pass PIL images: to_pil\(\) makes one of a tensor"):
        image_grid([[tile, torch.zeros(3, 32, 32)]])  # type: ignore[list-item]
