"""A name -> a model folder: bundled, local, or on the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path

from hyperstyle.errors import ModelNotFoundError, did_you_mean

__all__ = ["BUNDLED", "resolve"]

BUNDLED = {"avatars": Path(__file__).parent / "avatars" / "model"}


def resolve(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder of a model.

    Args:
        name: a bundled model, a folder on disk, or a Hub repository `org/name`.
        revision, cache_dir, local_files_only: for the Hub, as in huggingface_hub; HF_HUB_OFFLINE is honoured.

    Raises:
        ModelNotFoundError: there is no such model, or the Hub cannot be reached.
    """
    text = os.fspath(name)
    if text in BUNDLED:
        folder = BUNDLED[text]
        if not folder.is_dir():
            raise ModelNotFoundError(
                f"the bundled model {text!r} is not part of this installation ({folder} is missing). Install the "
                "library again, from a wheel or a full checkout."
            )
        return folder
    if text and (folder := Path(text).expanduser()).is_dir():
        return folder
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise ModelNotFoundError(
            f"no model {text!r}: it is neither a folder nor a Hub repository (org/name) nor bundled. "
            f"{did_you_mean(text, BUNDLED)}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        return Path(
            snapshot_download(
                text,
                revision=revision,
                cache_dir=None if cache_dir is None else Path(cache_dir),
                local_files_only=local_files_only,
                allow_patterns=["*.json", "*.safetensors", "README.md"],
            )
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ModelNotFoundError(
            f"model {text!r} is not in the cache and the Hub was not reached (offline, or HF_HUB_OFFLINE is set). "
            "Connect once, or pass the path of a model folder."
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelNotFoundError(f"model {text!r} could not be fetched from the Hub: {reason}") from error
