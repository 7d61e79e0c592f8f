"""`hyperstyle evaluate celebahq`: the columns that the field compares inversion by."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hyperstyle.cli.arguments import add_model_arguments, load_inverter, writable_folder
from hyperstyle.cli.inputs import Failure
from hyperstyle.cli.inputs import report as report_failures
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError

__all__ = ["add_parser", "run"]


def add_parser(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `celebahq` to what `hyperstyle evaluate` measures."""
    parser = kinds.add_parser(
        "celebahq",
        help="MSE, LPIPS, ID, FID and seconds on the test images of CelebA-HQ",
        description=(
            "Inverts the 2,824 test images of CelebA-HQ, one at a time, and prints MSE, LPIPS with VGG, ID, FID and "
            "seconds of each method, in the protocol of GANInverter's benchmark, with its published figures. ID needs "
            "the files of CurricularFace and MTCNN, FID that of the Inception network. Figures of each image go to "
            "rows.jsonl as they are measured: after an interruption the same command goes on."
        ),
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the test images, aligned as they come")
    add_model_arguments(parser)
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME[:STEPS]",
        help="which methods, such as hyperstyle, e4e or pti (default: all that the model's networks can do)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for rows and reconstructions")
    parser.add_argument("--count", type=int, metavar="N", help="the first N images (default: all)")
    parser.add_argument("--lpips", choices=("yes", "no"), default="yes", help="measure LPIPS (default: yes)")
    parser.add_argument("--identity", type=Path, metavar="FILE", help="CurricularFace, for ID; with --mtcnn")
    parser.add_argument("--mtcnn", type=Path, metavar="FOLDER", help="published weights of the face detector")
    parser.add_argument(
        "--fid", type=Path, metavar="FILE.pth", help="weights of Inception as torch-fidelity publishes them, for FID"
    )
    parser.add_argument(
        "--format", choices=("text", "markdown", "csv", "json"), default="text", help="of the table (default: text)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the table, and on stderr what was not measured."""
    from hyperstyle.evaluation.celebahq import Networks, evaluate_celebahq
    from hyperstyle.evaluation.engine import Trial
    from hyperstyle.evaluation.images import folder_images
    from hyperstyle.evaluation.tables import FORMATS

    if args.count is not None and args.count < 1:
        raise ConfigError(f"--count {args.count}: expected 1 or more.")
    trials = None if args.methods is None else [Trial.of(text) for text in args.methods]
    networks = Networks(args.lpips == "yes", args.identity, args.mtcnn, args.fid)
    inverter = load_inverter(args)
    images = folder_images(args.folder, inverter, count=args.count)
    writable_folder(args.out)
    with progress_bar(args.quiet) as show:
        result = evaluate_celebahq(inverter, images, args.out, trials, networks, on_progress=show)
    write = FORMATS[args.format]
    print(write(result.table))
    if args.format == "text":
        print(f"\n{result.table.about}")
        if result.published.rows:
            print(f"\npublished ({result.published.about})\n{write(result.published)}")
    for missing in result.missing:
        print(f"{missing.what}: not measured, {missing.because} ({missing.change})", file=sys.stderr)
    return report_failures(
        [Failure(*missing_part) for missing_part in images.failures], len(images) + len(images.failures)
    )
