"""What an edit is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from hyperstyle.errors import EditError

__all__ = ["Edit", "EditInfo", "Space", "StoredEdit", "amounts"]

Space = Literal["w", "styles"]


@dataclass(frozen=True)
class EditInfo:
    """What people should know about an edit.

    Attributes:
        name: what `Inversion.edit` and the command line call it.
        low, high: sensible strengths; beyond them images are no longer plausible.
        unit: what one unit of strength means.
        source: where it comes from.
        model: fingerprint of the generator it was made for (`Model.generator_fingerprint`), or "" where that is not
            known and cannot be compared.
        trait: what the evaluator calls the trait that it moves, upwards for strengths above 0; None where that is not
            known, and then the edit cannot be measured.
        space: what it moves: latent codes "w", or what the affine layers make of them, "styles" (StyleSpace).
        relative: whether strength 0 is no edit and twice the strength twice the edit; else it sets a coordinate.
        report: what was measured of it when it was fitted, as plain values; {} where nothing was.
    """

    name: str
    low: float = -3.0
    high: float = 3.0
    unit: str = "standard deviations of the trait"
    source: str = ""
    model: str = ""
    trait: str | None = None
    space: Space = "w"
    relative: bool = True
    report: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.space not in ("w", "styles"):
            raise EditError(f"edit {self.name!r}: space {self.space!r}; expected 'w' or 'styles'.")
        if not -math.inf < self.low < self.high < math.inf:
            raise EditError(
                f"edit {self.name!r}: a range of {self.low:g} to {self.high:g}; expected two finite numbers, low below "
                "high."
            )


@runtime_checkable
class Edit(Protocol):
    """Moves latent codes or styles. Any object with these two members can be passed to `Inversion.edit`."""

    @property
    def info(self) -> EditInfo:
        """What people should know about it; `info.space` says what it is called with."""
        ...

    def __call__(self, codes: Any, strength: Any) -> Any:
        """Codes and strengths -> edited codes; its arguments are not changed.

        Args:
            codes: space "w": latent codes [B,L,D] (or W codes [B,D], for edits that move all rows alike). Space
                "styles": layer name -> [B,I], all layers.
            strength: [B], or one number for all.

        Returns:
            The same shape. In space "styles" a layer that was not changed is the same object.
        """
        ...


@runtime_checkable
class StoredEdit(Edit, Protocol):
    """An edit with a form on disk, see `edits.store`."""

    kind: ClassVar[str]

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its tensors by name, and its plain values as JSON knows them."""
        ...

    @classmethod
    def from_parts(cls, info: EditInfo, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> StoredEdit:
        """The edit that `parts` describes. Raises EditError where tensors and values do not fit together."""
        ...


def amounts(strength: Tensor | float, like: Tensor) -> Tensor:
    """Strengths as [B] of the type and on the device of codes [B,...].

    Raises:
        EditError: neither one number nor one for each image, or not finite.
    """
    values = torch.as_tensor(strength).to(like).flatten()
    if values.numel() not in (1, like.shape[0]) or not torch.isfinite(values).all():
        raise EditError(f"strength {strength!r} for {like.shape[0]} images: expected finite, one number or one each.")
    return values.expand(like.shape[0])
