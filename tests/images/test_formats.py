"""Which image files are read and which are not, whatever they are called; nothing else is started for any of them."""

from __future__ import annotations

import io
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, TiffImagePlugin

from hyperstyle.align import paste_back
from hyperstyle.errors import HyperStyleError, ImageError, MissingDependencyError, QualityWarning
from hyperstyle.images import FORMATS, list_images, load_image, load_photo
from hyperstyle.images.formats import HEAD, image_kind, sort_file
from hyperstyle.training.images import open_images

HERE = Path(__file__).parent
EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 64 64
%%EndComments
%%EOF
"""
PDF = b"%PDF-1.7\n1 0 obj <<>> endobj\n%%EOF\n"
WMF = b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<hhhhHI", 0, 0, 640, 640, 96, 0) + b"\0\0" + b"\x01\0\x09\0" + bytes(64)
SVG = b'<?xml version="1.0"?>\n<!-- a comment -->\n<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>'


def container(major: bytes, *others: bytes) -> bytes:
    """The first box of an ISO base media file."""
    brands = major + bytes(4) + b"".join(others)
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(64)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """A Ghostscript that leaves a mark; tells whether it was started since it was last asked."""
    if sys.platform == "win32":
        pytest.skip("the stand-in for Ghostscript is a shell script")
    mark, script = tmp_path / "started", tmp_path / "bin" / "gs"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\n: > '{mark}'\n", encoding="utf-8")
    script.chmod(0o700)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow remembers where it found it

    def was_started() -> bool:
        started = mark.exists()
        mark.unlink(missing_ok=True)
        return started

    return was_started


def test_an_eps_file_called_png_starts_no_ghostscript_wherever_it_is_read(
    tmp_path: Path, started: Callable[[], bool]
) -> None:
    path = tmp_path / "photos" / "me.png"
    path.parent.mkdir()
    path.write_bytes(EPS)
    with Image.open(path) as opened, pytest.raises(OSError, match=r"."):  # the stand-in makes no image
        opened.load()
    assert started()  # so this is what has to be kept from happening

    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(path, "me.png")
    (tmp_path / "photos.txt").write_text("photos/me.png\n", encoding="utf-8")
    with pytest.raises(ImageError, match=r"me\.png' is an EPS file, which is not read\. Convert it"):
        load_image(path)
    for source in (EPS, bytearray(EPS), io.BytesIO(EPS)):
        with pytest.raises(ImageError, match=r"The image in the given .* is an EPS file"):
            load_photo(source)
    for data in (path.parent, tmp_path / "photos.zip", tmp_path / "photos.txt"):
        images = open_images(data, (16, 16))
        assert len(images.load([0])) == 0
        assert "is an EPS file" in next(iter(images.failures.values()))
    with Image.open(path) as opened:
        for read in (load_image, lambda photo: paste_back(photo, torch.zeros(3, 16, 16), np.zeros((4, 2)))):
            with pytest.raises(ImageError, match=r"is an EPS file that is not decoded yet"):
                read(opened)
    assert not started()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (EPS, "an EPS file"),
        (b"%!PS-Adobe-3.0\nshowpage\n", "a PostScript file"),
        (PDF, "a PDF file"),
        (WMF, "a WMF file"),
        (b"\x01\0\0\0" + bytes(36) + b" EMF" + bytes(60), "an EMF file"),
        (SVG, "an SVG file"),
        (b"\xff\x0a" + bytes(40), "a JPEG XL file"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "a JPEG XL file"),
        (b"SIMPLE  =                    T" + b" " * 2850, "a FITS file"),
        (b"\x76\x2f\x31\x01" + bytes(40), "an OpenEXR file"),
        (bytes(128) + b"DICM", "a DICOM file"),
        (b"gimp xcf v011\0" + bytes(20), "a GIMP file"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "the raw file of a camera"),
        (container(b"crx ", b"crx ", b"isom"), "the raw file of a camera"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(40), "the raw file of a camera"),
    ],
)
def test_what_is_not_read_is_called_by_its_name_whatever_the_file_is_called(
    tmp_path: Path, content: bytes, kind: str
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"photo\.jpg' is {kind}.*, which is not read\. Convert it to PNG or JPEG"):
        load_image(path)


def test_a_raw_file_is_not_taken_for_the_small_preview_in_it(tmp_path: Path) -> None:
    preview = Image.new("RGB", (32, 32))
    preview.save(tmp_path / "a.dng", "TIFF")
    preview.save(tmp_path / "b.tif", tiffinfo={50706: b"\x01\x04\0\0"})  # the tag DNGVersion
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254], tags[330], tags.tagtype[330] = 1, 8, 4  # a reduced image; the full one stands elsewhere
    preview.save(tmp_path / "c.tif", tiffinfo=tags)
    for name in ("a.dng", "b.tif", "c.tif"):
        with pytest.raises(ImageError, match=rf"{name}' is the raw file of a camera.*Convert it"):
            load_image(tmp_path / name)


def test_only_formats_that_pillow_decodes_itself_are_on_the_list() -> None:
    Image.init()
    assert not {"EPS", "WMF", "PDF", "FITS", "HDF5", "GRIB", "BUFR", "MPEG", "IPTC", "MIC", "FPX"} & set(FORMATS)
    assert set(FORMATS) <= {*Image.OPEN, "MPO", "AVIF"}  # MPO is opened as JPEG, and AVIF comes with Pillow 11.3


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_of_the_list_is_read_whatever_the_file_is_called(tmp_path: Path, kind: str) -> None:
    if kind not in Image.SAVE:
        pytest.skip("this Pillow does not write it")
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = (0, 200, 0)
    path = tmp_path / "photo.dat"
    Image.fromarray(pixels).save(path, kind)
    for source in (path, path.read_bytes()):
        read = np.asarray(load_image(source)).astype(int)
        assert np.abs(read[::21, [4, 60]] - pixels[::21, [4, 60]]).max() <= 12


# HEIC and AVIF


def test_a_heic_photo_is_turned_once_and_keeps_its_profile_and_its_exif_data() -> None:
    pytest.importorskip("pi_heif")
    known = dict(Image.OPEN)
    for source in (HERE / "turned.heic", (HERE / "turned.heic").read_bytes()):
        photo = load_photo(source)
        assert photo.size == (48, 64)
        corners = np.array([photo.getpixel((x, y)) for y in (2, 61) for x in (2, 45)])
        assert np.abs(corners - [(0, 0, 255), (255, 0, 0), (255, 255, 255), (0, 255, 0)]).max() <= 8
        assert photo.info["icc_profile"][36:40] == b"acsp"
        exif = Image.Exif()
        exif.load(photo.info["exif"])
        assert dict(exif) == {0x0112: 1, 0x010F: "a phone"}
    assert known == dict(Image.OPEN)  # nothing was registered for the rest of the process


def test_a_heic_photo_of_ten_bits_has_eight_afterwards() -> None:
    pytest.importorskip("pi_heif")
    image = load_image(HERE / "ten_bit.heic")
    corners = np.array([image.getpixel((x, y)) for y in (2, 45) for x in (2, 61)])
    assert np.abs(corners - [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]).max() <= 8


def test_a_damaged_heic_photo_is_our_error() -> None:
    pytest.importorskip("pi_heif")
    content = (HERE / "turned.heic").read_bytes()
    for cut in (40, 400, 1000):
        with pytest.raises(ImageError, match="given bytes"):
            load_image(content[:cut])


def test_without_its_package_heic_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes((HERE / "turned.heic").read_bytes())
    with pytest.raises(MissingDependencyError, match=r"IMG_1\.HEIC' is a HEIC image.*inversion\[heic\]\"\.$") as raised:
        load_image(path)
    assert isinstance(raised.value, HyperStyleError)
    listing = list_images([path])
    assert (listing.images, listing.left_out[0][0]) == ((), path)
    assert 'pip install "hyperstyle-inversion[heic]"' in listing.left_out[0][1]


def test_a_pillow_without_avif_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()
    monkeypatch.setattr(Image, "OPEN", {name: reader for name, reader in Image.OPEN.items() if name != "AVIF"})
    for brands in ((b"avif",), (b"mif1", b"miaf", b"avif"), (b"avis", b"msf1")):
        with pytest.raises(MissingDependencyError, match=r"is an AVIF image.*pillow>=11\.3"):
            load_image(container(*brands))


# Which files of a folder are images


@pytest.mark.parametrize(
    ("name", "content", "verdict"),
    [
        ("a.png", b"", True),  # by its name: what is wrong with it is said when it is read
        ("a.JFIF", b"", True),
        ("a", b"\xff\xd8\xff\xe0" + bytes(20), True),
        ("a.dat", b"GIF89a" + bytes(20), True),
        ("a.bin", b"BM" + bytes(12) + struct.pack("<I", 40) + bytes(40), True),
        ("a.heic", b"\xff\xd8\xff\xe0" + bytes(20), True),  # phones and messengers rename
        ("a.avif", container(b"avif", b"mif1"), True if "AVIF" in Image.OPEN else "is an AVIF image, and this Pillow"),
        ("a", container(b"avif", b"mif1"), True if "AVIF" in Image.OPEN else "is an AVIF image, and this Pillow"),
        (".a.png", b"", False),
        ("._a.jpg", b"", False),
        (".tmp-0123.png", b"", False),
        ("more/.tmp-0123/a.png", b"", False),
        ("../a.png", b"", True),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), False),
        (".DS_Store", b"\0\0\0\1Bud1", False),
        ("notes.txt", b"BMW, PDF and P5 are words of a text", False),
        ("notes", b"P5 is a word and no image", False),
        ("record.json", b'{"a": 1}', False),
        ("a.npy", b"\x93NUMPY\x01\0v\0{'descr'", False),
        ("a.safetensors", b"\x40\0\0\0\0\0\0\0{}", False),
        ("a.mp4", container(b"isom", b"iso2", b"mp41"), False),
        ("a.mov", container(b"qt  ", b"qt  "), False),
        ("paper.pdf", PDF, False),
        ("page.html", b"<!DOCTYPE html><html><body><svg></svg></body></html>", False),
        ("empty", b"", False),
        ("drawing.svg", SVG, "is an SVG file"),
        ("drawing", SVG, "is an SVG file"),
        ("drawing.eps", EPS, "is an EPS file"),
        ("drawing.ai", PDF, "is a PDF file"),
        ("a.jxl", b"\xff\x0a" + bytes(20), "is a JPEG XL file"),
        ("a.cr2", b"II*\0\x10\0\0\0CR\x02\0", "is the raw file of a camera"),
        ("a.nef", b"MM\0*" + bytes(20), "is the raw file of a camera"),
        ("a.raw", bytes(20), "is by its name the raw file of a camera"),
        ("a.heic", b"no photo", "ends in .heic and is no image"),
    ],
)
def test_a_file_among_others_is_judged_by_name_and_content(name: str, content: bytes, verdict: bool | str) -> None:
    result = sort_file(name, lambda: content[:HEAD])
    if isinstance(verdict, str):
        assert isinstance(result, str)
        assert result.startswith(verdict)
        assert result.endswith(".")
    else:
        assert result is verdict


def test_heic_is_an_image_by_all_its_brands() -> None:
    for brands in ((b"heic", b"mif1"), (b"mif1", b"heic"), (b"heix",), (b"msf1", b"hevc")):
        assert image_kind(container(*brands)) == "HEIC"


def test_what_is_no_regular_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert list_images(sorted(tmp_path.iterdir())).images == ()


# Animations


def animation(kind: str, frames: int) -> bytes:
    images = [Image.new("RGB", (32, 32), (60 * i, 0, 0)) for i in range(frames)]
    file = io.BytesIO()
    images[0].save(file, kind, save_all=True, append_images=images[1:])
    return file.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_is_taken_which_is_said_once(tmp_path: Path, kind: str) -> None:
    if kind not in Image.SAVE:
        pytest.skip("this Pillow does not write it")
    path = tmp_path / "moves.gif"
    path.write_bytes(animation(kind, 3))
    what = "3 pages" if kind == "TIFF" else "3 frames"
    with pytest.warns(QualityWarning, match=rf"moves\.gif' has {what}; the first is taken") as caught:
        image = load_image(path)
    assert len(caught) == 1
    assert image.getpixel((5, 5))[0] < 8  # type: ignore[index]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("kind", "frames"), [("GIF", 1), ("WEBP", 1), ("PNG", 1), ("TIFF", 1), ("MPO", 2)])
def test_a_single_frame_and_the_two_views_of_a_camera_are_no_animation(kind: str, frames: int) -> None:
    load_image(animation(kind, frames))


@pytest.mark.filterwarnings("error")
def test_a_frame_that_the_caller_chose_is_taken_without_a_word() -> None:
    with Image.open(io.BytesIO(animation("GIF", 3))) as image:
        image.seek(2)
        assert load_image(image).getpixel((5, 5)) == (120, 0, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_an_image_that_was_read_and_closed_is_taken_without_a_word(kind: str) -> None:
    with Image.open(io.BytesIO(animation(kind, 1))) as image:
        image.load()
    assert load_image(image).size == (32, 32)


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
@pytest.mark.parametrize("fraction", [0.6, 0.8, 0.9])
def test_what_is_damaged_behind_the_first_frame_does_not_change_it(kind: str, fraction: float) -> None:
    data = animation(kind, 3)
    image = load_image(data[: int(len(data) * fraction)])
    assert image.getpixel((5, 5)) == (0, 0, 0)


def test_an_image_of_another_format_is_taken_once_the_caller_decoded_it() -> None:
    file = io.BytesIO()
    Image.new("1", (32, 32)).save(file, "XBM")
    with Image.open(file) as image:
        with pytest.raises(ImageError, match=r"is of the format XBM that is not decoded yet.*call its load\(\) first"):
            load_image(image)
        image.load()
        assert load_image(image).size == (32, 32)


def test_an_image_that_the_callers_own_plugin_opened_is_taken() -> None:
    plugin = pytest.importorskip("pi_heif")
    assert load_image(plugin.HeifImageFile(HERE / "turned.heic")).size == (48, 64)
