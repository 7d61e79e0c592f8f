"""`hyperstyle evaluate reconstruction` and `hyperstyle evaluate editing`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperstyle.cli.arguments import ModelArguments, check_output_files, load_inverter
from hyperstyle.cli.checks import a_folder, a_trial, at_least, check_edits
from hyperstyle.cli.flags import flag, given_flags, switch
from hyperstyle.cli.inputs import Failure, report
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError
from hyperstyle.io.files import write_bytes, write_text

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from hyperstyle.evaluation import Optimization
    from hyperstyle.evaluation.images import EvaluationImages
    from hyperstyle.inverter import HyperStyleInverter


@dataclass(frozen=True, kw_only=True)
class ResultArguments(ModelArguments):
    """Where the figures go."""

    json: Path | None = flag(metavar="FILE", help="also write everything as JSON")
    quiet: bool = switch("no progress bar")

    def write_json(self, inverter: HyperStyleInverter, content: Mapping[str, Any]) -> None:
        """Writes the machine and what was measured, if it was asked for; dataclasses become objects."""
        from hyperstyle.evaluation import machine

        if self.json is not None:
            values = {"machine": machine(inverter.model), **content}
            write_text(self.json, json.dumps(values, indent=2, allow_nan=False, default=asdict) + "\n")


@dataclass(frozen=True, kw_only=True)
class DataArguments(ResultArguments):
    """What is measured on, and the images of the results."""

    data: Path | None = flag(
        check=a_folder,
        metavar="FOLDER",
        help="crops of the model's domain, with those of the folders in it (default, for avatars: the 64 that come "
        "with the library)",
    )
    count: int | None = flag(
        check=at_least(1), metavar="N", help="the first N images (default: all; with --methods: 8)"
    )
    sheet: Path | None = flag(metavar="FILE.png", help="also write a contact sheet of a few images")
    plot: Path | None = flag(metavar="FILE.png", help="also write the curves (needs matplotlib)")

    def check(self) -> None:
        """Everything that would stop the writing, before the minutes of measuring.

        Raises:
            ConfigError: a folder that is not there or cannot be written to, another suffix than PNG.
            MissingDependencyError: a plot without matplotlib.
        """
        check_output_files(self, json="JSON", sheet="PNG", plot="PNG", equal_effect="PNG")
        if self.plot is not None or vars(self).get("equal_effect") is not None:
            from hyperstyle.evaluation.plots import check_matplotlib

            check_matplotlib()

    def images(self, inverter: HyperStyleInverter, count: int | None) -> tuple[EvaluationImages, Tensor]:
        """The folder `--data`, or what comes with the library: the images, and all crops [N,3,h,w]."""
        import torch

        from hyperstyle.evaluation.images import folder_images, held_out_images

        if self.data is not None:
            images = folder_images(self.data, inverter, count=count)
        else:
            images = held_out_images(inverter, count)
        return images, torch.stack([images.load(i) for i in range(len(images))])

    def finish(
        self,
        inverter: HyperStyleInverter,
        images: EvaluationImages,
        content: Mapping[str, Any],
        sheet: Callable[[], Image.Image],
        plots: Mapping[Path | None, Callable[[], bytes]],
    ) -> int:
        """Writes the files that were asked for, if all of them can be made, and reports the images that failed.

        Args:
            inverter: the model.
            images: what was measured on.
            content: of the JSON file, after the machine and the images.
            sheet: draws the contact sheet.
            plots: the file, None where none was asked for -> draws its plot.
        """
        from hyperstyle.evaluation import HELD_OUT_SEED
        from hyperstyle.images import save_image

        domain = inverter.model.domain
        source = {"seed": HELD_OUT_SEED} if self.data is None else {"source": images.source}
        about = {"domain": domain.name, "count": len(images), **source, "size": domain.input_size}
        page = None if self.sheet is None else sheet()
        figures = {path: draw() for path, draw in plots.items() if path is not None}
        self.write_json(inverter, {"pictures": about, **content})
        if page is not None and self.sheet is not None:
            save_image(page, self.sheet)
        for path, png in figures.items():
            write_bytes(path, png)
        return report([Failure(*failure) for failure in images.failures], len(images) + len(images.failures))


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

    curve: int | None = flag(
        check=at_least(0), metavar="T", help="steps to measure one by one; 0 for none (default: 10)"
    )
    optimized: int | None = flag(
        check=at_least(0), metavar="N", help="images for the rows that optimize; 0 leaves them out (default: 32)"
    )
    methods: list[str] | None = flag(
        nargs="+",
        check=a_trial,
        metavar="NAME[:STEPS]",
        help="compare these methods, one image at a time, such as hyperstyle+offsets:50 (steps of the last part); "
        '"all": every method of the model and hybrids at several numbers of steps, minutes for each image',
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateEditingArguments(DataArguments):
    """Inverts held-out crops, edits them at strengths over each edit's range, with the hypernetwork's offsets and
    without, and prints what the model's evaluator reads: the edit's trait and its change (in standard deviations of the
    population), identity similarity to the unedited inversion and to the input, the share of images whose trait rises
    at every step, rank correlation, and how much the traits of the other edits change with it. With --optimized or
    --equal-effect also what each way to invert keeps of the person where the edit had the same measured effect.
    """

    edits: list[str] | None = flag(nargs="+", metavar="NAME", help="which edits (default: all of the model)")
    points: int = flag(default=9, check=at_least(2), metavar="N", help="strengths over each edit's range (default: 9)")
    optimized: int = flag(
        default=0,
        check=at_least(0),
        metavar="N",
        help="compare at equal effect on the first N images, which PTI and W+ optimization invert too; they take "
        "minutes per image (default: 0, without these two)",
    )
    equal_effect: Path | None = flag(metavar="FILE.png", help="also write this comparison's plot (needs matplotlib)")
    count: int | None = flag(check=at_least(1), metavar="N", help="the first N images (default: all)")


def run_reconstruction(args: ReconstructionArguments) -> int:
    """Prints the tables of `evaluate_reconstruction` and writes what was asked for."""
    args.check()
    if args.methods is not None and (flags := given_flags(args, "curve", "optimized")):
        raise ConfigError(f"{flags[0]} and --methods do not go together: --methods compares what it names.")
    from hyperstyle.cli.evaluate_text import reconstruction_text
    from hyperstyle.evaluation import evaluate_reconstruction
    from hyperstyle.evaluation.grids import reconstruction_grid
    from hyperstyle.evaluation.plots import reconstruction_plot

    if args.methods is not None:
        return _run_methods(args)
    curve = 10 if args.curve is None else args.curve
    count = 32 if args.optimized is None else args.optimized
    inverter = load_inverter(args)
    settings = _optimization(count, inverter)
    images, crops = args.images(inverter, args.count)
    with progress_bar(args.quiet) as show:
        result = evaluate_reconstruction(inverter, crops, curve=curve, optimized=settings, on_progress=show)
    print(reconstruction_text(result))
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
    drawings = {args.plot: lambda: reconstruction_plot(result)}
    return args.finish(inverter, images, content, lambda: reconstruction_grid(result.shown), drawings)


def _run_methods(args: ReconstructionArguments) -> int:
    """Prints the table of `evaluate_methods` and writes what was asked for."""
    from hyperstyle.cli.evaluate_text import methods_text
    from hyperstyle.evaluation import methods
    from hyperstyle.evaluation.grids import reconstruction_grid
    from hyperstyle.evaluation.plots import methods_plot
    from hyperstyle.evaluation.trials import Trial

    inverter = load_inverter(args)
    trials: list[Trial] = []
    for text in args.methods or ():
        trials += methods.all_trials(inverter.model) if text == "all" else [Trial.of(text)]
    images, crops = args.images(inverter, 8 if args.count is None else args.count)
    with progress_bar(args.quiet) as show:
        result = methods.evaluate_methods(inverter, crops, list(dict.fromkeys(trials)), on_progress=show)
    print(methods_text(result))
    content = {"methods": result.rows, "equal_effect": result.curves}
    drawings = {args.plot: lambda: methods_plot(result)}
    return args.finish(inverter, images, content, lambda: reconstruction_grid(result.shown), drawings)


def run_editing(args: EvaluateEditingArguments) -> int:
    """Prints the tables of `evaluate_editing`, those at equal effect where asked for, and writes what was asked for."""
    args.check()
    check_edits(args.model, args.edits or ())
    from hyperstyle.cli.evaluate_text import editing_text, equal_effect_text
    from hyperstyle.evaluation import evaluate_editing, plots
    from hyperstyle.evaluation.editing import measurable_edits
    from hyperstyle.evaluation.grids import editing_grid
    from hyperstyle.evaluation.methods import evaluate_equal_effect

    inverter = load_inverter(args)
    edits = measurable_edits(inverter.model, args.edits)
    settings = _optimization(args.optimized, inverter)
    images, crops = args.images(inverter, args.count)
    compared = None
    with progress_bar(args.quiet) as show:
        result = evaluate_editing(inverter, crops, edits, points=args.points, on_progress=show)
        if settings is not None or args.equal_effect is not None:
            compared = evaluate_equal_effect(
                inverter, crops, edits, points=args.points, optimized=settings, on_progress=show
            )
    print(editing_text(result))
    content: dict[str, Any] = {"population_std": result.population_std, "edits": result.curves, "equal_effect": None}
    drawings: dict[Path | None, Callable[[], bytes]] = {args.plot: lambda: plots.editing_plot(result)}
    if compared is not None:
        print("\n" + equal_effect_text(compared))
        content["equal_effect"] = asdict(compared)
        drawings[args.equal_effect] = lambda: plots.equal_effect_plot(compared)
    if settings is not None:
        content["equal_effect"]["steps"] = {"projection": settings.projection, "tuning": settings.tuning}
    return args.finish(inverter, images, content, lambda: editing_grid(result), drawings)


def _optimization(count: int, inverter: HyperStyleInverter) -> Optimization | None:
    """The numbers of the rows that optimize so many images; None for 0. Raises as `check_perceptual_network`."""
    from hyperstyle.evaluation import Optimization
    from hyperstyle.evaluation.optimized import check_perceptual_network

    if not count:
        return None
    check_perceptual_network(inverter.model)
    return Optimization(count)
