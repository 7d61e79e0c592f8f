"""Component folders: `config.json` + `model.safetensors` <-> an object whose class the caller names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hyperstyle.errors import CheckpointError, ConfigError, MissingFileError, WeightsError
from hyperstyle.files import atomic_write

__all__ = [
    "config_from_dict",
    "config_to_dict",
    "load_component",
    "load_tensors",
    "make_folder",
    "read_json",
    "save_component",
    "save_tensors",
    "sha256",
    "write_json",
]

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def config_to_dict(config: Any) -> dict[str, Any]:
    """A (nested) dataclass as plain JSON values."""
    result: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return result


def config_from_dict(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A dataclass of this kind from plain JSON values, nested ones included.

    Raises:
        ConfigError: an entry is unknown or missing, or its value cannot be used; `where` names the file.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected an object for {kind.__name__}, found {type(values).__name__}.")
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, kind))}
    if unknown := sorted(set(values) - set(fields)):
        raise ConfigError(f"{where}: unknown entry {unknown[0]!r} for {kind.__name__}. Known: {', '.join(fields)}.")
    hints = typing.get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for name, f in fields.items():
        if name in values:
            arguments[name] = _value(hints[name], values[name], f"{where}: {name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: entry {name!r} of {kind.__name__} is missing.")
    return kind(**arguments)


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return config_from_dict(typing.cast(Any, hint), value, where)
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        return _value(next(o for o in options if o is not type(None)), value, where)
    if origin is typing.Literal:
        ok = value in options
    elif origin is tuple:
        ok = isinstance(value, list | tuple)
        if ok and options[-1] is not Ellipsis:  # tuple[int, int]: as many values as types
            ok = len(value) == len(options)
        if ok:
            return tuple(_value(options[0], v, where) for v in value)
    elif origin in (dict, Mapping):
        ok = isinstance(value, dict)
    elif hint is float:
        ok = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if ok else value
    elif hint is int:
        ok = isinstance(value, int) and not isinstance(value, bool)
    elif hint in (str, bool):
        ok = isinstance(value, hint)
    else:
        ok = True
    if not ok:
        expected = f"one of {', '.join(map(repr, options))}" if origin is typing.Literal else f"{hint}"
        raise ConfigError(f"{where} is {value!r}: expected {expected}.")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises MissingFileError or ConfigError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} is missing. A model folder is written by save_pretrained().") from error
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read: {error.strerror}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}: expected an object.")
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes readable JSON atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def make_folder(path: str | Path) -> Path:
    """The folder, made where it is not there. Raises CheckpointError where it cannot be made."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"Cannot make the folder {str(folder)!r}: {error.strerror}. Choose a place that you may write to and where "
            "no file has that name."
        ) from error
    return folder


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file, on the CPU. Raises MissingFileError or WeightsError."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise MissingFileError(f"{path} is missing. A model folder is written by save_pretrained().")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}. Fetch or write it again.") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file atomically."""
    from safetensors.torch import save_file

    with atomic_write(path) as temporary:
        mode = temporary.stat().st_mode  # save_file makes a file of its own, private to the user
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, dict(metadata or {}))
        temporary.chmod(mode)


def save_component(module: nn.Module, config: Any, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Writes `config.json` and `model.safetensors` (floating-point tensors as `dtype`) into `folder`."""
    make_folder(folder)
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in module.state_dict().items()}
    save_tensors(folder / WEIGHTS, state)
    write_json(folder / CONFIG, {"type": type(module).__name__, **config_to_dict(config)})


def load_component(
    kind: type[M], config_kind: type[Any], folder: Path, *, device: torch.device, dtype: torch.dtype = torch.float32
) -> M:
    """Builds `kind(config)` without initialising it and fills it, strictly, from the folder.

    Raises:
        MissingFileError: a file is missing.
        ConfigError: the config is for another type, or cannot be used.
        WeightsError: tensors are missing, unexpected, of another shape, or not finite.
    """
    path = folder / CONFIG
    values = read_json(path)
    written = values.pop("type", None)
    if written != kind.__name__:
        raise ConfigError(f"{path} describes a {written!r}: expected {kind.__name__!r}.")
    config = config_from_dict(config_kind, values, str(path))
    with torch.device("meta"):
        module = kind(config)
    tensors, _ = load_tensors(folder / WEIGHTS)
    check_tensors(module.state_dict(), tensors, folder / WEIGHTS)
    tensors = {k: v.to(device, dtype) if v.is_floating_point() else v.to(device) for k, v in tensors.items()}
    module.load_state_dict(tensors, assign=True)
    return module.eval().requires_grad_(False)


def check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    """Raises WeightsError, naming file, counts and first keys, unless names and shapes agree and all is finite."""
    missing = [k for k in expected if k not in found]
    unexpected = [k for k in found if k not in expected]
    shapes = [k for k in expected if k in found and expected[k].shape != found[k].shape]
    problems = []
    if missing:
        problems.append(f"{len(missing)} missing (first {missing[0]!r})")
    if unexpected:
        problems.append(f"{len(unexpected)} unexpected (first {unexpected[0]!r})")
    if shapes:
        k = shapes[0]
        problems.append(
            f"{len(shapes)} of a wrong shape (first {k!r}: {tuple(found[k].shape)}, expected "
            f"{tuple(expected[k].shape)})"
        )
    if problems:
        raise WeightsError(f"{path}: tensors {', '.join(problems)}. The weights belong to another {CONFIG}.")
    for name, tensor in found.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {name!r} holds NaN or infinite values. Fetch or write the file again.")
