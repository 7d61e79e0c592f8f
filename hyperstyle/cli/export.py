"""`hyperstyle export`: an inversion, or a model's generator, as a file for other programs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from hyperstyle.cli.arguments import add_model_arguments, load_inverter, writable_folder
from hyperstyle.errors import ConfigError

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "export",
        help="write an inversion or a generator for other programs",
        description=(
            "Writes an inversion as a generator of its own (.pt with g_ema), as the latents.npy and weight_deltas of "
            "HyperStyle's scripts, or as dense offsets (.safetensors). Without an inversion: the model's generator."
        ),
    )
    parser.add_argument(
        "input", type=Path, nargs="?", metavar="INVERSION", help=".safetensors file that `hyperstyle invert` wrote"
    )
    parser.add_argument(
        "--form",
        choices=("generator", "official", "offsets"),
        default="generator",
        help="what to write; official is a folder, which may hold other images already (default: generator)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="file or folder to write")
    add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exports and says where."""
    from hyperstyle.inversion.exports import check_export

    out: Path = args.out
    source: Path | None = args.input
    if source is None and args.form != "generator":
        raise ConfigError(f"--form {args.form} needs an inversion: name the .safetensors file to export.")
    if source is not None and out.resolve() == source.resolve():
        raise ConfigError(f"the result {str(out)!r} would replace the input. Choose another --out.")
    if model := next((str(at) for at in (out, *out.resolve().parents) if os.path.exists(at / "hyperstyle.json")), None):
        raise ConfigError(f"the result {str(out)!r} would lie in the model {model!r}. Choose another --out.")
    check_export(out, args.form)
    writable_folder(out if args.form == "official" else out.parent)
    inverter = load_inverter(args)
    if source is None:
        from hyperstyle.inversion.exports import save_generator

        save_generator(inverter.model.generator, out)
    else:
        from hyperstyle.inversion.inversion import Inversion

        Inversion.load(source, inverter).export(out, args.form)
    print(out)
    return 0
