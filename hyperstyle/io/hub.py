"""The Hugging Face Hub: a name -> a model folder (bundled, local, installed or of the Hub), and a folder -> the Hub."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from hyperstyle.errors import HubError, ModelNotFoundError, did_you_mean, warn
from hyperstyle.io import installed
from hyperstyle.io.catalog import COLLECTIONS
from hyperstyle.io.file_kind import first_line
from hyperstyle.io.files import finish_replacing
from hyperstyle.io.opening import read_json

BUNDLED = {"avatars": Path(__file__).parents[1] / "avatars" / "model"}

_MANIFEST = installed.MANIFEST
_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


def resolve(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder of a model.

    Of a Hub repository its `hyperstyle.json` is fetched first, so that nothing large comes from one that holds
    something else; then the JSON and safetensors files of that very commit, and its `aligner/`. What is in the cache is
    not fetched again.

    Args:
        name: a bundled model, a folder on disk (a model's, or that of a training run, which stands for the model in
            it), a model that `hyperstyle fetch` installed, or a Hub repository `org/name`: looked for in this order.
        revision: branch, tag or commit of the repository; None is its main branch. Ignored for all other models.
        cache_dir, local_files_only: for the Hub, as in huggingface_hub; HF_HUB_OFFLINE is honored.

    Raises:
        ModelNotFoundError: there is no such model, or the Hub does not give it; the message says why.

    Warns:
        UserWarning: a folder hides an installed model of the same name.
    """
    text = os.fspath(name)
    if (local := local_folder(text)) is not None:
        hidden = installed.find(text)
        if hidden not in (None, local):
            warn(
                f"the folder {os.path.abspath(local)} is used as the model {text!r}, not the installed model of that "
                f"name in {hidden}. For that one, pass its path or work in another folder.",
                UserWarning,
            )
        return local

    from huggingface_hub import snapshot_download

    cache = None if cache_dir is None else Path(cache_dir)
    cached = partial(snapshot_download, text, cache_dir=cache, local_files_only=local_files_only)
    try:
        folder = Path(cached(revision=revision, allow_patterns=[_MANIFEST]))
        if not os.path.isfile(folder / _MANIFEST):
            raise ModelNotFoundError(
                f"repository {text!r} holds no model of this library: it has no {_MANIFEST} at revision "
                f"{revision or 'main'!r}. Official checkpoints become models with `hyperstyle convert`."
            )
        # The folder is called by the commit.
        return Path(cached(revision=folder.name, allow_patterns=["*.json", "*.safetensors", "aligner/*"]))
    except ModelNotFoundError:
        raise
    except Exception as error:  # the client has no common class for what can go wrong
        raise ModelNotFoundError(
            f"model {text!r} could not be fetched from the Hub: {explain(error, text, revision)}"
        ) from error


def model_digest(name: str | os.PathLike[str]) -> str:
    """16 hex digits of all that decides the results: the files of its networks and aligner, domain and steps.

    By its `hyperstyle.json`, so without reading the weights. Edits may be added to a model, so they do not count.

    Raises:
        ModelNotFoundError: there is no such model. ConfigError, MissingFileError: its folder cannot be used.
    """
    manifest = read_json(resolve(name) / _MANIFEST)
    hashes = manifest.get("sha256")
    if isinstance(hashes, dict):  # if not, loading it says so
        hashes = {name: value for name, value in hashes.items() if name != "styleclip"}
    content = [manifest.get("domain"), manifest.get("steps"), hashes]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def local_folder(name: str | os.PathLike[str]) -> Path | None:
    """The folder of a bundled model, one on disk, or an installed one; None for a name of a Hub repository, org/name.

    A folder on disk is returned whether or not a model is in it; that of a training run stands for its `model/`.

    Raises:
        ModelNotFoundError: it is none of these; a bundled model is missing from the installation; or an interrupted
            change of the folder cannot be completed.
    """
    text = os.fspath(name)
    if text in BUNDLED:
        folder = BUNDLED[text]
        if not os.path.isdir(folder):
            raise ModelNotFoundError(
                f"the bundled model {text!r} is not part of this installation ({folder} is missing). Install the "
                "library again, from a wheel or a full checkout."
            )
        return folder
    if text and os.path.isdir(folder := Path(os.path.expanduser(text))):
        inside = folder / "model"
        for place in (folder, inside):
            finish_replacing(place, error=ModelNotFoundError)
        return inside if os.path.isfile(inside / _MANIFEST) and not os.path.isfile(folder / _MANIFEST) else folder
    if (folder_of_installed := installed.find(text)) is not None:
        return folder_of_installed
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise ModelNotFoundError(why_missing(text))
    return None


def why_missing(name: str) -> str:
    """The message for a name that no model here has and no repository can have, with the command that gets it."""
    collection = COLLECTIONS.get(name)
    if collection is None or not collection.domain:
        known = [*BUNDLED, *installed.names(), *(key for key, value in COLLECTIONS.items() if value.domain)]
        return (
            f"no model {name!r}: it is neither a folder nor a Hub repository (org/name), nor bundled or installed. "
            f"{did_you_mean(name, known)}"
        )
    if not collection.files:
        return (
            f"the model {name!r} cannot be fetched: its checkpoint is hosted nowhere that this command can reach. "
            f"Download it by hand, by the links on {collection.page}; convert it: `hyperstyle convert CHECKPOINT "
            f"--encoder W_ENCODER --domain {collection.domain} --out models/{name}`; and add the published edits: "
            f"`hyperstyle fetch {name} --into models/{name}`."
        )
    accept = " --accept-third-party" if collection.needs_acceptance else ""
    hosts = " and ".join(dict.fromkeys(f"{file.repo} on {file.site}" for file in collection.all_files))
    return (
        f"the model {name!r} is not installed. Install it once with `hyperstyle fetch {name}{accept}` "
        f"({collection.size_in_words}, hosted by {hosts}). {collection.licence}"
    )


def upload(
    folder: Path,
    repo: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """Uploads a folder as one commit, so that a reader of the repository sees the old model or the whole new one.

    Args:
        folder: all of its files go to the same places in the repository; other files there stay.
        repo: `org/name`; made where it is not there.
        private: for a repository that is made now; None is what its owner has set as the default.
        token: None is that of the login, or HF_TOKEN.
        revision: a branch, made where it is not there; None is the main branch.
        message: of the commit.

    Returns:
        The URL of the repository.

    Raises:
        HubError: the name is malformed, or the Hub does not take the files; the message says why.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    if repo.count("/") != 1:
        raise HubError(f"{repo!r} is no name of a Hub repository: expected org/name, or user/name.")
    files = sorted(path for path in folder.rglob("*") if os.path.isfile(path))
    operations = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
    api = HfApi(token=token, library_name="hyperstyle")
    try:
        url = str(api.create_repo(repo, private=private, exist_ok=True))
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        # Not upload_folder: it may cut a slow upload into several commits.
        api.create_commit(repo, operations, commit_message=message or "Upload a HyperStyle model", revision=revision)
    except Exception as error:  # the client has no common class for what can go wrong
        raise HubError(f"model {repo!r} could not be uploaded to the Hub: {explain(error, repo, revision)}") from error
    return url


def explain(error: BaseException, repo: str, revision: str | None = None) -> str:
    """What an exception of huggingface_hub means and what to do about it, in a sentence or two."""
    from huggingface_hub import constants

    names = [kind.__name__ for kind in type(error).__mro__]  # the most special class first
    cause = error.__cause__
    if "LocalEntryNotFoundError" in names and cause and type(cause).__name__ != "OfflineModeIsEnabled":
        return explain(cause, repo, revision)
    status = getattr(getattr(error, "response", None), "status_code", None)
    for key in (*names, status):
        if key in _MEANINGS:
            return _MEANINGS[key].format(repo=repo, host=constants.ENDPOINT, revision=revision or "main", login=_LOGIN)
    line = first_line(error)
    if status is not None:
        return f"the Hub answered with status {status}: {getattr(error, 'server_message', None) or line}."
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ConnectionError | TimeoutError):
        return f"{error.filename or 'a file'} cannot be written or read: {error.strerror}."
    return (
        f"the Hub at {constants.ENDPOINT} cannot be used ({line}). Check the connection, and HF_ENDPOINT if it is set."
    )


# Class of an exception of huggingface_hub, or status of the Hub's answer -> what it means.
_MEANINGS: Mapping[str | int | None, str] = {
    "LocalEntryNotFoundError": "{repo!r} is not in the cache, or not all of it, and the Hub was not asked (offline: "
    "HF_HUB_OFFLINE is set, or local_files_only=True). Connect once, or pass the path of files on disk.",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set, so the Hub was not asked. Unset it.",
    "HFValidationError": "{repo!r} is no name of a Hub repository: expected org/name, of letters, digits, '-', '_' and "
    "'.', at most 96 of them.",
    "GatedRepoError": "{repo!r} is gated: ask for access on {host}/{repo}, then {login}.",
    "RevisionNotFoundError": "{repo!r} has no branch, tag or commit {revision!r}.",
    "RepositoryNotFoundError": "{host} has no repository {repo!r}, or it is private. Check the name; for a private one "
    "{login}.",
    "EntryNotFoundError": "{repo!r} has no file of that name, or has it no longer.",
    401: "for {repo!r} the Hub wants a login, or does not know the token that it was given (401): {login}. A name that "
    "does not exist is answered so too.",
    403: "this login may not do that with {repo!r} (403). Use a token with the right to write, of a member.",
}
