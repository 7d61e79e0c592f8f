"""`hyperstyle evaluate report`: the papers' tables and figures for a model, as one page."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import ALIGN, writable_folder
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from hyperstyle.inverter import HyperStyleInverter

__all__ = ["add_parser", "run"]


def add_parser(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `report` to what `hyperstyle evaluate` measures."""
    parser = kinds.add_parser(
        "report",
        help="the papers' tables and figures, as one page",
        description=(
            "Inverts images with every method of a model, measures them as the papers do, and writes report.html, "
            "which carries all its images and charts, with the same figures as report.json and as CSV files: "
            "parameters (Table 1), reconstruction (Table 2), switches (Table 3), identity over the measured change of "
            "every edit (Figure 6), interpolation, images out of the domain (Figure 8) and domain adaptation (Figure "
            "7). What cannot be measured is listed with the flag or file that would change it. Figures of each image "
            "go to rows.jsonl as they are measured: after an interruption the same command goes on."
        ),
    )
    parser.add_argument("model", metavar="MODEL", help="bundled model (avatars), folder or Hugging Face repository")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="images, with those of the folders in it (default, for avatars: the 64 held-out crops that come with the "
        "library)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the report goes; it is made")
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        help="the first N images (default: all)",
    )
    parser.add_argument(
        "--align",
        choices=tuple(ALIGN),
        default="no",
        help="cut faces out of --data first (default: no, they are crops)",
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME[:STEPS]",
        help="which methods (default: all of the model's networks and, with --optimized, W+ optimization and PTI)",
    )
    parser.add_argument(
        "--optimized",
        "--optimised",  # as version 0.1 spelled it
        dest="optimized",
        type=int,
        metavar="N",
        help="images for methods that optimize each on its own, which take minutes (default: 4 where the model has a "
        "perceptual network for it, else 0)",
    )
    parser.add_argument(
        "--ablation",
        action="append",
        default=[],
        metavar="NAME=MODEL",
        help="a variant of the model, a row of Table 3; may be repeated",
    )
    parser.add_argument(
        "--edits", nargs="+", metavar="NAME", help="edits of Figure 6 (default: all that can be measured)"
    )
    parser.add_argument("--edited", type=int, default=16, metavar="N", help="images to edit for it (default: 16)")
    parser.add_argument(
        "--points", type=int, default=5, metavar="N", help="strengths over each edit's range (default: 5)"
    )
    parser.add_argument("--shown", type=int, default=4, metavar="N", help="images on each sheet (default: 4)")
    parser.add_argument(
        "--adapt",
        type=int,
        default=32,
        metavar="STEPS",
        help="tune the generator to a comic for the sheet of domain adaptation; 0 leaves it out (default: 32)",
    )
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="images of your own from outside the domain")
    parser.add_argument(
        "--lpips",
        choices=("auto", "yes", "no"),
        default="auto",
        help="auto: where the model has no evaluator (default)",
    )
    parser.add_argument(
        "--identity",
        type=Path,
        metavar="FILE",
        help="CurricularFace for faces, with --mtcnn; MoCo v2 for other domains",
    )
    parser.add_argument("--mtcnn", type=Path, metavar="FOLDER", help="published weights of the face detector")
    parser.add_argument(
        "--fid",
        nargs="?",
        const="",
        metavar="FILE.pth",
        help="FID and KID (needs torch-fidelity), by the Inception weights that it publishes; without a file by the "
        "features of the model's judge",
    )
    parser.add_argument("--title", default="", help="of the page")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Makes the report and prints where it is."""
    from hyperstyle.evaluation.methods import Trial
    from hyperstyle.evaluation.report import ReportOptions, make_report
    from hyperstyle.evaluation.report.images import folder_images, held_out_images
    from hyperstyle.evaluation.report.study import check_ablations
    from hyperstyle.inverter import HyperStyleInverter

    if args.count is not None and args.count < 1:
        raise ConfigError(f"--count {args.count}: expected 1 or more.")
    variants = [text.partition("=") for text in args.ablation]
    if wrong := [
        text for text, (name, equals, path) in zip(args.ablation, variants, strict=True) if not name or not path
    ]:
        raise ConfigError(f"--ablation {wrong[0]!r}: expected NAME=MODEL, as in separable=runs/separable/model.")
    check_ablations([name for name, _, _ in variants])
    options = ReportOptions(
        methods=None if args.methods is None else tuple(Trial.of(text) for text in args.methods),
        optimized=args.optimized,
        edits=None if args.edits is None else tuple(args.edits),
        points=args.points,
        edited=args.edited,
        shown=args.shown,
        adapt=args.adapt,
        lpips={"auto": None, "yes": True, "no": False}[args.lpips],
        identity=args.identity,
        mtcnn=args.mtcnn,
        fid=args.fid is not None,
        inception=Path(args.fid) if args.fid else None,
        title=args.title,
        command=shlex.join(["hyperstyle", *sys.argv[1:]]),
    )

    def load(name: str) -> HyperStyleInverter:
        return HyperStyleInverter.from_pretrained(name, device=args.device)

    inverter = load(args.model)
    if args.data is not None:
        images = folder_images(args.data, inverter, align=ALIGN[args.align], count=args.count)
    else:
        images = held_out_images(inverter, args.count)
    photos = None if args.photos is None else folder_images(args.photos, inverter, align="auto")
    writable_folder(args.out)
    with progress_bar(args.quiet) as show:
        page = make_report(
            inverter,
            images,
            args.out,
            options,
            ablations={name: load(path) for name, _, path in variants},
            photos=photos,
            on_progress=show,
        )
    print(page)
    sources = [images] if photos is None else [images, photos]
    for source in sources:
        for what, files in (("left out", source.failures), ("taken as a crop", source.uncut)):
            for name, reason in files:
                print(f"  {what}: {name}: {' '.join(reason.split())}", file=sys.stderr)
    return 1 if any(source.failures for source in sources) else 0
