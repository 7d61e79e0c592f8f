"""Reads pickles of networks, as NVIDIA publishes them, and executes nothing from them.

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
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperstyle.errors import WeightsError
from hyperstyle.io.file_kind import check_numbers, file_kind, reading, refusal

__all__ = ["PickledObject", "load_pickle", "numpy_stand_ins"]


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
        check_numbers(file)
        return _Reader(file).load()


def _no_state(_: object, state: object) -> None:
    """`__setstate__` of the stand-ins: a file may give them no attributes."""
    if state:
        raise pickle.UnpicklingError("attributes for an object that has none")


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
        queue = [("", self)]
        for prefix, module in queue:  # grows while it is read
            for name, child in module._entries("_modules").items():
                if child is not None:
                    if not isinstance(child, PickledObject) or any(child is other for _, other in queue):
                        raise WeightsError(f"{self.class_name}: {prefix + name!r} is not a module of its own.")
                    queue.append((f"{prefix}{name}.", child))
        return {prefix.removesuffix("."): module for prefix, module in queue}

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by dotted name, as a `state_dict`. Raises WeightsError for what is none."""
        found: dict[str, Tensor] = {}
        for path, module in self.modules().items():
            for name, value in {**module._entries("_parameters"), **module._entries("_buffers")}.items():
                if value is None:
                    continue
                full = f"{path}.{name}" if path else name
                if not isinstance(value, Tensor):
                    raise WeightsError(f"{self.class_name}: {full!r} is a {type(value).__name__}, not a tensor.")
                found[full] = value.as_subclass(Tensor)
        return found

    def _entries(self, kind: str) -> Mapping[str, Any]:
        entries = self.state.get(kind, {})
        if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
            raise WeightsError(f"{self.class_name}: {kind} is not a dictionary of names.")
        return entries


# ---- the stand-ins ----


class _Sealed(type):
    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"an attribute {name!r} for a class")


class _Dict(dict[Any, Any], metaclass=_Sealed):
    __slots__ = ()
    __setstate__ = _no_state


class _Tensor(Tensor):
    """A tensor whose storage a file cannot exchange."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    __setstate__ = _no_state


class _Function:
    """What a file may call, and nothing else: it has no attributes that could be set."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"an attribute {name!r} for a function")


class _DType:
    """A numpy dtype, numbers only; the byte order arrives after the rest."""

    __slots__ = ("_dtype",)

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[biufc]\d{1,2}", code):
            raise WeightsError(f"it holds numpy data of type {code!r}; only numbers are read.")
        self._dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a numpy type that is not of plain numbers")
        self._dtype = self._dtype.newbyteorder(state[1])


class _Array(np.ndarray[Any, Any]):
    """An array whose content is compared with its shape and type before it is taken."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        values = _numbers(data, dtype, shape)
        super().__setstate__((1, values.shape, values.dtype, bool(fortran), values.tobytes()))  # type: ignore[arg-type]


def _numbers(data: object, dtype: object, shape: object) -> npt.NDArray[Any]:
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _DType) or not _sizes(shape):
        raise pickle.UnpicklingError("a numpy array without data, type or shape")
    if math.prod(shape) * dtype._dtype.itemsize != len(data):
        raise pickle.UnpicklingError(f"a numpy array of shape {shape} with {len(data)} bytes")
    return np.frombuffer(data, dtype._dtype).reshape(shape)


def _sizes(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and all(isinstance(n, int) and n >= 0 for n in value)


def _array(kind: object, *_: object) -> npt.NDArray[Any]:
    if kind is not _NDARRAY:
        raise WeightsError("it holds a subclass of numpy.ndarray; only arrays of numbers are read.")
    return _Array((0,), np.int8)  # its content follows


def _array_of_buffer(data: object, dtype: object, shape: object, order: object) -> npt.NDArray[Any]:
    values = _numbers(data, dtype, shape)
    if order == "F":
        return values.reshape(values.shape[::-1]).T.view(_Array)
    return values.view(_Array)


def _scalar(dtype: object, data: object) -> Any:
    return _numbers(data, dtype, ()).item()


def _storage(data: bytes) -> Tensor:
    """The bytes of a `torch.save`d storage -> its numbers, a flat tensor."""
    try:
        storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if asked := re.search(r"GLOBAL ([\w.]*\w)", str(error)):
            raise WeightsError(f"a tensor of it asks for {asked[1]}, which is not needed to read one.") from error
        raise
    if not isinstance(storage, torch.TypedStorage):
        raise WeightsError(f"a tensor of it is made from a {type(storage).__name__} instead of a storage of numbers.")
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)  # the public way to it warns


def _tensor(storage: object, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    if not isinstance(storage, Tensor) or not (_sizes(size) and _sizes(stride) and _sizes((offset,))):
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
_NDARRAY = "numpy.ndarray"
_STAND_INS: Mapping[str, Any] = {
    "builtins.dict": _Dict,
    "builtins.frozenset": frozenset,
    "builtins.list": list,
    "builtins.set": set,
    "builtins.tuple": tuple,
    "collections.OrderedDict": _Dict,
    "dnnlib.EasyDict": _Dict,
    "dnnlib.util.EasyDict": _Dict,
    "numpy.core.multiarray._reconstruct": _Function(_array),
    "numpy.core.multiarray.scalar": _Function(_scalar),
    "numpy.core.numeric._frombuffer": _Function(_array_of_buffer),
    "numpy.dtype": _Function(_DType),
    _NDARRAY: _NDARRAY,
    "torch._utils._rebuild_parameter": _Function(_parameter),
    "torch._utils._rebuild_tensor_v2": _Function(_tensor),
    "torch.storage._load_from_bytes": _Function(_storage),
    "torch_utils.persistence._reconstruct_persistent_obj": _Function(_persistent_object),
}


def numpy_stand_ins() -> dict[str, Any]:
    """What rebuilds NumPy arrays of numbers here, by the names that pickles ask for; the types of what it makes too."""
    found = {name: stand_in for name, stand_in in _STAND_INS.items() if name.startswith("numpy.")}
    newer = {name.replace("numpy.core.", "numpy._core."): stand_in for name, stand_in in found.items()}
    empty = _Function(lambda: b"")  # as protocol 2 writes the content of an array without numbers
    kinds = {"_Array": _Array, "_DType": _DType}  # names without a module: no file can ask for them
    return {**found, **newer, "builtins.bytes": empty, "__builtin__.bytes": empty, **kinds}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        known = asked.replace("numpy._core.", "numpy.core.", 1).replace("__builtin__.", "builtins.", 1)
        if known in _STAND_INS:
            return _STAND_INS[known]
        hint = " It is a TensorFlow file: convert it with NVIDIA's tool first." if "tflib" in module else ""
        raise WeightsError(f"it asks for {asked}, which is not needed to read a network.{hint}")
