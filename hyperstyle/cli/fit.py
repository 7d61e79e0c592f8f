"""`hyperstyle fit`: edits for the generator of a model, found and measured."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperstyle.cli.arguments import ModelArguments, check_output_files, load_inverter, parse_layers, writable_folder
from hyperstyle.cli.checks import a_file, a_finite_number, a_positive_number, a_share, at_least
from hyperstyle.cli.flags import add_command, flag, switch
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError, with_article

if TYPE_CHECKING:
    from hyperstyle.edits import DirectionEdit
    from hyperstyle.edits.statistics import Progress
    from hyperstyle.fitting import Evaluator, Measured
    from hyperstyle.model.parts import Model

_UNMEASURED = "--plot draws what was measured, and nothing would be"
_CODES_PER_IMAGE = 16  # for each image that is edited, to know how much every trait varies
_SEED_OFFSET = 1_000_003  # of the codes to measure on, which nothing was fitted to


def _share_or_number(text: str) -> float | int:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a share like 0.02 nor a number of codes") from None


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: expected 0 to {(1 << 32) - 1}")
    return int(text)


@dataclass(frozen=True, kw_only=True)
class FitArguments(ModelArguments):
    """The arguments of all kinds."""

    out: Path = flag(required=True, metavar="DIR", help="folder for what is made")
    quiet: bool = switch("show no progress")
    seed: int = flag(type=_seed, default=0, help="of the sampling")


@dataclass(frozen=True, kw_only=True)
class DirectionArguments(FitArguments):
    """The arguments of the kinds whose edits are measured."""

    evaluator: str | None = flag(
        "--judge", metavar="MODULE:FUNCTION", help="measures; a function like --scorer (default: the model's evaluator)"
    )
    images: int = flag("--pictures", default=16, check=at_least(0), help="measure every edit on so many; 0: do not")
    plot: Path | None = flag(metavar="FILE.png", help="also draw the entanglement (needs matplotlib)")


@dataclass(frozen=True, kw_only=True)
class SampledArguments(DirectionArguments):
    """The arguments of the kinds that sample codes."""

    samples: int
    truncation: float = flag(default=1.0, check=a_finite_number, metavar="PSI", help="of these (default: 1, none)")


@dataclass(frozen=True, kw_only=True)
class InterfaceganArguments(SampledArguments):
    """Samples codes, scores their images, and fits a linear boundary between those of the highest and of the lowest
    scores, for every trait. Scores come from the model's own `perceptual` network, from a Python function, or from a
    table; the model's evaluator measures what came out, on other codes.
    """

    traits: list[str] | None = flag(
        "--trait", action="append", metavar="NAME", help="only this; may be given again (default: all)"
    )
    scorer: str | None = flag(
        exclusive=True,
        metavar="MODULE:FUNCTION",
        help="a function of images [B,3,h,w] in [-1,1] that gives scores [B], or a dict of them by trait",
    )
    table: Path | None = flag(
        exclusive=True,
        check=a_file,
        metavar="FILE.npz",
        help="codes [N,D] as `codes`, scores [N] by trait; nothing is sampled",
    )
    save_table: Path | None = flag(metavar="FILE.npz", help="also write the codes and their scores")
    chosen: float | int = flag(
        type=_share_or_number,
        default=0.02,
        check=a_positive_number,
        metavar="SHARE",
        help="share of the codes at either end, or their number",
    )
    split: float = flag(default=0.7, check=a_share, help="share of these that is fitted to; the rest checks")
    conditional: bool = switch(
        "make each edit orthogonal to the boundaries of all other traits, so that it leaves them alone"
    )
    samples: int = flag(default=10_000, check=at_least(1), help="random codes")


@dataclass(frozen=True, kw_only=True)
class GanspaceArguments(SampledArguments):
    """Samples codes and writes mean, axes and deviations of their principal components into components.npz, and an
    edit along each of the first ones.
    """

    components: int = flag(default=80, check=at_least(1), metavar="K", help="how many")
    edits: int = flag(default=10, check=at_least(0), help="write so many as edits")
    samples: int = flag(default=1_000_000, check=at_least(1), help="random codes")


@dataclass(frozen=True, kw_only=True)
class SefaArguments(DirectionArguments):
    """Writes the directions that change the styles of some layers most, an edit for each."""

    layers: list[str | int] | None = flag(
        type=parse_layers,
        metavar="LIST",
        help="names or official indexes, separated by commas (default: all but toRGB)",
    )
    count: int = flag(default=10, check=at_least(1), help="how many directions")
    seed: int = flag(type=_seed, default=0, help="of the codes it is measured on")


@dataclass(frozen=True, kw_only=True)
class StyleclipArguments(FitArguments):
    """Measures deviations and effects of the channels of StyleSpace, and writes them into DIR/styleclip. This takes
    long: two images for each channel and image. The same command goes on where it was interrupted.
    """

    samples: int = flag(default=100_000, check=at_least(2), help="random codes")
    images: int = flag(default=100, check=at_least(1), help="images per channel")
    deviations: float = flag(default=5.0, check=a_positive_number, help="how far a channel is moved; 10 but for faces")
    clip: Path | None = flag(check=a_file, help="weights of CLIP (default: HYPERSTYLE_CLIP, the Hub)")
    clip_model: str = flag(default="ViT-B-32-quickgelu", metavar="NAME", help="in open_clip")


def _interfacegan(args: InterfaceganArguments) -> int:
    """Fits a boundary for every trait, and writes `--save-table`."""
    _check(args)
    if args.scorer is not None:
        _function(args.scorer, "--scorer")
    import torch

    from hyperstyle import fitting
    from hyperstyle.edits.interfacegan import check_sklearn

    check_sklearn()

    def find(model: Model, show: Progress) -> Mapping[str, DirectionEdit]:
        if args.table is not None:
            scores, source = fitting.load_scores(args.table), f", scores of {args.table.name}"
        else:
            if args.scorer is not None:
                scorer, source = _function(args.scorer, "--scorer"), f", scored by {args.scorer}"
            elif model.perceptual is not None:
                scorer, source = fitting.network_scorer(model.perceptual), ", scored by the model's perceptual network"
            else:
                raise ConfigError(
                    "this model has no `perceptual` network to score images with. Give --scorer or --table."
                )
            sampled = fitting.sample_w(model.generator, args.samples, seed=args.seed, truncation=args.truncation)
            codes = torch.cat(list(sampled))
            scores = fitting.score_codes(model, codes, scorer, needed=args.traits or (), on_progress=show)
            if args.save_table is not None:
                fitting.save_scores(scores, args.save_table)
        options: dict[str, Any] = {name: getattr(args, name) for name in ("conditional", "chosen", "split", "seed")}
        return fitting.fit_interfacegan(model, scores, args.traits, **options, source=source, on_progress=show)

    return _fit(args, find)


def _ganspace(args: GanspaceArguments) -> int:
    """Writes principal components, and the first of them as edits."""
    _check(args)
    from hyperstyle.edits import DirectionEdit
    from hyperstyle.fitting import fit_components
    from hyperstyle.io.npy_objects import save_npz

    def find(model: Model, show: Progress) -> Mapping[str, DirectionEdit]:
        components = fit_components(
            model, args.components, samples=args.samples, seed=args.seed, truncation=args.truncation, on_progress=show
        )
        arrays = {"mean": components.mean[None], "comp": components.comp[:, None], "std": components.std}
        save_npz(args.out / "components.npz", {name: array.numpy() for name, array in arrays.items()})
        edits: dict[str, DirectionEdit] = {}
        for i in range(min(args.edits, args.components)):
            source = f"GANSpace: component {i} of {args.samples} codes"
            edit = components.edit(i, name=f"component_{i}", relative=True, source=source)
            if isinstance(edit, DirectionEdit):  # relative ones are
                info = dataclasses.replace(edit.info, model=model.generator_fingerprint)
                edits[info.name] = dataclasses.replace(edit, info=info)
        return edits

    return _fit(args, find)


def _sefa(args: SefaArguments) -> int:
    """Writes the directions of closed-form factorization."""
    _check(args)
    from hyperstyle.edits.sefa import sefa

    def find(model: Model, show: Progress) -> Mapping[str, DirectionEdit]:
        edits = sefa(model.generator, args.layers, count=args.count, model=model.generator_fingerprint)
        return {edit.info.name: edit for edit in edits}

    return _fit(args, find)


def _styleclip(args: StyleclipArguments) -> int:
    """Measures the statistics for edits by text."""
    if args.images > args.samples:
        raise ConfigError(f"--images {args.images} of --samples {args.samples}: expected no more than these.")
    out = writable_folder(args.out)
    from hyperstyle.edits.clip import OpenClip
    from hyperstyle.edits.statistics import StyleClipSampling, fit_styleclip

    settings = StyleClipSampling(args.samples, args.images, args.deviations, seed=args.seed)
    model = load_inverter(args).model
    encoder = OpenClip(args.clip, model=args.clip_model, device=model.device, preparation="bicubic")
    progress = out / "styleclip-progress.safetensors"
    with progress_bar(args.quiet) as show:
        styleclip = fit_styleclip(
            model.generator,
            encoder,
            settings,
            progress_file=progress,
            content=model.domain.content,
            model=model.generator_fingerprint,
            on_progress=show,
        )
    styleclip.save(out / "styleclip")
    progress.unlink(missing_ok=True)
    channels = sum(map(len, styleclip.effects.values()))
    print(f"{channels} channels of {len(styleclip.effects)} layers: {out / 'styleclip'}")
    return 0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "fit",
        help="find edits for a generator and measure what they do",
        description="Finds edits for the generator of a model, measures what they do, and writes a folder for each.",
    )
    kinds = parser.add_subparsers(title="how", metavar="HOW", required=True)
    scores = "boundaries between codes of high and of low scores"
    channels = "what each channel does to images as CLIP sees them, for edits by text"
    add_command(kinds, "interfacegan", InterfaceganArguments, _interfacegan, help=scores)
    add_command(kinds, "ganspace", GanspaceArguments, _ganspace, help="principal components of the codes")
    add_command(kinds, "sefa", SefaArguments, _sefa, help="directions out of the weights alone")
    add_command(kinds, "styleclip", StyleclipArguments, _styleclip, help=channels)


def _check(args: DirectionArguments) -> None:
    """Checks what does not depend on the model, before torch is loaded.

    Raises:
        ConfigError: `--plot` where nothing is measured, a function that cannot be imported, or a folder that cannot be
            written.
        MissingDependencyError: a plot without matplotlib.
    """
    writable_folder(args.out)
    for file in (args.plot, vars(args).get("save_table")):
        if file is not None:
            writable_folder(file.parent)
    check_output_files(args, plot="image", save_table="NumPy")
    if args.plot is not None:
        from hyperstyle.evaluation.plots import check_matplotlib

        if args.images == 0:
            raise ConfigError(f"{_UNMEASURED}; give --pictures a number above 0.")
        check_matplotlib()
    if args.images > 0 and args.evaluator is not None:
        _function(args.evaluator, "--judge")


def _fit(args: DirectionArguments, find: Callable[[Model, Progress], Mapping[str, DirectionEdit]]) -> int:
    """Opens the model, has edits found, measures them, writes a folder for each and the plot, and prints a line each.

    Raises:
        ConfigError: `--plot` for a model without an evaluator, or an edit whose name is no name of a folder.
        HyperStyleError: what loading a model raises.
    """
    import torch

    from hyperstyle.edits import save_edit
    from hyperstyle.fitting import measure_edits, sample_w, with_report
    from hyperstyle.fitting.matrix import entanglement_plot
    from hyperstyle.io.files import write_bytes

    model = load_inverter(args).model
    evaluator = _evaluator(args, model)
    with progress_bar(args.quiet) as show:
        edits = find(model, show)
        for name in edits:
            if Path(name).name != name or name in ("", "..") or {"\\", "\0"} & set(name):
                raise ConfigError(f"an edit of {name!r} cannot be written: its name is no name of a folder.")
        measured: Mapping[str, Measured] = {}
        if evaluator is not None:  # on codes that nothing was fitted to
            count, seed = _CODES_PER_IMAGE * args.images, args.seed + _SEED_OFFSET
            codes = torch.cat(list(sample_w(model.generator, count, seed=seed)))
            measured = measure_edits(model, edits, codes, evaluator, images=args.images, on_progress=show)
        edits = {name: with_report(edit, measured[name]) if measured else edit for name, edit in edits.items()}
        for name, edit in edits.items():
            save_edit(edit, args.out / name)
        if args.plot is not None:
            write_bytes(args.plot, entanglement_plot(measured))
        for line in _lines(edits, measured):
            print(line)
        if evaluator is None:
            print("not measured: " + ("this model has no judge" if args.images > 0 else "--pictures 0"))
    return 0


def _evaluator(args: DirectionArguments, model: Model) -> Evaluator | None:
    """What measures the edits; None where nothing does. Raises ConfigError where `--plot` needs it."""
    from hyperstyle.fitting import Evaluator

    if args.images > 0 and args.evaluator is not None:
        return Evaluator(_function(args.evaluator, "--judge"))
    if args.images > 0 and model.evaluator is not None:
        return Evaluator.of(model.evaluator)
    if args.plot is not None:
        raise ConfigError(f"{_UNMEASURED}; this model has no evaluator: give --judge.")
    return None


def _lines(edits: Mapping[str, DirectionEdit], measured: Mapping[str, Measured]) -> Iterator[str]:
    """A line for each edit."""
    for name, edit in edits.items():
        line = f"{name:<22}"
        if "accuracy" in edit.info.report:
            held_out = edit.info.report["accuracy"]["held_out"]
            line += "  held out    -" if held_out is None else f"  held out {held_out:4.0%}"
        if name in measured:
            result = measured[name]
            line += f"  {result.trait} {result.per_unit:+.2f} a unit, {result.low:+g} to {result.high:+g}: "
            line += "; ".join(result.faults()) or "clean"
        yield line


def _function(text: str, option: str) -> Callable[..., Any]:
    """The function that MODULE:FUNCTION names; modules of the current folder are found."""
    module, _, name = text.partition(":")
    if not (module and name):
        raise ConfigError(f"{option} {text}: expected MODULE:FUNCTION, such as my_scores:smile.")
    sys.path.insert(0, "")
    try:
        function: object = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{option} {text} cannot be imported: {error}.") from error
    finally:
        sys.path.remove("")
    if not callable(function):
        raise ConfigError(f"{option} {text} is {with_article(type(function))}: expected a function.")
    return function
