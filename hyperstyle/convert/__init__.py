"""Networks published by others <-> the networks of this library, one file per family.

from hyperstyle.convert import convert, read_generator

convert("hyperstyle_ffhq.pt", "models/faces", encoder="faces_w_encoder.pt")
"""

from __future__ import annotations

from hyperstyle.convert.generators import read_generator
from hyperstyle.convert.model import Conversion, convert

__all__ = ["Conversion", "convert", "read_generator"]
