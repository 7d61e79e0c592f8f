"""Makes every portrait of a folder older: the kind of program that others write with hyperstyle."""

from __future__ import annotations

from portrait_tool.older import older, strip

__all__ = ["older", "strip"]
