"""What `hyperstyle evaluate reconstruction`, `editing` and `alignment` do with their arguments."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hyperstyle.align import mtcnn
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.cli.arguments import check_output_files, load_inverter
from hyperstyle.cli.evaluate_text import (
    differences_text,
    editing_text,
    equal_effect_text,
    methods_text,
    reconstruction_text,
)
from hyperstyle.cli.inputs import Failure, report, report_left_out
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation import (
    HELD_OUT_SEED,
    Optimization,
    evaluate_editing,
    evaluate_reconstruction,
    machine,
    methods,
    plots,
)
from hyperstyle.evaluation.alignment import compare_detectors, photos_of
from hyperstyle.evaluation.editing import measurable_edits
from hyperstyle.evaluation.engine import Trial
from hyperstyle.evaluation.grids import editing_grid, reconstruction_grid
from hyperstyle.evaluation.images import EvaluationImages, folder_images, held_out_images
from hyperstyle.evaluation.optimized import perceptual_network
from hyperstyle.images import save_image
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import write_bytes, write_text

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["RUNS"]


def _reconstruction(args: argparse.Namespace) -> int:
    """Prints the tables of `evaluate_reconstruction` and writes what was asked for."""
    if args.methods is not None:
        return _methods(args)
    args.curve = 10 if args.curve is None else args.curve
    args.optimized = 32 if args.optimized is None else args.optimized
    _check_outputs(args)
    _check_range(args, curve=0, optimized=0)
    inverter = load_inverter(args)
    settings = Optimization(args.optimized) if args.optimized else None
    if settings is not None:
        perceptual_network(inverter.model)
    images = _images(args, inverter)
    with progress_bar(args.quiet) as show:
        result = evaluate_reconstruction(
            inverter, _crops(images), curve=args.curve, optimized=settings, on_progress=show
        )
    content: dict[str, Any] = {
        "pictures": _about(args, inverter, images),
        "rows": [asdict(row) for row in result.rows],
        "curve": [asdict(point) for point in result.curve],
        "optimised": None,
    }
    if settings is not None and result.optimized is not None:
        content["optimised"] = {
            "settings": _settings(settings),
            "rows": [asdict(row) for row in result.optimized.rows],
            "encoder_over_optimisation": result.optimized.encoder_over_optimization,
            "tuning": [asdict(point) for point in result.optimized.tuning],
            "equivalence": [asdict(equivalence) for equivalence in result.optimized.equivalence],
        }
    print(reconstruction_text(result))
    drawings = {args.plot: lambda: plots.reconstruction_plot(result)}
    _write(args, inverter, content, sheet=lambda: reconstruction_grid(result.shown), plots=drawings)
    return _report_failures(images)


def _methods(args: argparse.Namespace) -> int:
    """Prints the table of `evaluate_methods` and writes what was asked for."""
    for name in ("curve", "optimized"):
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} and --methods do not go together: --methods compares what it names.")
    args.count = 8 if args.count is None else args.count
    _check_outputs(args)
    inverter = load_inverter(args)
    trials: list[Trial] = []
    for text in args.methods:
        trials += methods.all_trials(inverter.model) if text == "all" else [Trial.of(text)]
    images = _images(args, inverter)
    with progress_bar(args.quiet) as show:
        result = methods.evaluate_methods(inverter, _crops(images), list(dict.fromkeys(trials)), on_progress=show)
    content = {
        "pictures": _about(args, inverter, images),
        "methods": [asdict(row) for row in result.rows],
        "equal_effect": [asdict(curve) for curve in result.curves],
    }
    print(methods_text(result))
    drawings = {args.plot: lambda: plots.methods_plot(result)}
    _write(args, inverter, content, sheet=lambda: reconstruction_grid(result.shown), plots=drawings)
    return _report_failures(images)


def _editing(args: argparse.Namespace) -> int:
    """Prints the tables of `evaluate_editing`, those at equal effect where asked for, and writes what was asked for."""
    _check_outputs(args)
    _check_range(args, points=2, optimized=0)
    inverter = load_inverter(args)
    edits = measurable_edits(inverter.model, args.edits)
    settings = Optimization(args.optimized) if args.optimized else None
    if settings is not None:
        perceptual_network(inverter.model)
    images = _images(args, inverter)
    crops, compared = _crops(images), None
    with progress_bar(args.quiet) as show:
        result = evaluate_editing(inverter, crops, edits, points=args.points, on_progress=show)
        if settings is not None or args.equal_effect is not None:
            compared = methods.evaluate_equal_effect(
                inverter, crops, edits, points=args.points, optimized=settings, on_progress=show
            )
    content: dict[str, Any] = {
        "pictures": _about(args, inverter, images),
        "population_std": dict(result.population_std),
        "edits": [asdict(curve) for curve in result.curves],
        "equal_effect": None if compared is None else asdict(compared),
    }
    if settings is not None:
        content["equal_effect"]["steps"] = {"projection": settings.projection, "tuning": settings.tuning}
    print(editing_text(result))
    asked: dict[Path | None, Callable[[], bytes]] = {args.plot: lambda: plots.editing_plot(result)}
    if compared is not None:
        print("\n" + equal_effect_text(compared))
        asked[args.equal_effect] = lambda: plots.equal_effect_plot(compared)
    _write(args, inverter, content, sheet=lambda: editing_grid(result), plots=asked)
    return _report_failures(images)


def _alignment(args: argparse.Namespace) -> int:
    """Prints the table of `compare_detectors` and writes what was asked for."""
    _check_outputs(args)
    if args.photos is None and args.mtcnn is None:
        raise ConfigError(
            "`evaluate alignment` compares detectors on photos of your own: give --photos and --mtcnn. Figures on "
            f"rendered photos, whose landmarks are known, are made {args.where}."
        )
    if args.photos is None or args.mtcnn is None:
        raise ConfigError("--photos and --mtcnn go together: photos, and the weights of the detector to compare with.")
    photos = photos_of(args.photos)
    inverter = load_inverter(args)
    detector = inverter.aligner if args.aligner == "model" else DlibDetector()
    if detector is None:
        raise ConfigError("this model has no aligner. Use one that has, or --aligner dlib.")
    with progress_bar(args.quiet) as show:
        differences = compare_detectors(detector, mtcnn.MtcnnDetector(args.mtcnn), photos.images, on_progress=show)
    print(differences_text(differences))
    content = {
        "pictures": {"count": len(photos.images)},
        "aligner": args.aligner,
        "differences": [asdict(difference) for difference in differences],
    }
    _write(args, inverter, content)
    return report_left_out(photos)


# ---- what these share ----


def _check_outputs(args: argparse.Namespace) -> None:
    """Everything that would stop the writing, before the minutes of measuring.

    Raises:
        ConfigError: fewer than 1 image, a folder that is not there or cannot be written to, another suffix than PNG.
        MissingDependencyError: a plot without matplotlib.
    """
    if args.count is not None:
        _check_range(args, count=1)
    check_output_files(args, json="JSON", sheet="PNG", plot="PNG", equal_effect="PNG")
    if args.plot is not None or args.equal_effect is not None:
        plots.check_matplotlib()


def _check_range(args: argparse.Namespace, **least: int) -> None:
    """Raises ConfigError for a number that is smaller than it may be."""
    for name, smallest in least.items():
        if getattr(args, name) < smallest:
            raise ConfigError(f"--{name} {getattr(args, name)}: expected {smallest} or more.")


def _images(args: argparse.Namespace, inverter: HyperStyleInverter) -> EvaluationImages:
    """What to measure on: the folder `--data`, or what comes with the library."""
    if args.data is not None:
        return folder_images(args.data, inverter, count=args.count)
    return held_out_images(inverter, args.count)


def _crops(images: EvaluationImages) -> Tensor:
    """All of them [N,3,h,w]."""
    return torch.stack([images.load(i) for i in range(len(images))])


def _about(args: argparse.Namespace, inverter: HyperStyleInverter, images: EvaluationImages) -> dict[str, Any]:
    """What the figures are of, for the JSON file."""
    domain = inverter.model.domain
    source = {"seed": HELD_OUT_SEED} if args.data is None else {"source": images.source}
    return {"domain": domain.name, "count": len(images), **source, "size": list(domain.input_size)}


def _settings(settings: Optimization) -> dict[str, int]:
    """The numbers of the rows that optimize, under the names of version 0.1; all images are timed now."""
    numbers = asdict(settings)
    return {"pictures": numbers.pop("images"), **numbers, "timed": settings.images}


def _report_failures(images: EvaluationImages) -> int:
    return report([Failure(*failure) for failure in images.failures], len(images) + len(images.failures))


def _write(
    args: argparse.Namespace,
    inverter: HyperStyleInverter,
    content: Mapping[str, Any],
    *,
    sheet: Callable[[], Image.Image] | None = None,
    plots: Mapping[Path | None, Callable[[], bytes]] | None = None,
) -> None:
    """Writes the files that were asked for, all of them made before the first is written.

    Args:
        args: with `json` and `sheet`.
        inverter: the model.
        content: of the JSON file, after the machine.
        sheet: draws the contact sheet.
        plots: the file, None where none was asked for -> draws its plot.
    """
    text = json.dumps({"machine": machine(inverter.model), **content}, indent=2, allow_nan=False) + "\n"
    page = None if args.sheet is None or sheet is None else sheet()
    figures = {path: draw() for path, draw in (plots or {}).items() if path is not None}
    if args.json is not None:
        write_text(args.json, text)
    if page is not None:
        save_image(page, args.sheet)
    for path, png in figures.items():
        write_bytes(path, png)


RUNS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "reconstruction": _reconstruction,
    "editing": _editing,
    "alignment": _alignment,
}
"""What is measured, by its name on the command line."""
