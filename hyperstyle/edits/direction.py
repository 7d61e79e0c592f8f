"""Linear edits: w + strength * direction (InterFaceGAN, Shen et al., CVPR 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hyperstyle.edits.protocol import EditInfo
from hyperstyle.errors import EditError

__all__ = ["DirectionEdit", "regression_direction"]


@dataclass(frozen=True, eq=False)
class DirectionEdit:
    """Adds a multiple of a direction to the code.

    Attributes:
        direction: [D], the same for every row, or [L,D].
        info: name, range, unit, source.
        rows: (first, end) rows that are moved; None moves all.
    """

    direction: Tensor
    info: EditInfo
    rows: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.direction.ndim not in (1, 2) or not torch.isfinite(self.direction).all():
            raise EditError(
                f"edit {self.info.name!r}: a direction of shape {tuple(self.direction.shape)}; expected finite numbers "
                "of shape [D] or [L, D]."
            )
        if self.rows is not None and not 0 <= self.rows[0] < self.rows[1]:
            raise EditError(f"edit {self.info.name!r}: rows {self.rows}; expected (first, end) with first < end.")

    def __call__(self, w: Tensor, strength: Tensor) -> Tensor:
        """[B,L,D] and [B] -> [B,L,D]. Raises EditError if the direction is for another width or number of rows."""
        rows, width = w.shape[1:]
        direction = self.direction.to(w)
        if direction.shape[-1] != width or (direction.ndim == 2 and direction.shape[0] not in (1, rows)):
            raise EditError(
                f"edit {self.info.name!r} has a direction of shape {tuple(direction.shape)}; these codes need "
                f"[{width}] or [{rows}, {width}]. It was made for another generator."
            )
        if self.rows is not None and self.rows[1] > rows:
            raise EditError(f"edit {self.info.name!r} moves rows {self.rows}, and these codes have {rows} rows.")
        move = strength.to(w)[:, None, None] * direction.expand(rows, width)  # [B,L,D]
        if self.rows is None:
            return w + move
        first, end = self.rows
        edited = w.clone()
        edited[:, first:end] += move[:, first:end]
        return edited


def regression_direction(codes: Tensor, trait: Tensor) -> Tensor:
    """The change of code that goes with one standard deviation of a trait, by least squares.

    Args:
        codes: [N,D] W codes.
        trait: [N] values of the trait for them; other traits should vary independently of it.

    Returns:
        [D] slope of the regression of the code on the standardised trait.

    Raises:
        EditError: fewer than two codes, another number of values, or a trait that does not vary.
    """
    if codes.ndim != 2 or trait.shape != codes.shape[:1] or len(codes) < 2:
        raise EditError(f"codes {tuple(codes.shape)} and trait {tuple(trait.shape)}: expected [N, D] and [N], N >= 2.")
    deviation = trait.double().std()
    if not deviation > 0:
        raise EditError("the trait has the same value for all codes, so it has no direction.")
    standard = (trait.double() - trait.double().mean()) / deviation
    slope = ((codes.double() - codes.double().mean(0)) * standard[:, None]).sum(0) / standard.square().sum()
    return slope.to(codes.dtype)
