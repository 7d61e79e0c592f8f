"""Typed configuration: values of JSON, TOML, YAML or a command line, converted to Python types and checked.

An error names the entry that it is about.

Model folders, training files and the files of `--config` are all read here.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from hyperstyle.errors import ConfigError, MissingDependencyError, did_you_mean, shown
from hyperstyle.io.opening import parse_json, read_text

T = TypeVar("T")

_NAMES: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "none",
}
_MAX_BITS = 64
_PLURALS: Mapping[Any, str] = {int: "whole numbers", float: "numbers", str: "names"}


# ---- values ----


def config_to_dict(config: Any) -> dict[str, Any]:
    """A dataclass, with those nested in it, as a dict of plain JSON values."""
    result: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return result


def config_from_dict(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Makes a dataclass of the type `kind`, and those nested in it, from plain JSON values.

    Args:
        kind: a dataclass; fields with a default may be missing in `values`.
        values: field name -> value.
        where: what the values are from, usually a file; errors begin with it.

    Raises:
        ConfigError: an entry is unknown or missing, or its value is of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected an object for {kind.__name__}, found {type(values).__name__}.")
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
    if unknown := sorted(set(values) - set(fields), key=str):
        raise ConfigError(
            f"{where}: unknown entry {shown(unknown[0])} for {kind.__name__}. Known: {', '.join(fields)}."
        )
    hints = typing.get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = convert_value(values[name], hints[name], f"{where}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: entry {name!r} of {kind.__name__} is missing.")
    try:
        return kind(**arguments)
    except ConfigError as error:  # of `__post_init__`
        raise ConfigError(f"{where}: {error}") from error


def convert_value(value: Any, hint: Any, where: str, *, from_text: bool = False) -> Any:
    """Converts a value to the type `hint`, or raises an error.

    Args:
        value: as a JSON, TOML or YAML parser gives it.
        hint: a dataclass, int, float, str, bool, dict, Literal, tuple, or a union of these, with None or without.
        where: file and key; errors begin with it.
        from_text: also accept what people type. A number may be text ("1e-4", which YAML does not read as a number)
            but must be finite. "none" is None where the type allows it. A tuple may be text with commas between its
            items. A str may be given as a path object. For a Literal, True counts as "yes" and False as "no",
            because YAML reads these words as booleans where they have no quotes.

    Raises:
        ConfigError: the value does not fit the type; the message says what was given and what was expected.
    """
    try:
        return _convert(value, hint, where, from_text)
    except (ValueError, OverflowError):
        is_too_large = isinstance(value, int) and value.bit_length() > _MAX_BITS
        expected = f"a number of at most {_MAX_BITS} bits" if is_too_large else describe_type(hint)
        raise ConfigError(f"{where} is {shown(value)}: expected {expected}.") from None


def describe_type(hint: Any) -> str:
    """A type in words, for error messages: "a whole number or none" for `int | None`."""
    options = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(map(describe_type, options))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, options))}"
    if get_origin(hint) is tuple:
        items = _PLURALS.get(options[0], "entries")
        return f"a list of {items}" if options[-1] is Ellipsis else f"a list of {len(options)} {items}"
    return "a table" if get_origin(hint) in (dict, Mapping) else _NAMES.get(hint, str(hint))


def _convert(value: Any, hint: Any, where: str, from_text: bool) -> Any:
    """As `convert_value`, but raises ValueError if `value` does not fit, and ConfigError if a nested value does not."""
    origin, options = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return config_from_dict(typing.cast(Any, hint), value, where)
    if origin in (Union, types.UnionType):
        return _convert_union(value, options, where, from_text)
    if origin is tuple:
        return _convert_tuple(value, options, where, from_text)
    if hint in (int, float):
        return _convert_number(value, hint, from_text)
    if from_text and origin is Literal and isinstance(value, bool):
        value = "yes" if value else "no"
    if from_text and hint is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if origin is Literal:
        _require(value in options)
    elif origin in (dict, Mapping):
        _require(isinstance(value, dict))
        return {key: convert_value(entry, options[1], f"{where}: {shown(key)}") for key, entry in value.items()}
    elif hint in (str, bool):
        _require(isinstance(value, hint))
    return value


def _require(is_valid: bool) -> None:
    if not is_valid:
        raise ValueError


def _convert_union(value: Any, options: tuple[Any, ...], where: str, from_text: bool) -> Any:
    """Converts to the first type of the union that the value fits."""
    if type(None) in options and (value is None or (from_text and value == "none")):
        return None
    *alternatives, last = [option for option in options if option is not type(None)]
    for option in alternatives:
        with suppress(ValueError, ConfigError):
            return _convert(value, option, where, from_text)
    return _convert(value, last, where, from_text)


def _convert_tuple(value: Any, options: tuple[Any, ...], where: str, from_text: bool) -> tuple[Any, ...]:
    """Converts a list to a tuple; with `from_text` also text with commas, and no item, nor the list, may be empty."""
    if from_text and isinstance(value, str):
        value = value.split(",")
    _require(isinstance(value, list | tuple))
    if from_text:
        value = [str(item).strip() for item in value]
        _require(bool(value) and all(value))
    if options[-1] is Ellipsis:
        options = options[:1] * len(value)
    _require(len(value) == len(options))
    return tuple(convert_value(item, option, where) for item, option in zip(value, options, strict=True))


def _convert_number(value: Any, kind: type[int] | type[float], from_text: bool) -> int | float:
    """Converts a number to `kind`: it must be whole and of at most `_MAX_BITS` for int, and finite with `from_text`."""
    number = kind(value) if from_text and isinstance(value, str) else value
    _require(isinstance(number, int | float) and not isinstance(number, bool))
    if isinstance(number, float) and (from_text or kind is int):
        _require(math.isfinite(number) and kind(number) == number)
    result = kind(number)
    _require(isinstance(result, float) or result.bit_length() <= _MAX_BITS)
    return result


# ---- files ----


def find_config(name: str | os.PathLike[str], folder: Path) -> Path:
    """The path of a configuration file: `name` if it is a file, else that of this name (*.toml) in the folder.

    Raises:
        ConfigError: there is neither.
    """
    path = Path(name)
    if os.path.isfile(path):
        return path
    ready = {file.stem: file for file in folder.glob("*.toml")}
    if os.fspath(name) in ready:
        return ready[os.fspath(name)]
    raise ConfigError(
        f"there is no configuration {os.fspath(name)!r}: expected a .toml, .yaml or .json file, or the name of a ready "
        f"one. {did_you_mean(os.fspath(name), ready)}"
    )


def read_tables(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a TOML, YAML or JSON file as a dict; tables are nested dicts. Values are not checked.

    Raises:
        ConfigError: the file is missing, has another suffix, cannot be parsed, or its top level is not a table with
            text keys.
        MissingDependencyError: a YAML file, and PyYAML is not installed.
    """
    path = Path(file)
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise ConfigError(f"{str(path)!r} is no configuration by its name: expected .toml, .yaml or .json.")
    text = read_text(path, "configuration, a .toml, .yaml or .json file", error=ConfigError)
    try:
        content = parse(text)
    except RecursionError as error:
        raise ConfigError(f"cannot read the configuration {str(path)!r}: its values are nested too deep.") from error
    except ValueError as error:  # the parsers' errors and wrong encodings are ValueErrors
        raise ConfigError(f"cannot read the configuration {str(path)!r}: {error}. Correct the file.") from error
    if content is None:  # an empty YAML file
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{str(path)!r} holds {type(content).__name__}: expected named options, in tables.")
    return content


def _parse_toml(text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _parse_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError(
            'YAML files need PyYAML. Run: pip install "hyperstyle-inversion[yaml]", or write TOML.'
        ) from error

    def compose_node(loader: Any, parent: Any, index: Any) -> Any:
        """Refuses aliases: a small file of aliases to lists of aliases stands for any number of values."""
        if loader.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases (*name), which are not read: write the values out")
        return yaml.SafeLoader.compose_node(loader, parent, index)

    loader = type("_Loader", (yaml.SafeLoader,), {"compose_node": compose_node})
    try:
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    ".toml": _parse_toml,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".json": parse_json,
}
