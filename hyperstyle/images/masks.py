"""Masks: where an image may change. What a user gives as one, read as numbers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperstyle.domain import REGIONS
from hyperstyle.errors import ConfigError, ImageError, did_you_mean
from hyperstyle.images.load import ImageSource, view_image
from hyperstyle.io.limits import oddity

if TYPE_CHECKING:
    from torch import Tensor

MASK_LEVELS = 255
"""A mask's values are whole numbers of this fraction of 1, so that a byte holds each without loss."""


def is_region(mask: object) -> bool:
    """Whether it is the name of a region. Raises ConfigError for text that names neither a region nor a file."""
    if not isinstance(mask, str) or mask in REGIONS:
        return isinstance(mask, str)
    if not os.path.exists(os.path.expanduser(mask)):
        hint = did_you_mean(mask, REGIONS)
        raise ConfigError(f"the mask {mask!r} is neither a region of the face nor a file. {hint}")
    return False


def read_mask(source: ImageSource, size: tuple[int, int], count: int) -> Tensor:
    """An image, array or tensor as a mask: 1 where an image may change, 0 where it stays.

    Args:
        source: what `load_image` takes, of whose pixels the brightness counts: white may change, black stays; or an
            array or tensor [H,W] or [1,H,W] for all images, or [B,1,H,W]: bool, uint8 in 0..255, or other numbers in
            0..1.
        size: (H, W) that it must have.
        count: B, the number of images.

    Returns:
        [B,1,H,W] numbers in [0,1] on the CPU.

    Raises:
        ImageError: an image that cannot be read; another size or shape; values out of range or not finite.
    """
    import torch

    if isinstance(source, np.ndarray):
        values = _tensor(source)
    elif isinstance(source, torch.Tensor):
        values = source
    else:
        gray = np.array(view_image(source).convert("L"))
        values = torch.from_numpy(gray)
    if kind := oddity(values):
        raise ImageError(f"The mask {kind}. Expected an image, or numbers of the shape {list(size)}.")
    if values.is_complex():
        raise ImageError(f"The mask is {values.dtype}. Expected bool, uint8 in 0..255, or other numbers in 0..1.")
    shape = tuple(values.shape)
    if shape[-2:] != size and len(shape) > 1:
        height, width = shape[-2:]
        raise ImageError(
            f"The mask is {width} x {height} px and the reconstruction {size[1]} x {size[0]} px: expected one of its "
            "size."
        )
    if shape not in (size, (1, *size), (1, 1, *size), (count, 1, *size)):
        raise ImageError(f"The mask has the shape {list(shape)}: expected {list(size)}, or {[count, 1, *size]}.")
    return _in_unit_range(values.detach().cpu()).expand(count, 1, *size)


def rounded_mask(values: Tensor) -> Tensor:
    """Values in [0,1] as float32, rounded to `MASK_LEVELS`."""
    return values.float().mul(MASK_LEVELS).round().div(MASK_LEVELS)


def check_not_empty(mask: Tensor, advice: str) -> None:
    """Raises ImageError, with `advice`, for an image of [B,1,H,W] whose mask is 0 everywhere."""
    for i, is_set in enumerate(mask.flatten(1).any(dim=1).tolist()):
        if not is_set:
            which = f" of image {i}" if len(mask) > 1 else ""
            raise ImageError(f"The mask{which} is empty (0 everywhere): nothing could change. {advice}")


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    import torch

    if array.dtype.kind not in "biuf":
        raise ImageError(f"The mask is {array.dtype}. Expected bool, uint8 in 0..255, or other numbers in 0..1.")
    wide = array if array.dtype == np.uint8 else array.astype(np.float64)
    return torch.from_numpy(wide.copy())  # strides may be negative


def _in_unit_range(values: Tensor) -> Tensor:
    """Numbers as float64 in [0,1]; uint8 counts from 0 to 255."""
    import torch

    numbers = values.double()
    low, high = float(numbers.min()), float(numbers.max())
    if not torch.isfinite(numbers).all():
        raise ImageError("The mask holds NaN or infinite values. Expected numbers in 0..1.")
    if values.dtype == torch.uint8:
        if high == 1:
            raise ImageError(
                "The mask is uint8 with no value above 1, and 255 is what may change. Multiply it by 255, or make it "
                "bool."
            )
        return numbers / MASK_LEVELS
    if low < 0 or high > 1:
        raise ImageError(
            f"The mask has values from {low:.4g} to {high:.4g}. Expected 0..1, or uint8 in 0..255 such as those of an "
            "image."
        )
    return numbers
