"""InterFaceGAN (Shen et al., CVPR 2020): published directions, conditional ones, and the boundaries they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperstyle.edits.direction import DirectionEdit, check_codes
from hyperstyle.edits.protocol import EditInfo, amounts
from hyperstyle.errors import EditError, MissingDependencyError

_MAX_ROWS = 32  # a generator of 1024 px has 18; a file of more holds something else
_REACH, _HALVED_REACH = 5.0, 1.5  # how far in W the published edits go


def direction_edit(
    values: Tensor,
    *,
    name: str,
    width: int = 512,
    where: str = "direction",
    source: str = "",
    rows: tuple[int, int] | None = None,
    halved: bool = False,
) -> DirectionEdit:
    """The edit that adds strength * direction, for a direction in any of the shapes in which they are published.

    Its range is that of published edits: 5 in W for every row. Its direction is [D] where all rows are equal, else
    [L,D]; of the same type as the values.

    Args:
        values: [D], [1,D], [L,D], [1,L,D], or [1,L*D] (a boundary in W+, row after row).
        name, source: for its info.
        width: D.
        where: names the file in errors.
        rows: (first, end) rows that are moved; None moves all.
        halved: add half of it, as PTI and HyperInverter do.

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
    by_row = values.detach().reshape(-1, width)
    direction = (by_row[0] if (by_row == by_row[0]).all() else by_row) / (2 if halved else 1)
    length = float(direction.double().norm()) / math.sqrt(direction.numel() / width)  # in W, of an average row
    if not values.is_floating_point() or not 0 < length < math.inf:
        raise EditError(f"{where} holds no direction: expected finite floating-point numbers, not all zero.")
    reach = float(f"{(_HALVED_REACH if halved else _REACH) / length:.2g}")
    unit = "distance in W" if abs(length - 1) < 1e-3 else f"steps of {length:.3g} in W"
    return DirectionEdit(direction, EditInfo(name, -reach, reach, unit, source), rows)


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


# ---- boundaries between codes of high and of low scores ----


@dataclass(frozen=True, eq=False)
class Boundary:
    """A hyperplane in W, and how well it separates high scores from low ones.

    Attributes:
        normal: [D], of length 1, towards higher scores.
        chosen: how many codes with the highest scores were used, and as many with the lowest.
        train_accuracy: share of the codes it was fitted to that lie on the correct side.
        held_out_accuracy: the same for the chosen codes that were held out; None where none were.
        remaining_accuracy: the same for the codes that were not chosen, which count as high above the middle of
            all scores; None where all were chosen.
    """

    normal: Tensor
    chosen: int
    train_accuracy: float
    held_out_accuracy: float | None
    remaining_accuracy: float | None


def check_sklearn() -> None:
    """Raises MissingDependencyError where boundaries cannot be fitted: to be called before sampling."""
    try:
        import sklearn.svm  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "fitting boundaries needs scikit-learn, which is not installed. Run: pip install "
            '"hyperstyle-inversion[fit]".'
        ) from error


def fit_boundary(
    codes: Tensor, scores: Tensor, *, chosen: float | int = 0.02, split: float = 0.7, seed: int = 0
) -> Boundary:
    """The linear support vector machine (C = 1) between the codes of the highest and of the lowest scores.

    Args:
        codes: W codes [N,D].
        scores: [N]; codes whose score is NaN (an image that could not be read) are left out.
        chosen: how many codes at each end: a share of all as a float up to 0.5, or a number of codes as an int.
        split: share of the chosen codes that it is fitted to; the rest are held out.
        seed: of the shuffling before the split, which is NumPy's legacy one, the same in every version.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
        EditError: shapes or numbers that do not fit, too few codes, or scores that do not differ between the ends.
    """
    check_sklearn()
    from sklearn.svm import SVC

    if codes.ndim != 2 or scores.shape != codes.shape[:1] or not torch.isfinite(codes).all():
        raise EditError(
            f"codes {tuple(codes.shape)} and scores {tuple(scores.shape)}: expected finite codes [N, D] and scores [N]."
        )
    if torch.isinf(scores).any():
        raise EditError("scores that are infinite: expected numbers, or NaN for an image that could not be read.")
    if not 0 <= seed < 1 << 32:
        raise EditError(f"seed {seed}: expected 0 to {(1 << 32) - 1}.")
    valid = ~torch.isnan(scores)
    x, y = codes[valid].double().cpu().numpy(), scores[valid].double().cpu().numpy()
    count = chosen if isinstance(chosen, int) else int(len(y) * chosen)
    if not 1 <= count <= len(y) // 2:
        raise EditError(
            f"chosen={chosen} of {len(y)} scored codes is {count} for each side: expected at least 1 and at most "
            f"half of them, {len(y) // 2}. Choose a share from 0 to 0.5, or a number."
        )
    train = int(count * split) if 0 < split <= 1 else 0
    if train < 1:
        raise EditError(f"split={split} of {count} codes: expected a share above 0 and up to 1 that leaves some.")

    order = np.argsort(-y, kind="stable")
    x, y = x[order], y[order]
    if not y[count - 1] > y[-count]:
        raise EditError(
            f"the {count} highest and the {count} lowest of {len(y)} scores overlap (from {y[-1]:g} to {y[0]:g}): "
            "choose fewer, or sample more codes that show the trait."
        )
    random = np.random.RandomState(seed)
    ends = [x[:count], x[-count:]]
    for end in ends:
        end[:] = end[random.permutation(count)]  # in place: x[order] above is a copy
    # InterFaceGAN, Section 3.1: the normal n of the hyperplane <n, w> + b = 0 between the two ends is the direction.
    machine = SVC(kernel="linear", C=1.0).fit(*_labelled(ends[0][:train], ends[1][:train]))
    middle, threshold = slice(count, len(y) - count), (y[0] + y[-1]) / 2
    normal = machine.coef_[0] / np.linalg.norm(machine.coef_[0])
    return Boundary(
        torch.from_numpy(normal).to(codes.dtype),
        count,
        float(machine.score(*_labelled(ends[0][:train], ends[1][:train]))),
        float(machine.score(*_labelled(ends[0][train:], ends[1][train:]))) if train < count else None,
        float(machine.score(x[middle], y[middle] >= threshold)) if 2 * count < len(y) else None,
    )


def _labelled(
    high: npt.NDArray[np.float64], low: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    return np.concatenate([high, low]), np.repeat([True, False], [len(high), len(low)])
