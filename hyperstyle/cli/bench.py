"""`hyperstyle bench`: what a model costs in time and memory on this machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.progress import progress_bar

if TYPE_CHECKING:
    from hyperstyle.evaluation.loading import Loading, Spread
    from hyperstyle.evaluation.strip import StripCost

__all__ = ["add_parser", "run_loading", "run_strip"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "bench",
        help="measure time and memory of a model on this machine",
        description="Measures what a model costs in time and memory on this machine.",
    )
    kinds = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)

    loading = kinds.add_parser(
        "loading",
        help="seconds to load, memory after loading and of an inversion",
        description=(
            "Loads a model on the CPU in float32 and inverts one picture, each time in a new process, and prints the "
            "seconds that loading takes, the peak of resident memory after loading and after the inversion, and the "
            "share of the weights in it. With --official, also the seconds of torch.load for the files that the model "
            "was made from, measured in turn with it."
        ),
    )
    loading.add_argument("model", metavar="MODEL", help="bundled model, folder or Hugging Face repository")
    loading.add_argument("--official", type=Path, metavar="FILE", help="the official .pt file of the same model")
    loading.add_argument("--encoder", type=Path, metavar="FILE", help="the official .pt file of its W encoder")
    loading.add_argument(
        "--picture", type=Path, metavar="FILE", help="the picture to invert, taken as it is (default: noise)"
    )
    loading.add_argument("--steps", type=int, default=5, metavar="T", help="passes of the inversion (default: 5)")
    loading.add_argument("--repeat", type=int, default=3, metavar="N", help="times to measure (default: 3)")
    loading.add_argument("--json", action="store_true", help="as JSON, for programs")
    loading.set_defaults(run=run_loading)

    strip = kinds.add_parser(
        "strip",
        help="seconds and memory of many edits of one picture, together and one by one",
        description=(
            "Draws a strip of edits of one picture by the published generator and hypernetwork, with random weights: "
            "in one call, which makes the offsets and the weights once, and in one call for each picture. Prints the "
            "seconds of both, in turn in one process, and the peak of resident memory of a process of its own for each."
        ),
    )
    strip.add_argument("--size", type=int, default=1024, metavar="PX", help="256, 512 or 1024 (default: 1024)")
    strip.add_argument("--count", type=int, default=11, metavar="N", help="pictures of the strip (default: 11)")
    strip.add_argument("--repeat", type=int, default=3, metavar="N", help="times to measure (default: 3)")
    strip.add_argument("--threads", type=int, default=1, metavar="N", help="of the processor (default: 1)")
    strip.add_argument("--device", default="cpu", help="where the networks are (default: cpu)")
    strip.add_argument("--json", action="store_true", help="as JSON, for programs")
    strip.add_argument("--quiet", action="store_true", help="no progress bar")
    strip.set_defaults(run=run_strip)


def run_loading(args: argparse.Namespace) -> int:
    """Prints what `measure_loading` finds."""
    from hyperstyle.evaluation.loading import measure_loading
    from hyperstyle.hub import resolve

    official = [path for path in (args.official, args.encoder) if path is not None]
    found = measure_loading(
        resolve(args.model), official=official, picture=args.picture, steps=args.steps, repeats=args.repeat
    )
    print(json.dumps(asdict(found), indent=2) if args.json else "\n".join(_lines(found)))
    return 0


def run_strip(args: argparse.Namespace) -> int:
    """Prints what `measure_strip` finds."""
    from hyperstyle.evaluation.strip import measure_strip

    with progress_bar(args.quiet) as show:
        found = measure_strip(
            args.size,
            count=args.count,
            repeats=args.repeat,
            threads=args.threads,
            device=args.device,
            on_progress=show,
        )
    print(json.dumps(asdict(found), indent=2) if args.json else "\n".join(_strip_lines(found)))
    return 0


def _strip_lines(found: StripCost) -> Iterator[str]:
    yield (
        f"{found.count} pictures of {found.size} px, published networks, random weights; medians of {found.repeats}, "
        "smallest and largest"
    )
    one = f"{found.count} single calls"
    for name, seconds, cpu in (("one call", found.strip, found.cpu[0]), (one, found.singles, found.cpu[1])):
        yield f"  {name:<34} {_spread(seconds, 1)} s, of processor time {_spread(cpu, 1)} s"
    gains = f"{found.gain:.2f}, of processor time {found.cpu[1].median / found.cpu[0].median:.2f}"
    yield f"  {'single calls through one call':<34} {gains}"
    yield f"  {'largest difference of a value':<34} {found.difference[0]:.1e}, values vary by {found.difference[1]:.2f}"
    for name, peak in (
        ("peak memory of the networks alone", found.built),
        ("peak memory of one call", found.strip_peak),
        ("peak memory of single calls", found.singles_peak),
    ):
        yield f"  {name:<34} " + ("not known on this system" if peak is None else f"{_gib(peak)} GiB")
    yield "machine: " + ", ".join(f"{name} {value}" for name, value in found.machine.items())


def _lines(found: Loading) -> Iterator[str]:
    yield f"{found.model}: {_gib(found.weights)} GiB of weights; medians of {found.repeats}, smallest and largest"
    rows = (
        ("load the model folder", found.seconds),
        ("torch.load of the official files", found.official_seconds),
        ("the same with mmap=True", found.official_mapped_seconds),
    )
    for name, seconds in rows:
        if seconds is not None:
            yield f"  {name:<34} {_spread(seconds, 1)} s"
    for name, peak in (
        ("peak memory of the imports", found.imported),
        ("peak memory after loading", found.loaded),
        (f"peak memory after T={found.steps}, one picture", found.inverted),
    ):
        yield f"  {name:<34} " + ("not known on this system" if peak is None else f"{_spread(peak, 1 << 30)} GiB")
    if found.share is not None:
        yield f"  {'share of the weights in it':<34} {found.share:.0%}"
    yield "machine: " + ", ".join(f"{name} {value}" for name, value in found.machine.items())


def _spread(values: Spread, unit: int) -> str:
    return f"{values.median / unit:.2f} ({values.low / unit:.2f} to {values.high / unit:.2f})"


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f}"
