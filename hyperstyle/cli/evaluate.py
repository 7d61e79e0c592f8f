"""`hyperstyle evaluate`: measures a model on held-out images."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperstyle.cli import celebahq, report
from hyperstyle.cli.arguments import ModelArguments
from hyperstyle.cli.config import add_config_argument
from hyperstyle.cli.flags import add_command, flag, switch
from hyperstyle.errors import ConfigError

__all__ = ["AlignmentArguments", "DataArguments", "EditingArguments", "ReconstructionArguments", "add_parser"]

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
class ResultArguments(ModelArguments):
    """Where the figures go."""

    json: Path | None = flag(metavar="FILE", help="also write everything as JSON")
    quiet: bool = switch("no progress bar")


@dataclass(frozen=True, kw_only=True)
class DataArguments(ResultArguments):
    """What is measured on, and the images of the results."""

    data: Path | None = flag(
        metavar="FOLDER",
        help="crops of the model's domain, with those of the folders in it (default, for avatars: the 64 that come "
        "with the library)",
    )
    count: int | None = flag(metavar="N", help="the first N images (default: all; with --methods: 8)")
    sheet: Path | None = flag(metavar="FILE.png", help="also write a contact sheet of a few images")
    plot: Path | None = flag(metavar="FILE.png", help="also write the curves (needs matplotlib)")


@dataclass(frozen=True, kw_only=True)
class ReconstructionArguments(DataArguments):
    """Inverts held-out crops, one at a time, and prints means: L2 on the [-1,1] scale, perceptual distance and identity
    similarity of the model's evaluator, MS-SSIM at 256 px, seconds per image (median and quartiles, without measuring).
    W encoder and hypernetwork invert all images; W optimization, PTI and optimized offsets, which take minutes each,
    the first ones. These three minimize L2 + the distance of the model's perceptual network; the evaluator only
    measures. With --methods it compares methods instead, each at the steps given: also how editable their inversions
    are (identity to the input where age, smile and pose were changed by the same measured amount) and how large their
    files.
    """

    curve: int | None = flag(metavar="T", help="steps to measure one by one; 0 for none (default: 10)")
    optimized: int | None = flag(metavar="N", help="images for the rows that optimize; 0 leaves them out (default: 32)")
    methods: list[str] | None = flag(
        nargs="+",
        metavar="NAME[:STEPS]",
        help="compare these methods, one image at a time, such as hyperstyle+offsets:50 (steps of the last part); "
        '"all": every method of the model and hybrids at several numbers of steps, minutes for each image',
    )


@dataclass(frozen=True, kw_only=True)
class EditingArguments(DataArguments):
    """Inverts held-out crops, edits them at strengths over each edit's range, with the hypernetwork's offsets and
    without, and prints what the model's evaluator reads: the edit's trait and its change (in standard deviations of the
    population), identity similarity to the unedited inversion and to the input, the share of images whose trait rises
    at every step, rank correlation, and how much the traits of the other edits change with it. With --optimized or
    --equal-effect also what each way to invert keeps of the person where the edit had the same measured effect.
    """

    edits: list[str] | None = flag(nargs="+", metavar="NAME", help="which edits (default: all of the model)")
    points: int = flag(default=9, metavar="N", help="strengths over each edit's range (default: 9)")
    optimized: int = flag(
        default=0,
        metavar="N",
        help="compare at equal effect on the first N images, which PTI and W+ optimization invert too; they take "
        "minutes per image (default: 0, without these two)",
    )
    equal_effect: Path | None = flag(metavar="FILE.png", help="also write this comparison's plot (needs matplotlib)")
    count: int | None = flag(metavar="N", help="the first N images (default: all)")


@dataclass(frozen=True, kw_only=True)
class AlignmentArguments(ResultArguments):
    """Finds the faces in photos with the model's detector and with MTCNN, whose five points the published models of
    faces were trained on, and prints how far the corners of the two crops are apart. Figures on rendered photos, whose
    landmarks are known, are made by `python -m examples.avatars.studies.alignment` in a checkout of the source.
    """

    aligner: str = flag(
        choices=("model", "dlib"),
        default="model",
        help="the model's own, or dlib's frontal face detector with the published predictor (default: model)",
    )
    photos: Path | None = flag(metavar="FOLDER", help="photos to compare on")
    mtcnn: Path | None = flag(metavar="FOLDER", help="the published weights of MTCNN")


_KINDS: dict[str, tuple[type[ResultArguments], str]] = {
    "reconstruction": (ReconstructionArguments, "error and time of every way to invert"),
    "editing": (EditingArguments, "what edits change, with weight offsets and without"),
    "alignment": (AlignmentArguments, "how far the crops of two detectors are apart on photos of your own"),
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on held-out images",
        description="Measures a model on held-out images.",
    )
    kinds = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)
    for name, (arguments, help) in _KINDS.items():
        kind = add_command(kinds, name, arguments, _run(name), help=help)
        if name != "alignment":  # as version 0.1 spelled it
            kind.add_argument("--optimised", dest="optimized", type=int, help=argparse.SUPPRESS)
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


def _run(name: str) -> Callable[[Any], int]:
    """The function of `evaluate_runs`, which is imported when it is called: it loads PyTorch."""

    def run(args: Any) -> int:
        from hyperstyle.cli import evaluate_runs

        return evaluate_runs.RUNS[name](args)

    return run


def _run_moved(args: argparse.Namespace) -> int:
    raise ConfigError(
        f"`evaluate {args.study}` measures on rendered photos, and the renderer is not installed: "
        f"it is done {args.where}, with the same flags."
    )
