"""Inputs and edits of `hyperstyle edit` and `hyperstyle animate`: inversions or images, edits by name, file or text."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperstyle.cli.arguments import (
    ALIGN,
    check_face_arguments,
    given_invert_flags,
    landmarks_of,
    parse_edit,
)
from hyperstyle.cli.video import is_clip_file
from hyperstyle.errors import ConfigError, EditError, MissingFileError, did_you_mean

if TYPE_CHECKING:
    from hyperstyle.inversion.inversion import Inversion
    from hyperstyle.inversion.strips import Sweep
    from hyperstyle.inverter import HyperStyleInverter

__all__ = [
    "add_edit_arguments",
    "check_edits",
    "check_files",
    "check_several",
    "edit_options",
    "given_edit_flags",
    "is_inversion",
    "start",
    "sweeps",
]


def add_edit_arguments(parser: argparse.ArgumentParser, ranges: str) -> None:
    """Adds `--edit`, `--text`, `--neutral`, `--beta`, `--layers` and `--other-model`; `ranges` says what those give."""
    parser.add_argument(
        "--edit",
        dest="edits",
        action="append",
        default=[],
        type=parse_edit,
        metavar="NAME=VALUE",
        help=f"may be repeated; NAME may be the file or folder of an edit; {ranges}",
    )
    parser.add_argument(
        "--text",
        dest="texts",
        action="append",
        default=[],
        type=parse_edit,
        metavar="TEXT=VALUE",
        help='what the image should look like, "a smiling face=4"; the model needs StyleCLIP statistics',
    )
    parser.add_argument("--neutral", metavar="TEXT", help='what it looks like now (default: "a face")')
    parser.add_argument("--beta", type=float, help="with --text: channels of less relevance stay (default: 0.13)")
    parser.add_argument(
        "--layers",
        type=_layers,
        metavar="NAME,NAME",
        help="limit the edits to these layers, by name (b16.conv0) or official index",
    )
    parser.add_argument("--other-model", action="store_true", help="take edits that were made for another generator")


def check_edits(args: argparse.Namespace) -> None:
    """Raises ConfigError for flags of texts where there is none."""
    given = {"--neutral": args.neutral is not None, "--beta": args.beta is not None}
    if not args.texts and (flags := [flag for flag, is_given in given.items() if is_given]):
        raise ConfigError(f"{', '.join(flags)}: for --text, which is missing. Add it, or leave them out.")


def given_edit_flags(args: argparse.Namespace) -> list[str]:
    """Which flags of `add_edit_arguments` but `--edit` were given."""
    asked = {"--text": args.texts, "--layers": args.layers, "--other-model": args.other_model}
    return [flag for flag, is_asked in asked.items() if is_asked]


def sweeps(args: argparse.Namespace, inverter: HyperStyleInverter) -> list[Sweep]:
    """The edits asked for, those of `--edit` first, each with its strength or strengths.

    Raises:
        EditError: no such edit, an edit for other codes, or a text for a model without statistics.
        ConfigError: a layer that the generator does not have.
    """
    from hyperstyle.edits import load_edit
    from hyperstyle.inversion.editing import text_edit

    for layer in args.layers or ():
        inverter.model.generator.layer(layer)
    requested: list[Sweep] = []
    for request in args.edits:
        if request.name in inverter.edits:
            requested.append((request.name, request.strengths))
        elif os.path.exists(request.name):  # unlike Path's, it is False for any name that cannot be
            width = inverter.model.generator.config.latent_width
            requested.append((load_edit(request.name, width=width), request.strengths))
        else:
            raise EditError(
                f"no edit named {request.name!r} in this model, nor a file or folder of that name. "
                f"{did_you_mean(request.name, inverter.edits)}"
            )
    for request in args.texts:
        edit = text_edit(inverter.model, request.name, args.neutral, args.beta)
        requested.append((edit, request.strengths))
    return requested


def edit_options(args: argparse.Namespace) -> dict[str, Any]:
    """`layers` and `other_model` as `Inversion.edit` takes them."""
    return {"layers": args.layers, "other_model": args.other_model}


def is_inversion(source: Path) -> bool:
    """Whether this is taken for a file that `hyperstyle invert` wrote."""
    return source.suffix.lower() == ".safetensors"


def check_files(args: argparse.Namespace, sources: list[Path], out: Path | None = None) -> None:
    """Checks, before any work, that inputs, photo and output go together.

    Raises:
        ConfigError: `--photo` or flags of inverting without use, no photo to paste an inversion back into, or a result
            that would replace an input.
        MissingFileError: an input is not there.
    """
    if args.photo is not None and not args.paste_back:
        raise ConfigError("--photo is for --paste-back, which is missing. Add it, or leave --photo out.")
    inverted = all(is_inversion(source) for source in sources)
    if not inverted:
        check_face_arguments(args)
        if args.paste_back and args.align == "no":
            raise ConfigError(
                "--paste-back with --align no, which takes images as they are: nothing is cut out that could be put "
                "back. Leave out one or the other."
            )
    files = [file for file in (*sources, args.photo) if file is not None]
    if out is not None and out.resolve() in {file.resolve() for file in files}:
        raise ConfigError(f"the result {str(out)!r} would replace the input. Choose another --out.")
    for file in files:
        if not file.exists():
            raise MissingFileError(f"there is no file {str(file)!r}. Check the name.")
    if not inverted:
        return
    if given := given_invert_flags(args):
        raise ConfigError(
            f"{', '.join(given)}: for inverting an image, and {str(sources[0])!r} is inverted already. Leave out what "
            "is for that, or give the image."
        )
    if args.paste_back and args.photo is None:
        raise ConfigError(f"{str(sources[0])!r} does not hold the photo to paste back into: pass it with --photo.")


def check_several(args: argparse.Namespace, sources: list[Path]) -> None:
    """`check_files` for several inputs, and that no flag is for a single input.

    Raises:
        ConfigError: a clip among them, what is for one input, or flags without use.
    """
    if clips := [source for source in sources if is_clip_file(source)]:
        raise ConfigError(f"{str(clips[0])!r} is a clip, and there are other inputs: edit clips one at a time.")
    inversions = [source for source in sources if is_inversion(source)]
    if args.photo is not None:
        raise ConfigError(f"--photo is for one inversion, and there are {len(sources)} inputs. Edit it alone.")
    if args.paste_back and inversions:
        raise ConfigError(
            f"{str(inversions[0])!r} does not hold the photo to paste back into: edit it alone, with --photo."
        )
    images = len(sources) - len(inversions)
    if images > 1 and args.landmarks is not None and not args.landmarks.is_dir():
        raise ConfigError(f"--landmarks {str(args.landmarks)!r} is one file for {images} images: give a folder.")
    check_files(args, sources)


def start(source: Path, inverter: HyperStyleInverter, args: argparse.Namespace) -> Inversion:
    """The inversion in the file, or of the image."""
    from hyperstyle.inversion.inversion import Inversion

    if is_inversion(source):
        return Inversion.load(source, inverter)
    points = landmarks_of(source, args.landmarks)
    return inverter.invert(source, steps=args.steps, align=ALIGN[args.align], face=args.face, landmarks=points)


def _layers(text: str) -> list[str | int]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of layers: expected names or numbers, b16.conv0,9")
    return [int(name) if name.isdecimal() else name for name in names]
