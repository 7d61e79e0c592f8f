"""The one place that reads files which may hold pickled objects; nothing is executed from them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from hyperstyle.errors import CheckpointError

__all__ = ["load_state"]


def load_state(path: str | Path) -> dict[str, Any]:
    """Reads a `.pt` file of tensors, numbers, strings and containers of these onto the CPU.

    Raises:
        CheckpointError: the file cannot be read, or holds anything else (it is then not executed).
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} was not loaded: it is no PyTorch file, or holds objects other than tensors and plain values. "
            f"{_first_line(error)}"
        ) from error
    except Exception as error:  # of any class: readers raise what they like where data are damaged
        raise CheckpointError(f"{path} cannot be read as a PyTorch file: {_first_line(error)}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}: expected a dictionary.")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
