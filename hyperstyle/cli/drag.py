"""`hyperstyle drag`: points of an image or inversion are dragged to other places; an image, and the way to it, out."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import load_inverter, writable_folder
from hyperstyle.cli.checks import a_positive_number, at_least
from hyperstyle.cli.flags import command, flag, positional, switch
from hyperstyle.cli.inputs import check_targets, is_clip_file
from hyperstyle.cli.starting import StartingArguments
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

    from hyperstyle.inversion.inversion import Inversion
    from hyperstyle.inversion.optimize import Step

Point = tuple[float, float]

_MOST_FRAMES = 60
_RATE = 15.0  # frames per second


def parse_move(text: str) -> tuple[Point, Point]:
    """Reads `120,200:120,180`: where a point is, and where it is to go, both x,y.

    Raises:
        argparse.ArgumentTypeError: the text is something else, or a number is not finite.
    """
    try:
        (x, y), (x2, y2) = ((float(number) for number in point.split(",")) for point in text.split(":"))
        if not all(math.isfinite(number) for number in (x, y, x2, y2)):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no move: expected X,Y:X,Y in pixels, where a point is and where it is to go, like "
            "120,200:120,180"
        ) from None
    return (x, y), (x2, y2)


@dataclass(frozen=True, kw_only=True)
class DragArguments(StartingArguments):
    """Drags points of an image, or of an inversion that `hyperstyle invert` wrote, to other places; the rest of the
    image follows (DragGAN). Points are pixels of the reconstruction, the image that `invert` writes, or with --in-photo
    of the photo. The result is the face, or with --paste-back the photo with the dragged face in it.
    """

    input: Path = positional(metavar="INPUT", help="inversion (.safetensors) or image")
    moves: list[tuple[Point, Point]] = flag(
        "--move",
        action="append",
        required=True,
        type=parse_move,
        metavar="X,Y:X,Y",
        help="where a point is, and where it is to go; may be repeated",
    )
    in_photo: bool = switch("points are pixels of the upright photo")
    drag_steps: int | None = flag(check=at_least(0), help="the most steps (default: 200)")
    radius: float | None = flag(
        check=a_positive_number,
        metavar="PX",
        help="what is this near to a point is pulled along, in pixels of the reconstruction (default: by its size)",
    )
    paste_back: bool = switch("put the dragged face back into its photo, at the photo's size")
    out: Path | None = flag(help="the image (default: the input's name with _dragged.png, in the current folder)")
    animate: Path | None = flag(help="also write the way there, as a .gif, .webp or .mp4 file")


def run(args: DragArguments) -> int:
    """Drags, writes the results and says where they are."""
    from hyperstyle.images import image_format, load_image, save_image

    if args.input.is_dir() or is_clip_file(args.input):
        raise ConfigError(f"{str(args.input)!r} is no image: points belong to a single one. Name it.")
    name = f"{args.input.stem}_dragged.png"
    out = Path(name) if args.out is None else args.out / name if args.out.is_dir() else args.out
    args.check_files([args.input], out)
    image_format(out)
    writable_folder(out.parent)
    if args.animate is not None:
        _check_animation(args, args.animate, out)
    inverter = load_inverter(args)
    from hyperstyle.inversion.dragging import DragSettings

    DragSettings.of(inverter.model.generator, steps=args.drag_steps, radius=args.radius)  # before the work of inverting
    inversion = args.inverted(args.input, inverter)
    seen: list[Step] = []
    dragged = inversion.drag(
        args.moves,
        mask=args.mask,
        steps=args.drag_steps,
        radius=args.radius,
        in_photo=args.in_photo,
        callback=None if args.animate is None else seen.append,
    )
    photo = None if args.photo is None else load_image(args.photo)

    def shown(inversion: Inversion) -> Image.Image:
        return inversion.paste_back(photo) if args.paste_back else inversion.image

    save_image(shown(dragged), out)
    if args.animate is not None:
        _write_animation(args.animate, dragged, seen, shown)
    if not args.quiet:
        print(out, *([] if args.animate is None else [args.animate]), sep="\n")
    return 0


add_parser = command(
    "drag", DragArguments, run, help="drag points of a photo or inversion to other places, and the rest follows"
)


def _check_animation(args: DragArguments, path: Path, out: Path) -> None:
    """Raises ConfigError for an animation that cannot be written, before any work."""
    from hyperstyle.images.clips.write import check_animation

    check_animation(path, _RATE)
    check_targets([*args.files_to_read([args.input]), out], [path], what="an input or the image", overwrite=True)
    writable_folder(path.parent)


def _write_animation(
    path: Path, dragged: Inversion, steps: list[Step], shown: Callable[[Inversion], Image.Image]
) -> None:
    """Writes the images of the steps, or of some of many, the first and the last for longer."""
    from dataclasses import replace

    from hyperstyle.inversion.strips import animate

    codes = [step.w for step in steps[:: math.ceil(len(steps) / _MOST_FRAMES) or 1]]
    frames = [shown(way) for way in (*(replace(dragged, w=w) for w in codes), dragged)]
    pause = round(_RATE / 2)
    animate([*[frames[0]] * pause, *frames, *[frames[-1]] * pause], path, rate=_RATE, back=False)
