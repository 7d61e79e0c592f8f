"""`.npy` files of Python objects, as HyperStyle's scripts use them: codes and weights by name, offsets by layer.

Such a file is a header and a pickle. What is read may name only what an array of numbers is made of; any other name
stops the reading, and nothing of the file is executed. What is written names the same, in a form that every numpy since
1.17 reads, whichever one is installed here.
"""

from __future__ import annotations

import math
import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
import numpy.typing as npt

from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.io.file_kind import check_numbers, file_kind, reading, refusal
from hyperstyle.io.files import atomic_write

__all__ = ["Floats", "load_arrays", "load_named_arrays", "save_arrays", "save_named_arrays"]

Floats = npt.NDArray[np.float32]


def load_named_arrays(path: str | Path) -> dict[str, Floats]:
    """Reads a dictionary of arrays (a 0-d object array, as of `latents.npy` and MTCNN's weights): name -> float32.

    Raises:
        MissingFileError: there is no such file.
        WeightsError: it asks for anything but arrays of numbers, or holds something else.
        CheckpointError: it cannot be read, is no `.npy` file, is cut off or damaged.
    """
    shape, items = _read(Path(path))
    content = items[0] if shape == () and len(items) == 1 else None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise WeightsError(f"{path} holds no dictionary of arrays by name. Expected a file like latents.npy.")
    return {name: _floats(value, f"{path}: {name!r}") for name, value in content.items()}


def load_arrays(path: str | Path) -> list[Floats | None]:
    """Reads a row of arrays and Nones (as of `weight_deltas/*.npy`): float32. Raises as `load_named_arrays` does."""
    shape, items = _read(Path(path))
    if len(shape) != 1:
        raise WeightsError(f"{path} holds an array of shape {shape}: expected a row of arrays, one for each layer.")
    return [None if item is None else _floats(item, f"{path}: entry {i}") for i, item in enumerate(items)]


def save_named_arrays(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes atomically what `load_named_arrays` reads; values become float32. Raises HyperStyleError."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        _write_head(file, ())
        file.write(b"]}(")
        for name, array in arrays.items():
            _write_text(file, name)
            _write_array(file, array)
        file.write(b"ua" + _END)


def save_arrays(path: str | Path, arrays: Sequence[npt.NDArray[Any] | None]) -> None:
    """Writes atomically what `load_arrays` reads, one array after the other, as float32. Raises HyperStyleError."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        _write_head(file, (len(arrays),))
        file.write(b"](")
        for array in arrays:
            if array is None:
                file.write(b"N")
            else:
                _write_array(file, array)
        file.write(b"e" + _END)


def save_npz(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes an `.npz` file of arrays of numbers, atomically. Raises HyperStyleError."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _floats(value: object, where: str) -> Floats:
    if not isinstance(value, _Array) or not isinstance(value.content, np.ndarray):
        kind = "an array of objects" if isinstance(value, _Array) else type(value).__name__
        raise WeightsError(f"{where} is {kind}: expected an array of floating-point numbers.")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(value.content, np.float32)
    if not np.isfinite(array).all():
        raise WeightsError(f"{where} holds NaN or infinite values. Make the file again.")
    return array


# ---- reading ----


def _read(path: Path) -> tuple[tuple[int, ...], list[Any]]:
    """Shape and content of an array of objects."""
    with reading(path, ".npy file"), path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise refusal(path, file_kind(path), ".npy file")
        if b"'descr': '|O'" not in _header(file):
            raise CheckpointError(f"{path} holds plain numbers: expected objects, as in latents.npy and weight_deltas.")
        check_numbers(file)
        found = _Reader(file).load()
    if not isinstance(found, _Array) or not isinstance(found.content, list):
        raise WeightsError(f"{path} holds no array of objects. Expected latents.npy or a file of weight_deltas.")
    return found.shape, found.content


def _header(file: BinaryIO) -> bytes:
    """The text behind the magic bytes that describes the array; the pickle follows."""
    major, _ = file.read(2)
    (size,) = struct.unpack("<H", file.read(2)) if major == 1 else struct.unpack("<I", file.read(4))
    return file.read(size)


class _Name:
    """What a file may name: something to call, or only to hand on. A file cannot alter it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("attributes for a name")


class _DType:
    """Floating-point numbers, or objects; the byte order arrives after the rest."""

    __slots__ = ("kind", "order")

    def __init__(self, code: object, *_: object) -> None:
        if code not in ("f2", "f4", "f8", "O", "O4", "O8"):
            raise WeightsError(f"it holds data of type {code!r}; only floating-point numbers are read.")
        self.kind, self.order = str(code), "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a type that is not of plain numbers")
        self.order = state[1]


class _Array:
    """An array of numbers, or a list of objects, compared with its shape before it is taken."""

    __slots__ = ("content", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.content: npt.NDArray[Any] | list[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType) or not _sizes(shape):
            raise pickle.UnpicklingError("an array without type or shape")
        count = math.prod(shape)
        if dtype.kind.startswith("O"):
            if not isinstance(data, list) or len(data) != count:
                raise pickle.UnpicklingError(f"an array of shape {shape} with other content")
            self.shape, self.content = shape, data
            return
        numbers = np.dtype(dtype.order + dtype.kind)
        if not isinstance(data, bytes) or len(data) != count * numbers.itemsize:
            raise pickle.UnpicklingError(f"an array of shape {shape} with other content")
        self.shape = shape
        self.content = np.frombuffer(data, numbers).reshape(shape, order="F" if fortran else "C")


def _sizes(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and all(isinstance(n, int) and n >= 0 for n in value)


def _array(kind: object, *_: object) -> _Array:
    if kind is not _NDARRAY:
        raise WeightsError("it holds a subclass of numpy.ndarray; only arrays are read.")
    return _Array()  # its content follows


def _bytes(text: str, encoding: object) -> bytes:
    """How protocol 2, which knows no bytes, writes them."""
    if encoding != "latin1":
        raise WeightsError(f"it holds bytes written as {encoding!r}; only latin1 is read.")
    return text.encode("latin1")


_NDARRAY = "numpy.ndarray"
_NAMES: Mapping[str, Any] = {
    "__builtin__.bytes": _Name(lambda: b""),  # protocol 2 writes empty ones so
    "_codecs.encode": _Name(_bytes),
    "numpy.core.multiarray._reconstruct": _Name(_array),
    "numpy.dtype": _Name(_DType),
    _NDARRAY: _NDARRAY,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        known = asked.replace("numpy._core.", "numpy.core.", 1)
        if known not in _NAMES:
            raise WeightsError(f"it asks for {asked}, which is not needed to read arrays.")
        return _NAMES[known]


# ---- writing: pickle protocol 3, which knows no frames, without its memory of objects ----

_MAGIC = b"\x93NUMPY"
_START = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"  # an empty array
_END = b"tb."  # the state is complete and given to the array


def _write_head(file: BinaryIO, shape: tuple[int, ...]) -> None:
    text = f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(_MAGIC) + 5 + len(text)) % 64) + b"\n"
    file.write(_MAGIC + b"\x01\x00" + struct.pack("<H", len(text)) + text + b"\x80\x03")
    _write_state(file, shape, b"O8", b"|", b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?")


def _write_state(file: BinaryIO, shape: tuple[int, ...], kind: bytes, order: bytes, rest: bytes) -> None:
    """The beginning of an array up to its content."""
    file.write(_START + b"(K\x01(" + b"".join(b"J" + struct.pack("<i", n) for n in shape) + b"t")
    file.write(b"cnumpy\ndtype\n")
    _write_text(file, kind.decode())
    file.write(b"\x89\x88\x87R(K\x03")
    _write_text(file, order.decode())
    file.write(rest + b"tb\x89")


def _write_text(file: BinaryIO, text: str) -> None:
    data = text.encode()
    file.write(b"X" + struct.pack("<I", len(data)) + data)


def _write_array(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    data = np.ascontiguousarray(array, "<f4")
    _write_state(file, array.shape, b"f4", b"<", b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00")
    file.write(b"B" + struct.pack("<I", data.nbytes))
    file.write(data.data)
    file.write(b"tb")
