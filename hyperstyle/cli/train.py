"""`hyperstyle train`: trains encoders and hypernetworks from a folder of images and a generator."""

from __future__ import annotations

import argparse
import os
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hyperstyle.cli.arguments import writable_folder
from hyperstyle.cli.checks import a_device, a_file, a_folder, a_model, there
from hyperstyle.training.options import (
    TASKS,
    EncoderOptions,
    TaskName,
    TrainOptions,
    default_of,
    resolve,
    tables_of,
)

_HELP: dict[TaskName, str] = {
    "encoder": "images -> codes of a generator: w, psp or e4e",
    "hyperstyle": "the hypernetwork for a generator and its encoder",
    "hyperinverter": "HyperInverter's second phase, for a generator and its encoder",
}
# Flags without a table before the name, besides the options of the task's own table.
_SHORT = {"data.train": "--data", "data.test": "--test", "run.out": "--out", "run.quiet": "--quiet"}
_SHORT_OPTIM = ("batch", "accumulate", "steps", "rate", "seed", "device", "precision", "threads")
_GROUPS = {"data": "images", "loss": "losses", "optim": "optimization", "run": "the run's folder"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "train",
        help="train networks of your own",
        description="Trains one of the networks of a model on images of your own. What comes out is a model folder.",
    )
    tasks = parser.add_subparsers(title="what to train", metavar="WHAT", required=True)
    for task in TASKS:
        _add_task(tasks, task)


def _add_task(tasks: argparse._SubParsersAction[argparse.ArgumentParser], task: TaskName) -> None:
    parser = tasks.add_parser(
        task,
        help=_HELP[task],
        description=(
            f"{_HELP[task][0].upper()}{_HELP[task][1:]}. Writes checkpoints, log.jsonl, config.json and grids of "
            "images into --out, and the model folder --out/model; the same command resumes an interrupted run. "
            "Under torchrun, every process takes a share of each batch."
        ),
    )
    parser.add_argument(
        "--config",
        action="extend",
        nargs="+",
        default=[],
        metavar="FILE",
        help="options as tables in TOML, YAML or JSON, or the name of a ready configuration; later files win, and "
        "flags over files",
    )
    for table, kind in reversed(tables_of(task).items()):  # the task's own first
        group = parser.add_argument_group(_GROUPS.get(table, f"{task} alone"))
        hints = get_type_hints(kind)
        for option in fields(kind):
            _add_option(group, task, table, option, hints[option.name])
    parser.set_defaults(run=run, task=task)


def _add_option(group: argparse._ArgumentGroup, task: TaskName, table: str, option: Field[Any], hint: Any) -> None:
    name = f"{table}.{option.name}"
    is_short = table == task or (table == "optim" and option.name in _SHORT_OPTIM)
    short = f"--{option.name.replace('_', '-')}" if is_short else _SHORT.get(name)
    default = default_of(task, table, option)
    shown = "required" if default is MISSING else f"default: {str(default).lower()}"
    settings: dict[str, Any] = {}
    if hint is bool:
        settings["action"] = argparse.BooleanOptionalAction
    elif get_args(hint) and all(isinstance(choice, str) for choice in get_args(hint)):
        settings["metavar"] = "{" + ",".join(get_args(hint)) + "}"
    else:
        settings["metavar"] = option.name.upper()
    # `resolve` checks the values of flags and files alike.
    text = f"{option.metadata['doc']} ({shown})"
    flags = [f"--{name}"] if short is None else [short, f"--{name}"]
    group.add_argument(*flags, dest=name, default=argparse.SUPPRESS, help=text, **settings)


def run(args: argparse.Namespace) -> int:
    """Trains, from the last checkpoint if there is one, and prints the folder of the model.

    Raises:
        ConfigError: wrong options, or a batch that cannot be divided among the processes of a torchrun.
        HyperStyleError: what `make_task` and `train` raise.
    """
    flags = {name: value for name, value in vars(args).items() if "." in name}
    options = resolve(args.task, args.config, flags)
    options.optim.micro_batch(int(os.environ.get("WORLD_SIZE", "1")))
    _check_files(options)
    if _is_first():
        writable_folder(Path(options.run.out))

    from hyperstyle.training.engine import make_task, train

    model = train(make_task(options), options)
    if _is_first():
        print(model)
    return 0


def _is_first() -> bool:
    """Whether this is the first process of a torchrun, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _check_files(options: TrainOptions) -> None:
    """Raises HyperStyleError for files, folders and models that are not there, and unknown names of devices."""
    data, network = options.data, options.network
    for flag, images in (("--data", data.train), ("--test", data.test)):
        if images is not None and not images.endswith(".tar"):  # which may be several, as "shard-{000..009}.tar"
            there(flag, Path(os.path.expanduser(images)))
    if data.inversions is not None:
        a_folder("--data.inversions", Path(data.inversions))
    for name in ("identity_weights", "moco_weights"):
        if (weights := getattr(options.loss, name)) is not None:
            a_file(f"--loss.{name}", Path(weights))
    if not isinstance(network, EncoderOptions):
        a_model("--encoder", network.encoder)
    elif not os.path.isfile(network.generator):
        a_model("--generator", network.generator)
    a_device("--device", options.optim.device)
