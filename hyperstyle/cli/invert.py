"""`hyperstyle invert`: pictures in; reconstruction, side-by-side sheet and inversion file out, for each."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperstyle.cli.arguments import (
    ALIGN,
    add_invert_arguments,
    add_method_arguments,
    add_model_arguments,
    check_face_arguments,
    landmarks_of,
    load_inverter,
    writable_folder,
)
from hyperstyle.cli.config import add_config_argument
from hyperstyle.cli.inputs import Failure, find_pictures, keep_inputs, output_names, report
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
            "For every picture: NAME.png (the reconstruction), NAME_sheet.png (input, codes alone, result) and "
            "NAME.safetensors (to edit later). With --face all they hold every face of the picture. A picture that "
            "fails does not stop the others."
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
    add_method_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no line per picture")
    add_config_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Inverts every picture; 1 if any of them failed."""
    from tqdm import tqdm

    from hyperstyle.methods import named

    check_face_arguments(args)
    pictures, failures = find_pictures(args.inputs)
    total = len(pictures) + len(failures)
    names = output_names(pictures, _ENDINGS)
    out: Path = args.out
    keep_inputs(pictures, [out / (name + ending) for name in names for ending in _ENDINGS])
    if len(pictures) > 1 and args.landmarks is not None and not args.landmarks.is_dir():
        raise ConfigError(f"--landmarks {str(args.landmarks)!r} is one file for {total} pictures: give a folder.")
    if pictures:
        writable_folder(out)
        inverter = load_inverter(args)
        named.find(inverter.model, args.method, steps=args.steps, seed=args.seed)  # once, not for every picture
    jobs = list(zip(pictures, names, strict=True))
    with tqdm(jobs, unit="picture", disable=args.quiet) as bar:
        for picture, name in bar:
            bar.set_postfix_str(picture.name)

            def show(step: Any, picture: Path = picture) -> None:
                bar.set_postfix_str(f"{picture.name} {named.told(step)}")

            try:
                points = landmarks_of(picture, args.landmarks)
                inversion = inverter.invert(
                    picture,
                    method=args.method,
                    steps=args.steps,
                    seed=args.seed,
                    align=ALIGN[args.align],
                    face=args.face,
                    landmarks=points,
                    callback=None if args.quiet else show,
                )
                _write(inversion, out / name)
            except HyperStyleError as error:
                failures.append(Failure(str(picture), str(error)))
                continue
            if not args.quiet:
                bar.write(f"{picture} -> {out / name}.png  {_figures(inversion)}".rstrip(), file=sys.stdout)
    return report(failures, total)


def _write(inversion: Inversion, stem: Path) -> None:
    from hyperstyle.images import save_image, sheet, to_images

    # Not with_suffix: a dot within the name would be taken for one.
    image, sheet_path, record = (stem.with_name(stem.name + ending) for ending in _ENDINGS)
    results = inversion.images
    titles = ("W encoder", "HyperStyle") if inversion.method == "hyperstyle" else ("codes alone", inversion.method)
    columns = dict(zip(titles, (inversion.initial.images, results), strict=True))
    if inversion.crop is not None:
        columns = {"input": to_images(inversion.crop), **columns}
    save_image(results[0] if len(results) == 1 else sheet([results]), image)
    save_image(sheet(list(zip(*columns.values(), strict=True)), labels=list(columns)), sheet_path)
    inversion.save(record)


def _figures(inversion: Inversion) -> str:
    return "  ".join(f"{name} {sum(values) / len(values):.4f}" for name, values in inversion.quality.items())
