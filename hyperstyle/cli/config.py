"""`--config`: the flags of a command from TOML, YAML or JSON files."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from hyperstyle.errors import ConfigError, HyperStyleError, did_you_mean, shorten
from hyperstyle.io.typed_config import convert_value, find_config, read_tables

READY = Path(__file__).with_name("configs")
"""Folder of the files that come with the package, each for one command, named before the dash."""


class ConfigParser(argparse.ArgumentParser):
    """A parser whose arguments may also stand in the files behind `--config`, where `add_config_argument` added it.

    Arguments of groups (`add_argument_group`) cannot stand in files. Errors are reported in one line, which names the
    help, instead of by printing the usage.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Before the parser's own __init__, which adds --help.
        self.has_config = False
        self.arguments: dict[str, argparse.Action] = {}
        self.repeatable: set[str] = set()
        super().__init__(*args, **kwargs)

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        """Adds an argument as usual. Files call it by its flags without dashes, or by the name of its value."""
        action = super().add_argument(*args, **kwargs)
        names = [flag.removeprefix("--") for flag in action.option_strings if flag.startswith("--")] or [action.dest]
        if action.dest not in ("help", "config"):
            self.arguments.update(dict.fromkeys(names, action))
        if kwargs.get("action") in ("append", "extend"):
            self.repeatable.add(action.dest)
        return action

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Arguments as usual, over what the files behind `--config` hold."""
        arguments = sys.argv[1:] if args is None else list(args)
        try:
            self.apply_config(arguments)
        except (HyperStyleError, OSError) as error:  # OSError: a name that is too long
            self.error(" ".join(str(error).split()))
        parsed, unknown = super().parse_known_args(arguments, namespace)
        if unknown:  # reported here, by the parser of the command, and not by that of all commands
            name = unknown[0].partition("=")[0]
            close = difflib.get_close_matches(name, self._option_string_actions, n=1, cutoff=0.75)
            advice = f". Did you mean {close[0]}?" if close else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{advice}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Ends the process with exit code 2."""
        end = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"hyperstyle: error: {shorten(message)}{end} Help: {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Writes help, version or error. Raises OSError where that fails, which argparse passes over."""
        print(message or "", end="", file=file or sys.stderr, flush=True)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Of a name among several, such as a command, also says which one is close."""
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"no {value!r}. {did_you_mean(str(value), map(str, action.choices))}")

    def apply_config(self, command_line: Sequence[str]) -> None:
        """Makes what the files behind `--config` hold the defaults of this parser.

        Raises:
            ConfigError: a file is not there, cannot be read, or holds an unknown name or a value that the flag would
                not take.
            MissingDependencyError: see `read_tables`.
        """
        if not self.has_config:
            return
        only_config = argparse.ArgumentParser(add_help=False, exit_on_error=False)
        only_config.add_argument("--config", action="extend", nargs="+", default=[])
        try:
            files: list[str] = only_config.parse_known_args(list(command_line))[0].config
        except argparse.ArgumentError:
            return  # no file behind --config: the parser itself says so
        for file in files:
            for key, value in read_tables(find_config(file, READY)).items():
                name = key.replace("_", "-")
                if name not in self.arguments:
                    raise ConfigError(f"{file}: no option {key!r}. {did_you_mean(name, self.arguments)}")
                action, where = self.arguments[name], f"{file}: {key}"
                takes_several = action.nargs in ("+", "*") or action.dest in self.repeatable
                items = value if takes_several and isinstance(value, list) else [value]  # one alone need not be a list
                if not items:
                    raise ConfigError(f"{where} is empty: expected at least one value.")
                values = [_convert(action, item, where) for item in items]
                self.set_defaults(**{action.dest: values if takes_several else values[0]})
                action.required = False


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--config` to a `ConfigParser`, after all other arguments."""
    assert isinstance(parser, ConfigParser)  # as all parsers of the command line are
    note = ""
    if positional := [name for name, action in parser.arguments.items() if not action.option_strings]:
        note = f"; {positional[0]!r} holds what is typed without a flag, which here comes before --config"
    parser.add_argument(
        "--config",
        action="extend",
        nargs="+",
        metavar="FILE",
        help="flags of this command, without their dashes, from TOML, YAML or JSON files, or ready ones by name; later "
        f"files win, and flags over files{note}",
    )
    parser.has_config = True


def _convert(action: argparse.Action, value: Any, where: str) -> Any:
    """A value as the command line would give it."""
    if action.nargs == 0:
        return convert_value(value, bool, where)
    if action.choices is not None:
        return convert_value(value, cast(Any, Literal)[tuple(action.choices)], where, from_text=True)
    if action.type in (int, float):
        return convert_value(value, action.type, where, from_text=True)
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ConfigError(f"{where} is {value!r}: expected text or a number, as behind the flag.")
    convert: Any = action.type or str
    try:
        return convert(str(value))
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"{where}: {error}.") from error
