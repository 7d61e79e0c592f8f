"""Published models by name: downloaded, checked, converted, and installed for `from_pretrained(name)`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hyperstyle.convert.extras import add_extras
from hyperstyle.convert.model import Conversion, convert
from hyperstyle.errors import ConfigError, HubError, did_you_mean
from hyperstyle.io import installed
from hyperstyle.io.catalog import COLLECTIONS, Collection, PublishedFile
from hyperstyle.io.hub import why_missing
from hyperstyle.io.published import fetch


def install(
    name: str,
    *,
    accept_third_party: bool = False,
    keep: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> Path:
    """Downloads the files of a published model, checks and converts them, and installs the model under its name.

    What an interrupted call has downloaded is used by the next one, and files in the cache of huggingface_hub are used
    where they are. The model appears when it is complete.

    Args:
        name: "faces", or another one of `COLLECTIONS` that becomes a model.
        accept_third_party: needed where a file is hosted by somebody who is not its author.
        keep: keep the downloaded files; else they are removed once the model is installed.
        on_progress: called with a line of text for each file and each stage; None for silence.

    Returns:
        The folder of the model. `HyperStyleInverter.from_pretrained(name)` loads it. One that is installed already
        stays as it is, and nothing is downloaded.

    Raises:
        ConfigError: no published model has this name, its checkpoint cannot be fetched, or no lock can be made.
        HubError: third parties were not accepted; the disk has no room; a file cannot be fetched or is another one;
            another process is installing this model; the folder cannot be written.
        HyperStyleError: what `convert` raises.
    """
    say = on_progress or (lambda _: None)
    collection = model_collection(name)
    if not collection.files:
        raise ConfigError(why_missing(name))
    folder = installed.place(name)
    if installed.find(name) is not None:
        return folder
    with installed.writing(name) as downloads:
        files, converted = collection.all_files, collection.size  # a model is about as large as its files
        paths = _download(files, downloads, converted, accept_third_party=accept_third_party, say=say)
        shutil.rmtree(folder, ignore_errors=True)  # without hyperstyle.json it is no model: somebody deleted half of it
        convert_collection(collection, paths, folder, say=say)
        if not keep:
            shutil.rmtree(downloads, ignore_errors=True)
    return folder


def extend(
    name: str, folder: Path, *, accept_third_party: bool = False, on_progress: Callable[[str], None] | None = None
) -> list[str]:
    """Adds the published edits and the aligner of a collection to the model in a folder; returns what was added.

    What the model has already stays as it is. The downloaded files are removed.

    Args:
        name: the collection, such as "cars".
        folder: of any model for which the edits are meant; it need not be an installed one.
        accept_third_party, on_progress: see `install`.

    Returns:
        Names of edits, and "mtcnn" for the aligner; [] where the model has all of it.

    Raises:
        ConfigError: no published model has this name, nothing is published that could be added, or no lock can be made.
        HubError: see `install`.
        HyperStyleError: what `add_extras` raises.
    """
    say = on_progress or (lambda _: None)
    collection = model_collection(name)
    if not collection.small_files:
        raise ConfigError(f"nothing is published that could be added to a model of {name!r}.")
    with installed.writing(name) as downloads:
        paths = _download(collection.small_files, downloads, 0, accept_third_party=accept_third_party, say=say)
        added = add_extras(folder, **_extras(collection, paths))
        for path in paths.values():
            path.unlink(missing_ok=True)
    return added


def model_collection(name: str) -> Collection:
    """The published files that become a model of this name. Raises ConfigError if there are none."""
    models = {key: collection for key, collection in COLLECTIONS.items() if collection.domain}
    if name not in models:
        what = "files of that name are no model" if name in COLLECTIONS else "no published files have that name"
        raise ConfigError(f"{name!r} cannot be installed: {what}. {did_you_mean(name, models)}")
    return models[name]


def convert_collection(
    collection: Collection, paths: Mapping[str, Path], folder: Path, *, say: Callable[[str], None]
) -> Conversion:
    """Converts the files of a model to a new model folder, with its edits and its aligner. Raises as `convert` does.

    Args:
        collection: of a model, with its checkpoint.
        paths: name -> path, of all its files; those of the aligner in one folder.
        folder: to write.
        say: called with a line of text for each stage.
    """
    return convert(
        paths[collection.files[0].name],
        folder,
        encoder=paths.get(collection.encoder),
        generator=paths.get(collection.generator),
        domain=collection.domain,
        licence=collection.licence,
        origin="; ".join(f"{file.name} from {file.host}" for file in collection.all_files),
        on_progress=say,
        **_extras(collection, paths),
    )


def _extras(collection: Collection, paths: Mapping[str, Path]) -> dict[str, Any]:
    """The arguments `edits` and `mtcnn` of `convert` and `add_extras`, from name of a file -> path."""
    weights = COLLECTIONS[collection.aligner].files if collection.aligner else ()
    return {
        "edits": {edit: paths[file] for edit, file in collection.edits.items()},
        "mtcnn": paths[weights[0].name].parent if weights else None,
    }


def _download(
    files: Sequence[PublishedFile],
    folder: Path,
    disk_space: int,
    *,
    accept_third_party: bool,
    say: Callable[[str], None],
) -> dict[str, Path]:
    """Downloads files into a folder, going on where an earlier call was interrupted; their paths by name.

    Raises:
        HubError: see `fetch`. Before anything is downloaded: a host is not accepted, or the disk has no room for the
            files and `disk_space` more bytes.
    """
    strangers = [file for file in files if not file.by_author]
    if strangers and not accept_third_party:
        names: dict[str, list[str]] = {}  # of the files of each host
        for file in strangers:
            names.setdefault(f"{file.repo} on {file.site}", []).append(file.name)
        hosts = "; ".join(f"{', '.join(files)} by {host}" for host, files in names.items())
        raise HubError(
            f"some files are not hosted by their authors: {hosts}. Accept that with accept_third_party=True; size and "
            "sha256 are checked all the same."
        )
    needed = disk_space + sum(file.size for file in files if not file.is_at(folder / file.name))
    if needed > (free := shutil.disk_usage(folder).free):
        raise HubError(
            f"{folder} is on a disk with {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed. Make room, or "
            f"set {installed.HOME_VARIABLE} to a folder on another disk."
        )
    paths = {}
    for file in files:
        say(f"{file.name}, {f'{file.size:,} bytes' if file.size else 'size not known'}, from {file.host}")
        paths[file.name] = fetch(file, out=folder, accept_third_party=accept_third_party, resume=True)
    return paths
