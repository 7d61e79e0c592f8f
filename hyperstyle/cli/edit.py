"""`hyperstyle edit`: an inversion or a picture in, an edited picture or a strip of them out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import (
    ALIGN,
    EditRequest,
    add_invert_arguments,
    add_model_arguments,
    landmarks_of,
    load_inverter,
    parse_edit,
    writable_folder,
)
from hyperstyle.errors import ConfigError, EditError, did_you_mean

if TYPE_CHECKING:
    from PIL.Image import Image

    from hyperstyle.inversion import Inversion
    from hyperstyle.inverter import HyperStyleInverter

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "edit",
        help="edit an inverted picture: one value, or a strip over a range",
        description="Edits an inversion that `hyperstyle invert` wrote, or a picture (inverted first).",
        epilog="The names of the edits and their sensible ranges: hyperstyle info",
    )
    parser.add_argument("input", type=Path, metavar="INPUT", help="inversion (.safetensors) or picture")
    parser.add_argument(
        "--edit",
        dest="edits",
        action="append",
        required=True,
        type=parse_edit,
        metavar="NAME=VALUE",
        help="may be repeated; NAME=START:STOP:COUNT gives a strip, and may stand once",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="picture to write (default: the input's name with _edited.png, in the current folder)",
    )
    add_model_arguments(parser)
    add_invert_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Edits, writes the picture and says where it is."""
    from hyperstyle.images import save_image

    source: Path = args.input
    out: Path = args.out or Path(f"{source.stem}_edited.png")
    strips = [edit for edit in args.edits if edit.is_strip]
    if len(strips) > 1:
        raise ConfigError(f"{len(strips)} ranges ({', '.join(edit.name for edit in strips)}): a strip has one.")
    if out.resolve() == source.resolve():
        raise ConfigError(f"the result {str(out)!r} would replace the input. Choose another --out.")
    writable_folder(out.parent)
    inverter = load_inverter(args)
    for edit in args.edits:
        if edit.name not in inverter.edits:
            raise EditError(f"no edit named {edit.name!r} in this model. {did_you_mean(edit.name, inverter.edits)}")
    inversion = _start(source, inverter, args)
    for edit in args.edits:
        if not edit.is_strip:
            inversion = inversion.edit(edit.name, edit.strengths[0])
    save_image(_picture(inversion, strips[0] if strips else None), out)
    print(out)
    return 0


def _start(source: Path, inverter: HyperStyleInverter, args: argparse.Namespace) -> Inversion:
    from hyperstyle.inversion import Inversion

    if source.suffix.lower() != ".safetensors":
        points = landmarks_of(source, args.landmarks)
        return inverter.invert(source, steps=args.steps, align=ALIGN[args.align], landmarks=points)
    return Inversion.load(source, inverter)


def _picture(inversion: Inversion, strip: EditRequest | None) -> Image:
    """The picture to write: one row per inverted picture, as most files hold a single one."""
    from hyperstyle.images import sheet

    if strip is None:
        return inversion.image if len(inversion) == 1 else sheet([inversion.images])
    labels = [f"{strip.name} {strength:+.3g}" if strength else f"{strip.name} 0" for strength in strip.strengths]
    return sheet([one.edit(strip.name, strip.strengths).images for one in inversion], labels=labels)
