"""`hyperstyle convert`: checkpoints made by others in, a model folder out."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hyperstyle.cli.checks import a_file, a_folder, at_least
from hyperstyle.cli.flags import command, flag, positional, switch
from hyperstyle.domain import domain_named
from hyperstyle.errors import ConversionWarning

if TYPE_CHECKING:
    from hyperstyle.convert import Conversion


def _named_file(text: str) -> tuple[str, Path]:
    """Reads `NAME=FILE`. Raises argparse.ArgumentTypeError for anything else."""
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"{text!r}: expected the name of an edit and its file, as in age=age.pt")
    if not Path(file).exists():
        raise argparse.ArgumentTypeError(f"{file} is missing: {text!r} names the file of an edit")
    return name, Path(file)


@dataclass(frozen=True, kw_only=True)
class ConvertArguments:
    """Reads a HyperStyle, HyperInverter or StyleFeatureEditor checkpoint, a W, pSp, e4e or ReStyle encoder or a
    StyleGAN2 generator (.pt or safetensors with g_ema, NVIDIA's .pkl), recognizes which it is, and writes a model
    folder. Nothing in the files is executed.
    """

    file: Path = positional(check=a_file, metavar="FILE", help="the checkpoint")
    encoders: list[Path] = flag(
        "--encoder",
        action="append",
        default=[],
        type=Path,
        check=a_file,
        metavar="FILE",
        help="W, pSp, e4e or ReStyle encoder for the same generator; may stand once for each kind",
    )
    e4e: list[Path] = flag(
        action="append",
        default=[],
        type=Path,
        check=a_file,
        metavar="FILE",
        help="the e4e encoder that StyleFeatureEditor needs; the same as --encoder",
    )
    vgg: list[Path] = flag(
        action="append",
        default=[],
        type=Path,
        check=a_file,
        metavar="FILE",
        help="VGG16 with Caffe's preprocessing, for the loss of IDInvert",
    )
    generator: Path | None = flag(
        check=a_file,
        help="generator to take in place of the one in the checkpoint, fine-tuned from it; of a HyperInverter or "
        "StyleFeatureEditor the one that it was trained with",
    )
    use: Literal["g_ema", "g"] | None = flag(
        choices=("g_ema", "g"),
        help="of a training checkpoint of a generator: the averaged one (default), or g, the one in training",
    )
    domain: str | None = flag(
        metavar="NAME", help="faces, cars, wild, churches, ...: needed where the file does not say it"
    )
    steps: int | None = flag(
        check=at_least(0), help="refinement steps of the hypernetwork (default: as in the file, else 5)"
    )
    edits: list[tuple[str, Path]] = flag(
        "--edit",
        action="append",
        default=[],
        type=_named_file,
        metavar="NAME=FILE",
        help="a published edit for this generator, such as age=age.pt; may stand several times",
    )
    mtcnn: Path | None = flag(
        check=a_folder,
        metavar="DIR",
        help="MTCNN's published weights, pnet.npy, rnet.npy and onet.npy: they become the model's aligner",
    )
    out: Path = flag(required=True, metavar="FOLDER", help="the model folder to write")
    licence: str | None = flag(metavar="TEXT", help="license of the weights; recorded")
    origin: str | None = flag(metavar="TEXT", help="where the files came from, or who made them; recorded")
    force: bool = switch("replace the model in FOLDER, with its edits")


def run(args: ConvertArguments) -> int:
    """Converts, and says what was read and what became of it."""
    from hyperstyle.convert.folder import check_free, check_outside

    if args.domain is not None:
        domain_named(args.domain)
    files = [args.file, *args.encoders, *args.e4e, *args.vgg, *([] if args.generator is None else [args.generator])]
    check_outside(files, args.out)
    check_free(Path(os.path.realpath(args.out)), overwrite=args.force)
    from hyperstyle.convert import convert

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConversionWarning)  # it is the last note, printed below
        conversion = convert(
            args.file,
            args.out,
            encoder=args.encoders + args.e4e + args.vgg,
            generator=args.generator,
            use=args.use,
            domain=args.domain,
            steps=args.steps,
            edits=dict(args.edits),
            mtcnn=args.mtcnn,
            licence=args.licence,
            origin=args.origin,
            overwrite=args.force,
            on_progress=lambda text: print(text, file=sys.stderr),
        )
    print("\n".join(_lines(conversion)), flush=True)
    for note in conversion.notes:
        print(f"hyperstyle: note: {note}", file=sys.stderr)
    if not args.edits and args.mtcnn is None and (line := _command_for_extras(conversion)):
        print(line)
    return 0


add_parser = command(
    "convert",
    ConvertArguments,
    run,
    help="make a model folder from checkpoints made by others",
    epilog="Example: hyperstyle convert hyperstyle_ffhq.pt --encoder faces_w_encoder.pt --domain faces "
    "--out models/faces",
)


def _command_for_extras(conversion: Conversion) -> str:
    """The command that adds what is published for models of this domain; "" where nothing is."""
    from hyperstyle.io.catalog import COLLECTIONS

    collection = COLLECTIONS.get(conversion.domain.name)
    if conversion.kind != "hyperstyle" or collection is None or not collection.small_files:
        return ""
    aligner = " and MTCNN, which finds the faces" if collection.aligner else ""
    accept = " --accept-third-party" if any(not file.by_author for file in collection.small_files) else ""
    folder = shlex.quote(str(conversion.folder))
    return (
        f"To add the published edits {', '.join(collection.edits)}{aligner}: "
        f"hyperstyle fetch {conversion.domain.name}{accept} --into {folder}"
    )


def _lines(conversion: Conversion) -> Iterator[str]:
    yield f"domain        {conversion.domain.name}, {conversion.domain.size} px"
    for name, count in conversion.consumed.items():
        aliases = conversion.aliases if name == "hypernetwork" else 0
        repeated = f", {aliases} more were the shared ones again" if aliases else ""
        yield f"{name:<13} {count} tensors{repeated}"
    for name, entries in conversion.unread.items():
        yield f"not needed    {', '.join(entries)} of {name}"
    for sentence in conversion.computed:
        yield f"computed      {sentence}"
    written = {f"{name}/model.safetensors": digest for name, digest in conversion.sha256.items()}
    for name, digest in {**conversion.source_sha256, **written}.items():
        yield f"sha256        {digest}  {name}"
    peak = "" if conversion.peak_bytes is None else f", at most {conversion.peak_bytes / 2**30:.2f} GiB of memory"
    yield f"took          {conversion.seconds:.1f} s{peak}"
    yield f"wrote         {conversion.folder}"
