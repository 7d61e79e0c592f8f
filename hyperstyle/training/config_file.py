"""Tables of options in TOML, YAML or JSON files, and the ready ones that come with the package."""

from __future__ import annotations

import json
import math
import os
import sys
import types
from collections.abc import Container
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from hyperstyle.errors import ConfigError, MissingDependencyError, did_you_mean

__all__ = ["converted", "expected", "find_config", "read_tables", "ready_configs", "worded"]


_TRAINING = Path(__file__).with_name("configs")


def ready_configs(folder: Path = _TRAINING) -> dict[str, Path]:
    """Name -> file of the configurations that come with the package, by default those for training."""
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def find_config(name: str | os.PathLike[str], folder: Path = _TRAINING) -> Path:
    """The file of that name, or the ready configuration in `folder`.

    Raises:
        ConfigError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    ready = ready_configs(folder)
    if os.fspath(name) in ready:
        return ready[os.fspath(name)]
    raise ConfigError(
        f"there is no configuration {os.fspath(name)!r}: expected a .toml, .yaml or .json file, or the name of a ready "
        f"one. {did_you_mean(os.fspath(name), ready)}"
    )


def read_tables(file: str | os.PathLike[str]) -> dict[str, Any]:
    """What a configuration file holds.

    Raises:
        ConfigError: it is not there, cannot be read, or holds something else than keys and tables.
        MissingDependencyError: a YAML file without PyYAML; TOML before Python 3.11 without tomli.
    """
    path = Path(file)
    kind = path.suffix.lower()
    try:
        text = path.read_text(encoding="utf-8")
        if kind == ".toml":
            found = _toml(text)
        elif kind in (".yaml", ".yml"):
            found = _yaml(text)
        elif kind == ".json":
            found = json.loads(text)
        else:
            raise ConfigError(f"{str(path)!r} is no configuration by its name: expected .toml, .yaml or .json.")
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration {str(path)!r}: {error.strerror}. Name a .toml, .yaml or .json file."
        ) from error
    except ValueError as error:  # the parsers' errors and wrong encodings are ValueErrors
        raise ConfigError(f"cannot read the configuration {str(path)!r}: {error}. Correct the file.") from error
    if found is None:  # an empty YAML file
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigError(f"{str(path)!r} holds {type(found).__name__}: expected named options, in tables.")
    return found


def _toml(text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise MissingDependencyError(
                "TOML files need tomli before Python 3.11. Run: pip install tomli, or write YAML or JSON."
            ) from error
    return tomllib.loads(text)


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError(
            'YAML files need PyYAML. Run: pip install "hyperstyle-inversion[yaml]", or write TOML.'
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def converted(value: Any, hint: Any) -> Any:
    """The value as one of the type that `hint` stands for: text, numbers, true and false, literals, tuples, none.

    Numbers may be text, as YAML reads 1e-4; the names of a tuple may be text joined by commas; "none" is no value.

    Raises:
        ValueError: it is nothing of that type.
    """
    if get_origin(hint) in (Union, types.UnionType):
        choices = get_args(hint)
        if type(None) in choices and (value is None or value == "none"):
            return None
        for choice in choices:
            try:
                return converted(value, choice)
            except ValueError:
                continue
        raise ValueError
    if get_origin(hint) is Literal:
        word = worded(value, get_args(hint))
        if word in get_args(hint):
            return word
    elif get_origin(hint) is tuple:
        names = value.split(",") if isinstance(value, str) else value
        if isinstance(names, list | tuple) and names and all(str(one).strip() for one in names):
            return tuple(str(one).strip() for one in names)
    elif hint is bool:
        if isinstance(value, bool):
            return value
    elif hint in (int, float):
        if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
            number: int | float = int(value) if hint is int and isinstance(value, str) else float(value)
            if math.isfinite(number) and hint(number) == number:
                return hint(number)
    elif isinstance(value, hint):
        return value
    elif hint is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    raise ValueError


def worded(value: Any, choices: Container[Any]) -> Any:
    """The value; "yes" or "no", where that is a choice, for true and false, which YAML reads it as without quotes."""
    word = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
    return word if word in choices else value


def expected(hint: Any) -> str:
    """What `converted` takes, in words."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(expected(one) for one in get_args(hint))
    if get_origin(hint) is Literal:
        return ", ".join(get_args(hint))
    if get_origin(hint) is tuple:
        return "names"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    return names[hint]
