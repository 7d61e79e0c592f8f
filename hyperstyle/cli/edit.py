"""`hyperstyle edit`: an inversion, a picture or a clip in; an edited picture, a strip of them or a clip out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import (
    ALIGN,
    EditRequest,
    add_invert_arguments,
    add_model_arguments,
    check_face_arguments,
    given_invert_flags,
    landmarks_of,
    load_inverter,
    parse_edit,
    writable_folder,
)
from hyperstyle.cli.video import add_video_arguments, is_video, run_video
from hyperstyle.errors import ConfigError, EditError, MissingFileError, did_you_mean

if TYPE_CHECKING:
    from PIL.Image import Image

    from hyperstyle.inversion import Inversion
    from hyperstyle.inverter import HyperStyleInverter

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "edit",
        help="edit a photo, an inversion or a clip: one value, or a strip over a range",
        description=(
            "Edits an inversion that `hyperstyle invert` wrote, or a picture (inverted first), or every frame of a "
            "folder or a clip. The result is the face, or with --paste-back the photo with the edited face in it."
        ),
        epilog="The names of the edits and their sensible ranges: hyperstyle info",
    )
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="inversion (.safetensors), picture, folder of frames or clip"
    )
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
    if args.photo is not None and not args.paste_back:
        raise ConfigError("--photo is for --paste-back, which is missing. Add it, or leave --photo out.")
    if not _is_inversion(source):
        check_face_arguments(args)
        if args.paste_back and args.align == "no":
            raise ConfigError(
                "--paste-back with --align no, which takes pictures as they are: nothing is cut out that could be put "
                "back. Leave out one or the other."
            )
    if is_video(source):
        if args.photo is not None:
            raise ConfigError(f"--photo is for one inversion; {str(source)!r} holds frames of its own. Leave it out.")
        inverter = load_inverter(args)
        if args.paste_back and inverter.model.domain.aligner != "face":
            raise ConfigError(
                f"--paste-back is for faces, and the model {args.model!r} takes whole pictures. Leave it out."
            )
        return run_video(args, inverter)
    out: Path = args.out or Path(f"{source.stem}_edited.png")
    strips = [edit for edit in args.edits if edit.is_strip]
    if len(strips) > 1:
        raise ConfigError(f"{len(strips)} ranges ({', '.join(edit.name for edit in strips)}): a strip has one.")
    if out.resolve() in {file.resolve() for file in (source, args.photo) if file is not None}:
        raise ConfigError(f"the result {str(out)!r} would replace the input. Choose another --out.")
    for file in (source, args.photo):
        if file is not None and not file.exists():
            raise MissingFileError(f"there is no file {str(file)!r}. Check the name.")
    if given := _given_video_flags(args):
        raise ConfigError(
            f"{', '.join(given)}: for folders of frames and clips, and {str(source)!r} is none. Leave out what is for "
            "them."
        )
    if _is_inversion(source):
        _check_inversion(source, args)
    picture_format(out)
    writable_folder(out.parent)
    inverter = load_inverter(args)
    for edit in args.edits:
        if edit.name not in inverter.edits:
            raise EditError(f"no edit named {edit.name!r} in this model. {did_you_mean(edit.name, inverter.edits)}")
    inversion = _start(source, inverter, args)
    for edit in args.edits:
        if not edit.is_strip:
            inversion = inversion.edit(edit.name, edit.strengths[0])
    strip = strips[0] if strips else None
    save_image(_photo(inversion, strip, args.photo) if args.paste_back else _picture(inversion, strip), out)
    print(out)
    return 0


def _is_inversion(source: Path) -> bool:
    return source.suffix.lower() == ".safetensors"


def _given_video_flags(args: argparse.Namespace) -> list[str]:
    """Which flags of `add_video_arguments` ask for something else than their defaults; --quiet harms nowhere."""
    asked = {"--offsets": args.offsets != "clip", "--smoothing": args.smoothing != 3, "--rate": args.rate is not None}
    return [flag for flag, is_asked in asked.items() if is_asked]


def _check_inversion(source: Path, args: argparse.Namespace) -> None:
    if given := given_invert_flags(args):
        raise ConfigError(
            f"{', '.join(given)}: for inverting a picture, and {str(source)!r} is inverted already. Leave out what is "
            "for that, or give the picture."
        )
    if args.paste_back and args.photo is None:
        raise ConfigError(f"{str(source)!r} does not hold the photo to paste back into: pass it with --photo.")


def _start(source: Path, inverter: HyperStyleInverter, args: argparse.Namespace) -> Inversion:
    from hyperstyle.inversion import Inversion

    if not _is_inversion(source):
        points = landmarks_of(source, args.landmarks)
        align = ALIGN[args.align]
        return inverter.invert(source, steps=args.steps, align=align, face=args.face, landmarks=points)
    return Inversion.load(source, inverter)


def _picture(inversion: Inversion, strip: EditRequest | None) -> Image:
    """The picture to write: one row per inverted picture, as most files hold a single one."""
    from hyperstyle.images import sheet

    if strip is None:
        return inversion.image if len(inversion) == 1 else sheet([inversion.images])
    return sheet([one.edit(strip.name, strip.strengths).images for one in inversion], labels=_labels(strip))


def _photo(inversion: Inversion, strip: EditRequest | None, photo: Path | None) -> Image:
    """The photo with every inverted face of it put back; one for each strength of a strip."""
    from hyperstyle.images import sheet

    if strip is None:
        return inversion.paste_back(photo)
    return sheet([[inversion.edit(strip.name, s).paste_back(photo) for s in strip.strengths]], labels=_labels(strip))


def _labels(strip: EditRequest) -> list[str]:
    return [f"{strip.name} {strength:+.3g}" if strength else f"{strip.name} 0" for strength in strip.strengths]
