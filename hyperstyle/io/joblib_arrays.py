"""Lists of arrays as `joblib.dump` writes them, packed by LZ4: so the package `mtcnn` has its weights.

Such a file is a pickle that is interrupted after the description of each array by the numbers of that array. joblib is
not used: what is read may name only what an array of numbers is made of; any other name stops the reading, and nothing
of the file is executed.
"""

from __future__ import annotations

import io
import math
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperstyle.errors import MissingDependencyError, WeightsError
from hyperstyle.io.file_kind import file_kind, reading, refusal
from hyperstyle.io.limits import most_unpacked
from hyperstyle.io.opening import read_bytes
from hyperstyle.io.pickle_reader import ArrayHeader, numpy_names, unpickle

_EXPECTED = "file of arrays, written by joblib and packed by LZ4"
_MAGIC = b"\x04\x22\x4d\x18"
_STOP = b"."
_FLOATS = "f[248]"
# The pickle up to each object is read anew.
_MOST_OPCODES = 1 << 16  # bytes
_MOST_OBJECTS = 200  # arrays, and types of their numbers
_NAMES = {**numpy_names(_FLOATS), "joblib.numpy_pickle.NumpyArrayWrapper": ArrayHeader}


def load_packed_arrays(path: str | Path) -> list[npt.NDArray[np.float32]]:
    """Reads a list of arrays of floating-point numbers, as float32, in its order.

    Raises:
        MissingFileError: there is no such file.
        MissingDependencyError: the package lz4 is not installed.
        WeightsError: it asks for anything but arrays of numbers, or holds something else.
        CheckpointError: it cannot be read, is of another kind, is cut off, damaged, or unpacks to far more than it has.
    """
    packed = read_bytes(path, _EXPECTED)
    if not packed.startswith(_MAGIC):
        raise refusal(path, file_kind(path), _EXPECTED)
    try:
        from lz4.frame import LZ4FrameDecompressor
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is packed by LZ4, which needs the package lz4: it cannot be imported ({error}). Install it with "
            "`pip install lz4`."
        ) from error
    with reading(path, _EXPECTED):
        limit = most_unpacked(len(packed))
        frame = LZ4FrameDecompressor()
        content: bytes = frame.decompress(packed, max_length=limit)
        if not frame.eof:
            raise EOFError("it ends too early" if frame.needs_input else f"it unpacks to more than {limit:,} bytes")
        return _arrays(content)


def _arrays(content: bytes) -> list[npt.NDArray[np.float32]]:
    """The arrays in joblib's stream.

    Whether numbers follow is known from the object that was completed last: all opcodes so far, ended here, are a
    pickle of that object. (Frames, which only say how many of them to read at once, are left out.)
    """
    file = io.BytesIO(content)
    opcodes, start, objects = b"", 0, 0
    arrays: list[npt.NDArray[np.float32]] = []
    for opcode, _, position in pickletools.genops(file):  # reads no byte ahead
        if len(opcodes) + file.tell() - start > _MOST_OPCODES or objects > _MOST_OBJECTS:
            raise WeightsError(f"it holds more than {_MOST_OBJECTS // 2} arrays, or other things")
        if opcode.name == "FRAME":
            opcodes += content[start:position]
        elif opcode.name == "BUILD":
            opcodes += content[start : file.tell()]
            objects += 1
            if isinstance(header := _unpickled(opcodes + _STOP), ArrayHeader):
                arrays.append(_numbers(file, header))
        else:
            continue
        start = file.tell()
    result = _unpickled(opcodes + content[start : file.tell()])
    if not isinstance(result, list) or not all(isinstance(item, ArrayHeader) for item in result):
        raise WeightsError("it holds something else than a list of arrays")
    if len(set(map(id, result))) != len(arrays) or len(result) != len(arrays):
        raise WeightsError(f"its list has {len(result)} entries, and {len(arrays)} arrays are there")
    return arrays


def _unpickled(opcodes: bytes) -> Any:
    return unpickle(io.BytesIO(opcodes), _NAMES, "arrays")


def _numbers(file: io.BytesIO, header: ArrayHeader) -> npt.NDArray[np.float32]:
    """The array that is described so and whose numbers begin here."""
    if header.padded:
        file.seek(file.read(1)[0], io.SEEK_CUR)
    size = math.prod(header.shape) * header.dtype.itemsize
    left = len(file.getbuffer()) - file.tell()
    if size > left:
        raise EOFError(f"an array of shape {header.shape} has {max(left, 0):,} bytes instead of {size:,}")
    data = file.read(size)
    with np.errstate(over="ignore"):
        return np.frombuffer(data, header.dtype).reshape(header.shape, order=header.order).astype(np.float32, order="C")
