"""Boundaries between codes of high and of low scores: how InterFaceGAN finds directions (Shen et al., CVPR 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperstyle.errors import EditError, MissingDependencyError

__all__ = ["Boundary", "check_sklearn", "fit_boundary"]


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
    count = _count(chosen, len(y))
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


def _count(chosen: float | int, available: int) -> int:
    """How many codes at each end. Raises EditError where that is none, or more than half of all."""
    count = chosen if isinstance(chosen, int) else int(available * chosen)
    if not 1 <= count <= available // 2:
        raise EditError(
            f"chosen={chosen} of {available} scored codes is {count} for each side: expected at least 1 and at most "
            f"half of them, {available // 2}. Choose a share from 0 to 0.5, or a number."
        )
    return count


def _labelled(
    high: npt.NDArray[np.float64], low: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    return np.concatenate([high, low]), np.repeat([True, False], [len(high), len(low)])
