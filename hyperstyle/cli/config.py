"""`--config`: the flags of a command from TOML, YAML or JSON files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hyperstyle.errors import ConfigError, did_you_mean
from hyperstyle.training.config_file import find_config, read_tables, worded

__all__ = ["READY", "add_config_argument", "apply_config"]

READY = Path(__file__).with_name("configs")
"""Folder of the files that come with the package, each for one command, named before the dash."""


class _Files(argparse._ExtendAction):
    """Marks the argument that names configuration files."""


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--config`, after all other arguments are added; `apply_config` then does what it asks for."""
    parser.add_argument(
        "--config",
        action=_Files,
        nargs="+",
        metavar="FILE",
        help="flags of this command, without their dashes, from TOML, YAML or JSON files, or ready ones by name; later "
        f"files win, and flags over files{_positional_help(parser)}",
    )


def apply_config(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Makes what the files behind `--config` hold the defaults of the parser, where it has this argument.

    Raises:
        ConfigError: a file is not there, cannot be read, or holds an unknown name or a value that the flag would not
            take.
        MissingDependencyError: see `read_tables`.
    """
    if not any(isinstance(action, _Files) for action in parser._actions):
        return
    only = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    only.add_argument("--config", action="extend", nargs="+", default=[])
    try:
        files: list[str] = only.parse_known_args(list(arguments))[0].config
    except argparse.ArgumentError:
        return  # no file behind --config: the parser itself says so
    known = {name: action for action in parser._actions for name in _names(action)}
    for file in files:
        for key, value in read_tables(find_config(file, READY)).items():
            name = key.replace("_", "-")
            if name not in known:
                raise ConfigError(f"{file}: no option {key!r}. {did_you_mean(name, known)}")
            action = known[name]
            parser.set_defaults(**{action.dest: _value(parser, action, value, f"{file}: {key}")})
            action.required = False


def _positional_help(parser: argparse.ArgumentParser) -> str:
    names = [action.dest for action in parser._actions if not action.option_strings]
    return f"; {names[0]!r} holds what is typed without a flag, which here comes before --config" if names else ""


def _names(action: argparse.Action) -> list[str]:
    """What the argument is called in a file; nothing for --config and --help."""
    if isinstance(action, _Files | argparse._HelpAction):
        return []
    return [flag.removeprefix("--") for flag in action.option_strings if flag.startswith("--")] or [action.dest]


def _value(parser: argparse.ArgumentParser, action: argparse.Action, value: Any, where: str) -> Any:
    """The value as the command line would give it."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ConfigError(f"{where} is {value!r}: expected true or false.")
        return value
    if action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction):  # to the latter, flags add
        items = value if isinstance(value, list) else [value]
        if not items:
            raise ConfigError(f"{where} is empty: expected at least one value.")
        return [_item(parser, action, item, where) for item in items]
    return _item(parser, action, value, where)


def _item(parser: argparse.ArgumentParser, action: argparse.Action, value: Any, where: str) -> Any:
    value = worded(value, tuple(action.choices or ()))
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ConfigError(f"{where} is {value!r}: expected text or a number, as behind the flag.")
    try:
        found = parser._get_value(action, str(value))
        parser._check_value(action, found)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{where}: {error.message}.") from error
    return found
