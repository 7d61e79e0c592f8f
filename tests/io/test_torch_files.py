"""Files made by others: read, or refused, and never executed."""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from hyperstyle.errors import CheckpointError, MissingFileError, WeightsError
from hyperstyle.io.components import save_torch
from hyperstyle.io.torch_files import as_tensor, load_content, load_npz, load_numbers, load_state

CUT_OFF = r"is a damaged PyTorch file, or one cut off: .*\. Fetch or make it again\."


class _WritesAFile:
    """Unpickling it without care would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (f"open({self.target!r}, 'w').close()",))


def test_tensors_and_plain_values_are_read(tmp_path: Path) -> None:
    state = {"weight": torch.randn(2, 3), "step": 5, "nested": {"names": ["a", "b"], "rate": 0.1}}
    torch.save(state, tmp_path / "good.pt")
    loaded = load_state(tmp_path / "good.pt")
    assert torch.equal(loaded["weight"], state["weight"])  # type: ignore[arg-type]
    assert loaded["nested"] == {"names": ["a", "b"], "rate": 0.1}


@pytest.mark.parametrize("plain_pickle", [False, True])
def test_an_object_that_would_run_something_is_refused_and_does_not_run(tmp_path: Path, plain_pickle: bool) -> None:
    path, trace = tmp_path / "bad.pt", tmp_path / "trace"
    bad = {"weight": torch.zeros(1), "payload": _WritesAFile(trace)}
    if plain_pickle:
        path.write_bytes(pickle.dumps(bad, protocol=2))
    else:
        torch.save(bad, path)
    with pytest.raises(CheckpointError, match=r"bad\.pt was not loaded"):
        load_state(path)
    assert not trace.exists()
    torch.load(path, weights_only=False) if not plain_pickle else pickle.loads(path.read_bytes())
    assert trace.exists()  # it was a real one


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("mmap", [True, False])
def test_the_numbers_of_a_file_may_stay_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mmap: bool, zipped: bool
) -> None:
    path = tmp_path / "good.pt"
    state = {"weight": torch.randn(1000), "half": torch.randn(3).half(), "again": None}
    state["again"] = state["weight"]
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    asked: list[bool] = []
    read = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: (asked.append(kwargs["mmap"]), read(*args, **kwargs))[1])
    loaded = load_state(path, mmap=mmap)
    assert asked == [mmap and zipped]
    assert torch.equal(loaded["weight"], state["weight"])
    assert torch.equal(loaded["half"], state["half"])
    assert loaded["again"].data_ptr() == loaded["weight"].data_ptr()
    loaded["weight"].zero_()  # changes nothing on disk
    assert torch.equal(load_state(path)["weight"], state["weight"])


@pytest.mark.parametrize("zipped", [True, False])
def test_a_namespace_of_options_becomes_a_dictionary(tmp_path: Path, zipped: bool) -> None:
    options = argparse.Namespace(size=1024, device="cuda:0", layers=[1, 2])
    torch.save({"opts": options}, tmp_path / "good.pt", _use_new_zipfile_serialization=zipped)
    assert load_state(tmp_path / "good.pt") == {"opts": vars(options)}
    with pytest.raises(pickle.UnpicklingError):  # allowed meanwhile, and no longer
        torch.load(tmp_path / "good.pt", weights_only=True)


def test_a_namespace_is_no_way_in_for_what_it_holds(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"opts": argparse.Namespace(size=_WritesAFile(trace))}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match="nothing of it was executed"):
        load_state(tmp_path / "bad.pt")
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_arrays_of_numbers_are_read_and_nothing_of_numpy_is_called_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    arrays = {
        "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
        "big-endian": np.arange(3, dtype=">f8"),
        "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "empty": np.zeros((0, 4), np.float16),
    }
    content = {**arrays, "scalar": np.float64(1.5), "number": np.int64(7)}
    torch.save(content, tmp_path / "good.pt", _use_new_zipfile_serialization=zipped)
    rebuild = np.zeros(1).__reduce__()[0]  # its module has other names in NumPy 2
    monkeypatch.setattr(f"{rebuild.__module__}.{rebuild.__name__}", lambda *_: pytest.fail("NumPy's own was called"))
    loaded = load_state(tmp_path / "good.pt")
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype.newbyteorder("=")
    assert (loaded["scalar"], loaded["number"]) == (1.5, 7)
    with pytest.raises(pickle.UnpicklingError):  # allowed meanwhile, and no longer
        torch.load(tmp_path / "good.pt", weights_only=True)


class _Reduced:
    """Pickles as a call of something on arguments."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def test_arrays_are_no_way_in_for_what_they_hold(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    rebuild = np.zeros(1).__reduce__()[0]
    kind = np.dtype("f4")
    for bad in (
        np.array([_WritesAFile(trace)], dtype=object),
        np.array(["text"]),
        np.zeros(2, [("a", "f4"), ("b", "O")]),
        np.ma.masked_array([1.0]),
        _Reduced(rebuild, (np.ndarray, (0,), b"b"), (1, (1000,), kind, False, b"1234")),  # too little data
        _Reduced(rebuild, (np.ndarray, (0,), b"b"), (1, (-1,), kind, False, b"1234")),
        _Reduced(rebuild, (np.ndarray, (0,), b"b"), (1, (1,), kind, False, [_WritesAFile(trace)])),
    ):
        torch.save({"latent_avg": bad}, tmp_path / "bad.pt")
        with pytest.raises(CheckpointError, match=r"bad\.pt was not loaded, and nothing of it was executed"):
            load_state(tmp_path / "bad.pt")
    assert not trace.exists()


def test_what_can_be_a_tensor_becomes_one() -> None:
    tensor = torch.ones(2)
    assert as_tensor(tensor) is tensor
    for value in ([1.0, 2.0], (1, 2), np.array([1.0, 2.0], ">f4"), np.array([1, 2], np.uint16), [np.float32(1), 2]):
        converted = as_tensor(value)
        assert converted is not None
        assert converted.tolist() == [1, 2]
    assert as_tensor([1.0]).dtype == torch.float32  # type: ignore[union-attr]
    array = np.zeros(2, np.float32)
    as_tensor(array).fill_(1)  # type: ignore[union-attr]
    assert not array.any()  # memory of its own
    for value in ("text", None, 3, [], ["a"], [[1.0], [1.0, 2.0]], [None], {}, np.array(["a"])):
        assert as_tensor(value) is None


def test_objects_of_other_classes_are_refused(tmp_path: Path) -> None:
    torch.save({"path": tmp_path}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"was not loaded, .*: it asks for pathlib\.\w+, which is not needed"):
        load_state(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "is a web page and no PyTorch file: the server answered"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer and no PyTorch file"),
        (safetensors.torch.save({"w": torch.zeros(1)}), "is a safetensors file and no PyTorch file"),
        (b"just text\n", r"is no PyTorch file: it begins with b'just text\\n'"),
        (b"PK\x03\x04 cut off", CUT_OFF),
        (b"\x80\x02}q\x00X", "was not loaded: it is a plain pickle and no PyTorch file"),
    ],
)
def test_what_is_no_such_file_is_refused_by_name_and_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "junk.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"junk\.pt {message}") as caught:
        load_state(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_was_cut_off_is_refused_in_one_line(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "half.pt"
    torch.save({"weight": torch.zeros(10_000)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:20_000])
    for mmap in (True, False):
        with pytest.raises(CheckpointError, match=rf"half\.pt {CUT_OFF}$") as caught:
            load_state(path, mmap=mmap)
        assert caught.value.__cause__ is not None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such names")
@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_whose_name_is_not_utf8_is_read_again(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / os.fsdecode(b"\xff.pt")
    save_torch(path, {"a": torch.arange(3.0)})
    assert load_state(path, mmap=mmap)["a"].tolist() == [0, 1, 2]


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="is missing"):
        load_state(tmp_path / "nowhere.pt")


def test_a_file_without_a_dictionary_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_state(tmp_path / "list.pt")


# ---- arrays of plain numbers ----


def test_a_lone_tensor_is_content_and_no_state(tmp_path: Path) -> None:
    torch.save(torch.arange(3.0), tmp_path / "lone.pt")
    assert load_content(tmp_path / "lone.pt").tolist() == [0, 1, 2]
    with pytest.raises(CheckpointError, match="holds a Tensor: expected a dictionary"):
        load_state(tmp_path / "lone.pt")


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    array = np.asfortranarray(np.random.rand(2, 3))
    np.save(tmp_path / "a.npy", array)
    loaded = load_numbers(tmp_path / "a.npy")
    assert loaded.dtype == np.float64
    np.testing.assert_array_equal(loaded, array)
    np.savez_compressed(tmp_path / "a.npz", a=array, b=array[0], c=np.array([{}], dtype=object))
    some = load_npz(tmp_path / "a.npz", ("b", "a", "x"))
    assert list(some) == ["b", "a"]
    np.testing.assert_array_equal(some["b"], array[0])


def test_what_holds_no_plain_numbers_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    np.save(tmp_path / "cut.npy", np.ones(9))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-3])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "objects.npz").read_bytes()[:-30])
    (tmp_path / "page.npy").write_bytes(b"<html>")
    for name, error, message in (
        ("objects", WeightsError, "nothing of it was executed: it holds Python objects"),
        ("cut", CheckpointError, "is a damaged"),
        ("none", MissingFileError, "is missing"),
    ):
        with pytest.raises(error, match=message):
            load_numbers(tmp_path / f"{name}.npy")
        with pytest.raises(error, match=message):
            load_npz(tmp_path / f"{name}.npz", "a")
    with pytest.raises(CheckpointError, match="is a web page"):
        load_numbers(tmp_path / "page.npy")
