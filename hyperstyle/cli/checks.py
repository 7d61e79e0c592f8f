"""Checks of single arguments, declared with their flags: they run before the command, and load no torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hyperstyle.errors import ConfigError, EditError, MethodError, MissingFileError, did_you_mean
from hyperstyle.io.hub import local_folder
from hyperstyle.io.opening import check_file, read_json
from hyperstyle.methods.names import NAMES, split_names

Check = Callable[[str, Any], None]
"""(the argument as it is written, its value) -> None, or raises HyperStyleError. It is not called for None."""

_MAX_SEED = (1 << 32) - 1
_DEVICE = re.compile(r"auto|(cpu|cuda|mps)(:\d+)?")


def at_least(smallest: float) -> Check:
    """For finite numbers from the smallest on."""

    def check(flag: str, value: float) -> None:
        if not smallest <= value < math.inf:
            raise ConfigError(f"{flag} {value}: expected {smallest} or more.")

    return check


def a_positive_number(flag: str, value: float) -> None:
    """For finite numbers above 0."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{flag} {value}: expected a number above 0.")


def a_finite_number(flag: str, value: float) -> None:
    """For any number but NaN and the infinite ones."""
    if not math.isfinite(value):
        raise ConfigError(f"{flag} {value}: expected a finite number.")


def a_share(flag: str, value: float) -> None:
    """For numbers above 0 and up to 1."""
    if not 0 < value <= 1:
        raise ConfigError(f"{flag} {value}: expected a share above 0 and up to 1.")


def a_seed(flag: str, value: int) -> None:
    """For seeds of random generators."""
    if not 0 <= value <= _MAX_SEED:
        raise ConfigError(f"{flag} {value}: expected 0 to {_MAX_SEED}.")


def there(flag: str, value: Path) -> None:
    """For paths of files and folders to read."""
    if not os.path.exists(value):
        raise MissingFileError(f"{value} is missing: {flag} names a file or folder.")


def a_file(flag: str, value: Path) -> None:
    """For files to read."""
    check_file(value, f"file for {flag}")


def a_folder(flag: str, value: Path) -> None:
    """For folders to read."""
    if not os.path.isdir(value):
        raise ConfigError(f"{flag} {str(value)!r} is no folder: name one that is there.")


def a_device(flag: str, value: str) -> None:
    """For names of devices; whether this machine has it, PyTorch knows."""
    if not _DEVICE.fullmatch(value):
        raise ConfigError(f"{flag} {value!r}: models run on 'cpu', 'cuda' and 'mps'. Use one of these, or 'auto'.")


def a_mask(flag: str, value: str) -> None:
    """For regions of the face, and images that are there."""
    from hyperstyle.images.masks import is_region

    is_region(value)


def a_method(flag: str, value: str) -> None:
    """For names of methods joined by "+"."""
    split_names(value)


def a_number_of_steps(flag: str, value: int | Mapping[str, int]) -> None:
    """For steps of a method's last part, a number, or of parts by their names, of which only these are checked."""
    for name in value if isinstance(value, Mapping) else ():
        if name not in NAMES:
            raise MethodError(f"steps of {name!r}, which is no part of it. {did_you_mean(name, NAMES)}")


def a_trial(flag: str, value: str) -> None:
    """For names of methods joined by "+", with steps after a colon or without, and "all"."""
    if value != "all":
        from hyperstyle.evaluation.trials import Trial

        a_method(flag, Trial.of(value).method)


def a_model(flag: str, value: str) -> None:
    """For bundled and installed models and folders, which must have a `hyperstyle.json`; and for names of repositories.

    The Hub is not asked.
    """
    if (folder := local_folder(value)) is not None:
        read_json(folder / "hyperstyle.json")


def check_edits(model: str, names: Iterable[str], where: str = "in this model") -> None:
    """Raises EditError for a name that is no edit of the model, where its `hyperstyle.json` is here and lists them.

    Args:
        model: a name or folder as `--model` takes it. A Hub repository is not asked.
        names: of edits.
        where: in the message, what has no edit of that name.

    Raises:
        ModelNotFoundError, MissingFileError, ConfigError: there is no such model, or its `hyperstyle.json` is missing
            or malformed.
    """
    folder = local_folder(model)
    known = None if folder is None else read_json(folder / "hyperstyle.json").get("edits")
    if not isinstance(known, list):
        return
    for name in names:
        if name not in known:
            raise EditError(f"no edit named {name!r} {where}. {did_you_mean(name, known)}")
