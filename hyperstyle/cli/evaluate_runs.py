"""What `hyperstyle evaluate reconstruction`, `editing` and `alignment` do with their arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hyperstyle.align import mtcnn
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.cli import evaluate_text
from hyperstyle.cli.arguments import check_output_files, load_inverter
from hyperstyle.cli.evaluate import AlignmentArguments, DataArguments, EditingArguments, ReconstructionArguments
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
from hyperstyle.evaluation.optimized import check_perceptual_network
from hyperstyle.images import save_image
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import write_bytes, write_text

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["RUNS"]

Plots = Mapping[Path | None, Callable[[], bytes]]
"""The file, None where none was asked for -> draws its plot."""


def _reconstruction(args: ReconstructionArguments) -> int:
    """Prints the tables of `evaluate_reconstruction` and writes what was asked for."""
    if args.methods is not None:
        return _methods(args)
    curve, count = (default if n is None else n for n, default in ((args.curve, 10), (args.optimized, 32)))
    _check(args, curve=0, optimized=0)
    inverter = load_inverter(args)
    settings = _optimization(count, inverter)
    images, crops = _images(args, inverter, args.count)
    with progress_bar(args.quiet) as show:
        result = evaluate_reconstruction(inverter, crops, curve=curve, optimized=settings, on_progress=show)
    print(evaluate_text.reconstruction_text(result))
    content: dict[str, Any] = {"rows": result.rows, "curve": result.curve, "optimised": None}
    if settings is not None and result.optimized is not None:
        numbers = asdict(settings)  # under the names of version 0.1; all images are timed now
        content["optimised"] = {
            "settings": {"pictures": numbers.pop("images"), **numbers, "timed": settings.images},
            "rows": result.optimized.rows,
            "encoder_over_optimisation": result.optimized.encoder_over_optimization,
            "tuning": result.optimized.tuning,
            "equivalence": result.optimized.equivalence,
        }
    drawings: Plots = {args.plot: lambda: plots.reconstruction_plot(result)}
    return _finish(args, inverter, images, content, lambda: reconstruction_grid(result.shown), drawings)


def _methods(args: ReconstructionArguments) -> int:
    """Prints the table of `evaluate_methods` and writes what was asked for."""
    for name in ("curve", "optimized"):
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} and --methods do not go together: --methods compares what it names.")
    _check(args)
    inverter = load_inverter(args)
    trials: list[Trial] = []
    for text in args.methods or ():
        trials += methods.all_trials(inverter.model) if text == "all" else [Trial.of(text)]
    images, crops = _images(args, inverter, 8 if args.count is None else args.count)
    with progress_bar(args.quiet) as show:
        result = methods.evaluate_methods(inverter, crops, list(dict.fromkeys(trials)), on_progress=show)
    print(evaluate_text.methods_text(result))
    content = {"methods": result.rows, "equal_effect": result.curves}
    drawings: Plots = {args.plot: lambda: plots.methods_plot(result)}
    return _finish(args, inverter, images, content, lambda: reconstruction_grid(result.shown), drawings)


def _editing(args: EditingArguments) -> int:
    """Prints the tables of `evaluate_editing`, those at equal effect where asked for, and writes what was asked for."""
    _check(args, points=2, optimized=0)
    inverter = load_inverter(args)
    edits = measurable_edits(inverter.model, args.edits)
    settings = _optimization(args.optimized, inverter)
    images, crops = _images(args, inverter, args.count)
    compared = None
    with progress_bar(args.quiet) as show:
        result = evaluate_editing(inverter, crops, edits, points=args.points, on_progress=show)
        if settings is not None or args.equal_effect is not None:
            compared = methods.evaluate_equal_effect(
                inverter, crops, edits, points=args.points, optimized=settings, on_progress=show
            )
    print(evaluate_text.editing_text(result))
    content: dict[str, Any] = {"population_std": result.population_std, "edits": result.curves, "equal_effect": None}
    drawings: dict[Path | None, Callable[[], bytes]] = {args.plot: lambda: plots.editing_plot(result)}
    if compared is not None:
        print("\n" + evaluate_text.equal_effect_text(compared))
        content["equal_effect"] = asdict(compared)
        drawings[args.equal_effect] = lambda: plots.equal_effect_plot(compared)
    if settings is not None:
        content["equal_effect"]["steps"] = {"projection": settings.projection, "tuning": settings.tuning}
    return _finish(args, inverter, images, content, lambda: editing_grid(result), drawings)


def _alignment(args: AlignmentArguments) -> int:
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
    photos = photos_of(args.photos)
    inverter = load_inverter(args)
    detector = inverter.aligner if args.aligner == "model" else DlibDetector()
    if detector is None:
        raise ConfigError("this model has no aligner. Use one that has, or --aligner dlib.")
    with progress_bar(args.quiet) as show:
        differences = compare_detectors(detector, mtcnn.MtcnnDetector(args.mtcnn), photos.images, on_progress=show)
    print(evaluate_text.differences_text(differences))
    if args.json is not None:
        count = {"count": len(photos.images)}
        content = {"pictures": count, "aligner": args.aligner, "differences": differences}
        write_text(args.json, _json_text(inverter, content))
    return report_left_out(photos)


# ---- what these share ----


def _check(args: DataArguments, **least: int) -> None:
    """Everything that would stop the writing, before the minutes of measuring.

    Args:
        args: the arguments.
        least: name of an argument -> its smallest value.

    Raises:
        ConfigError: a number that is too small, a folder that is not there or cannot be written to, another suffix than
            PNG.
        MissingDependencyError: a plot without matplotlib.
    """
    for name, smallest in {"count": 1, **least}.items():
        value = getattr(args, name)
        if value is not None and value < smallest:
            raise ConfigError(f"--{name} {value}: expected {smallest} or more.")
    check_output_files(args, json="JSON", sheet="PNG", plot="PNG", equal_effect="PNG")
    if args.plot is not None or vars(args).get("equal_effect") is not None:
        plots.check_matplotlib()


def _optimization(count: int, inverter: HyperStyleInverter) -> Optimization | None:
    """The numbers of the rows that optimize so many images; None for 0. Raises as `check_perceptual_network`."""
    if not count:
        return None
    check_perceptual_network(inverter.model)
    return Optimization(count)


def _images(args: DataArguments, inverter: HyperStyleInverter, count: int | None) -> tuple[EvaluationImages, Tensor]:
    """What to measure on, the folder `--data` or what comes with the library: the images, and all crops [N,3,h,w]."""
    if args.data is not None:
        images = folder_images(args.data, inverter, count=count)
    else:
        images = held_out_images(inverter, count)
    return images, torch.stack([images.load(i) for i in range(len(images))])


def _finish(
    args: DataArguments,
    inverter: HyperStyleInverter,
    images: EvaluationImages,
    content: Mapping[str, Any],
    sheet: Callable[[], Image.Image],
    drawings: Plots,
) -> int:
    """Writes the files that were asked for, all of them made before the first is written, and reports failed images.

    Args:
        args: with the names of the files.
        inverter: the model.
        images: what was measured on.
        content: of the JSON file, after the machine and the images.
        sheet: draws the contact sheet.
        drawings: draw the plots.
    """
    domain = inverter.model.domain
    source = {"seed": HELD_OUT_SEED} if args.data is None else {"source": images.source}
    about = {"domain": domain.name, "count": len(images), **source, "size": domain.input_size}
    text = _json_text(inverter, {"pictures": about, **content})
    page = None if args.sheet is None else sheet()
    figures = {path: draw() for path, draw in drawings.items() if path is not None}
    if args.json is not None:
        write_text(args.json, text)
    if page is not None and args.sheet is not None:
        save_image(page, args.sheet)
    for path, png in figures.items():
        write_bytes(path, png)
    return report([Failure(*failure) for failure in images.failures], len(images) + len(images.failures))


def _json_text(inverter: HyperStyleInverter, content: Mapping[str, Any]) -> str:
    """JSON of the machine and what was measured, dataclasses as objects."""
    values = {"machine": machine(inverter.model), **content}
    return json.dumps(values, indent=2, allow_nan=False, default=asdict) + "\n"


RUNS: Mapping[str, Callable[[Any], int]] = {
    "reconstruction": _reconstruction,
    "editing": _editing,
    "alignment": _alignment,
}
"""What is measured, by its name on the command line."""
