"""What edits described in words need: an encoder of texts and images, and something that makes an edit of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from hyperstyle.edits.protocol import Edit

__all__ = ["TextEdits", "TextImageEncoder"]


@runtime_checkable
class TextImageEncoder(Protocol):
    """Texts and images in one space, as CLIP has it (Radford et al., ICML 2021)."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """N texts -> features [N,E]; they need not be of unit length."""
        ...

    def encode_image(self, images: Tensor) -> Tensor:
        """Images [B,3,h,w] in [-1,1], of any size -> features [B,E]; gradients flow."""
        ...


@runtime_checkable
class TextEdits(Protocol):
    """Makes an edit of two descriptions."""

    def __call__(self, target: str, *, neutral: str, beta: float) -> Edit:
        """The edit that leads from `neutral` to `target`; a higher `beta` moves fewer channels."""
        ...
