"""What finds landmarks."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["LandmarkDetector"]


@runtime_checkable
class LandmarkDetector(Protocol):
    """Finds faces in a photo. Any callable of this form can be passed as `aligner`.

    Where an inverter is used from several threads, and where images to train on are read by several, so is this.
    """

    def __call__(self, photo: Image.Image) -> list[npt.NDArray[np.float64]]:
        """Upright RGB photo -> for each face [68,2] (iBUG order) or [5,2] points (x, y) in pixels; [] for no face."""
        ...
