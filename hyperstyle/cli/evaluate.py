"""`hyperstyle evaluate`: measures a model on held-out images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperstyle.cli.arguments import add_model_arguments, check_output_files, load_inverter
from hyperstyle.cli.config import add_config_argument
from hyperstyle.cli.evaluate_text import (
    differences_text,
    editing_text,
    equal_effect_text,
    methods_text,
    reconstruction_text,
)
from hyperstyle.cli.inputs import Failure, report, report_left_out
from hyperstyle.cli.progress import progress_bar
from hyperstyle.cli.report import add_parser as add_report_parser
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from hyperstyle.evaluation import Optimization
    from hyperstyle.evaluation.report.images import TestImages
    from hyperstyle.inverter import HyperStyleInverter

__all__ = ["add_parser", "run_alignment", "run_editing", "run_reconstruction"]

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


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on held-out images",
        description="Measures a model on held-out images.",
    )
    kinds = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)

    reconstruction = kinds.add_parser(
        "reconstruction",
        help="error and time of every way to invert",
        description=(
            "Inverts held-out crops, and prints means: L2 on the [-1,1] scale, perceptual distance and identity "
            "similarity of the model's evaluator, MS-SSIM at 256 px, seconds per image (one at a time, median and "
            "quartiles, without measuring). W encoder and hypernetwork invert all images; W optimization, PTI and "
            "optimized offsets, which take minutes each, the first ones. These three minimize L2 + the distance of "
            "the model's perceptual network; the evaluator only measures. With --methods it compares methods instead, "
            "each at the steps given: also how editable their inversions are (identity to the input where age, smile "
            "and pose were changed by the same measured amount) and how large their files."
        ),
    )
    add_model_arguments(reconstruction)
    reconstruction.add_argument(
        "--curve", type=int, metavar="T", help="passes to measure one by one; 0 for none (default: 10)"
    )
    reconstruction.add_argument(
        "--optimized",
        "--optimised",  # as version 0.1 spelled it
        dest="optimized",
        type=int,
        metavar="N",
        help="images for the rows that optimize; 0 leaves them out (default: 32)",
    )
    reconstruction.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME[:STEPS]",
        help="compare these methods, one image at a time, such as hyperstyle+offsets:50 (steps of the last part); "
        '"all": every method of the model and hybrids at several numbers of steps, minutes for each image',
    )
    _add_output_arguments(reconstruction, "the first N images (default: all; with --methods: 8)")
    reconstruction.set_defaults(run=run_reconstruction, equal_effect=None)

    editing = kinds.add_parser(
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
    add_model_arguments(editing)
    editing.add_argument("--edits", nargs="+", metavar="NAME", help="which edits (default: all of the model)")
    editing.add_argument(
        "--points", type=int, default=9, metavar="N", help="strengths over each edit's range (default: 9)"
    )
    editing.add_argument(
        "--optimized",
        "--optimised",  # as version 0.1 spelled it
        dest="optimized",
        type=int,
        default=0,
        metavar="N",
        help="compare at equal effect on the first N images, which PTI and W+ optimization invert too; they take "
        "minutes per image (default: 0, without these two)",
    )
    editing.add_argument(
        "--equal-effect", type=Path, metavar="FILE.png", help="also write this comparison's plot (needs matplotlib)"
    )
    _add_output_arguments(editing)
    editing.set_defaults(run=run_editing)

    alignment = kinds.add_parser(
        "alignment",
        help="how far the crops of two detectors are apart on photos of your own",
        description=(
            "Finds the faces in photos with the model's detector and with MTCNN, whose five points the published "
            "models of faces were trained on, and prints how far the corners of the two crops are apart. Figures on "
            f"rendered photos, whose landmarks are known, are made {_study('alignment')}."
        ),
    )
    add_model_arguments(alignment)
    alignment.add_argument(
        "--aligner",
        choices=("model", "dlib"),
        default="model",
        help="the model's own, or dlib's frontal face detector with the published predictor (default: model)",
    )
    alignment.add_argument("--photos", type=Path, metavar="FOLDER", help="photos to compare on")
    alignment.add_argument("--mtcnn", type=Path, metavar="FOLDER", help="the published weights of MTCNN")
    _add_result_arguments(alignment)
    alignment.set_defaults(run=run_alignment, sheet=None, plot=None, equal_effect=None, count=None)

    add_report_parser(kinds)
    for kind in kinds.choices.values():
        add_config_argument(kind)
    for name, (what, flags) in _STUDIES.items():
        moved = kinds.add_parser(name, help=f"{what} ({_study(name)})", description=f"Measures {what}: {_study(name)}.")
        for flag in flags:
            moved.add_argument(f"--{flag}", nargs="?", help="as there")
        moved.set_defaults(run=_run_moved, study=name)


def _study(name: str) -> str:
    return f"by `python -m examples.avatars.studies.{name}` in a checkout of the source"


def _run_moved(args: argparse.Namespace) -> int:
    raise ConfigError(
        f"`evaluate {args.study}` measures on rendered photos, and the renderer is not installed: "
        f"it is done {_study(args.study)}, with the same flags."
    )


def _add_output_arguments(parser: argparse.ArgumentParser, count: str = _COUNT) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="crops of the model's domain, with those of the folders in it (default, for avatars: the 64 that come "
        "with the library)",
    )
    parser.add_argument("--count", type=int, metavar="N", help=count)
    _add_result_arguments(parser)
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="also write a contact sheet of a few images")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also write the curves (needs matplotlib)")


def _add_result_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run_reconstruction(args: argparse.Namespace) -> int:
    """Prints the tables of `evaluate_reconstruction` and writes what was asked for."""
    from hyperstyle.evaluation import Optimization, evaluate_reconstruction
    from hyperstyle.evaluation.optimized import perceptual_network
    from hyperstyle.evaluation.plots import reconstruction_plot
    from hyperstyle.evaluation.sheets import reconstruction_sheet

    if args.methods is not None:
        return _run_methods(args)
    args.curve = 10 if args.curve is None else args.curve
    args.optimized = 32 if args.optimized is None else args.optimized
    _check_outputs(args)
    for name in ("curve", "optimized"):
        if getattr(args, name) < 0:
            raise ConfigError(f"--{name} {getattr(args, name)}: expected 0 or more.")
    inverter = load_inverter(args)
    settings = Optimization(args.optimized) if args.optimized else None
    if settings is not None:
        perceptual_network(inverter.model)
    images = _images(args, inverter)
    crops = _stacked(images)
    with progress_bar(args.quiet) as show:
        result = evaluate_reconstruction(inverter, crops, curve=args.curve, optimized=settings, on_progress=show)
    found: dict[str, Any] = {
        "pictures": _described(args, inverter, images),
        "rows": [asdict(row) for row in result.rows],
        "curve": [asdict(point) for point in result.curve],
        "optimised": None,
    }
    if settings is not None and result.optimized is not None:
        best = result.optimized
        found["optimised"] = {
            "settings": _settings(settings),
            "rows": [asdict(row) for row in best.rows],
            "encoder_over_optimisation": best.encoder_over_optimization,
            "tuning": [asdict(point) for point in best.tuning],
            "equivalence": [asdict(one) for one in best.equivalence],
        }
    print(reconstruction_text(result))
    _write(args, inverter, found, lambda: reconstruction_sheet(result.shown), lambda: reconstruction_plot(result))
    return _report_failures(images)


def _run_methods(args: argparse.Namespace) -> int:
    """Prints the table of `evaluate_methods` and writes what was asked for."""
    from hyperstyle.evaluation.methods import Trial, all_trials, evaluate_methods
    from hyperstyle.evaluation.plots import methods_plot
    from hyperstyle.evaluation.sheets import reconstruction_sheet

    for name in ("curve", "optimized"):
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} and --methods do not go together: --methods compares what it names.")
    args.count = 8 if args.count is None else args.count
    _check_outputs(args)
    inverter = load_inverter(args)
    trials: list[Trial] = []
    for text in args.methods:
        trials += all_trials(inverter.model) if text == "all" else [Trial.of(text)]
    images = _images(args, inverter)
    crops = _stacked(images)
    with progress_bar(args.quiet) as show:
        result = evaluate_methods(inverter, crops, list(dict.fromkeys(trials)), on_progress=show)
    found: dict[str, Any] = {
        "pictures": _described(args, inverter, images),
        "methods": [asdict(one) for one in result.rows],
        "equal_effect": [asdict(curve) for curve in result.curves],
    }
    print(methods_text(result))
    _write(args, inverter, found, lambda: reconstruction_sheet(result.shown), lambda: methods_plot(result))
    return _report_failures(images)


def run_editing(args: argparse.Namespace) -> int:
    """Prints the tables of `evaluate_editing`, those at equal effect where asked for, and writes what was asked for."""
    from hyperstyle.evaluation import Optimization, evaluate_editing
    from hyperstyle.evaluation.editing import measurable_edits
    from hyperstyle.evaluation.equal_effect import EqualEffect, evaluate_equal_effect
    from hyperstyle.evaluation.optimized import perceptual_network
    from hyperstyle.evaluation.plots import editing_plot, equal_effect_plot
    from hyperstyle.evaluation.sheets import editing_sheet

    _check_outputs(args)
    if args.points < 2:
        raise ConfigError(f"--points {args.points}: expected 2 or more.")
    if args.optimized < 0:
        raise ConfigError(f"--optimized {args.optimized}: expected 0 or more.")
    inverter = load_inverter(args)
    edits = measurable_edits(inverter.model, args.edits)
    settings = Optimization(args.optimized) if args.optimized else None
    if settings is not None:
        perceptual_network(inverter.model)
    images = _images(args, inverter)
    crops = _stacked(images)
    with progress_bar(args.quiet) as show:
        result = evaluate_editing(inverter, crops, edits, points=args.points, on_progress=show)
        compared: EqualEffect | None = None
        if settings is not None or args.equal_effect is not None:
            compared = evaluate_equal_effect(
                inverter, crops, edits, points=args.points, optimized=settings, on_progress=show
            )
    found: dict[str, Any] = {
        "pictures": _described(args, inverter, images),
        "population_std": dict(result.population_std),
        "edits": [asdict(curve) for curve in result.curves],
        "equal_effect": None,
    }
    print(editing_text(result))
    if compared is not None:
        print("\n" + equal_effect_text(compared))
        found["equal_effect"] = asdict(compared)
        if settings is not None:
            found["equal_effect"]["steps"] = {"projection": settings.projection, "tuning": settings.tuning}
    effect = None if compared is None else partial(equal_effect_plot, compared)
    _write(args, inverter, found, lambda: editing_sheet(result), lambda: editing_plot(result), effect)
    return _report_failures(images)


def run_alignment(args: argparse.Namespace) -> int:
    """Prints the table of `compare_detectors` and writes what was asked for."""
    from hyperstyle.align.dlib_detector import DlibDetector
    from hyperstyle.align.mtcnn import MtcnnDetector
    from hyperstyle.evaluation.alignment import compare_detectors, photos_of

    _check_outputs(args)
    if args.photos is None and args.mtcnn is None:
        raise ConfigError(
            "`evaluate alignment` compares detectors on photos of your own: give --photos and --mtcnn. Figures on "
            f"rendered photos, whose landmarks are known, are made {_study('alignment')}."
        )
    if args.photos is None or args.mtcnn is None:
        raise ConfigError("--photos and --mtcnn go together: photos, and the weights of the detector to compare with.")
    photos = photos_of(args.photos)
    inverter = load_inverter(args)
    detector = inverter.aligner if args.aligner == "model" else DlibDetector()
    if detector is None:
        raise ConfigError("this model has no aligner. Use one that has, or --aligner dlib.")
    with progress_bar(args.quiet) as show:
        apart = compare_detectors(detector, MtcnnDetector(args.mtcnn), photos.images, on_progress=show)
    print(differences_text(apart))
    found = {
        "pictures": {"count": len(photos.images)},
        "aligner": args.aligner,
        "differences": [asdict(one) for one in apart],
    }
    _write(args, inverter, found)
    return report_left_out(photos)


def _check_outputs(args: argparse.Namespace) -> None:
    """Everything that would stop the writing, before the minutes of measuring.

    Raises:
        ConfigError: fewer than 1 image, a folder that is not there or cannot be written to, another suffix than PNG.
        MissingDependencyError: a plot without matplotlib.
    """
    if args.count is not None and args.count < 1:
        raise ConfigError(f"--count {args.count}: expected 1 or more.")
    check_output_files(args, json="JSON", sheet="PNG", plot="PNG", equal_effect="PNG")
    if args.plot is not None or args.equal_effect is not None:
        from hyperstyle.evaluation.plots import check_matplotlib

        check_matplotlib()


def _images(args: argparse.Namespace, inverter: HyperStyleInverter) -> TestImages:
    """What to measure on: the folder `--data`, or what comes with the library."""
    from hyperstyle.evaluation.report.images import folder_images, held_out_images

    if args.data is not None:
        return folder_images(args.data, inverter, count=args.count)
    return held_out_images(inverter, args.count)


def _stacked(images: TestImages) -> Tensor:
    import torch

    return torch.stack([images.load(place) for place in range(len(images))])


def _described(args: argparse.Namespace, inverter: HyperStyleInverter, images: TestImages) -> dict[str, Any]:
    """What the figures are of, for the JSON file."""
    from hyperstyle.evaluation import HELD_OUT_SEED

    domain = inverter.model.domain
    source = {"seed": HELD_OUT_SEED} if args.data is None else {"source": images.source}
    return {"domain": domain.name, "count": len(images), **source, "size": list(domain.input_size)}


def _report_failures(images: TestImages) -> int:
    return report([Failure(*one) for one in images.failures], len(images) + len(images.failures))


def _write(
    args: argparse.Namespace,
    inverter: HyperStyleInverter,
    found: dict[str, Any],
    sheet: Callable[[], Image.Image] | None = None,
    plot: Callable[[], bytes] | None = None,
    effect: Callable[[], bytes] | None = None,
) -> None:
    """Writes the files that were asked for, all of them made before the first is written."""
    from hyperstyle.evaluation import machine
    from hyperstyle.images import save_image
    from hyperstyle.io.files import write_bytes, write_text

    content = {"machine": machine(inverter.model), **found}
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    page = None if args.sheet is None or sheet is None else sheet()
    drawn = ((args.plot, plot), (args.equal_effect, effect))
    plots = [(path, draw()) for path, draw in drawn if path is not None and draw is not None]
    if args.json is not None:
        write_text(args.json, text)
    if page is not None:
        save_image(page, args.sheet)
    for path, png in plots:
        write_bytes(path, png)


def _settings(settings: Optimization) -> dict[str, int]:
    """The numbers of the rows that optimize, under the names that they have in the JSON file."""
    return {"pictures" if name == "images" else name: value for name, value in asdict(settings).items()}
