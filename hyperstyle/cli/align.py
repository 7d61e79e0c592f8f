"""`hyperstyle align`: photos in; the aligned crop of each face out, and an image that shows where it was cut out."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import (
    FaceArguments,
    ModelArguments,
    check_face_arguments,
    check_landmarks,
    landmarks_of,
    load_inverter,
    writable_folder,
)
from hyperstyle.cli.flags import add_command, flag, positional, switch
from hyperstyle.cli.inputs import Inputs, check_no_overwrite
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

    from hyperstyle.align import Crop, LandmarkDetector

__all__ = ["add_parser", "run"]

_GRID = "_sheet.png"
_CELL = 512  # side of the grid's images, in pixels
_SQUARE_COLOR, _POINT_COLOR, _BACKGROUND = (255, 196, 0), (0, 220, 130), (200, 200, 204)


@dataclass(frozen=True, kw_only=True)
class AlignArguments(FaceArguments, ModelArguments):
    """For every photo: NAME.png, the aligned crop of its face (with --face all NAME_1.png, NAME_2.png, ...), and
    NAME_sheet.png, the photo with the landmarks and the square that was cut out, beside the crops. Faces are found by
    the model's detector, or given by --landmarks. A photo that fails does not stop the others.
    """

    inputs: list[str] = positional(nargs="+", metavar="PHOTO", help="photo, folder of photos, or glob")
    out: Path = flag(
        default=Path("aligned"), metavar="FOLDER", help="where to write; made where it is missing (default: aligned)"
    )
    size: int = flag(default=1024, metavar="PX", help="side of the crops (default: 1024)")
    transform_size: int | None = flag(
        metavar="PX", help="side at which the square is sampled before it is reduced; FFHQ takes 4096 (default: --size)"
    )
    quiet: bool = switch("no line per photo")

    @property
    def sampled_size(self) -> int:
        """The side at which the square is sampled."""
        return self.size if self.transform_size is None else self.transform_size


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    add_command(
        subparsers, "align", AlignArguments, run, help="cut faces out of photos the way the generator was trained on"
    )


def run(args: AlignArguments) -> int:
    """Aligns every photo; 1 if any of them failed."""
    from hyperstyle.images import save_image

    if not 1 <= args.size <= args.sampled_size:
        raise ConfigError(
            f"--size {args.size} with --transform-size {args.sampled_size}: expected 1 or more, and no less than "
            "--size."
        )
    check_face_arguments(args)
    photos = Inputs.find(args.inputs, args.out, (".png", _GRID))
    check_landmarks(args, len(photos.files), "photos")
    detector = None
    if photos.files:
        writable_folder(args.out)
        detector = None if args.landmarks is not None else _detector(args)

    def align(path: Path, name: str) -> list[Path]:
        photo, crops = _crop_faces(path, detector, args)
        endings = [f"_{i}.png" for i in range(1, len(crops) + 1)] if args.face == "all" else [".png"]
        targets = [args.out / (name + ending) for ending in endings]
        check_no_overwrite(photos.files, targets)
        for crop, target in zip(crops, targets, strict=True):
            save_image(crop.image, target)
        save_image(_grid(photo, crops), args.out / (name + _GRID))
        return targets

    return photos.each(align, quiet=args.quiet)


def _detector(args: AlignArguments) -> LandmarkDetector:
    inverter = load_inverter(args)
    if inverter.aligner is None:
        raise ConfigError(
            f"the model {args.model!r} finds no faces: its domain is {inverter.model.domain.name!r}. Choose another "
            "--model, or give --landmarks."
        )
    return inverter.aligner


def _crop_faces(path: Path, detector: LandmarkDetector | None, args: AlignArguments) -> tuple[Image.Image, list[Crop]]:
    """The upright photo and the crops of the chosen faces."""
    from hyperstyle.align import crop
    from hyperstyle.align.decision import decide
    from hyperstyle.images import load_image

    photo = load_image(path)
    points = landmarks_of(path, args.landmarks)
    chosen = decide(photo, str(path), aligner=detector, align=True, face=args.face, landmarks=points)
    return photo, [
        crop(photo, choice.landmarks, args.size, args.sampled_size) for choice in chosen if choice.landmarks is not None
    ]


def _grid(photo: Image.Image, crops: list[Crop]) -> Image.Image:
    """The marked photo and the crops, side by side."""
    from hyperstyle.images import image_grid

    labels = ["photo", *(["crop"] if len(crops) == 1 else [f"crop {i}" for i in range(1, len(crops) + 1)])]
    return image_grid([[_marked(photo, crops), *(crop.image for crop in crops)]], labels=labels, cell=_CELL)


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
    small = photo.resize(
        (max(round(photo.width * scale), 1), max(round(photo.height * scale), 1)), Image.Resampling.LANCZOS
    )
    canvas.paste(small, (round(float(-low[0]) * scale), round(float(-low[1]) * scale)))
    draw = ImageDraw.Draw(canvas)
    for crop in crops:
        quad, points = ((p + 0.5 - low) * scale for p in (crop.quad, crop.landmarks))
        line = [(float(x), float(y)) for x, y in (*quad, quad[0])]
        draw.line(line, fill=_SQUARE_COLOR, width=3, joint="curve")
        for x, y in points.tolist():
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=_POINT_COLOR, outline=(0, 0, 0))
    return canvas
