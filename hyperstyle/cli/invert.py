"""`hyperstyle invert`: pictures in; reconstruction, side-by-side sheet and inversion file out, for each."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import (
    ALIGN,
    add_invert_arguments,
    add_model_arguments,
    landmarks_of,
    load_inverter,
    writable_folder,
)
from hyperstyle.cli.inputs import Failure, find_pictures, output_names
from hyperstyle.errors import ConfigError, HyperStyleError

if TYPE_CHECKING:
    from hyperstyle.inversion import Inversion

__all__ = ["add_parser", "run"]

_ENDINGS = (".png", "_sheet.png", ".safetensors")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "invert",
        help="invert pictures: files, folders or globs",
        description=(
            "For every picture: NAME.png (the reconstruction), NAME_sheet.png (input, W encoder, result) and "
            "NAME.safetensors (to edit later). A picture that fails does not stop the others."
        ),
    )
    parser.add_argument("inputs", nargs="+", metavar="PICTURE", help="picture, folder of pictures, or glob")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("inversions"),
        metavar="FOLDER",
        help="where to write; made where it is missing (default: inversions)",
    )
    add_model_arguments(parser)
    add_invert_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no line per picture")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Inverts every picture; 1 if any of them failed."""
    from tqdm import tqdm

    pictures, failures = find_pictures(args.inputs)
    total = len(pictures) + len(failures)
    names = output_names(pictures, _ENDINGS)
    out: Path = args.out
    _keep_inputs(pictures, out, names)
    if len(pictures) > 1 and args.landmarks is not None and not args.landmarks.is_dir():
        raise ConfigError(f"--landmarks {str(args.landmarks)!r} is one file for {total} pictures: give a folder.")
    if pictures:
        writable_folder(out)
        inverter = load_inverter(args)
    jobs = list(zip(pictures, names, strict=True))
    with tqdm(jobs, unit="picture", disable=args.quiet) as bar:
        for picture, name in bar:
            bar.set_postfix_str(picture.name)
            try:
                points = landmarks_of(picture, args.landmarks)
                inversion = inverter.invert(picture, steps=args.steps, align=ALIGN[args.align], landmarks=points)
                _write(inversion, out / name)
            except HyperStyleError as error:
                failures.append(Failure(str(picture), str(error)))
                continue
            if not args.quiet:
                bar.write(f"{picture} -> {out / name}.png  {_figures(inversion)}".rstrip(), file=sys.stdout)
    if failures:
        print(f"hyperstyle: {len(failures)} of {total} failed:", file=sys.stderr)
        for failure in failures:
            print(f"  {failure.source}: {' '.join(failure.reason.split())}", file=sys.stderr)
    return 1 if failures else 0


def _keep_inputs(pictures: list[Path], out: Path, names: list[str]) -> None:
    """Raises ConfigError where an output would replace one of the pictures to read."""
    inputs = {picture.resolve() for picture in pictures}
    for name in names:
        for ending in _ENDINGS:
            target = out / (name + ending)
            if target.resolve() in inputs:
                raise ConfigError(f"the result {str(target)!r} would replace a picture to read. Choose another --out.")


def _write(inversion: Inversion, stem: Path) -> None:
    from hyperstyle.images import save_image, sheet, to_images

    # Not with_suffix: a dot within the name would be taken for one.
    image, sheet_path, record = (stem.with_name(stem.name + ending) for ending in _ENDINGS)
    result = inversion.image
    shown = [inversion.initial.image, result]
    labels = ["W encoder", "HyperStyle"]
    if inversion.crop is not None:
        shown.insert(0, to_images(inversion.crop)[0])
        labels.insert(0, "input")
    save_image(result, image)
    save_image(sheet([shown], labels=labels), sheet_path)
    inversion.save(record)


def _figures(inversion: Inversion) -> str:
    return "  ".join(f"{name} {values[0]:.4f}" for name, values in inversion.quality.items())
