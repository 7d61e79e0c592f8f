"""`hyperstyle evaluate celebahq`: the columns that the field compares inversion by."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from hyperstyle.cli.arguments import ModelArguments, load_inverter, writable_folder
from hyperstyle.cli.checks import a_file, a_folder
from hyperstyle.cli.flags import add_command, flag, positional
from hyperstyle.cli.inputs import Failure
from hyperstyle.cli.inputs import report as report_failures
from hyperstyle.cli.progress import progress_bar
from hyperstyle.cli.report import StudyArguments
from hyperstyle.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CelebaHqArguments(StudyArguments, ModelArguments):
    """Inverts the 2,824 test images of CelebA-HQ, one at a time, and prints MSE, LPIPS with VGG, ID, FID and seconds
    of each method, in the protocol of GANInverter's benchmark, with its published figures. ID needs the files of
    CurricularFace and MTCNN, FID that of the Inception network. Figures of each image go to rows.jsonl as they are
    measured: after an interruption the same command goes on.
    """

    folder: Path = positional(check=a_folder, metavar="FOLDER", help="the test images, aligned as they come")
    lpips: str = flag(choices=("yes", "no"), default="yes", help="measure LPIPS (default: yes)")
    fid: Path | None = flag(
        check=a_file, metavar="FILE.pth", help="weights of Inception as torch-fidelity publishes them, for FID"
    )
    format: str = flag(choices=("text", "markdown", "csv", "json"), default="text", help="of the table (default: text)")


def add_parser(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `celebahq` to what `hyperstyle evaluate` measures."""
    about = "MSE, LPIPS, ID, FID and seconds on the test images of CelebA-HQ"
    add_command(kinds, "celebahq", CelebaHqArguments, run, help=about)


def run(args: CelebaHqArguments) -> int:
    """Prints the table, and on stderr what was not measured."""
    if (args.identity is None) != (args.mtcnn is None):
        raise ConfigError("--identity and --mtcnn go together: the network, and the detector it needs.")
    writable_folder(args.out)
    from hyperstyle.evaluation.celebahq import evaluate_celebahq
    from hyperstyle.evaluation.images import folder_images
    from hyperstyle.evaluation.tables import FORMATS

    trials = args.trials()
    inverter = load_inverter(args)
    images = folder_images(args.folder, inverter, count=args.count)
    with progress_bar(args.quiet) as show:
        result = evaluate_celebahq(
            inverter,
            images,
            args.out,
            trials,
            lpips=args.lpips == "yes",
            identity=args.identity,
            mtcnn=args.mtcnn,
            inception=args.fid,
            on_progress=show,
        )
    write = FORMATS[args.format]
    print(write(result.table))
    if args.format == "text":
        print(f"\n{result.about}")
        if result.published.rows:
            print(f"\npublished (github.com/caopulan/GANInverter, README)\n{write(result.published)}")
    for part in result.missing.rows:
        print(f"{part['what']}: not measured, {part['because']} ({part['change']})", file=sys.stderr)
    failures = [Failure(name, reason) for name, reason in images.failures]
    return report_failures(failures, len(images) + len(failures))
