"""`hyperstyle bench`: what a model costs in time and memory on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperstyle.cli.arguments import check_output_files
from hyperstyle.cli.checks import a_device, a_file, a_model, at_least
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError
from hyperstyle.io.files import write_bytes, write_text

if TYPE_CHECKING:
    from hyperstyle.evaluation.cases import Case
    from hyperstyle.evaluation.journal import Record

_OWN = "speed_"  # before the names of the command's own values, which those of what follows it must not replace


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "bench",
        help="measure time and memory of a model on this machine",
        description=(
            "Inverts images and renders strips of edits by the library and by the plain path, which computes as the "
            "published implementation does, in turn, and prints seconds, their ratios, memory, and how far the two "
            "agree. Without --model it takes random weights of the published faces configuration, which cost the same."
        ),
    )
    _add_case_arguments(parser, _OWN)
    add = parser.add_argument
    add("--steps", dest=f"{_OWN}steps", type=int, metavar="T", help="steps of the hypernetwork (default: 5)")
    add("--batch", dest=f"{_OWN}batch", type=int, metavar="B", help="images inverted together (default: 1)")
    add(
        "--rows",
        dest=f"{_OWN}rows",
        nargs="+",
        metavar="ROW",
        help="what to measure: float32, bfloat16, float16, batch8, batch8_bfloat16, batch8_float16, edit_strip, "
        "memory, rates (default: all on a GPU; on a processor memory, float32, bfloat16, batch8 and edit_strip)",
    )
    parser.set_defaults(run=_run_speed)
    kinds = parser.add_subparsers(title="what else to measure", metavar="WHAT")

    loading = kinds.add_parser(
        "loading",
        help="seconds to load, memory after loading and of an inversion",
        description=(
            "Loads a model on the CPU in float32 and inverts one image, each time in a new process, and prints the "
            "seconds that loading takes, the peak of resident memory after loading and after the inversion, and the "
            "share of the weights in it. With --official, also the seconds of torch.load for the files that the model "
            "was made from, measured in turn with it."
        ),
    )
    loading.add_argument("model", metavar="MODEL", help="bundled model, folder or Hugging Face repository")
    loading.add_argument("--official", type=Path, metavar="FILE", help="the official .pt file of the same model")
    loading.add_argument("--encoder", type=Path, metavar="FILE", help="the official .pt file of its W encoder")
    loading.add_argument(
        "--picture",
        dest="image",
        type=Path,
        metavar="FILE",
        help="the image to invert, taken as it is (default: noise)",
    )
    loading.add_argument("--steps", type=int, default=5, metavar="T", help="steps of the hypernetwork (default: 5)")
    loading.add_argument("--repeat", type=int, default=3, metavar="N", help="times to measure (default: 3)")
    loading.add_argument("--json", action="store_true", help="as JSON, for programs")
    loading.set_defaults(run=_run_loading)

    scaling = kinds.add_parser(
        "scaling",
        help="time and memory against steps, batch, size and number of edits",
        description=(
            "Inverts images and renders strips of edits with more and more of one thing, all else as in one image and "
            "five steps, and prints the seconds and the peak of memory of a process of its own."
        ),
    )
    _add_case_arguments(scaling, "")
    scaling.add_argument(
        "--over",
        nargs="+",
        choices=("steps", "batch", "size", "edits"),
        default=["steps", "batch", "edits"],
        help="what to vary (default: steps batch edits)",
    )
    scaling.add_argument("--plain", action="store_true", help="measure the plain path too")
    scaling.add_argument("--no-memory", action="store_true", help="only time")
    scaling.add_argument("--plot", type=Path, metavar="FILE.png", help="a plot of it (needs matplotlib)")
    scaling.set_defaults(run=_run_scaling)


def _add_case_arguments(parser: argparse.ArgumentParser, prefix: str) -> None:
    """What is measured and how, for the command itself and for `scaling`; the prefix keeps their values apart."""

    def add(flag: str, **kwargs: Any) -> None:
        parser.add_argument(f"--{flag}", dest=f"{prefix}{flag}", **kwargs)

    add("model", metavar="MODEL", help="bundled model, folder or Hugging Face repository (default: random weights)")
    add("size", type=int, metavar="PX", help="of random weights: 256, 512 or 1024 (default: 1024)")
    add("repeat", type=int, metavar="N", help="times to measure (default: 3)")
    add("threads", type=int, metavar="N", help="of the processor (default: as many as PyTorch takes)")
    add("device", help="auto, cpu, cuda, ... (default: cpu)")
    add("json", type=Path, metavar="FILE", help="write the figures as JSON")
    add("quiet", action="store_true", help="no progress bar")


def _run_loading(args: argparse.Namespace) -> int:
    _check_own(args, "loading")
    a_model("model", args.model)
    for flag, file in (("--official", args.official), ("--encoder", args.encoder), ("--picture", args.image)):
        if file is not None:
            a_file(flag, file)
    at_least(0)("--steps", args.steps)
    at_least(1)("--repeat", args.repeat)
    from hyperstyle.cli.bench_text import loading_text
    from hyperstyle.evaluation.loading import measure_loading
    from hyperstyle.io.hub import resolve

    official = [path for path in (args.official, args.encoder) if path is not None]
    report = measure_loading(
        resolve(args.model), official=official, image=args.image, steps=args.steps, repeats=args.repeat
    )
    print(json.dumps(report, indent=2) if args.json else loading_text(report))
    return 0


def _run_speed(args: argparse.Namespace) -> int:
    """Prints what `measure_speed` finds and writes it; 1 where the library and the plain path differ too much."""
    check_output_files(args, speed_json="JSON")
    _check_case(args, _OWN, "steps", "batch")
    from hyperstyle.cli.bench_text import speed_text
    from hyperstyle.evaluation.cases import Workload
    from hyperstyle.evaluation.speed import BROKEN, measure_speed

    case, work = _case(args, _OWN), Workload(**_given(args, _OWN, "steps", "batch"))
    with progress_bar(args.speed_quiet) as show:
        report = measure_speed(case, work, args.speed_rows, show)
    _write_json(args.speed_json, report)
    print(speed_text(report))
    for what, key in (("image", "agreement"), ("strip", "agreement_edit_strip")):
        if report[key] is not None and not report[key] <= BROKEN:  # nor is NaN
            print(
                f"hyperstyle: the library is broken on this machine: the {what} differs from the plain path's by "
                f"{report[key]:.1e} in float32, where rounding makes 2e-5 at most. Its times mean nothing; please "
                "report it.",
                file=sys.stderr,
            )
            return 1
    return 0


def _run_scaling(args: argparse.Namespace) -> int:
    _check_own(args, "scaling")
    check_output_files(args, json="JSON", plot="PNG")
    _check_case(args, "")
    if args.model is not None and "size" in args.over:
        raise ConfigError(f"--over size with --model {args.model}, which has one size. Leave out one.")
    from hyperstyle.evaluation.plots import check_matplotlib, scaling_plot

    if args.plot is not None:
        check_matplotlib()
    from hyperstyle.cli.bench_text import scaling_text
    from hyperstyle.evaluation.scaling import measure_scaling

    case = _case(args, "")
    with progress_bar(args.quiet) as show:
        report = measure_scaling(case, args.over, plain=args.plain, memory=not args.no_memory, on_progress=show)
    png = None if args.plot is None else scaling_plot(report["costs"])
    _write_json(args.json, report)
    if png is not None:
        write_bytes(args.plot, png)
    print(scaling_text(report))
    return 0


def _case(args: argparse.Namespace, prefix: str) -> Case:
    """The model that the arguments name, and how it is measured."""
    from hyperstyle.evaluation.cases import Case

    return Case(**_given(args, prefix, "model", "size", "device", "repeat", "threads"))


def _check_case(args: argparse.Namespace, prefix: str, *counts: str) -> None:
    """Raises HyperStyleError for a model, size, device or number that cannot be; `counts` are more of the numbers."""
    given = _given(args, prefix, "model", "size", "device", "repeat", "threads", *counts)
    if "model" in given and "size" in given:
        raise ConfigError(f"--size {given['size']} with --model {given['model']}, which has its own. Leave out one.")
    if given.get("size", 1024) not in (256, 512, 1024):
        raise ConfigError(f"--size {given['size']}: expected 256, 512 or 1024, the published sizes.")
    checks = {"model": a_model, "device": a_device, **dict.fromkeys(("repeat", "threads", *counts), at_least(1))}
    for name, check in checks.items():
        if name in given:
            check(f"--{name}", given[name])


def _given(args: argparse.Namespace, prefix: str, *names: str) -> dict[str, Any]:
    """Those of these arguments that were given."""
    return {name: value for name in names if (value := vars(args)[prefix + name]) is not None}


def _check_own(args: argparse.Namespace, kind: str) -> None:
    """Raises ConfigError for options of `hyperstyle bench` itself before the name of something else to measure."""
    bench_flags = {name.removeprefix(_OWN): value for name, value in vars(args).items() if name.startswith(_OWN)}
    flags = [name for name, value in bench_flags.items() if value is not None and value is not False]
    if flags:
        raise ConfigError(f"--{flags[0]} stands before {kind!r}, which has options of its own: write them behind it.")


def _write_json(path: Path | None, report: Record) -> None:
    """Writes the figures; null for those that are not finite, which JSON cannot hold."""
    if path is not None:
        finite = json.loads(json.dumps(report), parse_constant=lambda name: None)
        write_text(path, json.dumps(finite, indent=2) + "\n")
