"""The names of the methods. `registry` holds the methods themselves, and imports torch, which takes seconds."""

from __future__ import annotations

import re
from collections.abc import Collection

from hyperstyle.errors import MethodError, did_you_mean

NAMES = (
    "sfe",
    "sfe-inverter",
    "hyperstyle",
    "hyperinverter",
    "w-encoder",
    "e4e",
    "psp",
    "restyle-e4e",
    "restyle-psp",
    "optimize-w",
    "optimize-w+",
    "pti",
    "offsets",
    "features",
    "offset-codes",
    "idinvert",
)
"""In the order of `registry.METHODS`."""


def split_names(method: str, known: Collection[str] = NAMES) -> list[str]:
    """The names that a "+" joins; "optimize-w+" ends with one of its own. Raises MethodError for one not in `known`."""
    names = re.split(r"\+(?=[^+])", method)  # "optimize-w++pti" -> "optimize-w+", "pti"
    if unknown := [name for name in names if name not in known]:
        raise MethodError(f"no method {unknown[0]!r}. {did_you_mean(unknown[0], known)}")
    return names
