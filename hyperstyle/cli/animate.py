"""`hyperstyle animate`: a GIF, WebP or MP4 that sweeps over an edit, or goes from one image to another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperstyle.cli.arguments import EditRequest, load_inverter, writable_folder
from hyperstyle.cli.flags import command, flag, positional, switch
from hyperstyle.cli.inputs import is_clip_file
from hyperstyle.cli.starting import EditingArguments, edits_flag
from hyperstyle.errors import ConfigError

_FRAMES = 24


@dataclass(frozen=True, kw_only=True)
class AnimateArguments(EditingArguments):
    """Animates an image or an inversion over a range of an edit, as in --edit age=-2:2:24; or, of two inputs, the way
    from one to the other. The frames run there and back, and repeat.
    """

    input: Path = positional(metavar="INPUT", help="inversion (.safetensors) or image")
    other: Path | None = positional(nargs="?", metavar="OTHER", help="where to go to from there")
    edits: list[EditRequest] = edits_flag("NAME=START:STOP:COUNT once, unless there are two inputs")
    out: Path | None = flag(
        help="a .gif, .webp or .mp4 file (default: the input's name with _animated.webp, in the current folder)"
    )
    frames: int | None = flag(help=f"on the way between two inputs (default: {_FRAMES})")
    rate: float = flag(default=12.0, metavar="FPS", help="frames per second")
    once: bool = switch("do not run backwards at the end; start again with a jump")
    size: int = flag(default=512, metavar="PX", help="longer side, larger frames are reduced")
    paste_back: bool = switch("show the whole photo with the edited face in it")


def run(args: AnimateArguments) -> int:
    """Makes the frames, writes them and says where they are."""
    from hyperstyle.images.clips.write import check_animation

    sources = [args.input, *([] if args.other is None else [args.other])]
    out = args.out or Path(f"{args.input.stem}_animated.webp")
    _check(args, sources)
    args.check_edits()
    args.check_files(sources, out)
    check_animation(out, args.rate, args.size)
    writable_folder(out.parent)
    from hyperstyle.inversion.strips import animate, photos

    inverter = load_inverter(args)
    edits = args.sweeps(inverter)
    ends = [args.edited(source, inverter, edits) for source in sources]
    if len(ends) == 2:
        frames = ends[0].interpolate(ends[1], args.frames or _FRAMES)
    else:
        edit, strengths = next(sweep for sweep in edits if len(sweep[1]) > 1)
        frames = ends[0].edit(edit, strengths, **args.edit_options)
        if len(ends[0]) > 1 and not args.paste_back:
            raise ConfigError(f"{len(ends[0])} faces: an animation shows one. Choose it with --face, or --paste-back.")
    images = photos(ends[0], frames, args.photo) if args.paste_back else frames
    animate(images, out, rate=args.rate, back=not args.once, longest=args.size)
    if not args.quiet:
        print(out)
    return 0


add_parser = command(
    "animate",
    AnimateArguments,
    run,
    help="a GIF, WebP or MP4 that sweeps over an edit, or goes from one image to another",
    epilog="The names of the edits and their sensible ranges: hyperstyle edits",
)


def _check(args: AnimateArguments, sources: list[Path]) -> None:
    """Raises ConfigError for ranges and flags that do not go with one or two inputs."""
    ranges = args.ranges
    for source in sources:
        if source.is_dir() or is_clip_file(source):
            raise ConfigError(f"{str(source)!r} holds frames already: `hyperstyle edit` takes it. Give one image.")
    if args.other is None:
        if len(ranges) != 1:
            what = f"{len(ranges)} ranges ({', '.join(ranges)})" if ranges else "no range"
            raise ConfigError(f"{what}: an animation of one input has one, as in --edit age=-2:2:24.")
        if args.frames is not None:
            raise ConfigError("--frames is for two inputs; of one, the range counts them: --edit age=-2:2:24.")
        return
    if ranges:
        raise ConfigError(f"a range ({ranges[0]}) and two inputs: animate over one or the other.")
    if args.paste_back:
        raise ConfigError("--paste-back is for one input: two come from different photos. Leave it out.")
    if args.frames is not None and not 2 <= args.frames <= 999:
        raise ConfigError(f"--frames {args.frames}: expected 2 to 999.")
