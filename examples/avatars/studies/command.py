"""What the commands of the studies share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hyperstyle.cli.arguments import add_model_arguments
from hyperstyle.errors import HyperStyleError

__all__ = ["run_command", "study_parser"]


def study_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with the model, `--json` and `--quiet`."""
    parser = argparse.ArgumentParser(prog=f"python -m examples.avatars.studies.{name}", description=description)
    add_model_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run_command(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], argv: Sequence[str] | None
) -> int:
    """The exit code of a command: 2, and one line on stderr, where an error of the library ends it."""
    args = parser.parse_args(argv)
    try:
        run(args)
    except HyperStyleError as error:
        print(f"{parser.prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0
