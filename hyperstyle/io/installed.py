"""Models that `hyperstyle fetch` installed, each a model folder by its name below `home()`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperstyle.errors import HubError, ModelNotFoundError, did_you_mean
from hyperstyle.io.claims import Claims
from hyperstyle.io.files import finish_replacing, make_folder
from hyperstyle.io.temporary import sweep

HOME_VARIABLE = "HYPERSTYLE_HOME"
"""The environment variable that may name the folder of `home()`."""

MANIFEST = "hyperstyle.json"
"""The file of a model folder that is written last: a folder without it is no model."""


def home() -> Path:
    """The folder for what `hyperstyle fetch` gets: HYPERSTYLE_HOME, else `hyperstyle` in the user's cache.

    That cache is XDG_CACHE_HOME, else `~/.cache`, as for huggingface_hub. The folder need not exist.
    """
    if configured := os.environ.get(HOME_VARIABLE):
        return Path(os.path.expanduser(configured))
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")) / "hyperstyle"


def place(name: str) -> Path:
    """The folder of the installed model of this name. It need not exist."""
    return home() / "models" / name


def find(name: str) -> Path | None:
    """The folder of an installed model; None if none has this name, it is incomplete, or no folder can have the name.

    An interrupted change of the folder is completed first (`finish_replacing`).

    Raises:
        ModelNotFoundError: that is not possible.
    """
    if not name or name in (".", "..") or any(letter in name for letter in "/\\\0"):  # it is no name of a folder
        return None
    folder = place(name)
    if not os.path.isdir(folder):
        return None
    finish_replacing(folder, error=ModelNotFoundError)
    return folder if os.path.isfile(folder / MANIFEST) else None


def names() -> list[str]:
    """The names of all installed models, sorted. Raises as `find` does."""
    models = home() / "models"
    if not os.path.isdir(models):
        return []
    return sorted(entry for entry in os.listdir(models) if entry[0] != "." and find(entry) is not None)


def size(folder: Path) -> int:
    """The bytes of all files in a folder, at any depth; 0 where there is no folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def remove(name: str) -> int:
    """Deletes an installed model and what is left of its downloads; returns how many bytes that were.

    Raises:
        ModelNotFoundError: no model of this name is installed; or see `find`.
        HubError: another process is installing or removing it, or it cannot be deleted.
        ConfigError: see `writing`.
    """
    if (folder := find(name)) is None:
        others = names()
        known = did_you_mean(name, others) if others else "None is."
        raise ModelNotFoundError(f"no model {name!r} is installed. {known}")
    with writing(name) as downloads:
        total = size(folder) + size(downloads)
        try:
            # Hidden first, so that nobody reads half of it.
            hidden = folder.with_name(f".removed-{name}")
            shutil.rmtree(hidden, ignore_errors=True)
            os.replace(folder, hidden)
            shutil.rmtree(hidden)
            shutil.rmtree(downloads, ignore_errors=True)
        except OSError as error:
            raise HubError(f"{folder} cannot be deleted: {error.strerror or error}. Delete it by hand.") from error
    return total


@contextmanager
def writing(name: str) -> Iterator[Path]:
    """Holds the lock of an installed model while the body writes or removes it; yields the folder of its downloads.

    That folder is made, and removed again where the body succeeds and leaves nothing in it.

    Raises:
        HubError: another process (or thread) holds the lock, or the folders cannot be made.
        ConfigError: no lock can be made in the folder of the models.
    """
    downloads = make_folder(home() / "downloads" / name, error=HubError)
    models = make_folder(home() / "models", error=HubError)
    sweep(models)
    marker = models / f".{name}.installing"  # is never written: `installed.find` says whether the model is there
    with Claims() as claims:
        if claims.claim(marker) == "busy":
            raise HubError(f"another process is installing or removing the model {name!r}. Wait until it has ended.")
        yield downloads
    if os.path.isdir(downloads) and not os.listdir(downloads):
        downloads.rmdir()
