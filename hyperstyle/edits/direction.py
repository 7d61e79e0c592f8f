"""Linear edits: w + strength * direction (InterFaceGAN, Shen et al., CVPR 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import torch
from torch import Tensor

from hyperstyle.edits.protocol import EditInfo, StoredEdit, amounts
from hyperstyle.errors import EditError


@dataclass(frozen=True, eq=False)
class DirectionEdit(StoredEdit):
    """Adds a multiple of a direction to the code.

    Attributes:
        direction: [D], the same for every row, or [L,D].
        info: name, range, unit, source.
        rows: (first, end) rows that are moved; None moves all.
    """

    direction: Tensor
    info: EditInfo
    rows: tuple[int, int] | None = None

    kind: ClassVar[str] = "direction"

    def __post_init__(self) -> None:
        if self.direction.ndim not in (1, 2) or not torch.isfinite(self.direction).all():
            raise EditError(
                f"edit {self.info.name!r}: a direction of shape {tuple(self.direction.shape)}; expected finite numbers "
                "of shape [D] or [L, D]."
            )
        object.__setattr__(self, "rows", rows_from(self.rows, self.info.name))

    def __call__(self, codes: Tensor, strength: Tensor | float) -> Tensor:
        """w + strength * direction.

        Args:
            codes: [B,L,D], or [B,D] where the direction is one for all rows.
            strength: [B] or a number.

        Raises:
            EditError: the direction is for another width or number of rows.
        """
        check_codes(codes, self.direction, self.rows, self.info.name)
        direction = self.direction.to(codes)  # [D] or [L,D]
        amount = amounts(strength, codes)[(slice(None), *[None] * (codes.ndim - 1))]  # [B,1] or [B,1,1]
        return add_to_rows(codes, amount * direction, self.rows)


def check_codes(codes: Tensor, direction: Tensor, rows: tuple[int, int] | None, name: str) -> None:
    """Raises EditError unless a direction [D] or [1 or L,D] that moves these rows fits codes [B,L,D] or [B,D]."""
    if codes.ndim not in (2, 3):
        raise EditError(f"edit {name!r}: codes of shape {tuple(codes.shape)}; expected [B, L, D] or [B, D].")
    shapes = [str(codes.shape[-1]), *([f"{codes.shape[1]}, {codes.shape[2]}"] if codes.ndim == 3 else [])]
    width_fits = direction.shape[-1] == codes.shape[-1]
    rows_fit = direction.ndim == 1 or (codes.ndim == 3 and direction.shape[0] in (1, codes.shape[1]))
    if not width_fits or not rows_fit:
        raise EditError(
            f"edit {name!r} has a direction of shape {tuple(direction.shape)}; codes {tuple(codes.shape)} need "
            f"{' or '.join(f'[{shape}]' for shape in shapes)}. It was made for another generator."
        )
    if rows is not None and (codes.ndim == 2 or rows[1] > codes.shape[1]):
        have = "one row for all layers" if codes.ndim == 2 else f"{codes.shape[1]} rows"
        raise EditError(f"edit {name!r} moves rows {rows}, and these codes have {have}.")


def add_to_rows(codes: Tensor, change: Tensor, rows: tuple[int, int] | None) -> Tensor:
    """Codes [B,D] or [B,L,D] plus a change of that shape, or [B,1,D] for all rows alike, in the rows (first, end)."""
    if rows is None:
        return codes + change
    first, end = rows
    edited = codes.clone()
    edited[:, first:end] += change.expand(codes.shape)[:, first:end]  # [B,end-first,D]
    return edited


def rows_from(value: object, name: str) -> tuple[int, int] | None:
    """(first, end) out of a pair of numbers, as JSON has it. Raises EditError for anything else but None."""
    if value is None:
        return None
    rows = value if isinstance(value, (list, tuple)) else ()
    if len(rows) != 2 or not all(isinstance(row, Integral) and not isinstance(row, bool) for row in rows):
        raise EditError(f"edit {name!r}: rows {value!r}; expected two whole numbers (first, end), or nothing.")
    if not 0 <= rows[0] < rows[1]:
        raise EditError(f"edit {name!r}: rows {value!r}; expected (first, end) with first < end.")
    return int(rows[0]), int(rows[1])
