"""`hyperstyle evaluate`: measures a model on held-out pictures."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import add_model_arguments, load_inverter
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from hyperstyle.evaluation import Row

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on held-out pictures",
        description="Measures a model on held-out pictures.",
    )
    kinds = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)
    reconstruction = kinds.add_parser(
        "reconstruction",
        help="error and time of every way to invert",
        description=(
            "Inverts avatars with details that no training set held, with every method of the model, and prints "
            "means: L2 on the [-1,1] scale, perceptual distance and identity similarity of the model's judge, MS-SSIM "
            "at 256 px, seconds per picture (inverted one at a time, median)."
        ),
    )
    add_model_arguments(reconstruction)
    reconstruction.add_argument("--count", type=int, default=256, metavar="N", help="pictures (default: 256)")
    reconstruction.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as JSON")
    reconstruction.add_argument("--quiet", action="store_true", help="no progress bar")
    reconstruction.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    from tqdm import tqdm

    from hyperstyle.evaluation import evaluate_reconstruction, held_out_avatars
    from hyperstyle.files import atomic_write

    if args.count < 1:
        raise ConfigError(f"--count {args.count}: expected 1 or more.")
    if args.json is not None and not args.json.resolve().parent.is_dir():
        raise ConfigError(f"the folder of {str(args.json)!r} does not exist. Make it, or choose another file.")
    inverter = load_inverter(args)
    domain = inverter.model.domain
    if domain.name != "avatars":
        raise ConfigError(f"the held-out pictures are avatars; this model's domain is {domain.name!r}.")
    crops = held_out_avatars(args.count, domain.input_size[0])
    with tqdm(total=args.count * len(inverter.methods), unit="picture", disable=args.quiet) as bar:
        before = 0

        def progress(method: str, done: int, total: int) -> None:
            nonlocal before
            bar.set_postfix_str(method)
            bar.update(done - before)
            before = 0 if done == total else done

        rows = evaluate_reconstruction(inverter, crops, on_progress=progress)
    print(table(rows))
    if args.json is not None:
        with atomic_write(args.json) as temporary:
            temporary.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0


def table(rows: list[Row]) -> str:
    """The rows as text, with the ratio of each L2 to the first row's."""
    titles = ("L2", "(ratio)", "perceptual", "identity", "MS-SSIM", "seconds", "images")
    lines = [f"{'method':<12}" + "".join(f"{title:>11}" for title in titles)]
    for row in rows:
        ratio = row.l2 / rows[0].l2 if rows[0].l2 else float("nan")
        judged = ("-" if value is None else f"{value:.4f}" for value in (row.perceptual, row.identity))
        cells = (f"{row.l2:.4f}", f"{ratio:.2f}", *judged, f"{row.ms_ssim:.4f}", f"{row.seconds:.3f}", str(row.images))
        lines.append(f"{row.method:<12}" + "".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)
