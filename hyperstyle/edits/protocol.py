"""What an edit is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Edit", "EditInfo"]


@dataclass(frozen=True)
class EditInfo:
    """What people should know about an edit.

    Attributes:
        name: how it is asked for.
        low, high: sensible strengths; beyond them pictures fall apart.
        unit: what one unit of strength means.
        source: where it comes from.
        model: fingerprint of the generator it was made for, or "" where that is not known.
        trait: what the judge calls the trait that it moves, upwards for strengths above 0; None where that is not
            known, and then the edit cannot be measured.
    """

    name: str
    low: float = -3.0
    high: float = 3.0
    unit: str = "standard deviations of the trait"
    source: str = ""
    model: str = ""
    trait: str | None = None


@runtime_checkable
class Edit(Protocol):
    """Moves latent codes. Any object with these two members can be passed to `Inversion.edit`."""

    @property
    def info(self) -> EditInfo:
        """What people should know about it."""
        ...

    def __call__(self, w: Tensor, strength: Tensor) -> Tensor:
        """Codes [B,L,D] and strengths [B] -> edited codes [B,L,D]; strength 0 gives the codes back."""
        ...
