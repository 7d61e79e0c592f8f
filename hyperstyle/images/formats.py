"""Which image formats are read, what kind of file its first bytes make it, and the images of a folder.

No other file opens images.

Pillow opens what it knows, and for some of that it starts other programs (Ghostscript for EPS, whatever the file is
called). So every call names the formats that a file may have: those that Pillow decodes itself.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, features

from hyperstyle.errors import ImageError, MissingDependencyError
from hyperstyle.images.color_modes import quiet
from hyperstyle.io.opening import check_file


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FORMATS = _words("PNG JPEG MPO WEBP TIFF BMP GIF PPM JPEG2000 AVIF PSD QOI ICO DDS SGI PCX DIB TGA")
"""Pillow's names of the formats that are read; HEIC is read too, by pi-heif."""

MAX_PIXELS = 178_956_970
"""Pixels of the largest image that `load_image` takes: the number from which Pillow suspects a bomb."""

IMAGE_SUFFIXES = frozenset(
    _words(".bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pcx .png .ppm .psd .sgi .tga .tif .tiff .webp")
)
"""Suffixes of files that count as images whatever they contain; one that contains no image fails when it is read."""

_MAX_FILE = 4 << 30  # bytes
HEAD = 1024
"""How many of a file's first bytes `image_kind` looks at."""

_RAW_SUFFIXES = frozenset(_words(".3fr .arw .cr2 .cr3 .crw .dng .nef .nrw .orf .pef .raf .raw .rw2 .sr2 .srw .x3f"))
_OTHER_SUFFIXES = _RAW_SUFFIXES | frozenset(  # may be images: the content decides
    _words(".ai .avif .dcm .djvu .emf .eps .exr .fit .fits .hdr .heic .heif .hif .jxl .jxr .svg .svgz .wmf .xcf")
)
_NON_IMAGE_SUFFIXES = frozenset(  # never opened: folders and shards may hold as many of these as images
    _words(
        ".avi .cls .csv .htm .html .json .jsonl .log .m4v .md .mkv .mov .mp4 .npy .npz .pickle .pkl .pt .pth .py "
        ".safetensors .tar .toml .txt .webm .xml .yaml .yml .zip"
    )
)
_CONVERT = "Convert it to PNG or JPEG first."
_RAW = "the raw file of a camera"
_UNSUPPORTED = {  # kinds that are not read, and their names in messages
    "EPS": "an EPS file",
    "PostScript": "a PostScript file",
    "PDF": "a PDF file",
    "SVG": "an SVG file",
    "WMF": "a WMF file",
    "EMF": "an EMF file",
    "JPEG XL": "a JPEG XL file",
    "JPEG XR": "a JPEG XR file",
    "FITS": "a FITS file",
    "OpenEXR": "an OpenEXR file",
    "Radiance HDR": "a Radiance HDR file",
    "DICOM": "a DICOM file",
    "GIMP": "a GIMP file (XCF)",
    "DjVu": "a DjVu file",
    "raw": _RAW,
}
_OPTIONAL_KINDS = ("HEIC", "AVIF")  # read where a decoder is installed
_DOCUMENTS = ("PostScript", "PDF")  # pages of text, unless the suffix says otherwise
_SIGNATURES = tuple(  # kind, and what its files begin with: the first that matches counts
    (kind, re.compile(pattern, re.DOTALL))
    for kind, pattern in (
        ("PNG", rb"\x89PNG\r\n\x1a\n"),
        ("JPEG", rb"\xff\xd8\xff"),
        ("GIF", rb"GIF8[79]a"),
        ("WEBP", rb"RIFF.{4}WEBP"),
        ("JPEG2000", rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP  \r\n\x87\n"),
        ("PSD", rb"8BPS"),
        ("QOI", rb"qoif"),
        ("DDS", rb"DDS "),
        ("raw", rb"FUJIFILMCCD-RAW|IIU\x00|IIRO|IIRS|MMOR|.{8}CR\x02"),
        ("TIFF", rb"II[*+]\x00|MM\x00[*+]"),
        ("JPEG XL", rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n"),
        ("JPEG XR", rb"II\xbc\x01"),
        ("EPS", rb"\xc5\xd0\xd3\xc6|%!PS.{0,56}EPSF"),
        ("PostScript", rb"%!PS"),
        ("PDF", rb"%PDF-"),
        ("WMF", rb"\xd7\xcd\xc6\x9a"),
        ("EMF", rb".{40} EMF"),
        ("FITS", rb"SIMPLE  ="),
        ("OpenEXR", rb"\x76\x2f\x31\x01"),
        ("Radiance HDR", rb"#\?RADIANCE"),
        ("DICOM", rb".{128}DICM"),
        ("GIMP", rb"gimp xcf"),
        ("DjVu", rb"AT&TFORM"),
        # The length of the header that follows the first 14 bytes: 12, 16, 40, 52, 56, 64, 108 or 124.
        ("BMP", rb"BM.{12}[\x0c\x10(48@l|]\x00\x00\x00"),
        ("ICO", rb"\x00\x00\x01\x00.\x00.{3}\x00"),
        ("PPM", rb"P[1-6]\s(?:\s*#[^\n]*\n)*\s*\d+\s+\d+\s"),
        ("SVG", rb"(?:\xef\xbb\xbf)?(?:\s|<\?xml[^>]*>|<!--(?:(?!-->).)*-->|<!DOCTYPE svg[^>]*>)*<svg[\s/>]"),
    )
)
_HEIC_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs".split())
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706  # TIFF tags
_REDUCED = 1  # bit of the subfile type: a smaller version of another image in the file


def image_kind(head: bytes) -> str:
    """The kind of a file by its first `HEAD` bytes: a name of `FORMATS`, "HEIC", one that is not read; "" if unknown.

    SGI, PCX, DIB and TGA files have no signature and are not recognized.
    """
    if head[4:8] == b"ftyp":
        return _container_kind(head)
    return next((kind for kind, pattern in _SIGNATURES if pattern.match(head)), "")


def open_image(source: str | bytes, name: str) -> Image.Image:
    """A file, or its content, as a PIL image that is not decoded yet. The caller closes it.

    Args:
        source: a path, or the bytes of a file.
        name: the subject of the messages, such as "The image 'a.png'".

    Raises:
        ImageError: its format is not read (see `FORMATS`), it is too large or damaged, or it cannot be opened.
        MissingDependencyError: HEIC without pi-heif, or AVIF with a Pillow that has no decoder.
    """
    if isinstance(source, str):
        check_file(source, "file of an image", limit=_MAX_FILE, error=ImageError)
    try:
        head = source[:HEAD] if isinstance(source, bytes) else read_head(Path(source))
    except OSError as error:
        raise ImageError(f"{name} cannot be opened: {error.strerror}. Check that it is whole and readable.") from error
    kind = image_kind(head)
    if problem := _problem(kind, source if isinstance(source, str) else ""):
        error_class = MissingDependencyError if kind in _OPTIONAL_KINDS else ImageError
        raise error_class(f"{name} {problem}")
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with quiet():
            if kind == "HEIC":
                from pi_heif import HeifImageFile  # not registered with Pillow, which is shared by the whole process

                image: Image.Image = HeifImageFile(file)  # upright: the container's rotation is applied
            else:
                image = Image.open(file, formats=_formats())
            is_preview = isinstance(image, TiffImagePlugin.TiffImageFile) and _is_preview(image)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} is too large: {error} Expected at most {MAX_PIXELS:,} pixels; reduce or cut it first."
        ) from error
    except UnidentifiedImageError as error:
        why = ": it is empty" if not head else ", whatever its name says" if isinstance(source, str) else ""
        raise ImageError(
            f"{name} is not an image that Pillow can read{why}. Expected PNG, JPEG, WebP, TIFF, BMP or the like: "
            "convert it first."
        ) from error
    except Exception as error:  # of any class: decoders raise all kinds of errors on damaged files
        raise ImageError(f"{name} cannot be opened: {error}. Check that it is whole and readable.") from error
    if is_preview:  # Pillow would give the small image that such a file begins with
        image.close()
        raise ImageError(f"{name} is {_RAW}, which is not read. {_CONVERT}")
    return image


def check_opened(image: Image.Image, name: str) -> None:
    """Raises ImageError for a PIL image that is not decoded yet and whose format is not in `FORMATS`."""
    is_undecoded = isinstance(image, ImageFile.StubImageFile) or (isinstance(image, ImageFile.ImageFile) and image.tile)
    if is_undecoded and image.format not in FORMATS:
        kind = _UNSUPPORTED.get(image.format or "", f"of the format {image.format}")
        raise ImageError(
            f"{name} is {kind} that is not decoded yet, and decoding such files may start other programs. If you trust "
            "it, call its load() first, or convert it."
        )


def sort_file(name: str, head: Callable[[], bytes]) -> bool | str:
    """Whether a file of a folder is an image: True, False, or the reason why one that looks like it cannot be read.

    Hidden files, and those in hidden folders, do not count. A suffix of `IMAGE_SUFFIXES` is enough; suffixes of text,
    arrays and videos do not count. Of other files the first bytes decide, so images of any name are found; documents
    (PDF, PostScript) do not count.

    Args:
        name: of the file, with the folders above it that may be hidden, separated by "/".
        head: returns its first `HEAD` bytes, or raises OSError.
    """
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    if suffix in _NON_IMAGE_SUFFIXES or any(part.startswith(".") and part != ".." for part in path.parts):
        return False
    if suffix in IMAGE_SUFFIXES:
        return True
    try:
        kind = image_kind(head())
    except OSError as error:
        return f"cannot be opened: {error.strerror}." if suffix in _OTHER_SUFFIXES else False
    if kind in _DOCUMENTS and suffix not in _OTHER_SUFFIXES:
        return False
    if kind:
        return _problem(kind, name) or True
    if suffix in _RAW_SUFFIXES:
        return f"is by its name {_RAW}, which is not read. {_CONVERT}"
    return f"ends in {suffix} and is no image that can be read. {_CONVERT}" if suffix in _OTHER_SUFFIXES else False


@dataclass(frozen=True)
class Listing:
    """The images among some files.

    Attributes:
        images: in the order in which they were looked at.
        left_out: (file, reason) of those that look like images and cannot be read.
    """

    images: tuple[Path, ...]
    left_out: tuple[tuple[Path, str], ...] = ()


def list_folder(folder: Path) -> list[Path]:
    """The entries of a folder, sorted by name. Raises ImageError where it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise ImageError(
            f"The folder {str(folder)!r} cannot be listed: {error.strerror}. Choose one that you may read."
        ) from error


def list_images(files: Iterable[Path], *, within: str | os.PathLike[str] = "") -> Listing:
    """The images among these files, and those that look like images and cannot be read; all else is ignored.

    `list_images(list_folder(folder))` lists a folder. A dead link with the name of an image is in `left_out`.

    Args:
        files: their paths.
        within: a folder that contains all of them: files in its hidden folders are ignored too.
    """
    images: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for file in files:
        name = file.relative_to(within).as_posix() if within else file.name
        verdict = file.is_file() and sort_file(name, partial(read_head, file))
        if file.is_symlink() and not file.exists() and sort_file(name, bytes):
            verdict = "is a link to a file that is not there."
        if isinstance(verdict, str):
            left_out.append((file, verdict))
        elif verdict:
            images.append(file)
    return Listing(tuple(images), tuple(left_out))


def _problem(kind: str, name: str) -> str:
    """Why an image of this kind and name cannot be read, as the predicate of a sentence about it; "" if it can."""
    if kind == "TIFF" and PurePosixPath(name).suffix.lower() in _RAW_SUFFIXES:
        kind = "raw"
    if kind in _UNSUPPORTED:
        return f"is {_UNSUPPORTED[kind]}, which is not read. {_CONVERT}"
    if kind == "HEIC" and importlib.util.find_spec("pi_heif") is None:
        return (
            "is a HEIC image, and pi-heif, which reads these, is not installed. "
            'Run: pip install "hyperstyle-inversion[heic]".'
        )
    if kind == "AVIF" and not ("AVIF" in _formats() and features.check("avif")):
        return 'is an AVIF image, and this Pillow has no decoder for it. Run: pip install --upgrade "pillow>=11.3".'
    return ""


def _formats() -> list[str]:
    """Those of `FORMATS` that this Pillow opens; MPO files it opens as JPEG."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _is_preview(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Whether the first image of a TIFF file is the preview of a raw one (DNG, NEF, ARW)."""
    tags = image.tag_v2
    return _DNG_VERSION in tags or (_SUB_IFDS in tags and bool(tags.get(_SUBFILE_TYPE, 0) & _REDUCED))


def _container_kind(head: bytes) -> str:
    """The kind of an ISO base media file by its brands (ISO/IEC 14496-12); "" for videos."""
    end = max(16, min(int.from_bytes(head[:4], "big"), len(head)))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}
    if head[8:12] in (b"mif1", b"msf1", *_HEIC_BRANDS, *_AVIF_BRANDS):
        return "AVIF" if brands & _AVIF_BRANDS else "HEIC"
    return "raw" if head[8:12] == b"crx " else ""


def read_head(path: Path) -> bytes:
    """The first `HEAD` bytes of a file. Raises OSError."""
    with path.open("rb") as file:
        return file.read(HEAD)
