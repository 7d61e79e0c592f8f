"""The kind of a file by its first bytes, and the error for a file that cannot be read; nothing is unpickled here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from hyperstyle.errors import CheckpointError, HyperStyleError, WeightsError
from hyperstyle.io.opening import check_file

FileKind = Literal["empty", "web page", "Git LFS pointer", "safetensors", "PyTorch", "old PyTorch", "pickle", "unknown"]

# The first pickle of a file of PyTorch before 1.6: protocol 2, and one large number.
_OLD_PYTORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_LONGEST_LINE = 500  # characters; a damaged file may hold any text in place of a name
_REFUSALS = {
    "empty": "is empty. Fetch it again.",
    "web page": "is a web page and no {expected}: the server answered with a page. Fetch the file itself.",
    "Git LFS pointer": "is a Git LFS pointer and no {expected}. Fetch the file it stands for: git lfs pull.",
    "safetensors": "is a safetensors file and no {expected}: convert the original file.",
    "PyTorch": "is a PyTorch file (.pt) and no {expected}: read it with `io.torch_files.load_state`.",
    "old PyTorch": "is a PyTorch file (.pt) and no {expected}: read it with `io.torch_files.load_state`.",
    "pickle": "was not loaded: it is a plain pickle and no {expected}. Only networks of NVIDIA's are read from those.",
}

_SUFFIXES = {  # kind of file -> suffixes
    "image": ".png .apng .jpg .jpeg .jpe .jfif .jp2 .jpf .jpx .j2c .j2k .jpc .mpo .webp .gif .bmp .dib .tif .tiff .ppm "
    ".pbm .pgm .pnm .pfm .avif .avifs .heic .heif .ico .icns .tga .icb .vda .vst .psd .qoi .dds .sgi .rgb .rgba .bw "
    ".pcx .im .msp .xbm .palm .jxl .dng .cr2 .cr3 .nef .arw .svg .eps .ps .blp",
    "video": ".mp4 .m4v .mov .mkv .webm .avi .3gp .m2ts .mpeg .mpg .mts",
    "document": ".pdf .doc .docx",
    "safetensors": ".safetensors",
    "PyTorch": ".pt .pth .ckpt",
    "NumPy": ".npy .npz",
    "pickle": ".pkl .pickle",
    "JSON": ".json .jsonl",
    "text": ".csv .tsv .txt .md .html .yaml .yml .toml .py",
    "archive": ".zip .tar .gz .tgz",
}
_KINDS = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}


def check_suffix(
    path: str | os.PathLike[str], *expected: str, advice: str, error: type[HyperStyleError] = HyperStyleError
) -> None:
    """Refuses to write a file whose suffix stands for another kind of file. Unknown suffixes are allowed.

    Args:
        path: the file or folder to be written; it need not exist.
        expected: the kinds, keys of `_SUFFIXES`, that are written; none for a folder, which may have any suffix but
            those of images and videos.
        advice: the last sentence of the message: what to do.
        error: its class.

    Raises:
        HyperStyleError: (or the class given) the suffix is that of another kind.
    """
    suffix = os.path.splitext(os.fspath(path).rstrip("/\\"))[1].lower()
    kind = _KINDS.get(suffix)
    if kind is None or kind in expected or not (expected or kind in ("image", "video")):
        return
    what = _a_file(expected[0]) if expected else "a folder"
    raise error(f"Cannot write {what} to {os.fspath(path)!r}, the name of {_a_file(kind)}. {advice}")


def _a_file(kind: str) -> str:
    return f"{'an' if kind[0] in 'ai' else 'a'} {kind} file"


def file_kind(path: str | Path) -> FileKind:
    """The kind of a file. Raises CheckpointError where it cannot be read."""
    start = _start(path)
    if not start:
        return "empty"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "web page"
    if start.startswith(b"version https://git-lfs"):
        return "Git LFS pointer"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 30:  # the length of the JSON that follows
        return "safetensors"
    if start.startswith(b"PK\x03\x04"):
        return "PyTorch"
    if start.startswith(_OLD_PYTORCH):
        return "old PyTorch"
    return "pickle" if start.startswith(b"\x80") else "unknown"


def check_export(path: str | Path, form: str) -> None:
    """Raises HyperStyleError where `export` would refuse the name: better before the work than after."""
    if form == "official":
        check_suffix(path, advice="This form is a folder: give it another name.")
    elif form == "generator":
        check_suffix(path, "PyTorch", advice="Give a generator a name that ends in .pt.")
    elif form == "offsets":
        check_suffix(path, "safetensors", advice="Give offsets a name that ends in .safetensors.")


def refusal(path: str | Path, kind: FileKind, expected: str) -> CheckpointError:
    """The error that says that the file is of this kind and not an `expected` ("pickle", "PyTorch file")."""
    if kind == "unknown":
        return CheckpointError(f"{path} is no {expected}: it begins with {_start(path)[:12]!r}.")
    return CheckpointError(f"{path} {_REFUSALS[kind].format(expected=expected)}")


@contextmanager
def reading(path: str | Path, expected: str) -> Iterator[None]:
    """Wraps code that unpickles a file: whatever is raised inside comes out as an error that names the file.

    Args:
        path: the file.
        expected: what it should be ("pickle", ".npy file").

    Raises:
        MissingFileError: there is no such file.
        WeightsError: a WeightsError was raised within, for what the file asks for or holds.
        CheckpointError: another one was raised within, and stays as it is; or the file cannot be read, or is damaged.
    """
    refused = f"{path} was not loaded, and nothing of it was executed"
    check_file(path, expected)
    try:
        yield
    except WeightsError as error:
        raise WeightsError(f"{refused}: {first_line(error)}.") from error
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # of any class: damaged data make an unpickler raise what it likes
        raise CheckpointError(
            f"{path} is a damaged {expected}, or one cut off: {first_line(error)}. Fetch or make it again."
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, cut and without a full stop; its class where there is none."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."


def _start(path: str | Path) -> bytes:
    check_file(path)
    try:
        with Path(path).open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
