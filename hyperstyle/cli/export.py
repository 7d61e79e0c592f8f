"""`hyperstyle export`: an inversion, or a model's generator, as a file for other programs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyperstyle.cli.arguments import ModelArguments, load_inverter, writable_folder
from hyperstyle.cli.flags import command, flag, positional
from hyperstyle.errors import ConfigError, MissingFileError
from hyperstyle.io.file_kind import check_export


@dataclass(frozen=True, kw_only=True)
class ExportArguments(ModelArguments):
    """Writes an inversion as a generator of its own (.pt with g_ema), as the latents.npy and weight_deltas of
    HyperStyle's scripts, or as dense offsets (.safetensors). Without an inversion: the model's generator.
    """

    input: Path | None = positional(
        nargs="?", metavar="INVERSION", help=".safetensors file that `hyperstyle invert` wrote"
    )
    form: Literal["generator", "official", "offsets"] = flag(
        choices=("generator", "official", "offsets"),
        default="generator",
        help="what to write; official is a folder, which may hold other images already",
    )
    out: Path = flag(required=True, metavar="PATH", help="file or folder to write")


def run(args: ExportArguments) -> int:
    """Exports and says where."""
    out, source = args.out, args.input
    if source is None and args.form != "generator":
        raise ConfigError(f"--form {args.form} needs an inversion: name the .safetensors file to export.")
    if source is not None and out.resolve() == source.resolve():
        raise ConfigError(f"the result {str(out)!r} would replace the input. Choose another --out.")
    if model := next((str(at) for at in (out, *out.resolve().parents) if os.path.exists(at / "hyperstyle.json")), None):
        raise ConfigError(f"the result {str(out)!r} would lie in the model {model!r}. Choose another --out.")
    if source is not None and not source.exists():
        raise MissingFileError(f"there is no file {str(source)!r}. Check the name.")
    check_export(out, args.form)
    writable_folder(out if args.form == "official" else out.parent)
    from hyperstyle.inversion.exports import save_generator
    from hyperstyle.inversion.inversion import Inversion

    inverter = load_inverter(args)
    if source is None:
        save_generator(inverter.model.generator, out)
    else:
        Inversion.load(source, inverter).export(out, args.form)
    print(out)
    return 0


add_parser = command("export", ExportArguments, run, help="write an inversion or a generator for other programs")
