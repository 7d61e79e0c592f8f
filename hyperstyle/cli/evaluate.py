"""`hyperstyle evaluate`: measures a model on held-out images."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from hyperstyle.cli import celebahq, report
from hyperstyle.cli.arguments import add_model_arguments
from hyperstyle.cli.config import add_config_argument
from hyperstyle.errors import ConfigError

__all__ = ["add_parser"]

_COUNT = "the first N images (default: all)"
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

_Kinds = argparse._SubParsersAction


def add_parser(subparsers: _Kinds[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on held-out images",
        description="Measures a model on held-out images.",
    )
    kinds = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)
    for add in (_add_reconstruction, _add_editing, _add_alignment, report.add_parser, celebahq.add_parser):
        add(kinds)
    for kind in kinds.choices.values():
        add_config_argument(kind)
    for name, (what, flags) in _STUDIES.items():
        moved = kinds.add_parser(name, help=f"{what} ({_study(name)})", description=f"Measures {what}: {_study(name)}.")
        for flag in flags:
            moved.add_argument(f"--{flag}", nargs="?", help="as there")
        moved.set_defaults(run=_run_moved, study=name, where=_study(name))


def _add_reconstruction(kinds: _Kinds[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser(
        "reconstruction",
        help="error and time of every way to invert",
        description=(
            "Inverts held-out crops, one at a time, and prints means: L2 on the [-1,1] scale, perceptual distance and "
            "identity similarity of the model's evaluator, MS-SSIM at 256 px, seconds per image (median and quartiles, "
            "without measuring). W encoder and hypernetwork invert all images; W optimization, PTI and optimized "
            "offsets, which take minutes each, the first ones. These three minimize L2 + the distance of the model's "
            "perceptual network; the evaluator only measures. With --methods it compares methods instead, each at the "
            "steps given: also how editable their inversions are (identity to the input where age, smile and pose were "
            "changed by the same measured amount) and how large their files."
        ),
    )
    add_model_arguments(parser)
    parser.add_argument("--curve", type=int, metavar="T", help="steps to measure one by one; 0 for none (default: 10)")
    _add_optimized(parser, "images for the rows that optimize; 0 leaves them out (default: 32)")
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME[:STEPS]",
        help="compare these methods, one image at a time, such as hyperstyle+offsets:50 (steps of the last part); "
        '"all": every method of the model and hybrids at several numbers of steps, minutes for each image',
    )
    _add_data(parser, "the first N images (default: all; with --methods: 8)")
    parser.set_defaults(run=_run("reconstruction"), equal_effect=None)


def _add_editing(kinds: _Kinds[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser(
        "editing",
        help="what edits change, with weight offsets and without",
        description=(
            "Inverts held-out crops, edits them at strengths over each edit's range, with the hypernetwork's offsets "
            "and without, and prints what the model's evaluator reads: the edit's trait and its change (in standard "
            "deviations of the population), identity similarity to the unedited inversion and to the input, the share "
            "of images whose trait rises at every step, rank correlation, and how much the traits of the other edits "
            "change with it. With --optimized or --equal-effect also what each way to invert keeps of the person "
            "where the edit had the same measured effect."
        ),
    )
    add_model_arguments(parser)
    parser.add_argument("--edits", nargs="+", metavar="NAME", help="which edits (default: all of the model)")
    parser.add_argument(
        "--points", type=int, default=9, metavar="N", help="strengths over each edit's range (default: 9)"
    )
    _add_optimized(
        parser,
        "compare at equal effect on the first N images, which PTI and W+ optimization invert too; they take minutes "
        "per image (default: 0, without these two)",
        default=0,
    )
    parser.add_argument(
        "--equal-effect", type=Path, metavar="FILE.png", help="also write this comparison's plot (needs matplotlib)"
    )
    _add_data(parser, _COUNT)
    parser.set_defaults(run=_run("editing"))


def _add_alignment(kinds: _Kinds[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser(
        "alignment",
        help="how far the crops of two detectors are apart on photos of your own",
        description=(
            "Finds the faces in photos with the model's detector and with MTCNN, whose five points the published "
            "models of faces were trained on, and prints how far the corners of the two crops are apart. Figures on "
            f"rendered photos, whose landmarks are known, are made {_study('alignment')}."
        ),
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--aligner",
        choices=("model", "dlib"),
        default="model",
        help="the model's own, or dlib's frontal face detector with the published predictor (default: model)",
    )
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos to compare on")
    parser.add_argument("--mtcnn", type=Path, metavar="FOLDER", help="the published weights of MTCNN")
    _add_results(parser)
    parser.set_defaults(
        run=_run("alignment"), where=_study("alignment"), sheet=None, plot=None, equal_effect=None, count=None
    )


def _add_optimized(parser: argparse.ArgumentParser, help: str, default: int | None = None) -> None:
    """`--optimized`, and its spelling in version 0.1."""
    parser.add_argument(
        "--optimized", "--optimised", dest="optimized", type=int, default=default, metavar="N", help=help
    )


def _add_data(parser: argparse.ArgumentParser, count: str) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="crops of the model's domain, with those of the folders in it (default, for avatars: the 64 that come "
        "with the library)",
    )
    parser.add_argument("--count", type=int, metavar="N", help=count)
    _add_results(parser)
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="also write a contact sheet of a few images")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also write the curves (needs matplotlib)")


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _run(name: str) -> Callable[[argparse.Namespace], int]:
    """The function of `evaluate_runs`, which is imported when it is called: it loads PyTorch."""

    def run(args: argparse.Namespace) -> int:
        from hyperstyle.cli import evaluate_runs

        return evaluate_runs.RUNS[name](args)

    return run


def _run_moved(args: argparse.Namespace) -> int:
    raise ConfigError(
        f"`evaluate {args.study}` measures on rendered photos, and the renderer is not installed: "
        f"it is done {args.where}, with the same flags."
    )


def _study(name: str) -> str:
    """How a study of rendered photos is done, which are outside of the package."""
    return f"by `python -m examples.avatars.studies.{name}` in a checkout of the source"
