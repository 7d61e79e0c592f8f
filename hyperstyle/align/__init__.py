"""From a photo to the crop a generator was trained on, and back."""

from __future__ import annotations

from hyperstyle.align.crop import Crop, crop, ffhq_quad
from hyperstyle.align.decision import LandmarkDetector
from hyperstyle.align.paste import paste_back

__all__ = ["Crop", "LandmarkDetector", "crop", "ffhq_quad", "paste_back"]
