"""`hyperstyle evaluate`: measures a model on held-out images."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from hyperstyle.cli import celebahq, report
from hyperstyle.cli.arguments import check_output_files, load_inverter
from hyperstyle.cli.checks import a_folder
from hyperstyle.cli.config import add_config_argument
from hyperstyle.cli.evaluate_runs import (
    EvaluateEditingArguments,
    ReconstructionArguments,
    ResultArguments,
    run_editing,
    run_reconstruction,
)
from hyperstyle.cli.flags import add_command, flag
from hyperstyle.cli.inputs import report_left_out
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError

_STUDIES = {  # of rendered photos, outside the package: what each measures, and the flags it had here
    "pasting": (
        "what paste-back leaves as it was, and how much of the seam can be seen",
        ("model", "device", "count", "size", "edit", "strength", "json", "quiet", "config"),
    ),
    "jitter": (
        "how steadily the crop follows a turning head, before and after smoothing",
        ("model", "device", "count", "noise", "smoothing", "json", "quiet", "config"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class AlignmentArguments(ResultArguments):
    """Finds the faces in photos with --aligner and with MTCNN, whose five points the published models of faces were
    trained on, and prints how far the corners of the two crops are apart. Figures on rendered photos, whose landmarks
    are known, are made by `python -m examples.avatars.studies.alignment` in a checkout of the source.
    """

    aligner: str = flag(
        type=lambda name: "auto" if name == "model" else name,  # as version 0.1 spelled it
        default="auto",
        metavar="NAME",
        help="the detector that MTCNN is compared with: auto (the model's own, else dlib, if its file is on this "
        "machine), dlib (downloads its file), dlib:FILE or mtcnn:FOLDER (default: auto)",
    )
    photos: Path | None = flag(check=a_folder, metavar="FOLDER", help="photos to compare on")
    mtcnn: Path | None = flag(check=a_folder, metavar="FOLDER", help="the published weights of MTCNN")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on held-out images",
        description="Measures a model on held-out images.",
    )
    kinds = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)
    help = "error and time of every way to invert"
    reconstruction = add_command(kinds, "reconstruction", ReconstructionArguments, run_reconstruction, help=help)
    help = "what edits change, with weight offsets and without"
    editing = add_command(kinds, "editing", EvaluateEditingArguments, run_editing, help=help)
    for kind in (reconstruction, editing):  # as version 0.1 spelled it
        kind.add_argument("--optimised", dest="optimized", type=int, help=argparse.SUPPRESS)
    help = "how far the crops of two detectors are apart on photos of your own"
    add_command(kinds, "alignment", AlignmentArguments, _run_alignment, help=help)
    report.add_parser(kinds)
    celebahq.add_parser(kinds)
    for kind in kinds.choices.values():
        add_config_argument(kind)
    for name, (what, flags) in _STUDIES.items():
        where = f"by `python -m examples.avatars.studies.{name}` in a checkout of the source"
        moved = kinds.add_parser(name, help=f"{what} ({where})", description=f"Measures {what}: {where}.")
        for flag_name in flags:
            moved.add_argument(f"--{flag_name}", nargs="?", help="as there")
        moved.set_defaults(run=_run_moved, study=name, where=where)


def _run_moved(args: argparse.Namespace) -> int:
    raise ConfigError(
        f"`evaluate {args.study}` measures on rendered photos, and the renderer is not installed: "
        f"it is done {args.where}, with the same flags."
    )


def _run_alignment(args: AlignmentArguments) -> int:
    """Prints the table of `compare_detectors` and writes what was asked for."""
    check_output_files(args, json="JSON")
    if args.photos is None and args.mtcnn is None:
        raise ConfigError(
            "`evaluate alignment` compares detectors on photos of your own: give --photos and --mtcnn. Figures on "
            "rendered photos, whose landmarks are known, are made by `python -m examples.avatars.studies.alignment` in "
            "a checkout of the source."
        )
    if args.photos is None or args.mtcnn is None:
        raise ConfigError("--photos and --mtcnn go together: photos, and the weights of the detector to compare with.")
    from hyperstyle.align import mtcnn
    from hyperstyle.cli.evaluate_text import differences_text
    from hyperstyle.evaluation.alignment import compare_detectors, photos_of

    photos = photos_of(args.photos)
    inverter = load_inverter(args)
    if inverter.aligner is None:
        raise ConfigError("this model has no aligner. Use one that has, or --aligner dlib.")
    with progress_bar(args.quiet) as show:
        differences = compare_detectors(inverter.aligner, mtcnn.MtcnnDetector(args.mtcnn), photos.images, show)
    print(differences_text(differences))
    content = {"aligner": args.aligner, "differences": differences}
    args.write_json(inverter, {"pictures": {"count": len(photos.images)}, **content})
    return report_left_out(photos)
