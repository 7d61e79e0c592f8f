"""Lists of arrays that joblib dumped and LZ4 packed: read as data, or refused, and never executed."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hyperstyle.errors import CheckpointError, MissingDependencyError, MissingFileError
from hyperstyle.io import joblib_arrays
from hyperstyle.io.joblib_arrays import load_packed_arrays

frame = pytest.importorskip("lz4.frame")

ARRAYS = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    np.ones(5, np.float32),
    np.array(3, np.float32),
    np.zeros((0, 2), np.float32),
]


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def header(
    array: npt.NDArray[Any],
    *,
    wrapper: str = "NumpyArrayWrapper",
    subclass: str = "ndarray",
    shape: Sequence[int] | None = None,
    order: str = "C",
    padded: bool = True,
) -> bytes:
    """The opcodes of the object that joblib writes for an array, as joblib 1.4 writes them but for the memory."""
    sizes = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in (array.shape if shape is None else shape)) + b"t"
    dtype = text("numpy") + text("dtype") + b"\x93" + text(array.dtype.str[1:]) + b"\x89\x88\x87R"
    dtype += b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = text("subclass") + text("numpy") + text(subclass) + b"\x93" + text("shape") + sizes
    state += text("order") + text(order) + text("dtype") + dtype + text("allow_mmap") + b"\x88"
    state += text("numpy_array_alignment_bytes") + b"K\x10" if padded else b""
    return text("joblib.numpy_pickle") + text(wrapper) + b"\x93)\x81}(" + state + b"ub"


def numbers(array: npt.NDArray[Any], order: Any = "C", skip: int | None = 3) -> bytes:
    return (b"" if skip is None else bytes([skip]) + b"\xff" * skip) + array.tobytes(order)


def stream(*parts: bytes) -> bytes:
    """A pickle of a list, interrupted by whatever the parts hold."""
    return b"\x80\x04](" + b"".join(parts) + b"e."


def of(arrays: Sequence[npt.NDArray[Any]]) -> bytes:
    return stream(*(header(array) + numbers(array) for array in arrays))


def write(folder: Path, content: bytes) -> Path:
    path = folder / "x.lz4"
    path.write_bytes(frame.compress(content))
    return path


def check_equal(loaded: list[npt.NDArray[np.float32]], expected: Sequence[npt.NDArray[Any]]) -> None:
    for array, other in zip(loaded, expected, strict=True):
        assert (array.dtype, array.flags.c_contiguous) == (np.float32, True)
        np.testing.assert_array_equal(array, other)
        assert array.shape == other.shape


def test_arrays_come_back_in_their_order(tmp_path: Path) -> None:
    check_equal(load_packed_arrays(write(tmp_path, of(ARRAYS))), ARRAYS)
    assert load_packed_arrays(write(tmp_path, stream())) == []


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_joblib_writes_is_read(tmp_path: Path, protocol: int) -> None:
    joblib = pytest.importorskip("joblib")
    arrays = [*ARRAYS, np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(3, dtype=np.float16)]
    joblib.dump(arrays, tmp_path / "x.lz4", protocol=protocol)
    check_equal(load_packed_arrays(tmp_path / "x.lz4"), arrays)


def test_orders_and_files_without_padding_are_read(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float64).reshape(2, 3)
    parts = [header(array, order="F", padded=False) + numbers(array, "F", None), header(array) + numbers(array, skip=0)]
    check_equal(load_packed_arrays(write(tmp_path, stream(*parts))), [array, array])


MKDIR = r"asks for (posix|nt)\.mkdir"


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


ONE = ARRAYS[0]
HUGE = np.empty(0, np.float32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps([Evil()], 4), MKDIR),
        (
            stream(header(ONE) + numbers(ONE), pickle.dumps(Evil(), 4)[2:-1]),
            MKDIR,
        ),
        (stream(header(ONE, wrapper="NDArrayWrapper")), r"asks for joblib\.numpy_pickle\.NDArrayWrapper"),
        (stream(header(ONE, subclass="matrix")), r"asks for numpy\.matrix"),
        (stream(header(np.zeros(1, dtype="O"))), "NumPy data of type 'O"),
        (stream(header(np.zeros(1, np.int64))), "NumPy data of type 'i8'"),
        (stream(header(ONE, order="K") + numbers(ONE)), "in an order that is not known"),
        (stream(header(ONE, shape=[-1, 3]) + numbers(ONE)), "without class, type or shape"),
        (stream(header(HUGE, shape=[2**31 - 1] * 3)), "instead of"),
        (stream(header(ONE, shape=[2, 3, 5]) + numbers(ONE)), r"\(2, 3, 5\) has \d+ bytes instead of 120"),
        (stream(header(ONE) + numbers(ONE)[:40]), "instead of 96"),
        (of([ONE])[:-1], "damaged"),
        (of([ONE])[:30], "damaged"),
        (of([ARRAYS[1]] * 101), "more than 100 arrays"),
        (stream(b"N" * 70_000), "more than 100 arrays, or other things"),
        (stream(b"N", header(ONE) + numbers(ONE)), "something else than a list of arrays"),
        (pickle.dumps({"a": 1}, 4), "something else than a list of arrays"),
        (stream(header(ONE) + numbers(ONE), b"2"), "its list has 2 entries, and 1 arrays are there"),
        (stream(header(ONE) + numbers(ONE), b"0"), "its list has 0 entries, and 1 arrays are there"),
        (b"\xff\xff", "damaged"),
        (b"", "damaged"),
    ],
)
def test_whatever_else_a_file_holds_is_one_error_and_nothing_is_executed(
    in_tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(CheckpointError, match=rf"x\.lz4 .*({message})"):
        load_packed_arrays(write(in_tmp_path, content))
    assert [path.name for path in in_tmp_path.iterdir()] == ["x.lz4"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda packed: packed[:-30], "it ends too early"),
        (lambda packed: packed[:5], "damaged|ends too early"),
        (lambda packed: packed[:20] + b"\xff" * 20 + packed[40:], "damaged"),
        (lambda packed: b"<html>" + packed, "is a web page"),
        (lambda packed: b"", "is empty"),
        (lambda packed: pickle.dumps([1]), "it is a plain pickle and no file of arrays"),
    ],
)
def test_a_packed_file_that_is_damaged_or_of_another_kind_is_named(
    tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "x.lz4"
    path.write_bytes(change(frame.compress(of(ARRAYS), block_size=frame.BLOCKSIZE_MAX64KB)))
    with pytest.raises(CheckpointError, match=message):
        load_packed_arrays(path)


def test_a_file_that_unpacks_to_far_more_than_it_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.zeros(100_000, np.float32)
    path = write(tmp_path, of([array]))
    check_equal(load_packed_arrays(path), [array])
    monkeypatch.setattr(joblib_arrays, "most_unpacked", lambda size: 20 * size)
    with pytest.raises(CheckpointError, match=r"it unpacks to more than [\d,]+ bytes"):
        load_packed_arrays(path)


def test_a_file_that_is_not_there_and_a_package_that_is_missing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingFileError, match=r"x\.lz4 is missing: expected a file of arrays"):
        load_packed_arrays(tmp_path / "x.lz4")
    path = write(tmp_path, of(ARRAYS))
    monkeypatch.setitem(__import__("sys").modules, "lz4.frame", None)
    with pytest.raises(MissingDependencyError, match="pip install lz4"):
        load_packed_arrays(path)
