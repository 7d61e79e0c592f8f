"""`hyperstyle edit`: inversions, images or a clip in; edited images, strips, grids or a clip out."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import (
    add_invert_arguments,
    add_model_arguments,
    check_face_arguments,
    load_inverter,
    writable_folder,
)
from hyperstyle.cli.inputs import Failure, find_images, keep_inputs, output_names, report
from hyperstyle.cli.starting import (
    add_edit_arguments,
    check_edits,
    check_files,
    check_several,
    edit_options,
    given_edit_flags,
    start,
    sweeps,
)
from hyperstyle.cli.video import add_video_arguments, given_video_flags, is_clip_file, run_video
from hyperstyle.errors import ConfigError, HyperStyleError, ImageError
from hyperstyle.io.files import sweep

if TYPE_CHECKING:
    from PIL.Image import Image

    from hyperstyle.inversion.inversion import Inversion
    from hyperstyle.inversion.strips import Sweep
    from hyperstyle.inverter import HyperStyleInverter

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "edit",
        help="edit photos, inversions or a clip: one value, a strip over a range, a grid over two",
        description=(
            "Edits inversions that `hyperstyle invert` wrote, or images (inverted first), each on its own, or every "
            "frame of a clip: a video file, or with --clip a folder. The result is the face, or with --paste-back the "
            "photo with the edited face in it. Of several inputs, one that fails does not stop the others."
        ),
        epilog="The names of the edits and their sensible ranges: hyperstyle edits",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="inversion (.safetensors), image, folder of images, or glob; or one clip",
    )
    add_edit_arguments(parser, "NAME=START:STOP:COUNT gives a strip, two of them a grid, the first from left to right")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="what to write: of one input a file (default: its name with _edited.png, in the current folder); of "
        "several, or a folder, the folder for NAME_edited.png of each, made where it is missing (default: edited)",
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
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no figures, no line per image")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Edits, writes the results and says where they are; 1 if one of several failed."""
    if not args.edits and not args.texts:
        raise ConfigError("nothing to do: name an edit with --edit, as in --edit age=2.")
    check_edits(args)
    inputs = [Path(text) for text in args.inputs]
    folders = [path for path in inputs if path.is_dir()]
    if args.clip:
        _check_clip(inputs)
    if args.clip or (len(inputs) == 1 and is_clip_file(inputs[0])):
        return _run_video(inputs[0], args)
    _check_flags(args, folders)
    if len(inputs) > 1 or folders or not _is_name(inputs[0]):
        return _run_several(args, folders)
    return _run_one(inputs[0], args)


def _run_one(source: Path, args: argparse.Namespace) -> int:
    """One inversion or image."""
    from hyperstyle.images import image_format, save_image

    name = f"{source.stem}_edited.png"
    out: Path = Path(name) if args.out is None else args.out / name if args.out.is_dir() else args.out
    check_files(args, [source], out)
    image_format(out)
    writable_folder(out.parent)
    inverter = load_inverter(args)
    save_image(_edited(source, inverter, sweeps(args, inverter), args), out)
    print(out)
    return 0


def _run_several(args: argparse.Namespace, folders: Sequence[Path]) -> int:
    """Inversions and images, each on its own; what is in folders counts as such."""
    from hyperstyle.images import save_image

    sources, failures = find_images(args.inputs, inversions=True)
    total = len(sources) + len(failures)
    out: Path = Path("edited") if args.out is None else args.out
    if (_is_image_name(out) or is_clip_file(out)) and not out.is_dir():
        what = "a clip" if is_clip_file(out) else "an image"
        raise ConfigError(
            f"--out {str(out)!r} is the name of {what}, and each of several gets one: give a folder for them."
        )
    targets = [out / f"{name}_edited.png" for name in output_names(sources, ["_edited.png"])]
    keep_inputs(sources, targets)
    if sources:
        check_several(args, sources)
        writable_folder(out)
        sweep(out)
        for folder in folders:  # for one release, as folders were clips before
            print(
                f"hyperstyle: the files of {str(folder)!r} are taken as separate images now; with --clip as the frames "
                "of one clip, as before",
                file=sys.stderr,
            )
        inverter = load_inverter(args)
        edits = sweeps(args, inverter)
        for source, target in zip(sources, targets, strict=True):
            try:
                save_image(_edited(source, inverter, edits, args), target)
            except HyperStyleError as error:
                failures.append(Failure(str(source), str(error)))
                continue
            if not args.quiet:
                print(f"{source} -> {target}")
    return report(failures, total)


def _run_video(source: Path, args: argparse.Namespace) -> int:
    """The frames of a folder or clip."""
    if args.photo is not None:
        raise ConfigError(f"--photo is for one inversion; {str(source)!r} holds frames of its own. Leave it out.")
    if given := given_edit_flags(args):
        raise ConfigError(f"{', '.join(given)}: not for folders of frames and clips, which take --edit NAME=VALUE.")
    check_face_arguments(args)
    if args.paste_back and args.align == "no":
        raise ConfigError("--paste-back with --align no, which takes frames as they are. Leave out one or the other.")
    inverter = load_inverter(args)
    if args.paste_back and inverter.model.domain.aligner != "face":
        raise ConfigError(f"--paste-back is for faces, and the model {args.model!r} takes whole images. Leave it out.")
    return run_video(source, args, inverter)


def _check_clip(inputs: Sequence[Path]) -> None:
    """Raises ConfigError where `--clip` is given with anything but one folder or clip."""
    if len(inputs) > 1:
        raise ConfigError(f"--clip with {len(inputs)} inputs: it takes one folder, whose files are the frames.")
    if not inputs[0].is_dir() and not is_clip_file(inputs[0]):
        what = "is no folder" if inputs[0].exists() else "does not exist"
        raise ConfigError(f"--clip is for a folder of frames, and {str(inputs[0])!r} {what}. Leave it out.")


def _check_flags(args: argparse.Namespace, folders: Sequence[Path]) -> None:
    """Raises ConfigError for flags of clips, and ranges that make neither strip nor grid."""
    ranges = [edit.name for edit in (*args.edits, *args.texts) if edit.is_strip]
    if len(ranges) > 2:
        raise ConfigError(f"{len(ranges)} ranges ({', '.join(ranges)}): a strip has one, a grid two.")
    given = given_video_flags(args)
    if folders and args.out is not None and is_clip_file(args.out):
        given.append(f"--out {args.out}")
    if given and folders:
        raise ConfigError(
            f"{', '.join(given)}: for folders of frames and clips, and the files of {str(folders[0])!r} are taken as "
            "separate images. Add --clip to take them as the frames of one clip."
        )
    if given:
        raise ConfigError(
            f"{', '.join(given)}: for folders of frames and clips, and {args.inputs[0]!r} is none. Leave out what is "
            "for them."
        )


def _is_name(path: Path) -> bool:
    """Whether this is the name of one file, there or not, rather than a pattern."""
    return path.exists() or not glob.has_magic(str(path))


def _is_image_name(path: Path) -> bool:
    """Whether an image would be written to a path of this suffix."""
    from hyperstyle.images import image_format

    try:
        image_format(path)
    except ImageError:
        return False
    return True


def _edited(source: Path, inverter: HyperStyleInverter, edits: Sequence[Sweep], args: argparse.Namespace) -> Image:
    """The image to write of one input."""
    inversion = start(source, inverter, args)
    for edit, strengths in edits:
        if len(strengths) == 1:
            inversion = inversion.edit(edit, strengths[0], **edit_options(args))
    return _result_image(inversion, [sweep for sweep in edits if len(sweep[1]) > 1], args)


def _result_image(inversion: Inversion, ranges: list[Sweep], args: argparse.Namespace) -> Image:
    """The image to write: one row per inverted image, as most files hold a single one, or whole photos."""
    from hyperstyle.images import image_grid
    from hyperstyle.inversion.strips import grid, strip

    options = {**edit_options(args), "paste_back": args.paste_back, "photo": args.photo}
    if len(ranges) == 2:
        return grid(inversion, *ranges, **options)
    if ranges:
        return strip(inversion, *ranges[0], **options)
    if args.paste_back:
        return inversion.paste_back(args.photo)
    return inversion.image if len(inversion) == 1 else image_grid([inversion.images])
