"""Networks published by others <-> the networks of this library, one file per family.

from hyperstyle.convert import convert, read_generator

convert("hyperstyle_ffhq.pt", "models/faces", encoder="faces_w_encoder.pt")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperstyle.runtime.lazy import lazy_names

__all__ = ["Conversion", "convert", "read_generator"]

if TYPE_CHECKING:
    from hyperstyle.convert.generators import read_generator
    from hyperstyle.convert.model import Conversion, convert
else:  # hidden from type checkers, which would accept any name
    __getattr__ = lazy_names(__name__, {"generators": ("read_generator",), "model": ("Conversion", "convert")})
