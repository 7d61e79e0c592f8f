"""`hyperstyle edit`: an inversion, a picture or a clip in; an edited picture, a strip, a grid or a clip out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import (
    add_invert_arguments,
    add_model_arguments,
    check_face_arguments,
    load_inverter,
    writable_folder,
)
from hyperstyle.cli.starting import (
    add_edit_arguments,
    check_edits,
    check_files,
    edit_options,
    given_edit_flags,
    start,
    sweeps,
)
from hyperstyle.cli.video import add_video_arguments, is_video, run_video
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

    from hyperstyle.inversion import Inversion
    from hyperstyle.strips import Sweep

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "edit",
        help="edit a photo, an inversion or a clip: one value, a strip over a range, a grid over two",
        description=(
            "Edits an inversion that `hyperstyle invert` wrote, or a picture (inverted first), or every frame of a "
            "folder or a clip. The result is the face, or with --paste-back the photo with the edited face in it."
        ),
        epilog="The names of the edits and their sensible ranges: hyperstyle edits",
    )
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="inversion (.safetensors), picture, folder of frames or clip"
    )
    add_edit_arguments(parser, "NAME=START:STOP:COUNT gives a strip, two of them a grid, the first from left to right")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="what to write (default: the input's name with _edited.png, in the current folder)",
    )
    parser.add_argument(
        "--paste-back", action="store_true", help="put the edited face back into its photo, at the photo's size"
    )
    parser.add_argument(
        "--photo", type=Path, metavar="FILE", help="the photo again, to paste an inversion (.safetensors) back into"
    )
    add_model_arguments(parser)
    add_invert_arguments(parser)
    add_video_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Edits, writes the picture and says where it is."""
    from hyperstyle.images import picture_format, save_image

    source: Path = args.input
    if not args.edits and not args.texts:
        raise ConfigError("nothing to do: name an edit with --edit, as in --edit age=2.")
    check_edits(args)
    if is_video(source):
        return _run_video(args)
    out: Path = args.out or Path(f"{source.stem}_edited.png")
    ranges = [edit.name for edit in (*args.edits, *args.texts) if edit.is_strip]
    if len(ranges) > 2:
        raise ConfigError(f"{len(ranges)} ranges ({', '.join(ranges)}): a strip has one, a grid two.")
    check_files(args, [source], out)
    if given := _given_video_flags(args):
        raise ConfigError(
            f"{', '.join(given)}: for folders of frames and clips, and {str(source)!r} is none. Leave out what is for "
            "them."
        )
    picture_format(out)
    writable_folder(out.parent)
    inverter = load_inverter(args)
    edits = sweeps(args, inverter)
    inversion = start(source, inverter, args)
    for edit, strengths in edits:
        if len(strengths) == 1:
            inversion = inversion.edit(edit, strengths[0], **edit_options(args))
    save_image(_picture(inversion, [sweep for sweep in edits if len(sweep[1]) > 1], args), out)
    print(out)
    return 0


def _run_video(args: argparse.Namespace) -> int:
    """The frames of a folder or clip."""
    if args.photo is not None:
        raise ConfigError(f"--photo is for one inversion; {str(args.input)!r} holds frames of its own. Leave it out.")
    if given := given_edit_flags(args):
        raise ConfigError(f"{', '.join(given)}: not for folders of frames and clips, which take --edit NAME=VALUE.")
    check_face_arguments(args)
    if args.paste_back and args.align == "no":
        raise ConfigError("--paste-back with --align no, which takes frames as they are. Leave out one or the other.")
    inverter = load_inverter(args)
    if args.paste_back and inverter.model.domain.aligner != "face":
        raise ConfigError(
            f"--paste-back is for faces, and the model {args.model!r} takes whole pictures. Leave it out."
        )
    return run_video(args, inverter)


def _given_video_flags(args: argparse.Namespace) -> list[str]:
    """Which flags of `add_video_arguments` ask for something else than their defaults; --quiet harms nowhere."""
    asked = {"--offsets": args.offsets != "clip", "--smoothing": args.smoothing != 3, "--rate": args.rate is not None}
    return [flag for flag, is_asked in asked.items() if is_asked]


def _picture(inversion: Inversion, ranges: list[Sweep], args: argparse.Namespace) -> Image:
    """The picture to write: one row per inverted picture, as most files hold a single one, or whole photos."""
    from hyperstyle.images import sheet
    from hyperstyle.strips import grid, strip

    options = {**edit_options(args), "paste_back": args.paste_back, "photo": args.photo}
    if len(ranges) == 2:
        return grid(inversion, *ranges, **options)
    if ranges:
        return strip(inversion, *ranges[0], **options)
    if args.paste_back:
        return inversion.paste_back(args.photo)
    return inversion.image if len(inversion) == 1 else sheet([inversion.images])
