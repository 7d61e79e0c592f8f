"""InterFaceGAN (Shen et al., CVPR 2020): published directions, conditional manipulation, distance to a boundary."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hyperstyle.edits.direction import DirectionEdit, check_codes
from hyperstyle.edits.protocol import EditInfo, amounts
from hyperstyle.errors import EditError

__all__ = ["conditional", "direction_edit", "direction_from", "to_boundary"]

_MAX_ROWS = 32  # a generator of 1024 px has 18; a file of more holds something else
_REACH, _HALVED_REACH = 5.0, 1.5  # how far in W the published edits go


def direction_from(values: Tensor, *, width: int = 512, where: str = "direction") -> Tensor:
    """A direction in any of the shapes in which they are published.

    Args:
        values: [D], [1,D], [L,D], [1,L,D], or [1,L*D] (a boundary in W+, row after row).
        width: D.
        where: names the file in errors.

    Returns:
        [D] where all rows are equal, else [L,D]; of the same type.

    Raises:
        EditError: another shape, more rows than generators have, no numbers, not finite, or zero throughout.
    """
    shape = tuple(values.shape)
    if width < 1:
        raise EditError(f"width={width}: expected the width of the codes, 512 for published generators.")
    if values.layout != torch.strided or values.is_meta:
        raise EditError(f"{where} holds a tensor without its numbers side by side: expected a plain one.")
    fits = len(shape) in (1, 2, 3) and (len(shape) < 3 or shape[0] == 1) and 0 not in shape
    if not fits or not (shape[-1] == width or (shape[-1] % width == 0 and shape[:-1] in ((), (1,)))):
        raise EditError(
            f"{where} holds numbers of shape {shape}: expected a direction of shape [{width}], [1, {width}], "
            f"[1, L, {width}], [L, {width}] or [1, L*{width}]. For codes of another width give width=."
        )
    if values.numel() > _MAX_ROWS * width:
        raise EditError(
            f"{where} holds {values.numel() // width} rows of {width}, more than a generator has: codes of images, "
            "or the effects of channels for StyleCLIP (load these with `StyleClip.from_files`), and no direction."
        )
    if not values.is_floating_point() or not torch.isfinite(values).all() or not values.any():
        raise EditError(f"{where} holds no direction: expected finite floating-point numbers, not all zero.")
    rows = values.detach().reshape(-1, width)
    return (rows[0] if (rows == rows[0]).all() else rows).clone()


def direction_edit(
    direction: Tensor, *, name: str, source: str = "", rows: tuple[int, int] | None = None, halved: bool = False
) -> DirectionEdit:
    """The edit that adds strength * direction; its range is that of published edits: 5 in W for every row.

    Args:
        direction: [D] or [L,D].
        name, source: for its info.
        rows: (first, end) rows that are moved; None moves all.
        halved: add half of it, as PTI and HyperInverter do.

    Raises:
        EditError: the direction is not finite, or zero.
    """
    moved = direction / 2 if halved else direction
    length = float(moved.double().norm()) / math.sqrt(moved.numel() / moved.shape[-1])  # in W, of an average row
    if not length > 0:
        raise EditError(f"edit {name!r}: a direction that is zero. Give one that moves codes.")
    reach = float(f"{(_HALVED_REACH if halved else _REACH) / length:.2g}")
    unit = "distance in W" if abs(length - 1) < 1e-3 else f"steps of {length:.3g} in W"
    return DirectionEdit(moved, EditInfo(name, -reach, reach, unit, source), rows)


def conditional(direction: Tensor, *conditions: Tensor) -> Tensor:
    """The part of a direction that leaves other traits alone (section 3.2: the conditions' span is projected out).

    Args:
        direction: [D] or [L,D].
        conditions: directions of the same shape; they need not be orthogonal.

    Returns:
        A unit vector of that shape, orthogonal to all conditions.

    Raises:
        EditError: no conditions, another shape, or a direction that lies in their span.
    """
    if not conditions or any(condition.shape != direction.shape for condition in conditions):
        shapes = ", ".join(str(tuple(condition.shape)) for condition in conditions) or "none"
        raise EditError(f"conditions of shape {shapes}: expected at least one, of the shape {tuple(direction.shape)}.")
    target = direction.detach().double().cpu().flatten()
    span = torch.stack([condition.detach().double().cpu().flatten() for condition in conditions], 1)  # [D,n]
    # n' = n - U Uᵀ n, where the columns of U are an orthonormal basis of the conditions; those that depend on others
    # have a singular value of 0.
    basis, sizes, _ = torch.linalg.svd(span, full_matrices=False)
    basis = basis[:, sizes > 1e-10 * sizes.max()]
    remainder = target - basis @ (basis.T @ target)
    if not remainder.norm() > 1e-6 * target.norm():
        raise EditError("the direction is made of the conditions alone: without them nothing of it is left.")
    unit: Tensor = remainder / remainder.norm()
    return unit.reshape(direction.shape).to(direction)


def to_boundary(codes: Tensor, direction: Tensor, distance: Tensor | float) -> Tensor:
    """W codes brought to a signed distance from the boundary, w + (distance - <w, n>) n, wherever they were.

    For W+ codes InterFaceGAN adds strength * n instead: that is `DirectionEdit`.

    Args:
        codes: [B,D].
        direction: n, the unit normal of a boundary through the origin, [D].
        distance: [B] or a number.

    Raises:
        EditError: codes [B,L,D], another width, or a direction whose length is not 1.
    """
    if codes.ndim != 2 or direction.ndim != 1:
        raise EditError(
            f"to_boundary: codes {tuple(codes.shape)} and a direction {tuple(direction.shape)}; expected W codes "
            "[B, D] and [D]. Codes with rows of their own are moved by a DirectionEdit."
        )
    check_codes(codes, direction, None, "to_boundary")
    if abs(float(direction.double().norm()) - 1) > 1e-3:
        raise EditError(
            f"to_boundary: a direction of length {float(direction.norm()):.4g}; expected 1. Divide it by its length."
        )
    normal = direction.to(codes)
    return codes + (amounts(distance, codes) - codes @ normal)[:, None] * normal
