"""Object arrays of numpy: read as data, or refused, and never executed; written so that every numpy reads them."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hyperstyle.errors import CheckpointError, HyperStyleError, MissingFileError, WeightsError
from hyperstyle.io.npy_objects import load_arrays, load_named_arrays, save_arrays, save_named_arrays


def objects(*items: Any) -> np.ndarray[Any, Any]:
    row = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        row[i] = item
    return row


def npy(value: Any, protocol: int = 3) -> bytes:
    """An object array as a file, with a pickle of this protocol."""
    file = io.BytesIO()
    array = np.asanyarray(value, dtype=object)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    return file.getvalue() + pickle.dumps(array, protocol=protocol)


def read(folder: Path, content: bytes) -> Any:
    path = folder / "x.npy"
    path.write_bytes(content)
    return load_arrays(path)


CODES: dict[str, npt.NDArray[Any]] = {
    "me.jpg": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "émile.png": np.ones((2, 3), np.float32),
}
ROW = [None, np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2) / 3, None, np.zeros((0, 2), np.float32)]


# ---- what is read ----


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_numpy_writes_comes_back_equal(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "latents.npy"
    path.write_bytes(npy(CODES, protocol))
    loaded = load_named_arrays(path)
    assert list(loaded) == list(CODES)
    for name, array in CODES.items():
        np.testing.assert_array_equal(loaded[name], array)
    row = read(tmp_path, npy(objects(*ROW), protocol))
    assert [item is None for item in row] == [True, False, True, False]
    np.testing.assert_array_equal(row[1], ROW[1])
    assert row[3].shape == (0, 2)


def test_what_numpy_save_writes_comes_back_equal(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", CODES)  # type: ignore[arg-type]
    np.testing.assert_array_equal(load_named_arrays(tmp_path / "a.npy")["me.jpg"], CODES["me.jpg"])
    np.save(tmp_path / "b.npy", objects(*ROW))
    np.testing.assert_array_equal(load_arrays(tmp_path / "b.npy")[1], ROW[1])


@pytest.mark.parametrize("dtype", [">f4", "<f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_order_and_width_of_numbers_is_read_as_float32(tmp_path: Path, dtype: str, order: Any) -> None:
    array = np.array(np.random.rand(2, 3, 4), dtype=dtype, order=order)
    (loaded,) = read(tmp_path, npy(objects(array)))
    assert loaded.dtype == np.float32
    assert loaded.flags.c_contiguous
    np.testing.assert_array_equal(loaded, array.astype(np.float32))


# ---- what is written ----


@pytest.mark.filterwarnings("error")
def test_numpy_reads_what_is_written_here(tmp_path: Path) -> None:
    save_named_arrays(tmp_path / "a.npy", CODES)
    loaded = np.load(tmp_path / "a.npy", allow_pickle=True)
    assert loaded.shape == ()
    assert list(loaded.item()) == list(CODES)
    for name, array in CODES.items():
        np.testing.assert_array_equal(loaded.item()[name], array)
    flat = np.broadcast_to(np.float64(0.1), (2, 3, 3, 3))
    save_arrays(tmp_path / "b.npy", [None, flat, None])
    row = np.load(tmp_path / "b.npy", allow_pickle=True)
    assert (row.shape, row.dtype, row[0], row[2]) == ((3,), object, None, None)
    assert (row[1].dtype, row[1].flags.c_contiguous) == (np.float32, True)
    np.testing.assert_array_equal(row[1], flat.astype(np.float32))


def test_what_is_written_here_is_read_here(tmp_path: Path) -> None:
    save_named_arrays(tmp_path / "a.npy", CODES)
    np.testing.assert_array_equal(load_named_arrays(tmp_path / "a.npy")["émile.png"], CODES["émile.png"])
    save_arrays(tmp_path / "b.npy", ROW)
    np.testing.assert_array_equal(load_arrays(tmp_path / "b.npy")[1], ROW[1])
    save_arrays(tmp_path / "c.npy", [])
    assert load_arrays(tmp_path / "c.npy") == []


def test_what_is_written_names_no_part_of_numpy_that_old_ones_lack(tmp_path: Path) -> None:
    save_arrays(tmp_path / "b.npy", ROW)
    content = (tmp_path / "b.npy").read_bytes()
    assert b"numpy._core" not in content
    assert content.index(b"\n") % 64 == 63  # the header's length, as the format wants it


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(HyperStyleError, match="does not exist"):
        save_arrays(tmp_path / "no" / "b.npy", ROW)
    with pytest.raises(ValueError, match="could not convert"):
        save_arrays(tmp_path / "b.npy", [None, np.array(["x"])])
    assert list(tmp_path.iterdir()) == []


# ---- what is refused ----


class Runs:
    """Makes a file where it is executed: harmless, and seen."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("inside", ["row", "dictionary"])
def test_a_file_that_would_run_something_is_refused_and_nothing_runs(
    tmp_path: Path, protocol: int, inside: str
) -> None:
    trace = tmp_path / "trace"
    content = Runs(os.mkdir, str(trace))
    value = objects(None, content) if inside == "row" else objects({"me.jpg": content})
    with pytest.raises(WeightsError, match=r"nothing of it was executed: it asks for (posix|nt)\.mkdir"):
        read(tmp_path, npy(value, protocol))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("module", "name"), [("builtins", "eval"), ("builtins", "getattr"), ("numpy", "load"), ("os", "system")]
)
def test_no_other_name_is_known(tmp_path: Path, module: str, name: str) -> None:
    head = npy(objects()).partition(b"\x80\x03")[0]
    with pytest.raises(WeightsError, match=f"asks for {module}.{name}, which is not needed"):
        read(tmp_path, head + b"\x80\x03c" + f"{module}\n{name}\n".encode() + b".")


@pytest.mark.parametrize(
    "rest",
    [
        b"cnumpy.core.multiarray\n_reconstruct\n}X\x05\x00\x00\x00_callNsb.",
        b"cnumpy\ndtype\nN}X\x05\x00\x00\x00_callNs\x86b.",
        b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R(K\x03X\x01\x00\x00\x00<(NNNNNtb.",
    ],
)
def test_a_file_cannot_alter_what_reads_it(tmp_path: Path, rest: bytes) -> None:
    head = npy(objects()).partition(b"\x80\x03")[0]
    with pytest.raises(CheckpointError, match="damaged"):
        read(tmp_path, head + b"\x80\x03" + rest)
    assert read(tmp_path, npy(objects(None))) == [None]


@pytest.mark.parametrize("number", [b"r\xff\xff\xff\x0b", b"r\x00\x04\x00\x00", b"p201326591\n"])
def test_a_number_for_an_object_that_would_take_gigabytes_is_refused(tmp_path: Path, number: bytes) -> None:
    head = npy(objects()).partition(b"\x80\x03")[0]
    with pytest.raises(
        CheckpointError, match=r"damaged .npy file.*an object with the number \d+ in a file of \d+ bytes"
    ):
        read(tmp_path, head + b"\x80\x03]" + number + b".")


def test_bytes_in_another_encoding_are_refused(tmp_path: Path) -> None:
    content = npy(objects(np.ones(2)), 2)
    assert b"\x06\x00\x00\x00latin1" in content
    with pytest.raises(WeightsError, match="written as 'utf-16'"):
        read(tmp_path, content.replace(b"\x06\x00\x00\x00latin1", b"\x06\x00\x00\x00utf-16"))


class Other(np.ndarray[Any, Any]):
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (objects([1, 2]), "entry 0 is list"),
        (objects(None, 3), "entry 1 is int"),
        (objects("text"), "entry 0 is str"),
        (objects(objects(None)), "entry 0 is an array of objects"),
        (objects(np.arange(3)), "data of type 'i8'"),
        (objects(np.array([True])), "data of type 'b1'"),
        (objects(np.zeros(2, "c8")), "data of type 'c8'"),
        (objects(np.array([1, np.nan], np.float32)), "entry 0 holds NaN or infinite"),
        (objects(np.array([1e300])), "entry 0 holds NaN or infinite"),
        (objects(np.zeros(2, np.float32).view(Other)), "asks for .*Other"),
        (np.array([[None, None]], dtype=object), r"shape \(1, 2\): expected a row"),
        (np.array({"a": None}, dtype=object), r"shape \(\): expected a row"),
    ],
)
def test_a_row_of_anything_but_float_arrays_and_nones_is_refused(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        read(tmp_path, npy(value))


@pytest.mark.parametrize("value", [objects({"a": None}), objects(None), {1: CODES["me.jpg"]}, {"me.jpg": None}])
def test_codes_that_are_no_dictionary_of_arrays_are_refused(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "latents.npy"
    path.write_bytes(npy(value))
    with pytest.raises(WeightsError, match=r"no dictionary of arrays|'me.jpg' is NoneType"):
        load_named_arrays(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html></html>", "is a web page and no .npy file"),
        (b"neither", "is no .npy file: it begins with b'neither'"),
        (npy(objects(*ROW))[:9], r"damaged \.npy file, or one cut off"),
        (npy(objects(*ROW))[:40], r"damaged \.npy file, or one cut off"),
        (npy(objects(*ROW))[:200], r"damaged \.npy file, or one cut off"),
        (npy(objects(*ROW))[:-20], r"damaged \.npy file, or one cut off"),
        (npy(objects(None)).partition(b"\x80\x03")[0] + b"\x80\x03N.", "holds no array of objects"),
        (npy(objects(ROW[1])).replace(b"K\x02K\x02", b"K\x02K\x04"), r"shape \(.*\) with \d+ bytes"),
    ],
)
def test_a_damaged_file_says_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, content)


def test_plain_numbers_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "numbers.npy", np.zeros(3))
    with pytest.raises(CheckpointError, match="holds plain numbers"):
        load_arrays(tmp_path / "numbers.npy")
    with pytest.raises(MissingFileError, match=r"gone\.npy is missing"):
        load_arrays(tmp_path / "gone.npy")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_named_arrays(tmp_path)


@pytest.mark.reference
def test_the_recorded_codes_are_those_of_the_recorded_run(reference_dir: Path) -> None:
    golden = reference_dir / "hyperstyle" / "golden"
    loaded = load_named_arrays(golden / "latents.npy")
    with np.load(golden / "faces.npz") as recorded:
        assert list(loaded) == ["face.jpg"]
        np.testing.assert_array_equal(loaded["face.jpg"], recorded["w_code"])
