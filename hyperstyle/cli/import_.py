"""`hyperstyle import`: inversions of HyperStyle's published scripts become inversion files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperstyle.cli.arguments import ModelArguments, load_inverter, writable_folder
from hyperstyle.cli.checks import there
from hyperstyle.cli.flags import command, output_folder, positional, switch
from hyperstyle.cli.inputs import check_targets
from hyperstyle.errors import InversionError


@dataclass(frozen=True, kw_only=True)
class ImportArguments(ModelArguments):
    """Reads latents.npy and weight_deltas/*.npy and writes NAME.safetensors for every image, to edit with `hyperstyle
    edit`. Nothing of the files is executed. The model must be the one they were made with, converted by `hyperstyle
    convert`: the files do not say which.
    """

    input: Path = positional(
        check=there,
        metavar="FOLDER",
        help="folder with latents.npy and weight_deltas; or a latents.npy alone, for codes without offsets",
    )
    out: Path = output_folder("inversions")
    overwrite: bool = switch("replace inversions that are there already")


def run(args: ImportArguments) -> int:
    """Imports image by image, which bounds the memory, and says where they are."""
    out = writable_folder(args.out)
    from hyperstyle.convert.deltas import load_official, official_names

    names = official_names(args.input)
    files = _files(args.input, names)
    check_targets([], [args.out / file for file in files], overwrite=args.overwrite)
    inverter = load_inverter(args)
    for name, file in zip(names, files, strict=True):
        load_official(args.input, inverter, names=[name]).save(out / file)
        print(out / file)
    return 0


add_parser = command("import", ImportArguments, run, help="read inversions that HyperStyle's scripts wrote")


def _files(source: Path, names: Sequence[str]) -> list[str]:
    """The file for each image. Raises InversionError where there is none, or two images would share one."""
    from hyperstyle.inversion.exports import official_stem

    if not names:
        raise InversionError(f"no image was read from {source}: it holds 0.")
    first_name: dict[str, str] = {}
    for name in names:
        stem = official_stem(name)
        if not stem or "\0" in stem:
            raise InversionError(f"{source} has codes of {name!r}, which is no name of an image. Rename it there.")
        if (other := first_name.setdefault(stem.casefold(), name)) != name:
            raise InversionError(
                f"{source} has codes of {other!r} and {name!r}, which would both be written to {stem}.safetensors: "
                "names count up to the first dot. Rename one there."
            )
    return [f"{official_stem(name)}.safetensors" for name in names]
