"""Pickles of networks made by others: read as data, or refused, and never executed."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.io.pickle_reader import PickledObject, load_pickle

PERSISTENT = ("torch_utils.persistence", "_reconstruct_persistent_obj")


class Call:
    """Pickles as `module.name(*args)`, then `state` given to what comes of it; the module need not exist."""

    def __init__(self, module: str, name: str, *args: Any, state: Any = None, new: bool = False) -> None:
        self.parts = (module, name, args, state, new)


class Pickler(pickle._Pickler):  # type: ignore[misc]
    """The one written in Python, whose steps a test can add to."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if not isinstance(obj, Call):
            super().save(obj, save_persistent_id)
            return
        module, name, args, state, new = obj.parts
        self.write(f"c{module}\n{name}\n".encode())
        if args is not Ellipsis:
            super().save(args)
            self.write(b"\x81" if new else b"R")
        if state is not None:
            self.save(state)
            self.write(b"b")


def dumps(value: Any, protocol: int = 3) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol).dump(value)
    return file.getvalue()


def persistent(name: str, source: str = "", **state: Any) -> Call:
    return Call(*PERSISTENT, {"type": "class", "version": 6, "module_src": source, "class_name": name, "state": state})


def read(folder: Path, value: Any) -> Any:
    path = folder / "network.pkl"
    path.write_bytes(value if isinstance(value, bytes) else dumps(value))
    return load_pickle(path)


# ---- what is read ----


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_containers_numbers_tensors_and_arrays_come_back_equal(tmp_path: Path, protocol: int) -> None:
    value = {
        "plain": [1, 2.5, None, True, "text", (1, 2), {3, 4}, frozenset({5})],
        "ordered": OrderedDict(b=1, a=2),
        "parameter": torch.nn.Parameter(torch.randn(3, 2)),
        "part": torch.randn(4, 6)[1:3, ::2].t(),
        "half": torch.randn(5).half(),
        "counts": torch.tensor(7),
    }
    loaded = read(tmp_path, pickle.dumps(value, protocol=protocol))
    assert list(loaded) == list(value)
    assert loaded["plain"] == value["plain"]
    assert list(loaded["ordered"].items()) == [("b", 1), ("a", 2)]
    for name in ("parameter", "part", "half", "counts"):
        expected: Any = value[name]
        assert loaded[name].dtype == expected.dtype
        assert torch.equal(loaded[name], expected.detach())
        assert not loaded[name].requires_grad


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_numpy_arrays_and_scalars_come_back_equal(tmp_path: Path, protocol: int) -> None:
    arrays = [
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.asfortranarray(np.random.rand(2, 3)),
        np.arange(3, dtype=">f4"),
        np.zeros((0, 2), bool),
    ]
    loaded = read(tmp_path, pickle.dumps({"arrays": arrays, "gain": np.float64(0.3), "n": np.int32(4)}, protocol))
    assert (loaded["gain"], loaded["n"]) == (0.3, 4)
    for got, expected in zip(loaded["arrays"], arrays, strict=True):
        assert (got.dtype.kind, got.dtype.itemsize) == (expected.dtype.kind, expected.dtype.itemsize)
        np.testing.assert_array_equal(got, expected)


def test_a_persistent_object_becomes_a_record_and_its_source_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    source = f"open({str(trace)!r}, 'w').close()"
    linear = persistent("Layer", source, _parameters=OrderedDict(weight=torch.ones(2), bias=None), gain=np.float64(2))
    easy = Call("dnnlib.util", "EasyDict", new=True)
    network = persistent("Network", source, _modules=OrderedDict(fc=linear), _buffers={"mean": torch.zeros(1)}, kw=easy)
    loaded = read(tmp_path, {"G_ema": network})["G_ema"]
    assert isinstance(loaded, PickledObject)
    assert (loaded.class_name, loaded.source, loaded.state["kw"]) == ("Network", source, {})
    assert {name: module.class_name for name, module in loaded.modules().items()} == {"": "Network", "fc": "Layer"}
    assert loaded.modules()["fc"].state["gain"] == 2
    assert {name: tensor.tolist() for name, tensor in loaded.tensors().items()} == {"mean": [0], "fc.weight": [1, 1]}
    assert {type(tensor) for tensor in loaded.tensors().values()} == {torch.Tensor}
    assert not trace.exists()


def test_a_record_that_is_no_tree_of_modules_says_so_when_asked(tmp_path: Path) -> None:
    shared = read(tmp_path, persistent("Leaf"))
    twice = PickledObject("Twice", "", {"_modules": {"a": shared, "b": shared}})
    loop: dict[str, Any] = {"_modules": {}}
    ring = PickledObject("Ring", "", loop)
    loop["_modules"]["self"] = ring
    for record, name in ((twice, "'b'"), (ring, "'self'"), (PickledObject("X", "", {"_modules": {"n": 3}}), "'n'")):
        with pytest.raises(WeightsError, match=f"{name} is not a module"):
            record.modules()
    with pytest.raises(WeightsError, match="'w' is a str, not a tensor"):
        PickledObject("X", "", {"_parameters": {"w": "text"}}).tensors()
    with pytest.raises(WeightsError, match="_buffers is not a dictionary"):
        PickledObject("X", "", {"_buffers": [1]}).tensors()


# ---- what is refused ----


class _WritesAFile:
    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (f"open({self.target!r}, 'w').close()",))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    content = pickle.dumps({"weight": 1, "payload": _WritesAFile(trace)}, protocol=protocol)
    with pytest.raises(WeightsError, match=r"nothing of it was executed: it asks for (builtins|__builtin__)\.eval"):
        read(tmp_path, content)
    assert not trace.exists()
    pickle.loads(content)
    assert trace.exists()  # it was a real one


def test_what_hides_in_the_storage_of_a_tensor_does_not_run_either(tmp_path: Path) -> None:
    trace, inner = tmp_path / "trace", io.BytesIO()
    torch.save(_WritesAFile(trace), inner, _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match=r"a tensor of it asks for (builtins\.)?eval,"):
        read(tmp_path, Call("torch.storage", "_load_from_bytes", inner.getvalue()))
    assert not trace.exists()
    inner = io.BytesIO()
    torch.save({"no": "storage"}, inner)
    with pytest.raises(WeightsError, match="made from a dict"):
        read(tmp_path, Call("torch.storage", "_load_from_bytes", inner.getvalue()))


@pytest.mark.parametrize(
    "name",
    ["posix.system", "builtins.getattr", "builtins.bytearray", "copyreg._reconstructor", "numpy.core.multiarray.load"],
)
def test_a_name_that_no_network_needs_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=rf"network\.pkl .* asks for {name}, which"):
        read(tmp_path, Call(*name.rsplit(".", 1), "x"))


def test_a_name_reached_through_the_attributes_of_a_known_one_is_refused(tmp_path: Path) -> None:
    content = b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93."
    with pytest.raises(WeightsError, match=r"OrderedDict\.__init__"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch._utils", "_rebuild_tensor_v2"),
        ("dnnlib", "EasyDict"),
        ("builtins", "set"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    ],
)
@pytest.mark.parametrize("state", [{"_call": 1}, (None, {"_call": 1}), (None, {"__call__": 1, "update": 1})])
def test_a_file_cannot_alter_what_reads_it(tmp_path: Path, module: str, name: str, state: Any) -> None:
    known = Call(module, name, state=state)
    known.parts = (module, name, ..., state, False)  # the thing itself, not a call of it
    with pytest.raises(CheckpointError, match=r"network\.pkl"):
        read(tmp_path, known)
    assert torch.equal(read(tmp_path, pickle.dumps(torch.ones(3))), torch.ones(3))
    assert read(tmp_path, Call("dnnlib", "EasyDict", new=True)) == {}


def test_a_file_gives_no_attributes_to_what_it_holds(tmp_path: Path) -> None:
    layer = persistent("Layer")
    layer.parts = (*layer.parts[:3], {"class_name": "Other"}, False)
    tensor: Any = Call("torch._utils", "_rebuild_parameter", torch.ones(3), state=(torch.ones(9), 0, (9,), (1,)))
    easy = Call("dnnlib", "EasyDict", new=True, state={"items": 1})
    for value in (layer, tensor, easy):
        with pytest.raises(CheckpointError, match="attributes for an object"):
            read(tmp_path, value)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")  # what a file holds is such a one
@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (7,), (1,)), (3, (4,), (1,)), (0, (2, 3), (6, 1)), (0, (10**9,), (0,)), (-1, (2,), (1,)), (0, (2,), (-1,))],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path: Path, offset: int, size: Any, stride: Any) -> None:
    six = torch.arange(6.0).storage()
    rebuild = ("torch._utils", "_rebuild_tensor_v2")
    assert read(tmp_path, Call(*rebuild, six, 1, (2, 2), (2, 1), False, OrderedDict())).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(CheckpointError, match="damaged pickle"):
        read(tmp_path, Call(*rebuild, six, offset, size, stride, False, OrderedDict()))


def dtype(code: str, *state: Any) -> Call:
    return Call("numpy", "dtype", code, False, True, state=state or (3, "<", None, None, None, -1, -1, 0))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Call("numpy.core.multiarray", "scalar", dtype("O8"), b"x"), "'O8'"),
        (Call("numpy.core.multiarray", "scalar", dtype("f8"), b"\0" * 7), r"shape \(\) with 7 bytes"),
        (Call("numpy.core.multiarray", "scalar", "f8", b"\0" * 8), "without data, type"),
        (dtype("V8", 3, "<", None, ("a",), {"a": 0}, 8, 1, 0), "'V8'"),
        (dtype("f8", 3, "<", (1,), None, None, 8, 1, 0), "not of plain numbers"),
        (Call("numpy.core.multiarray", "_reconstruct", "subclass", (0,), b"b"), "subclass of numpy"),
        (Call("numpy.core.numeric", "_frombuffer", b"\0" * 8, dtype("f4"), (2**40,), "C"), "with 8 bytes"),
    ],
)
def test_numpy_data_that_are_no_numbers_or_of_another_size_are_refused(
    tmp_path: Path, value: Call, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, value)


def test_a_numpy_array_of_another_size_than_its_shape_is_refused(tmp_path: Path) -> None:
    good = pickle.dumps(np.arange(6.0), protocol=3)
    read(tmp_path, good)
    assert good.count(b"K\x06\x85") == 1
    with pytest.raises(CheckpointError, match=r"shape \(7,\) with 48 bytes"):
        read(tmp_path, good.replace(b"K\x06\x85", b"K\x07\x85"))


@pytest.mark.parametrize(
    ("name", "source", "family"),
    [
        ("SynthesisInput", "", "StyleGAN3"),
        ("Generator", 'the paper\n"Alias-Free Generative Adversarial Networks"', "StyleGAN3"),
        ("MappingNetwork", "class SynthesisInput(torch.nn.Module): ...", "StyleGAN3"),
        ("SuperresGenerator", "class SynthesisInput: ...", "StyleGAN-XL"),
        ("MappingNetwork", "def __init__(self, rand_embedding): ...", "StyleGAN-XL"),
    ],
)
def test_networks_of_other_families_are_refused_by_name(tmp_path: Path, name: str, source: str, family: str) -> None:
    with pytest.raises(WeightsError, match=rf"holds a {family} network \(class '{name}'\)"):
        read(tmp_path, {"G": persistent("Generator", _modules={"x": persistent(name, source)})})


def test_a_tensorflow_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"dnnlib\.tflib\.network\.Network.*TensorFlow file: convert it"):
        read(tmp_path, Call("dnnlib.tflib.network", "Network", new=True))


@pytest.mark.parametrize("meta", [{}, {"type": "class"}, None, {"type": "code"}])
def test_a_persistent_object_without_its_parts_is_refused(tmp_path: Path, meta: Any) -> None:
    with pytest.raises(CheckpointError, match="a persistent object without"):
        read(tmp_path, Call(*PERSISTENT, meta))


# ---- files that are something else ----


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title>", "web page"),
        (b"\xef\xbb\xbf<html>", "web page"),
        (b"just text\n", r"is no pickle: it begins with b'just text\\n'"),
        (gzip.compress(b"x", mtime=0), "is no pickle"),
        (pickle.dumps({"w": list(range(1000))})[:-500], "cut off"),
        (b"\x80\x04", "cut off"),
        (b"\x80\x03}X\x05\x00\x00\x00ab", "cut off"),
        (b"\x80\x03" + b"\xff" * 20, "damaged"),
        (b"\x80\x03]K\x01s.", "damaged"),
        (b"\x80\x03]B" + struct.pack("<I", 2**31) + b".", "cut off"),
    ],
)
def test_what_is_no_whole_pickle_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"network\.pkl.*{message}") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [b"r\xff\xff\xff\x0b", b"r\x00\x04\x00\x00", b"p201326591\n", b"q\xff"])
def test_a_number_for_an_object_that_would_take_gigabytes_is_refused(tmp_path: Path, number: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"damaged pickle.*an object with the number \d+ in a file of \d+ bytes"):
        read(tmp_path, b"\x80\x03]" + number + b".")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pt_file_is_recognized(tmp_path: Path, zipped: bool) -> None:
    torch.save({"g_ema": torch.zeros(1)}, tmp_path / "g.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"g\.pt is a PyTorch file"):
        load_pickle(tmp_path / "g.pt")


def test_a_file_that_is_not_there_or_a_folder_is_reported(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.pkl", tmp_path):
        with pytest.raises(CheckpointError, match=r"is missing|cannot be read"):
            load_pickle(path)
