"""`hyperstyle import`: inversions of HyperStyle's published scripts become inversion files."""

from __future__ import annotations

import argparse
from pathlib import Path

from hyperstyle.cli.arguments import add_model_arguments, load_inverter, writable_folder

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "import",
        help="read inversions that HyperStyle's scripts wrote",
        description=(
            "Reads latents.npy and weight_deltas/*.npy and writes NAME.safetensors for every picture, to edit with "
            "`hyperstyle edit`. Nothing of the files is executed. The model must be the one they were made with, "
            "converted by `hyperstyle convert`: the files do not tell."
        ),
    )
    parser.add_argument(
        "input",
        type=Path,
        metavar="FOLDER",
        help="folder with latents.npy and weight_deltas; or a latents.npy alone, for codes without offsets",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("inversions"),
        metavar="FOLDER",
        help="where to write; made where it is missing (default: inversions)",
    )
    add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Imports picture by picture, which bounds the memory, and says where they are."""
    from hyperstyle.convert.deltas import load_official, official_names
    from hyperstyle.exports import official_stem

    names = official_names(args.input)
    out = writable_folder(args.out)
    inverter = load_inverter(args)
    for name in names:
        path = out / f"{official_stem(name)}.safetensors"
        load_official(args.input, inverter, names=[name]).save(path)
        print(path)
    return 0
