"""`hyperstyle evaluate report`: the papers' tables and figures for a model, as one page."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import ALIGN, writable_folder
from hyperstyle.cli.checks import a_device, a_file, a_folder, a_model, a_trial, at_least, check_edits
from hyperstyle.cli.flags import add_command, flag, positional, switch
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from hyperstyle.evaluation.trials import Trial
    from hyperstyle.inverter import HyperStyleInverter


@dataclass(frozen=True, kw_only=True)
class StudyArguments:
    """What the evaluations with a journal share."""

    out: Path = flag(required=True, metavar="FOLDER", help="where rows, images and results go; it is made")
    count: int | None = flag(check=at_least(1), metavar="N", help="the first N images (default: all)")
    methods: list[str] | None = flag(
        nargs="+",
        check=a_trial,
        metavar="NAME[:STEPS]",
        help="which methods, such as hyperstyle, e4e or pti:100 (default: all that the model's networks can do)",
    )
    identity: Path | None = flag(
        check=a_file, metavar="FILE", help="CurricularFace for faces, with --mtcnn; MoCo v2 for other domains"
    )
    mtcnn: Path | None = flag(check=a_folder, metavar="FOLDER", help="published weights of the face detector")
    quiet: bool = switch("no progress bar")

    def trials(self) -> list[Trial] | None:
        """The methods, parsed; None without `--methods`.

        Raises:
            ConfigError: a method cannot be parsed.
        """
        from hyperstyle.evaluation.trials import Trial

        return None if self.methods is None else [Trial.of(text) for text in self.methods]


@dataclass(frozen=True, kw_only=True)
class ReportArguments(StudyArguments):
    """Inverts images with every method of a model, measures them as the papers do, and writes report.html, which
    carries all its images and charts, with the same figures as report.json and as CSV files: parameters (Table 1),
    reconstruction (Table 2), variants (Table 3), identity over the measured change of every edit (Figure 6),
    interpolation, and images out of the domain (Figure 8). What cannot be measured is listed with the flag or file
    that would change it. Figures of each image go to rows.jsonl as they are measured: after an interruption the same
    command goes on.
    """

    model: str = positional(
        check=a_model, metavar="MODEL", help="bundled model (avatars), folder or Hugging Face repository"
    )
    data: Path | None = flag(
        check=a_folder,
        metavar="FOLDER",
        help="images, with those of the folders in it (default, for avatars: the 64 held-out crops that come with the "
        "library)",
    )
    align: str = flag(
        choices=tuple(ALIGN), default="no", help="cut faces out of --data first (default: no, they are crops)"
    )
    aligner: str = flag(
        default="auto",
        metavar="NAME",
        help="what finds the faces of --data and --photos: auto, dlib[:FILE], mtcnn[:FOLDER] or none (default: auto)",
    )
    optimized: int | None = flag(
        check=at_least(0),
        metavar="N",
        help="images for methods that optimize each on its own, which take minutes; without --methods these are W+ "
        "optimization and PTI (default: 4 where the model has a perceptual network for it, else 0)",
    )
    ablation: list[str] = flag(
        action="append",
        default=[],
        metavar="NAME=MODEL",
        help="a variant of the model, a row of Table 3; may be repeated",
    )
    edits: list[str] | None = flag(
        nargs="+", metavar="NAME", help="edits of Figure 6 (default: all that can be measured)"
    )
    edited: int = flag(default=16, check=at_least(0), metavar="N", help="images to edit for it (default: 16)")
    points: int = flag(default=5, check=at_least(2), metavar="N", help="strengths over each edit's range (default: 5)")
    shown: int = flag(default=4, check=at_least(1), metavar="N", help="images on each sheet (default: 4)")
    adapt: int | None = flag(metavar="STEPS", help=argparse.SUPPRESS)
    photos: Path | None = flag(check=a_folder, metavar="FOLDER", help="images of your own from outside the domain")
    lpips: str = flag(choices=("auto", "yes", "no"), default="auto", help="auto: where the model has no evaluator")
    fid: str | None = flag(
        nargs="?",
        const="",
        metavar="FILE.pth",
        help="FID and KID (needs torch-fidelity), by the Inception weights that it publishes; without a file by the "
        "features of the model's evaluator",
    )
    title: str = flag(default="", help="of the page (default: made of the domain)")
    device: str = flag(default="auto", check=a_device, help="auto, cpu, cuda, cuda:1, mps (default: auto)")


def add_parser(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `report` to what `hyperstyle evaluate` measures."""
    parser = add_command(kinds, "report", ReportArguments, run, help="the papers' tables and figures, as one page")
    parser.add_argument("--optimised", dest="optimized", type=int, help=argparse.SUPPRESS)  # as in version 0.1


def run(args: ReportArguments) -> int:
    """Makes the report and prints where it is."""
    from hyperstyle.evaluation.trials import check_ablations

    if args.adapt:
        raise ConfigError("--adapt: domain adaptation has left the report; examples/domain_adaptation.py shows it.")
    if args.aligner != "auto" and args.photos is None and (args.data is None or args.align == "no"):
        raise ConfigError(
            f"--aligner {args.aligner} finds faces in --data with --align auto, and in --photos. Add one of them, "
            "or leave it out."
        )
    variants = [text.partition("=") for text in args.ablation]
    if wrong := [
        text for text, (name, equals, path) in zip(args.ablation, variants, strict=True) if not name or not path
    ]:
        raise ConfigError(f"--ablation {wrong[0]!r}: expected NAME=MODEL, as in separable=runs/separable/model.")
    check_ablations([name for name, _, _ in variants])
    trials = args.trials()
    for _, _, path in variants:
        a_model("--ablation", path)
    check_edits(args.model, args.edits or ())
    if args.fid:
        a_file("--fid", Path(args.fid))
    writable_folder(args.out)
    from hyperstyle.evaluation.images import folder_images, held_out_images
    from hyperstyle.evaluation.report import ReportOptions, make_report
    from hyperstyle.inverter import HyperStyleInverter

    options = ReportOptions(
        methods=None if trials is None else tuple(trials),
        optimized=args.optimized,
        edits=None if args.edits is None else tuple(args.edits),
        points=args.points,
        edited=args.edited,
        shown=args.shown,
        lpips={"auto": None, "yes": True, "no": False}[args.lpips],
        identity=args.identity,
        mtcnn=args.mtcnn,
        fid=args.fid is not None,
        inception=Path(args.fid) if args.fid else None,
        title=args.title,
        command=shlex.join(["hyperstyle", *sys.argv[1:]]),
    )

    def load(name: str) -> HyperStyleInverter:
        return HyperStyleInverter.from_pretrained(name, device=args.device, aligner=args.aligner)

    inverter = load(args.model)
    if args.data is not None:
        images = folder_images(args.data, inverter, align=ALIGN[args.align], count=args.count)
    else:
        images = held_out_images(inverter, args.count)
    photos = None if args.photos is None else folder_images(args.photos, inverter, align="auto")
    ablations = {name: load(path) for name, _, path in variants}
    with progress_bar(args.quiet) as show:
        page = make_report(inverter, images, args.out, options, ablations=ablations, photos=photos, on_progress=show)
    print(page)
    sources = [images] if photos is None else [images, photos]
    for source in sources:
        for name, reason in source.failures:
            print(f"  left out: {name}: {' '.join(reason.split())}", file=sys.stderr)
    return 1 if any(source.failures for source in sources) else 0
