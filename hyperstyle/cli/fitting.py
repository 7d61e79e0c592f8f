"""What the kinds of `hyperstyle fit` share: scores, evaluator, and what is written and printed."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperstyle.cli.arguments import check_output_files, load_inverter, writable_folder
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from hyperstyle.edits import DirectionEdit
    from hyperstyle.fitting import Evaluator, Measured, Scores
    from hyperstyle.fitting.scores import Progress
    from hyperstyle.model.parts import Model

__all__ = ["begin", "finish", "scores_of"]

_CODES_PER_IMAGE = 16  # for each image that is edited, to know how much every trait varies
_SEED_OFFSET = 1_000_003  # of the codes to measure on, which nothing was fitted to


def begin(args: argparse.Namespace) -> tuple[Model, Evaluator | None, Path]:
    """The model, the evaluator (None: nothing is measured) and the folder, after all checks that need no work.

    Raises:
        ConfigError: `--plot` where nothing is measured, a function that cannot be imported, or a folder that cannot be
            written. MissingDependencyError: a plot without matplotlib. What loading a model raises.
    """
    from hyperstyle.evaluation.plots import check_matplotlib
    from hyperstyle.fitting import Evaluator

    if args.plot is not None:
        check_matplotlib()
    out = writable_folder(args.out)
    for file in (args.plot, vars(args).get("save_table")):
        if file is not None:
            writable_folder(file.parent)
    check_output_files(args, plot="image", save_table="NumPy")
    model = load_inverter(args).model
    evaluator = None
    if args.pictures > 0 and args.evaluator is not None:
        evaluator = Evaluator(_function(args.evaluator, "--judge"))
    elif args.pictures > 0 and model.evaluator is not None:
        evaluator = Evaluator.of(model.evaluator)
    if evaluator is None and args.plot is not None:
        why = "this model has no evaluator: give --judge" if args.pictures > 0 else "give --pictures a number above 0"
        raise ConfigError(f"--plot draws what was measured, and nothing would be; {why}.")
    return model, evaluator, out


def scores_of(args: argparse.Namespace, model: Model, show: Progress) -> tuple[Scores, str]:
    """The scores, and a few words on where they come from; writes `--save-table`.

    Raises:
        ConfigError: nothing to score with, a function that cannot be imported. EditError: see `score_codes`.
    """
    import torch

    from hyperstyle.fitting import load_scores, network_scorer, sample_w, save_scores, score_codes

    if args.table is not None:
        return load_scores(args.table), f", scores of {args.table.name}"
    if args.scorer is not None:
        scorer, source = _function(args.scorer, "--scorer"), f", scored by {args.scorer}"
    elif model.perceptual is not None:
        scorer, source = network_scorer(model.perceptual), ", scored by the model's perceptual network"
    else:
        raise ConfigError("this model has no `perceptual` network to score images with. Give --scorer or --table.")
    codes = torch.cat(list(sample_w(model.generator, args.samples, seed=args.seed, truncation=args.truncation)))
    scores = score_codes(model, codes, scorer, needed=args.trait or (), on_progress=show)
    if args.save_table is not None:
        save_scores(scores, args.save_table)
    return scores, source


def finish(
    args: argparse.Namespace,
    model: Model,
    evaluator: Evaluator | None,
    edits: Mapping[str, DirectionEdit],
    out: Path,
    show: Progress,
) -> int:
    """Measures the edits, writes a folder for each, writes the plot and prints a line for each."""
    import torch

    from hyperstyle.edits import save_edit
    from hyperstyle.fitting import measure_edits, sample_w, with_report
    from hyperstyle.fitting.matrix import entanglement_plot
    from hyperstyle.io.files import write_bytes

    for name in edits:
        if Path(name).name != name or name in ("", "..") or {"\\", "\0"} & set(name):
            raise ConfigError(f"an edit of {name!r} cannot be written: its name is no name of a folder.")
    measured: Mapping[str, Measured] = {}
    if evaluator is not None:
        codes = torch.cat(
            list(sample_w(model.generator, _CODES_PER_IMAGE * args.pictures, seed=args.seed + _SEED_OFFSET))
        )
        measured = measure_edits(model, edits, codes, evaluator, images=args.pictures, on_progress=show)
    written = {name: with_report(edit, measured[name]) if measured else edit for name, edit in edits.items()}
    for name, edit in written.items():
        save_edit(edit, out / name)
    if args.plot is not None:
        write_bytes(args.plot, entanglement_plot(measured))
    for line in _lines(written, measured):
        print(line)
    if evaluator is None:
        print("not measured: " + ("this model has no judge" if args.pictures > 0 else "--pictures 0"))
    return 0


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
        raise ConfigError(f"{option} {text} is a {type(function).__name__}: expected a function.")
    return function
