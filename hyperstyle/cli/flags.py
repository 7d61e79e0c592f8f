"""How commands declare their arguments: a dataclass each, whose fields are flags.

A field made by `flag`, `switch` or `positional` is an argument of the command line. `command` adds all of them to a
parser and calls the command with the filled dataclass, so that every value has a type and keeps its name. Flags that
several commands share are dataclasses to inherit from, see `arguments`.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from hyperstyle.cli.checks import Check
from hyperstyle.cli.config import add_config_argument


class Arguments(Protocol):
    """Any dataclass; its fields are made by `flag`, `switch` and `positional`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


A = TypeVar("A", bound=Arguments)

_TYPES: dict[str, tuple[type, str | None]] = {"int": (int, "N"), "float": (float, None), "Path": (Path, "FILE")}
"""Annotation of a field -> how its text is read, and what `--help` calls it."""

_KEYWORDS = (
    "accept_third_party",
    "align",
    "aligner",
    "face",
    "form",
    "landmarks",
    "mask",
    "method",
    "other_model",
    "photo",
    "seed",
    "sideways",
    "steps",
)
_VALUE = r"(\.\.\.|'[^']*'|-?\w+(?:\.\w+)*)"
_KEYWORD = re.compile(
    rf"(?<![\w'\"/-])(?<!--edit )(?:\w+\(({'|'.join(_KEYWORDS)})={_VALUE}\)|({'|'.join(_KEYWORDS)})={_VALUE})"
)
"""An argument as the library's messages write it: `landmarks=...`, `align=False`, `DlibDetector(sideways=True)`."""

_FORMATS: dict[type, str] = {int: ",", float: "g"}  # of defaults in `--help`


def flag(
    name: str | None = None,
    *,
    help: str,
    group: str | None = None,
    exclusive: bool = False,
    check: Check | None = None,
    **settings: Any,
) -> Any:
    """A field behind a flag that takes a value. Fields of int, float and Path read it as such.

    Args:
        name: the flag with its dashes; None takes the name of the field, with "-" for "_".
        help: what it does; the default is added at the end, unless it says itself what that is.
        group: the title under which `--help` lists it.
        exclusive: the flags marked so exclude each other.
        check: of its value, or of each of several, before the command runs, see `checks`.
        settings: what `ArgumentParser.add_argument` takes.
    """
    if not settings.get("required"):
        default = settings.setdefault("default", None)
        if default is not None and not isinstance(default, bool | list) and "(default: " not in help:
            help += f" (default: {format(default, _FORMATS.get(type(default), ''))})"
    settings["help"] = help
    return field(metadata={"name": name, "group": group, "exclusive": exclusive, "check": check, "settings": settings})


def switch(help: str, *, group: str | None = None) -> Any:
    """A field behind a flag without a value, which makes it True."""
    return flag(action="store_true", default=False, help=help, group=group)


def output_folder(default: str) -> Any:
    """The field of `--out`, a folder that is made where it is missing."""
    return flag(default=Path(default), metavar="FOLDER", help="where to write; made where it is missing")


def positional(*, check: Check | None = None, **settings: Any) -> Any:
    """A field that is typed without a flag; `settings` is what `add_argument` takes, `check` is that of `flag`."""
    return field(metadata={"name": "", "group": None, "exclusive": False, "check": check, "settings": settings})


def command(
    name: str, arguments: type[A], run: Callable[[A], int], *, help: str, epilog: str | None = None, files: bool = False
) -> Callable[[argparse._SubParsersAction[argparse.ArgumentParser]], argparse.ArgumentParser]:
    """A function that adds the command to the subparsers it is called with, and returns the command's parser.

    Args:
        name: of the command.
        arguments: the dataclass of its arguments; its docstring is the description in `--help`.
        run: is called with them, and returns the exit code.
        help: a line in the list of commands.
        epilog: the last paragraph of its own `--help`.
        files: whether it takes its arguments from a file too, by `--config`.
    """
    names = [each.name for each in fields(arguments)]

    def run_parsed(args: argparse.Namespace) -> int:
        values = arguments(**{name: getattr(args, name) for name in names})
        check_values(values)
        return run(values)

    def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
        parser = subparsers.add_parser(name, help=help, description=inspect.getdoc(arguments), epilog=epilog)
        add_arguments(parser, arguments)
        if files:
            add_config_argument(parser)
        parser.set_defaults(run=run_parsed)
        return parser

    return add_parser


def add_command(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    arguments: type[A],
    run: Callable[[A], int],
    *,
    help: str,
) -> argparse.ArgumentParser:
    """Adds a command to the subparsers and returns its parser; the arguments are those of `command`."""
    return command(name, arguments, run, help=help)(subparsers)


def add_arguments(parser: argparse.ArgumentParser, arguments: type[Arguments]) -> None:
    """Adds an argument for each field: those of the class itself, then those of its bases.

    One that a subclass declares anew stays among those of its base.
    """
    places: dict[str, Any] = {"": parser}
    depths = {name: depth for depth, owner in enumerate(arguments.__mro__) for name in inspect.get_annotations(owner)}
    for each in sorted(fields(arguments), key=lambda each: depths[each.name]):
        title = each.metadata["group"] or ("exclusive" if each.metadata["exclusive"] else "")
        if title not in places:
            exclusive = each.metadata["exclusive"]
            places[title] = parser.add_mutually_exclusive_group() if exclusive else parser.add_argument_group(title)
        settings = dict(each.metadata["settings"])
        if each.metadata["name"] != "":
            settings["dest"] = each.name
        if kind := _TYPES.get(str(each.type).removesuffix(" | None")):
            settings = {"type": kind[0], "metavar": kind[1], **settings}
        places[title].add_argument(_written(each), **settings)


def check_values(args: Arguments) -> None:
    """Calls the check of every field with its value, or with each of several. Raises what the checks raise."""
    for each in fields(args):
        check: Check | None = each.metadata["check"]
        value = getattr(args, each.name)
        if check is not None:
            for item in value if isinstance(value, list) else [] if value is None else [value]:
                check(_written(each), item)


def as_flags(message: str) -> str:
    """A message of the library in one line, with its arguments as they are written on the command line.

    `landmarks=...` becomes `--landmarks`, and `align=False` becomes `--align no`.
    """

    def flag_of(match: re.Match[str]) -> str:
        name, value = match[1] or match[3], match[2] or match[4]
        written = f"--{name.replace('_', '-')}"
        if name == "align":
            value = {"True": "yes", "False": "no"}.get(value, value)
        return written if value in ("...", "True") else f"{written} {value.strip(chr(39))}"

    return _KEYWORD.sub(flag_of, " ".join(message.split()))


def given_flags(args: Arguments, *names: str) -> list[str]:
    """Of these fields, those with another value than the default: each as its flag, such as "--face"."""
    declared = {each.name: each for each in fields(args)}
    return [_written(declared[name]) for name in names if getattr(args, name) != default_of(type(args), name)]


def default_of(arguments: type[Arguments], name: str) -> Any:
    """The default of a field with this name that `flag` or `switch` made; not of one that is required."""
    return next(each.metadata["settings"]["default"] for each in fields(arguments) if each.name == name)


def _written(each: Field[Any]) -> str:
    """How a field is written on the command line: its flag, or its name where it is typed without one."""
    name: str | None = each.metadata["name"]
    return each.name if name == "" else name or f"--{each.name.replace('_', '-')}"
