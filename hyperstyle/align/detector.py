"""The protocol of landmark detectors, and the copy of a photo that they search."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperstyle.images import resize

__all__ = ["LandmarkDetector", "reduce_to"]


@runtime_checkable
class LandmarkDetector(Protocol):
    """Finds faces in a photo. Any callable of this form can be passed as `aligner`.

    An inverter that is used from several threads calls it from all of them; so does training, which reads images in
    threads.
    """

    def __call__(self, photo: Image.Image) -> list[npt.NDArray[np.float64]]:
        """Upright RGB photo -> for each face [68,2] (iBUG order) or [5,2] points (x, y) in pixels; [] for no face."""
        ...


def reduce_to(photo: Image.Image, longest: int) -> Image.Image:
    """The photo with its longer side at `longest` pixels; itself where that is no longer."""
    scale = min(longest / max(photo.size), 1.0)
    return resize(photo, (max(round(photo.height * scale), 1), max(round(photo.width * scale), 1)))
