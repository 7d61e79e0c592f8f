"""`hyperstyle align`: photos in; the aligned crop of each face out, and an image that shows where it was cut out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import FaceArguments, ModelArguments, load_inverter, writable_folder
from hyperstyle.cli.flags import command, flag, output_folder, positional, switch
from hyperstyle.cli.inputs import Inputs, check_targets
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

    from hyperstyle.align import Crop

_GRID = "_sheet.png"
_CELL = 512  # side of the grid's images, in pixels
_SQUARE_COLOR, _POINT_COLOR, _BACKGROUND = (255, 196, 0), (0, 220, 130), (200, 200, 204)


@dataclass(frozen=True, kw_only=True)
class AlignArguments(FaceArguments, ModelArguments):
    """For every photo: NAME.png, the aligned crop of its face (with --face all NAME_1.png, NAME_2.png, ...), and
    NAME_sheet.png, the photo with the landmarks and the square that was cut out, beside the crops. Faces are found by
    --aligner, or given by --landmarks. A photo that fails does not stop the others.
    """

    inputs: list[str] = positional(nargs="+", metavar="PHOTO", help="photo, folder of photos, or glob")
    out: Path = output_folder("aligned")
    size: int = flag(default=1024, metavar="PX", help="side of the crops (default: 1024)")
    transform_size: int | None = flag(
        metavar="PX", help="side at which the square is sampled before it is reduced; FFHQ takes 4096 (default: --size)"
    )
    overwrite: bool = switch("replace results that are there already")
    quiet: bool = switch("no line per photo")


def run(args: AlignArguments) -> int:
    """Aligns every photo; 1 if any of them failed."""
    sampled_size = args.size if args.transform_size is None else args.transform_size
    if not 1 <= args.size <= sampled_size:
        raise ConfigError(
            f"--size {args.size} with --transform-size {sampled_size}: expected 1 or more, and no less than --size."
        )
    photos = Inputs.find(args.inputs, args.out, (".png", _GRID), overwrite=args.overwrite)
    args.check_face(len(photos.files), "photos")
    if photos.files:
        writable_folder(args.out)
    from hyperstyle.align import crop
    from hyperstyle.align.decision import decide
    from hyperstyle.images import image_grid, load_image, save_image

    detector = None
    if photos.files and args.landmarks is None:
        inverter = load_inverter(args)
        detector = inverter.aligner
        if detector is None:
            raise ConfigError(
                "--aligner none finds no faces. Leave it out, or give --landmarks."
                if args.aligner == "none"
                else f"the model {args.model!r} finds no faces: its domain is {inverter.model.domain.name!r}. Choose "
                "an --aligner or another --model, or give --landmarks."
            )

    def align_photo(path: Path, name: str) -> list[Path]:
        photo = load_image(path)
        choices = decide(
            photo, str(path), aligner=detector, align=True, face=args.face, landmarks=args.landmarks_of(path)
        )
        crops = [
            crop(photo, choice.landmarks, args.size, sampled_size) for choice in choices if choice.landmarks is not None
        ]
        endings = [f"_{i}.png" for i in range(1, len(crops) + 1)] if args.face == "all" else [".png"]
        targets = [args.out / (name + ending) for ending in endings]
        check_targets(photos.files, targets, overwrite=args.overwrite)
        for one_crop, target in zip(crops, targets, strict=True):
            save_image(one_crop.image, target)
        labels = ["photo", *(["crop"] if len(crops) == 1 else [f"crop {i}" for i in range(1, len(crops) + 1)])]
        row = [_marked(photo, crops), *(one_crop.image for one_crop in crops)]
        save_image(image_grid([row], labels=labels, cell=_CELL), args.out / (name + _GRID))
        return targets

    return photos.each(align_photo, quiet=args.quiet)


add_parser = command("align", AlignArguments, run, help="cut faces out of photos the way the generator was trained on")


def _marked(photo: Image.Image, crops: list[Crop]) -> Image.Image:
    """The photo, reduced, with the squares and the landmarks; on a larger canvas where a square reaches beyond it."""
    import numpy as np
    from PIL import Image, ImageDraw

    # Everything in units of the canvas, whose first pixel is 0..1; the landmarks are pixel indices.
    corners = np.concatenate([crop.quad for crop in crops] + [np.array([[-0.5, -0.5], np.array(photo.size) - 0.5])])
    low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)) + 1
    scale = min(_CELL / float((high - low).max()), 4.0)
    width, height = (max(round(float(n) * scale), 1) for n in high - low)
    canvas = Image.new("RGB", (width, height), _BACKGROUND)
    small = photo.resize([max(round(side * scale), 1) for side in photo.size], Image.Resampling.LANCZOS)
    canvas.paste(small, (round(float(-low[0]) * scale), round(float(-low[1]) * scale)))
    draw = ImageDraw.Draw(canvas)
    for crop in crops:
        quad, points = ((p + 0.5 - low) * scale for p in (crop.quad, crop.landmarks))
        line = [(float(x), float(y)) for x, y in (*quad, quad[0])]
        draw.line(line, fill=_SQUARE_COLOR, width=3, joint="curve")
        for x, y in points.tolist():
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=_POINT_COLOR, outline=(0, 0, 0))
    return canvas
