"""Component folders: `config.json` + `model.safetensors` <-> an object whose class the caller names."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError, HyperStyleError, WeightsError, shown
from hyperstyle.io.file_kind import file_kind, first_line, refusal
from hyperstyle.io.files import atomic_write, finish_replacing, replace_folder, write_text
from hyperstyle.io.limits import check_dense
from hyperstyle.io.opening import check_file, read_json, utf8_name
from hyperstyle.io.typed_config import config_from_dict, config_to_dict

M = TypeVar("M", bound=nn.Module)

WEIGHTS = "model.safetensors"
CONFIG = "config.json"

_LINE = 64  # bytes of a cache line
_TYPES = {  # PyTorch's name -> safetensors' name, of the types that all of its versions read: not complex64
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes readable JSON atomically."""
    write_text(path, json.dumps(values, indent=2) + "\n")


@contextmanager
def open_safetensors(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A safetensors file, as `safetensors.safe_open` opens it, whatever its name.

    Raises:
        SafetensorError, OSError: it cannot be read as one.
    """
    from safetensors import safe_open

    with Path(path).open("rb") as opened, safe_open(utf8_name(opened), framework="pt") as file:
        yield file


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file, on the CPU.

    The file is mapped, not read: its pages come into memory as they are used, and none of them twice. What is changed
    in a tensor stays in this process. The file may be replaced meanwhile, but must not be overwritten in place.

    Raises:
        MissingFileError: there is no such file.
        WeightsError: it is of another kind (a web page, say), damaged, or cut off.
    """
    from safetensors import SafetensorError

    check_file(path, "safetensors file")
    kind = file_kind(path)
    if kind not in ("safetensors", "unknown"):
        raise WeightsError(str(refusal(path, kind, "safetensors file")))
    try:
        with open_safetensors(path) as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}. Fetch or write it again.") from error


def save_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Writes a safetensors file atomically, one tensor after another; no second copy of all of them is made.

    Equal tensors and metadata give equal bytes. Tensors that share memory are written one by one, in full.

    Args:
        path: the file; its folder must exist.
        tensors: dense ones, on any device.
        metadata: plain texts.
        dtype: floating-point tensors are converted to it as they are written; None keeps them as they are.

    Raises:
        WeightsError: a tensor of a type that is not in all versions of the format.
        HyperStyleError: the file cannot be written.
    """
    types = {k: dtype if dtype is not None and t.is_floating_point() else t.dtype for k, t in tensors.items()}
    sizes = {k: t.numel() * types[k].itemsize for k, t in tensors.items()}
    # The format allows no gaps. Tensors that fill whole cache lines come first, then large elements before small ones:
    # so all of the former begin at multiples of _LINE, the others at multiples of their element.
    order = sorted(tensors, key=lambda k: (sizes[k] % _LINE > 0, -types[k].itemsize, -sizes[k], k))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in order:
        start, end = end, end + sizes[name]
        code = _TYPES.get(str(types[name]).removeprefix("torch."))
        if code is None:
            raise WeightsError(f"{path}: {name!r} is {types[name]}, which not all safetensors files have. Convert it.")
        header[name] = {"dtype": code, "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % _LINE)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(_little_endian(tensors[name].detach().to("cpu", types[name])))


def _little_endian(tensor: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU, in the order of its elements."""
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    numbers = tensor.contiguous().reshape(-1).view(integers).numpy()
    return numbers.astype(numbers.dtype.newbyteorder("<"), copy=False).data.cast("B")


def save_torch(
    path: str | os.PathLike[str], content: object, *, error: type[HyperStyleError] = HyperStyleError
) -> None:
    """Writes a PyTorch file (`torch.save`) atomically.

    Raises:
        HyperStyleError: (or the class given) the file cannot be written, as where the disk is full.
    """
    with atomic_write(path, error=error) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as failure:  # PyTorch's writer fails once more while it gives up a file that cannot grow
            if isinstance(cause := failure.__context__, OSError):
                raise OSError(cause.errno, cause.strerror) from failure
            raise OSError(str(failure).split("\n")[0]) from failure


def type_name(kind: type[nn.Module]) -> str:
    """The `type` that a component's `config.json` names: the class's name, or its `type_on_disk` where it has one."""
    name: str = getattr(kind, "type_on_disk", kind.__name__)
    return name


def save_component(module: nn.Module, config: Any, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Puts `config.json` and `model.safetensors` (floating-point tensors as `dtype`) into `folder`, both or neither."""
    with replace_folder(folder, keep_others=True) as temporary:
        save_tensors(temporary / WEIGHTS, module.state_dict(), dtype=dtype)
        write_json(temporary / CONFIG, {"type": type_name(type(module)), **config_to_dict(config)})


def load_component(
    kind: type[M], config_kind: type[Any], folder: Path, *, device: torch.device, dtype: torch.dtype = torch.float32
) -> M:
    """Builds `kind(config)` without initializing it and fills it, strictly, from the folder.

    Where device and type are those of the file, the weights stay mapped (`load_tensors`).

    Raises:
        MissingFileError: a file is missing.
        ConfigError: the config is for another type, or cannot be used.
        WeightsError: tensors are missing, unexpected, of another shape, or not finite.
    """
    finish_replacing(folder)
    path = folder / CONFIG
    values = read_json(path)
    written = values.pop("type", None)
    if written != type_name(kind):
        raise ConfigError(f"{path} describes a {shown(written)}: expected {type_name(kind)!r}.")
    try:
        config = config_from_dict(config_kind, values, str(path))
        with torch.device("meta"):
            module = kind(config)
    except (OverflowError, RuntimeError, TypeError) as error:  # what PyTorch raises for sizes that cannot be
        raise ConfigError(
            f"{path}: no {kind.__name__} can be built with these numbers: {first_line(error)}."
        ) from error
    tensors, _ = load_tensors(folder / WEIGHTS)
    path = folder / WEIGHTS
    check_tensors(module.state_dict(), tensors, path, advice=f"The weights belong to another {CONFIG}.")
    module.load_state_dict({k: _placed(v, device, dtype) for k, v in tensors.items()}, assign=True)
    return module.eval().requires_grad_(False)


def _placed(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The tensor on the device, floating-point ones as `dtype`; on the CPU it begins at a cache line.

    How products round may depend on the alignment of their operands. New tensors of PyTorch begin at a cache line, and
    so do those in files of `save_tensors`, but for small ones, which are copied.
    """
    tensor = tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)
    return tensor.clone() if device.type == "cpu" and tensor.data_ptr() % _LINE else tensor


def check_tensors(
    expected: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    where: str | Path,
    *,
    prefix: str = "",
    advice: str = "The file is incomplete, or of another architecture than it seems.",
) -> None:
    """Compares tensors that were read with those of the network that they are for.

    Args:
        expected: the tensors of the network, on any device; only their shapes and kinds of types are looked at.
        tensors: what was read.
        where: what messages call the source.
        prefix: what stands before the names in the source, for messages.
        advice: the last sentence of the message where names or shapes disagree.

    Raises:
        WeightsError: tensors are missing, unexpected, of a wrong shape or kind of type, not dense, or not finite;
            the message counts each and names the first ones.
    """
    groups = {
        "missing": [name for name in expected if name not in tensors],
        "unexpected": [name for name in tensors if name not in expected],
        "of a wrong shape": [n for n in expected if n in tensors and tensors[n].shape != expected[n].shape],
    }
    problems = [f"{len(names)} {kind} ({_first(prefix, names)})" for kind, names in groups.items() if names]
    if wrong := groups["of a wrong shape"]:
        first = wrong[0]
        problems[-1] += f": {tuple(tensors[first].shape)}, expected {tuple(expected[first].shape)}"
    if problems:
        raise WeightsError(f"{where}: tensors {', '.join(problems)}. {advice}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise WeightsError(
                f"{where}: {prefix + name!r} is {tensor.dtype}: expected {expected[name].dtype}. {advice}"
            )
        check_dense(tensor, prefix + name, where)
        check_finite(tensor, prefix + name, where)


def check_finite(tensor: Tensor, name: str, where: str | Path) -> None:
    """Raises WeightsError where a value is NaN or infinite; without a mask and magnitudes as large as the tensor.

    In one thread, as this is bounded by memory: where other programs keep the cores busy, PyTorch's threads would spend
    a hundred times as long waiting for each other.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return
    narrow = tensor.element_size() < 4
    for part in torch.split(tensor.detach().reshape(-1), 1 << 14 if narrow else 1 << 20):  # 1 << 14: no threads either
        values = (part.float() if narrow else part).cpu().numpy()
        if not (math.isfinite(values.min()) and math.isfinite(values.max())):  # NaN goes through both
            raise WeightsError(f"{where}: {name!r} holds NaN or infinite values. Fetch or write the file again.")


def _first(prefix: str, names: list[str]) -> str:
    shown = ", ".join(repr(prefix + name) for name in names[:2])
    return f"first {shown}" if len(names) > 1 else shown
