"""Reads pickles and executes nothing from them: NVIDIA's networks here, NumPy arrays for every kind of file.

A pickle names the functions that rebuild its objects. Here every name stands for a function of this file that only
copies numbers, and a name that is not in the list stops the reading. None of the stand-ins can be altered by a file.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeGuard

import numpy as np
import torch
from torch import Tensor

from hyperstyle.errors import WeightsError, with_article
from hyperstyle.io.file_kind import file_kind, reading, refusal
from hyperstyle.io.limits import check_content, check_pickle, check_torch_file
from hyperstyle.io.opening import utf8_name


def load_pickle(path: str | Path) -> Any:
    """Reads a pickle of containers, plain values, tensors, numpy arrays and NVIDIA's persistent objects onto the CPU.

    Persistent objects become `PickledObject`s: the Python source they carry is kept as text and not run. Numpy scalars
    become plain numbers, dictionaries of any class plain ones.

    Raises:
        WeightsError: the file asks for anything else, named in the message, or is of StyleGAN3 or StyleGAN-XL.
        CheckpointError: the file cannot be read, is no pickle, is cut off or damaged.
    """
    if (kind := file_kind(path)) != "pickle":
        raise refusal(path, kind, "pickle")
    with reading(path, "pickle"), Path(path).open("rb") as file:
        content = unpickle(file, {**numpy_names(), **_NETWORK_NAMES}, "a network")
    check_content(content, path)
    return content


def unpickle(file: BinaryIO, names: Mapping[str, Any], purpose: str) -> Any:
    """Reads the pickle that begins at this place of a file.

    Args:
        file: open for reading; what the pickle would build is compared with its size first.
        names: "module.name" -> what stands for it; the pickle may ask for nothing else.
        purpose: what is read, for the message.

    Raises:
        WeightsError: the pickle asks for another name.
        pickle.UnpicklingError, ValueError, ...: it is damaged; see `file_kind.reading`.
    """
    check_pickle(file)
    return _Unpickler(file, names, purpose).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, names: Mapping[str, Any], purpose: str) -> None:
        super().__init__(file)
        self._names, self._purpose = names, purpose

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        # Names of NumPy 2 and of Python 2.
        current = full_name.replace("numpy._core.", "numpy.core.", 1).replace("__builtin__.", "builtins.", 1)
        if current in self._names:
            return self._names[current]
        hint = " It is a TensorFlow file: convert it with NVIDIA's tool first." if "tflib" in module else ""
        raise WeightsError(f"it asks for {full_name}, which is not needed to read {self._purpose}.{hint}")


def torch_load(source: BinaryIO, subject: str, purpose: str, *, mmap: bool = False) -> Any:
    """`torch.load` of tensors and plain values onto the CPU.

    What it would build is compared with the size of the file first. With `mmap` the source is a file on disk.

    Raises:
        WeightsError: the file, called `subject`, holds something else; `purpose` is what is read, for the message.
        pickle.UnpicklingError, RuntimeError, ...: it is damaged; see `file_kind.reading`.
    """
    try:
        check_torch_file(source)
        return torch.load(utf8_name(source) if mmap else source, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL ([\w.]*\w)", str(error))
        reason = f"asks for {name[1]}, which is not needed to read" if name else "holds objects other than"
        raise WeightsError(f"{subject} {reason} {purpose}.") from error
    except OSError as error:  # what PyTorch makes of a file that is cut off and was to be mapped
        raise EOFError("it ends too early") from error


# ---- what cannot be altered by a file ----


def _no_state(_: object, state: object) -> None:
    """`__setstate__` of the stand-ins: a file may give them no attributes."""
    if state:
        raise pickle.UnpicklingError("attributes for an object that has none")


class _Function:
    """A function that a file may call, and no more: it has no attributes that could be set."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"an attribute {name!r} for a function")


class _Sealed(type):
    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"an attribute {name!r} for a class")


class _Dict(dict[Any, Any], metaclass=_Sealed):
    __slots__ = ()
    __setstate__ = _no_state


# ---- NumPy arrays ----

_NDARRAY = "numpy.ndarray"  # only handed on to `_reconstruct`, never called
_NUMBERS = r"[biufc]\d{1,2}"


def numpy_names(dtypes: str = _NUMBERS) -> dict[str, Any]:
    """What rebuilds NumPy arrays, by the names that pickles ask for.

    Args:
        dtypes: pattern of the codes of types that are read; "O", objects, for arrays of arrays.
    """

    def make_dtype(code: object, *_: object) -> _DType:
        if not isinstance(code, str) or not re.fullmatch(dtypes, code):
            raise WeightsError(f"it holds NumPy data of type {code!r}, which is not read.")
        return _DType(np.dtype(code))

    return {
        "_codecs.encode": _Function(_bytes_of_text),
        "builtins.bytes": _Function(lambda: b""),  # protocol 2 writes empty ones so
        "numpy.core.multiarray._reconstruct": _Function(_empty_array),
        "numpy.core.multiarray.scalar": _Function(_scalar),
        "numpy.core.numeric._frombuffer": _Function(_array_of_buffer),
        "numpy.dtype": _Function(make_dtype),
        _NDARRAY: _NDARRAY,
    }


def numpy_stand_ins() -> dict[str, Any]:
    """`numpy_names` for `torch.load`: under the names of all versions, with the types of what they make.

    The types have names without a module, so that no file can ask for them.
    """
    names = numpy_names()
    del names["_codecs.encode"]  # PyTorch has its own
    newer = {name.replace("numpy.core.", "numpy._core."): stand_in for name, stand_in in names.items()}
    return {**names, **newer, "__builtin__.bytes": names["builtins.bytes"], "_Array": _Array, "_DType": _DType}


class _DType:
    """A NumPy type, whose byte order arrives after the rest."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a numpy type that is not of plain numbers")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray[Any, Any]):
    """An array whose content is compared with its shape and type before NumPy gets it."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        checked = _checked_dtype(data, dtype, shape)
        content = bytes(data) if isinstance(data, bytearray) else data
        super().__setstate__((1, shape, checked, bool(fortran), content))  # type: ignore[arg-type]


def _checked_dtype(data: object, dtype: object, shape: object) -> np.dtype[Any]:
    """The type of an array. Raises UnpicklingError unless `data` are the numbers (or objects) of such an array."""
    if not isinstance(dtype, _DType) or not _are_sizes(shape) or not isinstance(data, bytes | bytearray | list):
        raise pickle.UnpicklingError("a numpy array without data, type or shape")
    holds_objects = dtype.dtype == object
    expected = math.prod(shape) * (1 if holds_objects else dtype.dtype.itemsize)
    if isinstance(data, list) != holds_objects or len(data) != expected:
        unit = "objects" if isinstance(data, list) else "bytes"
        raise pickle.UnpicklingError(f"a numpy array of shape {shape} with {len(data)} {unit}")
    return dtype.dtype


def _are_sizes(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and all(isinstance(n, int) and n >= 0 for n in value)


def _empty_array(kind: object, *_: object) -> _Array:
    if kind is not _NDARRAY:
        raise WeightsError("it holds a subclass of numpy.ndarray; only arrays are read.")
    return _Array((0,), np.int8)  # its content follows


def _array_of_buffer(data: Any, dtype: object, shape: Any, order: object) -> _Array:
    checked = _checked_dtype(data, dtype, shape)
    return np.frombuffer(data, checked).reshape(shape, order="F" if order == "F" else "C").view(_Array)


def _scalar(dtype: object, data: Any) -> Any:
    return np.frombuffer(data, _checked_dtype(data, dtype, ())).item()


def _bytes_of_text(text: str, encoding: object) -> bytes:
    """How protocol 2, which knows no bytes, writes them."""
    if encoding != "latin1":
        raise WeightsError(f"it holds bytes written as {encoding!r}; only latin1 is read.")
    return text.encode("latin1")


class ArrayHeader(metaclass=_Sealed):
    """What joblib pickles in place of an array, whose numbers follow in the file, outside of the pickle.

    Attributes:
        shape: of the array.
        dtype: of its numbers.
        order: "C", or "F" where the first axis changes fastest.
        padded: whether a byte with the number of bytes to skip stands before the numbers.
    """

    __slots__ = ("dtype", "order", "padded", "shape")
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    padded: bool

    def __setstate__(self, state: Any) -> None:
        shape, dtype, order = (state[name] for name in ("shape", "dtype", "order"))
        if state["subclass"] is not _NDARRAY or not _are_sizes(shape) or not isinstance(dtype, _DType):
            raise pickle.UnpicklingError("a numpy array without class, type or shape")
        if order not in ("C", "F"):
            raise pickle.UnpicklingError("a numpy array in an order that is not known")
        self.shape, self.dtype, self.order = shape, dtype.dtype, order
        self.padded = state.get("numpy_array_alignment_bytes") is not None  # none in files of joblib before 1.2


# ---- NVIDIA's networks ----

_LONGEST_NAME = 1000  # characters of a dotted name


@dataclass(frozen=True, eq=False)
class PickledObject:
    """An object that NVIDIA's `torch_utils.persistence` pickled, as data.

    Attributes:
        class_name: the name of its class.
        source: text of the Python module that defines the class; never run.
        state: its attributes; of a network `_parameters`, `_buffers` and `_modules` among them.
    """

    class_name: str
    source: str
    state: dict[str, Any]

    __setstate__ = _no_state

    def modules(self) -> dict[str, PickledObject]:
        """This object as "" and all below it by dotted name. Raises WeightsError for what is no tree of modules."""
        queue, seen = [("", self)], {self}
        for prefix, module in queue:  # grows while it is read
            if len(prefix) > _LONGEST_NAME:  # each is a copy of those above it
                raise WeightsError(f"{self.class_name}: its modules are nested too deep, or have names too long.")
            for name, child in module._entries("_modules").items():
                if child is not None:
                    if not isinstance(child, PickledObject) or child in seen:
                        raise WeightsError(f"{self.class_name}: {prefix + name!r} is not a module, or has two names.")
                    seen.add(child)
                    queue.append((f"{prefix}{name}.", child))
        return {prefix.removesuffix("."): module for prefix, module in queue}

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by dotted name, as a `state_dict`. Raises WeightsError for what is none."""
        tensors: dict[str, Tensor] = {}
        for path, module in self.modules().items():
            for name, value in {**module._entries("_parameters"), **module._entries("_buffers")}.items():
                if value is None:
                    continue
                full = f"{path}.{name}" if path else name
                if not isinstance(value, Tensor):
                    raise WeightsError(f"{self.class_name}: {full!r} is {with_article(type(value))}, not a tensor.")
                tensors[full] = value.as_subclass(Tensor)
        return tensors

    def _entries(self, kind: str) -> Mapping[str, Any]:
        entries = self.state.get(kind, {})
        if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
            raise WeightsError(f"{self.class_name}: {kind} is not a dictionary of names.")
        return entries


class _Tensor(Tensor):
    """A tensor whose storage a file cannot exchange."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    __setstate__ = _no_state


def _storage(data: bytes) -> Tensor:
    """The bytes of a `torch.save`d storage -> its numbers, a flat tensor."""
    storage = torch_load(io.BytesIO(data), "a tensor of it", "numbers")
    if not isinstance(storage, torch.TypedStorage):
        raise WeightsError(
            f"a tensor of it is made from {with_article(type(storage))} instead of a storage of numbers."
        )
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)  # the public way to it warns


def _tensor(storage: object, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    if not isinstance(storage, Tensor) or not (_are_sizes(size) and _are_sizes(stride) and _are_sizes((offset,))):
        raise pickle.UnpicklingError("a tensor without storage or shape")
    if math.prod(size) > storage.numel():
        raise pickle.UnpicklingError(f"a tensor of shape {size} with {storage.numel()} numbers")
    return torch.as_strided(storage, size, stride, offset).as_subclass(_Tensor)  # compares with the storage


def _parameter(data: object, *_: object) -> Tensor:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("a parameter without a tensor")
    return data


def _persistent_object(meta: object) -> PickledObject:
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise pickle.UnpicklingError("a persistent object without a description")
    name, source, state = (meta.get(key) for key in ("class_name", "module_src", "state"))
    if not isinstance(name, str) or not isinstance(source, str) or not isinstance(state, dict):
        raise pickle.UnpicklingError("a persistent object without class name, source or state")
    for family, marks in _OTHER_FAMILIES.items():
        if any(mark in name or mark in source for mark in marks):
            raise WeightsError(f"it holds a {family} network (class {name!r}); only StyleGAN2 is read.")
    return PickledObject(name, source, state)


# Marks in class names and sources, the most special family first.
_OTHER_FAMILIES = {
    "StyleGAN-XL": ("SuperresGenerator", "rand_embedding"),
    "StyleGAN3": ("SynthesisInput", "Alias-Free Generative Adversarial Networks"),
}
_NETWORK_NAMES: Mapping[str, Any] = {
    "builtins.dict": _Dict,
    "builtins.frozenset": frozenset,
    "builtins.list": list,
    "builtins.set": set,
    "builtins.tuple": tuple,
    "collections.OrderedDict": _Dict,
    "dnnlib.EasyDict": _Dict,
    "dnnlib.util.EasyDict": _Dict,
    "torch._utils._rebuild_parameter": _Function(_parameter),
    "torch._utils._rebuild_tensor_v2": _Function(_tensor),
    "torch.storage._load_from_bytes": _Function(_storage),
    "torch_utils.persistence._reconstruct_persistent_obj": _Function(_persistent_object),
}
