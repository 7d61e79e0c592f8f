"""`hyperstyle models`, which lists the models, and `hyperstyle models remove`, which deletes an installed one."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from hyperstyle.cli.flags import add_command, positional


@dataclass(frozen=True, kw_only=True)
class ModelsArguments:
    """Lists the models that `--model` takes by name: the bundled one, those that are installed, and those that
    `hyperstyle fetch` can install.
    """


@dataclass(frozen=True, kw_only=True)
class RemoveArguments:
    """Deletes an installed model and what is left of its downloads."""

    name: str = positional(metavar="NAME", help="an installed model, as `hyperstyle models` lists it")


def run(args: ModelsArguments) -> int:
    """Prints a line for each model."""
    from hyperstyle.io import installed
    from hyperstyle.io.catalog import COLLECTIONS
    from hyperstyle.io.hub import BUNDLED

    lines = [(name, f"bundled    {installed.size(folder) / 1e6:,.0f} MB") for name, folder in BUNDLED.items()]
    there = {name: folder for name in installed.names() if (folder := installed.find(name)) is not None}
    lines += [(name, f"installed  {installed.size(folder) / 1e6:,.0f} MB, {folder}") for name, folder in there.items()]
    for name, collection in COLLECTIONS.items():
        if collection.domain and collection.files and name not in there:
            accept = " --accept-third-party" if collection.needs_acceptance else ""
            lines.append((name, f"fetchable  {collection.size_in_words}: hyperstyle fetch {name}{accept}"))
    width = max(len(name) for name, _ in lines)
    print("\n".join(f"{name:<{width}}  {text}" for name, text in lines))
    return 0


def _remove(args: RemoveArguments) -> int:
    """Deletes the model and says what that freed."""
    from hyperstyle.io import installed

    freed = installed.remove(args.name)
    print(f"The model {args.name} is deleted: {freed / 1e6:,.0f} MB.")
    return 0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = add_command(subparsers, "models", ModelsArguments, run, help="list the models that --model takes by name")
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    add_command(actions, "remove", RemoveArguments, _remove, help="delete an installed model")
