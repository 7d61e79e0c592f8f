"""`hyperstyle edit`: inversions, images or a clip in; edited images, strips, grids or a clip out."""

from __future__ import annotations

import glob
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import load_inverter, writable_folder
from hyperstyle.cli.flags import command, given_flags
from hyperstyle.cli.inputs import Inputs, is_clip_file, is_inversion
from hyperstyle.cli.starting import EditArguments
from hyperstyle.cli.video import run_video
from hyperstyle.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from hyperstyle.inversion.strips import Sweep
    from hyperstyle.inverter import HyperStyleInverter


def run(args: EditArguments) -> int:
    """Edits, writes the results and says where they are; 1 if one of several failed."""
    if not args.edits and not args.texts:
        raise ConfigError("nothing to do: name an edit with --edit, as in --edit age=2.")
    args.check_edits()
    inputs = [Path(text) for text in args.inputs]
    first = inputs[0]
    if args.clip and len(inputs) > 1:
        raise ConfigError(f"--clip with {len(inputs)} inputs: it takes one folder, whose files are the frames.")
    if args.clip and not first.is_dir() and not is_clip_file(first):
        what = "is no folder" if first.exists() else "does not exist"
        raise ConfigError(f"--clip is for a folder of frames, and {str(first)!r} {what}. Leave it out.")
    if args.clip or (len(inputs) == 1 and is_clip_file(first)):
        return run_video(first, args)
    folders = [path for path in inputs if path.is_dir()]
    _check_flags(args, folders)
    is_pattern = glob.has_magic(args.inputs[0]) and not first.exists()
    if len(inputs) > 1 or folders or is_pattern:
        return _run_several(args, folders)
    return _run_one(first, args)


add_parser = command(
    "edit",
    EditArguments,
    run,
    help="edit photos, inversions or a clip: one value, a strip over a range, a grid over two",
    epilog="The names of the edits and their sensible ranges: hyperstyle edits",
)


def _run_one(source: Path, args: EditArguments) -> int:
    """One inversion or image."""
    from hyperstyle.images import image_format, save_image

    name = f"{source.stem}_edited.png"
    out = Path(name) if args.out is None else args.out / name if args.out.is_dir() else args.out
    args.check_files([source], out)
    image_format(out)
    writable_folder(out.parent)
    inverter = load_inverter(args)
    save_image(_edited_image(source, inverter, args.sweeps(inverter), args), out)
    if not args.quiet:
        print(out)
    return 0


def _run_several(args: EditArguments, folders: list[Path]) -> int:
    """Inversions and images, each on its own; what is in folders counts as such."""
    from hyperstyle.images import save_image

    out = Path("edited") if args.out is None else args.out
    inputs = Inputs.find(args.inputs, out, ["_edited.png"], inversions=True, overwrite=args.overwrite)
    if (_is_image_name(out) or is_clip_file(out)) and not out.is_dir():
        what = "a clip" if is_clip_file(out) else "an image"
        raise ConfigError(
            f"--out {str(out)!r} is the name of {what}, and each of several gets one: give a folder for them."
        )
    if not inputs.files:
        return inputs.report()
    if clips := [file for file in inputs.files if is_clip_file(file)]:
        raise ConfigError(f"{str(clips[0])!r} is a clip, and there are other inputs: edit clips one at a time.")
    if args.photo is not None:
        raise ConfigError(f"--photo is for one inversion, and there are {len(inputs.files)} inputs. Edit it alone.")
    inversions = [file for file in inputs.files if is_inversion(file)]
    if args.paste_back and inversions:
        raise ConfigError(
            f"{str(inversions[0])!r} does not hold the photo to paste back into: edit it alone, with --photo."
        )
    if len(inversions) < len(inputs.files):
        args.check_face(len(inputs.files) - len(inversions))
    args.check_files(inputs.files)
    writable_folder(out)
    for folder in folders:  # for one release, as folders were clips before
        print(
            f"hyperstyle: the files of {str(folder)!r} are taken as separate images now; with --clip as the frames "
            "of one clip, as before",
            file=sys.stderr,
        )
    inverter = load_inverter(args)
    edits = args.sweeps(inverter)

    def edit(source: Path, name: str) -> list[Path]:
        target = out / f"{name}_edited.png"
        save_image(_edited_image(source, inverter, edits, args), target)
        return [target]

    return inputs.each(edit, quiet=args.quiet)


def _check_flags(args: EditArguments, folders: list[Path]) -> None:
    """Raises ConfigError for flags of clips, and ranges that make neither strip nor grid."""
    ranges = args.ranges
    if len(ranges) > 2:
        raise ConfigError(f"{len(ranges)} ranges ({', '.join(ranges)}): a strip has one, a grid two.")
    flags = given_flags(args, "offsets", "smoothing", "rate")
    if folders and args.out is not None and is_clip_file(args.out):
        flags.append(f"--out {args.out}")
    if flags:
        reason = f"{args.inputs[0]!r} is none. Leave out what is for them"
        if folders:
            reason = (
                f"the files of {str(folders[0])!r} are taken as separate images. Add --clip to take them as the frames "
                "of one clip"
            )
        raise ConfigError(f"{', '.join(flags)}: for folders of frames and clips, and {reason}.")


def _is_image_name(path: Path) -> bool:
    """Whether an image would be written to a path of this suffix."""
    from hyperstyle.images import image_format

    try:
        image_format(path)
    except ImageError:
        return False
    return True


def _edited_image(source: Path, inverter: HyperStyleInverter, edits: list[Sweep], args: EditArguments) -> Image:
    """The image to write: one row per inverted image, as most files hold a single one, or whole photos."""
    from hyperstyle.images import image_grid
    from hyperstyle.inversion.strips import grid, strip

    inversion = args.edited(source, inverter, edits)
    ranges = [sweep for sweep in edits if len(sweep[1]) > 1]
    options = {**args.edit_options, "paste_back": args.paste_back, "photo": args.photo}
    if len(ranges) == 2:
        return grid(inversion, *ranges, **options)
    if ranges:
        return strip(inversion, *ranges[0], **options)
    if args.paste_back:
        return inversion.paste_back(args.photo)
    return inversion.image if len(inversion) == 1 else image_grid([inversion.images])
