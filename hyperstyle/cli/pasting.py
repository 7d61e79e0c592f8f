"""`hyperstyle evaluate pasting`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from hyperstyle.cli.arguments import add_model_arguments, check_output_files, load_inverter

__all__ = ["add_pasting_parser", "run_pasting"]


def add_pasting_parser(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `pasting` to what `hyperstyle evaluate` measures."""
    parser = kinds.add_parser(
        "pasting",
        help="what paste-back leaves as it was, and how much of the seam can be seen",
        description=(
            "Draws photos of avatars, inverts them, and pastes them back unedited and edited. Prints how many pixels "
            "changed where none may, and the contrast that is left at the seam by each way of blending: across the "
            "border (step), and in the colours of the outermost tenth of the square (band). For edits of a factor "
            "that can be drawn, such as smile, also how far the edited photo is from the same person drawn so: over "
            "eyes and mouth, over what the drawing changes, and over the face."
        ),
    )
    add_model_arguments(parser)
    parser.add_argument("--count", type=int, default=32, metavar="N", help="photos (default: 32)")
    parser.add_argument("--size", type=int, default=512, metavar="PX", help="side of the photos (default: 512)")
    parser.add_argument("--edit", default="smile", metavar="NAME", help="the edit to paste back (default: smile)")
    parser.add_argument("--strength", type=float, default=2.0, help="how far (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run_pasting)


def run_pasting(args: argparse.Namespace) -> int:
    """Prints what `evaluate_pasting` finds."""
    from tqdm import tqdm

    from hyperstyle.evaluation.pasting import evaluate_pasting, pasting_text
    from hyperstyle.io.components import write_json

    check_output_files(args, json="JSON")
    inverter = load_inverter(args)
    with tqdm(total=args.count, unit="photo", disable=args.quiet) as bar:

        def show(what: str, done: int, total: int) -> None:
            bar.update(done - bar.n)

        found = evaluate_pasting(
            inverter,
            count=args.count,
            size=args.size,
            edit=args.edit,
            strength=args.strength,
            on_progress=show,
        )
    print(pasting_text(found))
    if args.json is not None:
        write_json(args.json, asdict(found))
    return 0
