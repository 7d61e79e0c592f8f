"""`hyperstyle fit`: edits for the generator of a model, found and measured."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from hyperstyle.cli.arguments import add_model_arguments, load_inverter, writable_folder
from hyperstyle.cli.fitting import begin, finish, scores_of
from hyperstyle.cli.progress import progress_bar

__all__ = ["add_parser", "run_ganspace", "run_interfacegan", "run_sefa", "run_styleclip"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "fit",
        help="find edits for a generator and measure what they do",
        description="Finds edits for the generator of a model, measures what they do, and writes a folder for each.",
    )
    kinds = parser.add_subparsers(title="how", metavar="HOW", required=True)
    _add_interfacegan(kinds)
    _add_ganspace(kinds)
    _add_sefa(kinds)
    _add_styleclip(kinds)


def _add_interfacegan(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser(
        "interfacegan",
        help="boundaries between codes of high and of low scores",
        description=(
            "Samples codes, scores their images, and fits a linear boundary between those of the highest and of the "
            "lowest scores, for every trait. Scores come from the model's own `perceptual` network, from a Python "
            "function, or from a table; the model's evaluator measures what came out, on other codes."
        ),
    )
    parser.add_argument("--trait", action="append", metavar="NAME", help="only this; may be given again (default: all)")
    scores = parser.add_mutually_exclusive_group()
    scores.add_argument(
        "--scorer",
        metavar="MODULE:FUNCTION",
        help="a function of images [B,3,h,w] in [-1,1] that gives scores [B], or a dict of them by trait",
    )
    scores.add_argument(
        "--table", type=Path, metavar="FILE.npz", help="codes [N,D] as `codes`, scores [N] by trait; nothing is sampled"
    )
    parser.add_argument("--save-table", type=Path, metavar="FILE.npz", help="also write the codes and their scores")
    parser.add_argument(
        "--chosen",
        type=_chosen,
        default=0.02,
        metavar="SHARE",
        help="share of the codes at either end, or their number (default: 0.02)",
    )
    parser.add_argument(
        "--split", type=float, default=0.7, help="share of these that is fitted to; the rest checks (default: 0.7)"
    )
    parser.add_argument(
        "--conditional",
        action="store_true",
        help="make each edit orthogonal to the boundaries of all other traits, so that it leaves them alone",
    )
    _add_sampling(parser, samples=10_000)
    _add_measuring(parser)
    parser.set_defaults(run=run_interfacegan)


def _add_ganspace(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser(
        "ganspace",
        help="principal components of the codes",
        description=(
            "Samples codes and writes mean, axes and deviations of their principal components into components.npz, "
            "and an edit along each of the first ones."
        ),
    )
    parser.add_argument("--components", type=int, default=80, metavar="K", help="how many (default: 80)")
    parser.add_argument("--edits", type=int, default=10, metavar="N", help="write so many as edits (default: 10)")
    _add_sampling(parser, samples=1_000_000)
    _add_measuring(parser)
    parser.set_defaults(run=run_ganspace)


def _add_sefa(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser(
        "sefa",
        help="directions out of the weights alone",
        description="Writes the directions that change the styles of some layers most, an edit for each.",
    )
    parser.add_argument(
        "--layers", metavar="LIST", help="names or official indexes, separated by commas (default: all but toRGB)"
    )
    parser.add_argument("--count", type=int, default=10, metavar="N", help="how many directions (default: 10)")
    _add_common(parser)
    parser.add_argument(
        "--seed", type=_seed, metavar="N", default=0, help="of the codes it is measured on (default: 0)"
    )
    _add_measuring(parser)
    parser.set_defaults(run=run_sefa)


def _add_styleclip(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser(
        "styleclip",
        help="what each channel does to images as CLIP sees them, for edits by text",
        description=(
            "Measures deviations and effects of the channels of StyleSpace, and writes them into DIR/styleclip. This "
            "takes long: two images for each channel and image. The same command goes on where it was interrupted."
        ),
    )
    _add_common(parser)
    parser.add_argument("--samples", type=int, default=100_000, metavar="N", help="random codes (default: 100,000)")
    parser.add_argument("--images", type=int, default=100, metavar="N", help="images per channel (default: 100)")
    parser.add_argument(
        "--deviations",
        type=float,
        default=5.0,
        help="how far a channel is moved; 10 but for faces (default: 5)",
    )
    parser.add_argument("--seed", type=_seed, metavar="N", default=0, help="of the sampling (default: 0)")
    parser.add_argument("--clip", type=Path, metavar="FILE", help="weights of CLIP (default: HYPERSTYLE_CLIP, the Hub)")
    parser.add_argument(
        "--clip-model", default="ViT-B-32-quickgelu", metavar="NAME", help="in open_clip (default: ViT-B-32-quickgelu)"
    )
    parser.set_defaults(run=run_styleclip)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for what is made")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _add_sampling(parser: argparse.ArgumentParser, *, samples: int) -> None:
    _add_common(parser)
    parser.add_argument(
        "--samples", type=int, default=samples, metavar="N", help=f"random codes (default: {samples:,})"
    )
    parser.add_argument("--truncation", type=float, default=1.0, metavar="PSI", help="of these (default: 1, none)")
    parser.add_argument("--seed", type=_seed, metavar="N", default=0, help="of the sampling (default: 0)")


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--judge",
        dest="evaluator",
        metavar="MODULE:FUNCTION",
        help="measures; a function like --scorer (default: the model's evaluator)",
    )
    parser.add_argument(
        "--pictures", type=int, default=16, metavar="N", help="measure every edit on so many; 0: do not (default: 16)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the entanglement (needs matplotlib)")


def run_interfacegan(args: argparse.Namespace) -> int:
    """Fits a boundary for every trait."""
    from hyperstyle.edits.boundary import check_sklearn
    from hyperstyle.fitting import fit_interfacegan

    check_sklearn()
    model, evaluator, out = begin(args)
    with progress_bar(args.quiet) as show:
        scores, source = scores_of(args, model, show)
        edits = fit_interfacegan(
            model,
            scores,
            args.trait,
            conditional=args.conditional,
            chosen=args.chosen,
            split=args.split,
            seed=args.seed,
            source=source,
            on_progress=show,
        )
        return finish(args, model, evaluator, edits, out, show)


def run_ganspace(args: argparse.Namespace) -> int:
    """Writes principal components, and the first of them as edits."""
    from hyperstyle.edits import DirectionEdit
    from hyperstyle.fitting import fit_components
    from hyperstyle.io.npy_objects import save_npz

    model, evaluator, out = begin(args)
    with progress_bar(args.quiet) as show:
        components = fit_components(
            model, args.components, samples=args.samples, seed=args.seed, truncation=args.truncation, on_progress=show
        )
        arrays = {"mean": components.mean[None], "comp": components.comp[:, None], "std": components.std}
        save_npz(out / "components.npz", {name: array.numpy() for name, array in arrays.items()})
        edits: dict[str, DirectionEdit] = {}
        for i in range(min(args.edits, args.components)):
            source = f"GANSpace: component {i} of {args.samples} codes"
            edit = components.edit(i, name=f"component_{i}", relative=True, source=source)
            if isinstance(edit, DirectionEdit):  # relative ones are
                info = dataclasses.replace(edit.info, model=model.generator_fingerprint)
                edits[info.name] = dataclasses.replace(edit, info=info)
        return finish(args, model, evaluator, edits, out, show)


def run_sefa(args: argparse.Namespace) -> int:
    """Writes the directions of closed-form factorization."""
    from hyperstyle.edits.sefa import sefa

    model, evaluator, out = begin(args)
    layers = None if args.layers is None else [_layer(text) for text in args.layers.split(",")]
    edits = sefa(model.generator, layers, count=args.count, model=model.generator_fingerprint)
    with progress_bar(args.quiet) as show:
        return finish(args, model, evaluator, {edit.info.name: edit for edit in edits}, out, show)


def run_styleclip(args: argparse.Namespace) -> int:
    """Measures the statistics for edits by text."""
    from hyperstyle.edits.clip import OpenClip
    from hyperstyle.edits.statistics import StyleClipSampling, fit_styleclip

    settings = StyleClipSampling(args.samples, args.images, args.deviations, seed=args.seed)
    out = writable_folder(args.out)
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
    print(
        f"{sum(map(len, styleclip.effects.values()))} channels of {len(styleclip.effects)} layers: {out / 'styleclip'}"
    )
    return 0


def _layer(text: str) -> str | int:
    text = text.strip()
    return int(text) if text.isdecimal() else text


def _chosen(text: str) -> float | int:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a share like 0.02 nor a number of codes") from None


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: expected 0 to {(1 << 32) - 1}")
    return int(text)
