"""`hyperstyle fetch`: published files are downloaded, checked by their sha256, and become an installed model."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.flags import command, flag, given_flags, positional, switch
from hyperstyle.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from hyperstyle.io.catalog import Collection


@dataclass(frozen=True, kw_only=True)
class FetchArguments:
    """Downloads published files, checks their size and sha256, converts them, and installs the model under its name:
    from then on every command takes it as `--model NAME`. An interrupted download continues at the next call.
    """

    name: str | None = positional(nargs="?", metavar="NAME", help="what to fetch, as in: hyperstyle fetch faces")
    list: bool = switch("list what can be fetched, and fetch nothing; the same as no NAME")
    accept_third_party: bool = switch(
        "accept files whose host is not their author; size and sha256 are checked all the same"
    )
    keep: bool = switch("keep the downloaded files once the model is installed")
    files: bool = switch(
        "fetch the files only, and make no model: into huggingface_hub's cache, those on GitHub into HYPERSTYLE_HOME"
    )
    out: Path | None = flag(
        metavar="DIR", help="fetch the files only, into this folder; with --convert, the model to make"
    )
    convert: bool = switch("convert the files to a model in the folder --out, and install nothing")
    into: Path | None = flag(
        metavar="DIR", help="add the published edits and the aligner to the model in this folder, and install nothing"
    )


def run(args: FetchArguments) -> int:
    """Shows what there is, or fetches it."""
    from hyperstyle.io.catalog import COLLECTIONS

    if args.list or args.name is None:
        for name, collection in COLLECTIONS.items():
            print(f"{name}: {collection.about}")
            _show(collection)
        return 0
    if args.name not in COLLECTIONS:
        raise ConfigError(f"no published files are known as {args.name!r}. {did_you_mean(args.name, COLLECTIONS)}")
    collection = COLLECTIONS[args.name]
    _check(args, collection)
    if args.into is not None:
        return _extend(args.name, args.into, args)
    if collection.domain and not (args.files or args.out):
        return _install(args.name, collection, args)
    return _fetch_files(args.name, collection, args)


add_parser = command("fetch", FetchArguments, run, help="download and install a published model, such as faces")


def _check(args: FetchArguments, collection: Collection) -> None:
    """Refuses, before anything is downloaded, flags that do not go together or with these files.

    Raises:
        ConfigError: such flags; a model whose checkpoint cannot be fetched; a malformed `hyperstyle.json` in `--into`.
        MissingFileError: there is none in `--into`.
        CheckpointError: the folder `--out` of `--convert` is taken.
    """
    if args.convert and not collection.domain:
        raise ConfigError(f"{args.name!r} is no model that --convert could make. Leave out --convert.")
    if args.convert and args.out is None:
        raise ConfigError("--convert needs --out DIR, the model folder to make.")
    if not (collection.files or args.into or args.files or args.out):
        from hyperstyle.io.hub import why_missing

        raise ConfigError(why_missing(str(args.name)))
    if args.into is not None:
        from hyperstyle.io.opening import read_json

        read_json(args.into / "hyperstyle.json")
    if args.into is not None and (others := given_flags(args, "files", "out", "convert", "keep")):
        raise ConfigError(f"--into with {', '.join(others)}: it only adds edits and an aligner. Leave out one of them.")
    if args.keep and (args.files or args.out is not None or not collection.domain):
        raise ConfigError("--keep is for models that are installed: what is fetched as files stays anyway.")
    if args.convert and args.files:
        raise ConfigError("--files with --convert: only the files, or a model. Leave out one of them.")
    if args.convert and args.out is not None:
        from hyperstyle.convert.folder import check_free

        check_free(args.out, overwrite=False)  # before a download of gigabytes


def _install(name: str, collection: Collection, args: FetchArguments) -> int:
    """The model `name` becomes an installed one."""
    from hyperstyle.io import installed

    if (folder := installed.find(name)) is not None:
        print(f"The model {name} is installed already, in {folder}. To replace it: hyperstyle models remove {name}")
        return 0
    from hyperstyle.convert.install import install

    print(f"{collection.about}\n{collection.licence}", file=sys.stderr)
    install(name, accept_third_party=args.accept_third_party, keep=args.keep, on_progress=_say)
    print(f"The model {name} is installed in {installed.place(name)}. Try it:")
    start = "edit me.jpg --edit age=3 --paste-back" if "age" in collection.edits else "info"
    print(f"  hyperstyle {start} --model {name}")
    return 0


def _extend(name: str, folder: Path, args: FetchArguments) -> int:
    """The model in a folder of the user's gets what is published for models of this kind."""
    from hyperstyle.convert.install import extend

    added = extend(name, folder, accept_third_party=args.accept_third_party, on_progress=_say)
    print(f"{folder} has now {', '.join(added)}." if added else f"{folder} has all of it already.")
    return 0


def _fetch_files(name: str, collection: Collection, args: FetchArguments) -> int:
    """The files alone, to a cache or a folder, or as a model in a folder."""
    from hyperstyle.io.published import fetch

    print(collection.about)
    _show(collection)
    out = None if args.convert else args.out
    paths = {}
    for file in collection.all_files if args.convert else (*collection.files, *collection.edit_files):
        paths[file.name] = path = fetch(file, out=out, accept_third_party=args.accept_third_party)
        print(f"{file.name} is in order: {path}")
    if not args.convert or args.out is None:
        if collection.domain and collection.files:
            _print_command(name, collection, paths)
        return 0
    from hyperstyle.convert.install import convert_collection

    convert_collection(collection, paths, args.out, say=_say)
    print(f"The model is in {args.out}: hyperstyle info --model {shlex.quote(str(args.out))}")
    return 0


def _print_command(name: str, collection: Collection, paths: dict[str, Path]) -> None:
    """The command that converts the files."""
    words = [str(paths[collection.files[0].name])]
    if (encoder := paths.get(collection.encoder)) is not None:
        words += ["--encoder", str(encoder)]
    if (generator := paths.get(collection.generator)) is not None:
        words += ["--generator", str(generator)]
    words += [word for edit, file in collection.edits.items() for word in ("--edit", f"{edit}={paths[file]}")]
    words += ["--domain", collection.domain, "--out", f"models/{name}"]
    print(f"To make a model of it: hyperstyle convert {shlex.join(words)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _show(collection: Collection) -> None:
    """Prints what is known of each file; of those of the aligner only the name of their collection."""
    for file in (*collection.files, *collection.edit_files):
        print(f"  {file.name}")
        print(f"    size     {f'{file.size:,} bytes' if file.size else 'not known beforehand'}")
        print(f"    sha256   {file.expected_sha256 or 'not known beforehand: recorded at the first fetch'}")
        print(f"    license  {file.licence}")
        print(f"    host     {file.host}")
        print(f"    page     {file.page}")
    if collection.aligner:
        print(f"  and the files of {collection.aligner} (see there)")
