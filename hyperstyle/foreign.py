"""The one place that reads files which may hold pickled objects; nothing is executed from them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperstyle.errors import CheckpointError, LandmarkError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["load_points", "load_state"]


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


def load_points(path: str | Path) -> npt.NDArray[np.float64]:
    """Reads landmarks [68,2] or [5,2] from a `.npy` file of numbers.

    Raises:
        LandmarkError: the file cannot be read, or holds something else.
    """
    import numpy as np

    try:
        points = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise LandmarkError(f"no landmark file {str(path)!r}: expected a .npy file with 68 or 5 points.") from error
    except (OSError, ValueError, EOFError) as error:
        raise LandmarkError(
            f"{str(path)!r} cannot be read as a .npy file of numbers: {_first_line(error)}. Write it with numpy.save."
        ) from error
    if not isinstance(points, np.ndarray) or points.dtype.kind not in "fiu" or points.shape not in ((68, 2), (5, 2)):
        shape = getattr(points, "shape", type(points).__name__)
        raise LandmarkError(f"{str(path)!r} holds {shape}: expected 68 or 5 points (x, y), an array [68, 2] or [5, 2].")
    return points.astype(np.float64)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
