"""Bounds of what a file may ask for, compared with what it holds before anything is built, unpacked or copied."""

from __future__ import annotations

import argparse
import io
import math
import pickletools
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from hyperstyle.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

_FREE = 64 << 20  # bytes that any file may expand to
_DEEPEST = 1000
_LARGE_INT = 1 << 64
_MOST_LARGE_INTS = 1000  # states of random generators have some
_MOST_COMPOSED_KEYS = 10_000
_MOST_UNPACKED = 20  # times the size of a packed file; weights and images hardly shrink in one
_MOST_REPEATED = 32  # times the size of the storages; HyperStyle's files list one network for many layers
_OLD_PYTORCH_PICKLES = 5  # magic number, protocol, system, content, names of the storages that follow
_LARGEST_EMPTY = 1 << 20  # numbers in an empty tensor, if its axes of size 0 had size 1; networks get their sizes there
_FLOATS = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")

# ---- pickles ----

_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_NEW = frozenset(("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "LIST", "DICT"))
_FILLED = frozenset(("APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS"))
_KEYED = frozenset(("SETITEM", "SETITEMS", "DICT"))
_CALLS = frozenset(("REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST"))
_ITEM = 16  # bytes of an item in a container, about
_TEXTS = (str, bytes, bytearray)  # a tuple made once: the loop over the opcodes would build `str | bytes` at each


class _Value:
    """What is known of an object: how deep tuples and calls are nested in it, and the bytes of a shallow copy."""

    __slots__ = ("depth", "size")

    def __init__(self, depth: int = 0, size: int = 0) -> None:
        self.depth, self.size = depth, size


_PLAIN, _MARK = _Value(), _Value()


def check_pickle(file: BinaryIO) -> int:
    """The position after the pickle that begins here, if building it does not take far more than its file has bytes.

    Nothing is unpickled, and the position in the file stays. What is checked:

    - Objects are numbered to be named again, and the unpickler makes room for all up to the largest number at once.
    - The hash of a tuple is computed from those of its items by a recursive function in C, which a tuple nested deep
      enough crashes.
    - A dictionary of n keys of the same hash takes n² steps. Such keys can be made of integers beyond 64 bits (equal
      modulo 2**61 - 1) and of tuples and other composed objects; hashes of texts are random.
    - Functions copy their arguments, and one argument can be given to many calls.

    Raises:
        ValueError: it takes more, or is no pickle.
    """
    start, size = file.tell(), file.seek(0, io.SEEK_END)
    file.seek(start)
    stack: list[_Value] = []  # the unpickler's
    memo: dict[int, _Value] = {}
    large = composed = copied = 0
    most_copied = _FREE + _MOST_REPEATED * size
    source: Any = SimpleNamespace(read=file.read, readline=file.readline)  # a `tell` would be called at each opcode
    for opcode, argument, _ in pickletools.genops(source):
        name = opcode.name
        if name in _PUTS or name == "MEMOIZE":
            number = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if number > size:
                raise ValueError(f"an object with the number {str(number)[:20]} in a file of {size} bytes")
            memo[number] = stack[-1] if stack else _PLAIN
            continue
        if name in _GETS or name == "MARK":
            stack.append(_MARK if name == "MARK" else memo.get(int(argument or 0), _PLAIN))
            continue
        takes_slice, takes, pushes = _STEPS[name]
        if argument is None and not takes_slice and not takes:
            stack += [_PLAIN if name not in _NEW else _Value()] * pushes
            continue
        items = _pop(stack, takes, takes_slice=takes_slice)
        value = _result(name, argument, items)
        copied += value.size if name in _CALLS else 0
        if isinstance(argument, int):
            large += abs(argument) > _LARGE_INT
        elif items and value.depth and (name in _FILLED or name in _NEW or name == "FROZENSET"):
            composed += sum(item.depth > 0 for item in (items[1::2] if name in _KEYED else items))
        if value.depth > _DEEPEST:
            raise ValueError(f"tuples nested more than {_DEEPEST:,} deep")
        if large > _MOST_LARGE_INTS or composed > _MOST_COMPOSED_KEYS:
            kinds = f"{_MOST_LARGE_INTS:,} integers of more than 64 bits or {_MOST_COMPOSED_KEYS:,} tuples and objects"
            raise ValueError(f"more than {kinds} in its lists and dictionaries")
        if copied > most_copied:
            raise ValueError(f"objects of {copied:,} bytes made from a file of {size:,}")
        stack += [value] * pushes
    end = file.tell()
    file.seek(start)
    return end


def _step(opcode: pickletools.OpcodeInfo) -> tuple[bool, int, int]:
    """Whether an opcode takes all down to a mark off the stack, how many more objects it takes, how many it leaves."""
    before = opcode.stack_before
    takes_slice = pickletools.stackslice in before
    takes = before.index(pickletools.markobject) if takes_slice else len(before)
    return takes_slice, takes, len(opcode.stack_after)


_STEPS = {opcode.name: _step(opcode) for opcode in pickletools.opcodes}


def _pop(stack: list[_Value], count: int, *, takes_slice: bool) -> list[_Value]:
    """Takes all down to the last mark and so many more objects off the stack, and returns them, the uppermost first."""
    items: list[_Value] = []
    if takes_slice:
        while stack and (item := stack.pop()) is not _MARK:
            items.append(item)
    if count:
        items += stack[: -count - 1 : -1]
        del stack[-count:]
    return items


def _result(name: str, argument: object, items: list[_Value]) -> _Value:
    """What an opcode makes of these objects, the uppermost first; a container that it fills is taken from them."""
    if name == "DUP" and items:
        return items[0]
    if name in _FILLED or name in _NEW:
        container = items.pop() if name in _FILLED and items else _Value()
        container = _Value() if container is _PLAIN or container is _MARK else container
        for item in items:
            if item.depth > container.depth:
                container.depth = item.depth
        container.size += _ITEM * len(items)
        return container
    if isinstance(argument, _TEXTS):
        return _Value(0, len(argument))
    if not items:
        return _PLAIN
    return _Value(1 + max(item.depth for item in items), sum(item.size for item in items) + _ITEM * len(items))


# ---- packed files ----


def most_unpacked(size: int) -> int:
    """The bytes that a packed file of `size` bytes may unpack to."""
    return _FREE + _MOST_UNPACKED * size


def check_records(records: Iterable[zipfile.ZipInfo], size: int) -> None:
    """Raises ValueError where records of a zip file unpack to far more than the `size` bytes that hold them."""
    unpacked = sum(record.file_size for record in records)
    if unpacked > most_unpacked(size):
        raise ValueError(f"{unpacked:,} bytes packed into {size:,}")


def check_torch_file(file: BinaryIO) -> None:
    """Checks, before `torch.load`, what it would unpack and unpickle; the position in the file is set to its start.

    Raises:
        ValueError, zipfile.BadZipFile, RuntimeError: it would take far more than the file has bytes, or is damaged.
    """
    file.seek(0)
    if file.read(4) == b"PK\x03\x04":
        size = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            check_records(archive.infolist(), size)
        file.seek(0)
        import torch

        # The reader that torch.load uses: others may find another record of this name.
        check_pickle(io.BytesIO(torch._C.PyTorchFileReader(file).get_record("data.pkl")))
    else:
        file.seek(0)
        for _ in range(_OLD_PYTORCH_PICKLES):
            file.seek(check_pickle(file))
    file.seek(0)


# ---- tensors ----


def oddity(tensor: Tensor) -> str | None:
    """What keeps a tensor from being used as plain numbers, as a predicate ("is sparse ..."); None for a usual one."""
    import torch

    if tensor.is_nested:
        return "is nested"
    if tensor.layout != torch.strided:
        return f"is {'sparse' if 'sparse' in str(tensor.layout) else 'packed'} ({tensor.layout})"
    if tensor.is_meta:
        return "has no numbers (it is on the meta device)"
    if tensor.is_quantized or (tensor.is_floating_point() and str(tensor.dtype).removeprefix("torch.") not in _FLOATS):
        return f"holds numbers of type {tensor.dtype}"
    if tensor.is_neg() or tensor.is_conj():
        return "is a negated or conjugated view of another tensor"
    if not tensor.numel() and math.prod(max(size, 1) for size in tensor.shape) > _LARGEST_EMPTY:
        return f"has no numbers (shape {list(tensor.shape)})"
    return None


def check_dense(tensor: Tensor, name: str, where: str | Path) -> None:
    """Raises WeightsError for a tensor that is sparse, quantized, without numbers, ...; see `oddity`."""
    if kind := oddity(tensor):
        raise WeightsError(f"{where}: {name!r} {kind}: expected a dense tensor. Fetch or write the file again.")


def check_content(content: object, where: str | Path) -> None:
    """Checks the tensors and arrays in what was unpickled, in containers and attributes of any depth.

    Many tensors may show the same numbers, and one may repeat them (a stride of 0); whoever copies or writes such
    tensors needs room for all of them.

    Raises:
        WeightsError: a tensor is not dense, or they have far more numbers than are stored.
    """
    from torch import Tensor

    shown = repeated = 0
    stored: dict[int, int] = {}  # address of the numbers -> bytes
    seen: set[int] = set()
    queue: list[tuple[Any, Any]] = [("", content)]
    while queue:
        name, value = queue.pop()
        if isinstance(value, Tensor | np.ndarray):
            if isinstance(value, Tensor):
                check_dense(value, name, where)
                storage = value.untyped_storage()
                address, size, count = storage.data_ptr(), storage.nbytes(), value.numel() * value.element_size()
            else:
                address, size, count = value.ctypes.data, value.nbytes, value.nbytes
            stored[address] = max(size, stored.get(address, 0))
            shown, repeated = shown + count, repeated + max(count - size, 0)
        elif id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, dict):
                queue += [(key if isinstance(key, str) else name, item) for key, item in value.items()]
            elif isinstance(value, list | tuple | set | frozenset):
                queue += [(name, item) for item in value]
            elif isinstance(value, argparse.Namespace) or hasattr(value, "class_name"):  # a `PickledObject`
                queue += vars(value).items()
    held = sum(stored.values())
    if repeated > _FREE or shown > _FREE + _MOST_REPEATED * held:
        raise WeightsError(
            f"{where} holds tensors of {shown:,} bytes that repeat the {held:,} bytes which are stored (they were "
            "expanded, or share their numbers). Write copies (tensor.clone()) of those that are needed."
        )
