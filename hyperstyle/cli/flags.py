"""How commands declare their arguments: a dataclass each, whose fields are flags.

A field made by `flag`, `switch` or `positional` is an argument of the command line. `add_command` adds all of them to a
parser and calls the command with the filled dataclass, so that every value has a type and keeps its name. Flags that
several commands share are dataclasses to inherit from, see `arguments`.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

__all__ = ["add_arguments", "add_command", "default_of", "flag", "given_flags", "positional", "switch"]


class Arguments(Protocol):
    """Any dataclass; its fields are made by `flag`, `switch` and `positional`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


A = TypeVar("A", bound=Arguments)

_TYPES: dict[str, type] = {"int": int, "float": float, "Path": Path}


def flag(name: str | None = None, *, group: str | None = None, exclusive: bool = False, **settings: Any) -> Any:
    """A field behind a flag that takes a value. Fields of int, float and Path read it as such.

    Args:
        name: the flag with its dashes; None makes it of the name of the field.
        group: the title under which `--help` lists it.
        exclusive: the flags marked so exclude each other.
        settings: what `ArgumentParser.add_argument` takes.
    """
    if not settings.get("required"):
        settings.setdefault("default", None)
    return _field(name, settings, group=group, exclusive=exclusive)


def switch(help: str, *, group: str | None = None) -> Any:
    """A field behind a flag without a value, which makes it True."""
    return _field(None, {"action": "store_true", "default": False, "help": help}, group=group)


def positional(**settings: Any) -> Any:
    """A field that is typed without a flag; `settings` is what `ArgumentParser.add_argument` takes."""
    return _field("", settings)


def _field(name: str | None, settings: dict[str, Any], *, group: str | None = None, exclusive: bool = False) -> Any:
    metadata = {"name": name, "settings": settings, "group": group, "exclusive": exclusive}
    default = settings.get("default", MISSING)
    if isinstance(default, list):
        return field(default_factory=list, metadata=metadata)
    return field(default=default, metadata=metadata)


def add_command(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    arguments: type[A],
    run: Callable[[A], int],
    *,
    help: str,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    """Adds a command to the command line.

    Args:
        subparsers: where it is added.
        name: of the command.
        arguments: the dataclass of its arguments; its docstring is the description in `--help`.
        run: is called with them, and returns the exit code.
        help: a line in the list of commands.
        epilog: the last paragraph of its own `--help`.

    Returns:
        The parser of the command.
    """
    parser = subparsers.add_parser(name, help=help, description=inspect.getdoc(arguments), epilog=epilog)
    add_arguments(parser, arguments)
    parser.set_defaults(run=_Command(arguments, run))
    return parser


@dataclass(frozen=True)
class _Command:
    """Calls `run` with the arguments out of a parsed namespace."""

    arguments: type[Arguments]
    run: Callable[[Any], int]

    def __call__(self, args: argparse.Namespace) -> int:
        return self.run(self.arguments(**{each.name: getattr(args, each.name) for each in fields(self.arguments)}))


def add_arguments(parser: argparse.ArgumentParser, arguments: type[Arguments]) -> None:
    """Adds an argument for each field: those of the class itself, then those of its bases."""
    groups: dict[str, Any] = {}
    for each in _declared(arguments):
        place: Any = parser
        if each.metadata["exclusive"]:
            place = groups[""] = groups.get("") or parser.add_mutually_exclusive_group()
        elif title := each.metadata["group"]:
            place = groups[title] = groups.get(title) or parser.add_argument_group(title)
        settings = dict(each.metadata["settings"])
        if each.metadata["name"] != "":
            settings["dest"] = each.name
        if kind := _TYPES.get(str(each.type).removesuffix(" | None")):
            settings.setdefault("type", kind)
        place.add_argument(_written(each), **settings)


def given_flags(args: Arguments, *names: str) -> list[str]:
    """Which of the flags behind these fields have other values than their defaults."""
    declared = {each.name: each for each in fields(args)}
    return [
        _written(declared[name])
        for name in names
        if getattr(args, name) != declared[name].metadata["settings"]["default"]
    ]


def default_of(arguments: type[Arguments], name: str) -> Any:
    """The default of the flag behind a field."""
    return next(each.metadata["settings"]["default"] for each in fields(arguments) if each.name == name)


def _declared(arguments: type[Arguments]) -> Iterator[Field[Any]]:
    """The fields in the order of `--help`: those of the class itself, then those of its bases.

    One that a subclass declares anew stays among those of its base.
    """
    by_name = {each.name: each for each in fields(arguments)}
    owners = {name: owner for owner in arguments.__mro__ for name in inspect.get_annotations(owner)}
    for owner in arguments.__mro__:
        for name in inspect.get_annotations(owner):
            if name in by_name and owners[name] is owner:
                yield by_name[name]


def _written(each: Field[Any]) -> str:
    """How a field is written on the command line: its flag, or its name where it is typed without one."""
    name: str | None = each.metadata["name"]
    return each.name if name == "" else name or f"--{each.name.replace('_', '-')}"
