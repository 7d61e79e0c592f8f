"""`.npy` files of Python objects, as HyperStyle's scripts use them: codes and weights by name, offsets by layer.

Such a file is a header and a pickle. What is read may name only what an array of numbers is made of; any other name
stops the reading, and nothing of the file is executed. What is written names the same, in a form that every numpy since
1.17 reads, whichever one is installed here.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.io.file_kind import file_kind, reading, refusal
from hyperstyle.io.files import atomic_write
from hyperstyle.io.pickle_reader import numpy_names, unpickle

Floats = npt.NDArray[np.float32]

_FLOATS_OR_OBJECTS = "f[248]|O[48]?"


def load_named_arrays(path: str | Path) -> dict[str, Floats]:
    """Reads a dictionary of arrays (a 0-d object array, as of `latents.npy` and MTCNN's weights): name -> float32.

    Raises:
        MissingFileError: there is no such file.
        WeightsError: it asks for anything but arrays of numbers, or holds something else.
        CheckpointError: it cannot be read, is no `.npy` file, is cut off or damaged.
    """
    array = _read(Path(path))
    content = array.item() if array.shape == () else None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise WeightsError(f"{path} holds no dictionary of arrays by name. Expected a file like latents.npy.")
    return {name: _floats(value, f"{path}: {name!r}") for name, value in content.items()}


def load_arrays(path: str | Path) -> list[Floats | None]:
    """Reads a row of arrays and Nones (as of `weight_deltas/*.npy`): float32. Raises as `load_named_arrays` does."""
    array = _read(Path(path))
    if array.ndim != 1:
        raise WeightsError(
            f"{path} holds an array of shape {array.shape}: expected a row of arrays, one for each layer."
        )
    return [None if item is None else _floats(item, f"{path}: entry {i}") for i, item in enumerate(array)]


def save_named_arrays(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes atomically what `load_named_arrays` reads; values become float32. Raises HyperStyleError."""
    _write(path, (), b"]}(", ((_text(name), array) for name, array in arrays.items()), b"ua")


def save_arrays(path: str | Path, arrays: Sequence[npt.NDArray[Any] | None]) -> None:
    """Writes atomically what `load_arrays` reads, one array after the other, as float32. Raises HyperStyleError."""
    _write(path, (len(arrays),), b"](", ((b"", array) for array in arrays), b"e")


def save_npz(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes an `.npz` file of arrays of numbers, atomically. Raises HyperStyleError."""
    # Not numpy.savez: no array can have the name of one of its arguments, and older versions write `allow_pickle` as an
    # array.
    with atomic_write(path) as temporary, temporary.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as record:
                np.lib.format.write_array(record, array, allow_pickle=False)


def _floats(value: object, where: str) -> Floats:
    if not isinstance(value, np.ndarray) or value.dtype == object:
        kind = "an array of objects" if isinstance(value, np.ndarray) else type(value).__name__
        raise WeightsError(f"{where} is {kind}: expected an array of floating-point numbers.")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(value, np.float32)
    if not np.isfinite(array).all():
        raise WeightsError(f"{where} holds NaN or infinite values. Make the file again.")
    return array


def _read(path: Path) -> npt.NDArray[np.object_]:
    """The array of objects in a file."""
    with reading(path, ".npy file"), path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise refusal(path, file_kind(path), ".npy file")
        (size,) = struct.unpack("<H", file.read(2)) if file.read(2)[0] == 1 else struct.unpack("<I", file.read(4))
        if b"'descr': '|O'" not in file.read(size):  # the text that describes the array; the pickle follows
            raise CheckpointError(f"{path} holds plain numbers: expected objects, as in latents.npy and weight_deltas.")
        array = unpickle(file, numpy_names(_FLOATS_OR_OBJECTS), "arrays")
    if not isinstance(array, np.ndarray) or array.dtype != object:
        raise WeightsError(f"{path} holds no array of objects. Expected latents.npy or a file of weight_deltas.")
    return array


# ---- writing: pickle protocol 3, which knows no frames, without its memory of objects ----

_MAGIC = b"\x93NUMPY"
_START = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"  # an empty array
_END = b"tb"  # the state is complete and given to the array


def _write(
    path: str | Path,
    shape: tuple[int, ...],
    start: bytes,
    items: Iterable[tuple[bytes, npt.NDArray[Any] | None]],
    end: bytes,
) -> None:
    """Writes an array of objects: opcodes that begin its content, opcodes and an array for each item, and those that
    end the content."""
    text = f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(_MAGIC) + 5 + len(text)) % 64) + b"\n"
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(_MAGIC + b"\x01\x00" + struct.pack("<H", len(text)) + text + b"\x80\x03")
        file.write(_state(shape, "O8", "|", b"?") + start)
        for key, array in items:
            if array is None:
                file.write(key + b"N")
                continue
            data = np.ascontiguousarray(array, "<f4")
            file.write(key + _state(array.shape, "f4", "<", b"\x00") + b"B" + struct.pack("<I", data.nbytes))
            file.write(data.data)
            file.write(_END)
        file.write(end + _END + b".")


def _state(shape: tuple[int, ...], kind: str, order: str, flags: bytes) -> bytes:
    """The beginning of an array up to its content."""
    sizes = b"".join(b"J" + struct.pack("<i", n) for n in shape)
    start = _START + b"(K\x01(" + sizes + b"tcnumpy\ndtype\n" + _text(kind) + b"\x89\x88\x87R(K\x03" + _text(order)
    return start + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK" + flags + b"tb\x89"


def _text(text: str) -> bytes:
    data = text.encode(errors="surrogatepass")  # as pickle does: names of files need not be text
    return b"X" + struct.pack("<I", len(data)) + data
