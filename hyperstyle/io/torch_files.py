"""The one place that reads files which may hold pickled objects; nothing is executed from them."""

from __future__ import annotations

import argparse
import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from hyperstyle.errors import CheckpointError, LandmarkError, MissingFileError, WeightsError, with_article
from hyperstyle.io.file_kind import file_kind, reading, refusal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

V = TypeVar("V")

_LEFT_BY_TRAINING = ("_orig_mod", "module")  # torch.compile; DataParallel, DistributedDataParallel, AveragedModel
_MOST_LISTED = 1 << 22  # numbers in a list, which may hold one part many times


def load_state(path: str | Path, *, mmap: bool = False) -> dict[str, Any]:
    """Reads a `.pt` file that holds a dictionary: `load_content`, which raises CheckpointError for anything else.

    An `argparse.Namespace` at the top level (the options that trainers store) becomes a plain dictionary.
    """
    state = load_content(path, mmap=mmap)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds {with_article(type(state))}: expected a dictionary.")
    return {name: vars(value) if isinstance(value, argparse.Namespace) else value for name, value in state.items()}


def load_content(path: str | Path, *, mmap: bool = False) -> Any:
    """Reads a `.pt` file of tensors, numbers, strings, NumPy arrays and containers of these onto the CPU.

    NumPy arrays are rebuilt by `io.pickle_reader`, which compares them with their shapes first.

    Args:
        path: the file.
        mmap: leave the numbers in the file until they are used, where its format allows it (PyTorch 1.6 and later).
            The file must then stay as it is for as long as the tensors live; what is written to them stays in memory.

    Raises:
        WeightsError: the file holds anything else, which is not executed, or tensors that are no dense numbers.
        CheckpointError: it cannot be read, is another kind of file, is cut off or damaged.
    """
    from hyperstyle.io.limits import check_content
    from hyperstyle.io.pickle_reader import torch_load

    kind = file_kind(path)
    if kind not in ("PyTorch", "old PyTorch"):
        raise refusal(path, kind, "PyTorch file")
    with reading(path, "PyTorch file"), _plain_objects_allowed(), Path(path).open("rb") as file:
        content = torch_load(file, "it", "tensors and plain values", mmap=mmap and kind == "PyTorch")
    check_content(content, path)
    return content


def _plain_objects_allowed() -> AbstractContextManager[object]:
    """Lets `torch.load` make namespaces, which hold values and run nothing, and NumPy arrays of numbers, by functions
    of our own in place of NumPy's; only as long as this lasts."""
    from torch.serialization import safe_globals

    from hyperstyle.io.pickle_reader import numpy_stand_ins

    stand_ins = [(stand_in, name) for name, stand_in in numpy_stand_ins().items()]
    return safe_globals([argparse.Namespace, *stand_ins])


def as_tensor(value: object) -> Tensor | None:
    """A tensor as it is, a NumPy array or (nested) list of numbers as a tensor; None for anything else."""
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, list | tuple):
        if _count(value) > _MOST_LISTED:
            return None
        try:
            value = np.array(value)
        except ValueError:  # rows of different lengths
            return None
        value = value.astype(np.float32) if value.dtype == np.float64 else value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf" or not value.size:
        return None
    array = np.array(value, value.dtype.newbyteorder("="), order="C", subok=False)
    try:
        return torch.from_numpy(array)
    except TypeError:  # a type of numbers that PyTorch does not have
        return torch.from_numpy(array.astype(np.float64))


def _count(value: object) -> int:
    """How many numbers and lists are in nested lists; it stops behind `_MOST_LISTED`."""
    total, queue = 1, [value]
    while queue and total <= _MOST_LISTED:
        if isinstance(item := queue.pop(), list | tuple):
            total += len(item)
            queue += item
    return total


def plain_names(tensors: Mapping[Any, V], path: str | Path) -> dict[Any, V]:
    """Weights by their names without `_orig_mod.` and `module.`, which `torch.compile` and training on several GPUs
    leave at any depth.

    Args:
        tensors: by name; keys that are no names stay as they are.
        path: names the file in the error.

    Raises:
        WeightsError: two of them would have one name.
    """
    renamed: dict[Any, V] = {}
    origin: dict[Any, Any] = {}
    for key, value in tensors.items():
        name = key
        if isinstance(key, str):
            name = ".".join(part for part in key.split(".") if part not in _LEFT_BY_TRAINING)
        if name in renamed:
            raise WeightsError(f"{path}: {origin[name]!r} and {key!r} are one name. Write the weights once.")
        renamed[name], origin[name] = value, key
    return renamed


def load_numbers(path: str | Path) -> npt.NDArray[Any]:
    """Reads a `.npy` file of plain numbers as it is. Raises as `load_npz` does."""
    with reading(path, ".npy file of numbers"), Path(path).open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise refusal(path, file_kind(path), ".npy file")
        return _read_array(file, os.fstat(file.fileno()).st_size)


def load_npz(path: str | Path, names: Iterable[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Reads those of the named arrays (None for all) that a `.npz` file holds; they are plain numbers.

    Raises:
        MissingFileError: there is no such file.
        WeightsError: it holds Python objects, which are not loaded.
        CheckpointError: it cannot be read, is another kind of file, is cut off or damaged.
    """
    from hyperstyle.io.limits import check_records

    with (
        reading(path, ".npz file of numbers"),
        Path(path).open("rb") as file,
        zipfile.ZipFile(file) as archive,
    ):
        check_records(archive.infolist(), os.fstat(file.fileno()).st_size)
        records = {record.filename.removesuffix(".npy"): record for record in archive.infolist()}
        arrays = {}
        for name in records if names is None else names:
            if name in records:
                with archive.open(records[name]) as record:
                    arrays[name] = _read_array(record, records[name].file_size)
        return arrays


def _read_array(file: IO[bytes], size: int) -> npt.NDArray[Any]:
    """The array in a file of `size` bytes, with which its header is compared first. Raises WeightsError, ValueError."""
    import numpy as np

    file.seek(0)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):  # the third is for names of fields
        raise ValueError(f"a header of version {version[0]}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise WeightsError("it holds Python objects; only numbers are read.")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > size - file.tell():
        raise ValueError(f"an array of shape {shape} in a file of {size} bytes")
    file.seek(0)
    array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def load_points(path: str | Path) -> npt.NDArray[np.float64]:
    """Reads landmarks [68,2] or [5,2] from a `.npy` file of numbers.

    Raises:
        LandmarkError: the file cannot be read, or holds something else.
    """
    import numpy as np

    try:
        points = load_numbers(path)
    except MissingFileError as error:
        raise LandmarkError(f"no landmark file {str(path)!r}: expected a .npy file with 68 or 5 points.") from error
    except CheckpointError as error:
        raise LandmarkError(
            f"{str(path)!r} cannot be read as a .npy file of numbers: {error} Write it with numpy.save."
        ) from error
    if points.dtype.kind not in "fiu" or points.shape not in ((68, 2), (5, 2)):
        raise LandmarkError(
            f"{str(path)!r} holds {points.shape}: expected 68 or 5 points (x, y), an array [68, 2] or [5, 2]."
        )
    return points.astype(np.float64)
