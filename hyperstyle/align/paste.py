"""Putting an edited crop back into the photo it was cut from."""

from __future__ import annotations

from numbers import Real
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hyperstyle.align.seam import color_offset, moved_edges, smoothstep
from hyperstyle.errors import AlignmentError, ConfigError, ImageError
from hyperstyle.images import check_opened, to_levels, to_tensor
from hyperstyle.images.color_modes import as_photo
from hyperstyle.moved import renamed_argument

__all__ = ["paste_back"]

_PIXELS_AT_ONCE = 1 << 20  # photo pixels that are worked on at a time, to bound the memory
_LARGEST_SIDE = 4096  # of the crop at the photo's scale; for a still larger quad, sampling does the rest
_SLACK = 1e-3  # of the side: how far the fourth corner may be from where a parallelogram has it


@renamed_argument("match_colours", "match_colors")
def paste_back(
    photo: Image.Image,
    edited: Tensor | Image.Image,
    quad: npt.ArrayLike,
    *,
    reference: Tensor | Image.Image | None = None,
    mode: Literal["difference", "replace"] = "difference",
    feather: float = 0.1,
    match_colors: bool = True,
    remove_ghosts: bool = True,
) -> Image.Image:
    """Put an edited crop back into its photo, at the photo's own resolution.

    Mode "difference" adds to the photo what the edit changed, `mask * (edited - reference)` brought to the
    photo's scale: a small generator does not soften a large photo, and where the edit changed nothing no
    pixel changes. Where the edit moved edges, the photo's own would stay as ghosts; there, and only there, the
    photo gives way to the edited crop in the photo's colors (`seam.moved_edges`).
    Mode "replace" fades from the photo into the crop: `photo * (1 - mask) + edited * mask`. In both modes the
    mask is 1 inside and falls to 0 at the border of the quad, and no pixel whose center lies outside the quad
    changes. Faces whose quads do not meet can be put back one after the other, in any order.

    Args:
        photo: the image that the crop was cut from; it is turned upright by its EXIF orientation first.
        edited: the edited crop [3, H, W] or [1, 3, H, W] in [-1, 1] (clipped to it), or a PIL image, of any
            size.
        quad: [4, 2] corners (top left, bottom left, bottom right, top right) of the crop in pixel indices of
            the upright photo: `Crop.footprint` (or `Crop.quad`). A parallelogram, which may lie partly
            outside.
        reference: mode "difference" only: the unedited reconstruction, of the same size as `edited`.
        mode: see above.
        feather: width of the mask's ramp as a fraction of the quad's sides, 0 (a hard edge) to 0.5.
        match_colors: mode "replace" only: shift the crop's colors towards the border of the quad to those of
            the photo there, smoothly, and by nothing in the middle (`seam.color_offset`).
        remove_ghosts: mode "difference" only: False adds the difference and does nothing else.

    Returns:
        A new image of the upright photo's size, RGB, or RGBA with the photo's own alpha where it has one. Its
        ICC profile and its EXIF data, the orientation set to 1, stand in `info`, from where `save_image` writes
        them.

    Raises:
        ConfigError: an unknown mode, a feather out of range, or a reference missing or given in vain.
        AlignmentError: a quad of a wrong shape, not finite, without area, no parallelogram, or outside the
            photo.
        ImageError: crops of wrong or different shapes, or not finite; a photo of a format that is not read
            (`images.FORMATS`) and not decoded yet.
    """
    if mode not in ("difference", "replace"):
        raise ConfigError(f"Unknown mode {mode!r}. Use 'difference' or 'replace'.")
    if isinstance(feather, bool) or not isinstance(feather, Real) or not 0 <= feather <= 0.5:
        raise ConfigError(f"feather is {feather!r}, a fraction of the quad's side; give a number from 0 to 0.5.")
    if not isinstance(photo, Image.Image):
        raise ImageError(f"The photo is of type {type(photo).__name__}; expected a PIL image, as Image.open gives it.")
    check_opened(photo, "The photo")
    crop, unedited = _crops(edited, reference, mode)
    upright = as_photo(photo)
    base = np.array(upright.convert("RGB"))  # [H,W,3]; leaves the colors of RGBA as they are
    corner, axes = _frame(quad)

    # Bounding box of the quad in the photo, in whole pixels.
    height, width = base.shape[:2]
    ends = corner + np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) @ axes
    left, top = np.clip(np.floor(ends.min(axis=0)), 0, None).astype(int).tolist()
    right, bottom = np.clip(np.ceil(ends.max(axis=0)), None, (width, height)).astype(int).tolist()
    if left >= right or top >= bottom:
        raise AlignmentError(
            f"The quad {_listed(quad)} lies outside the photo of {width} x {height} px. "
            "Give the photo that the crop was cut from, at its full size."
        )

    layer = _layer(base, crop, unedited, corner, axes, feather, match_colors, remove_ghosts)
    to_unit = torch.from_numpy(np.linalg.inv(axes))  # photo offsets -> (u, v), both 0..1 within the quad
    x = torch.arange(left, right, dtype=torch.float64) + (0.5 - corner[0])
    step = max(_PIXELS_AT_ONCE // (right - left), 1)
    for first in range(top, bottom, step):
        last = min(first + step, bottom)
        y = torch.arange(first, last, dtype=torch.float64) + (0.5 - corner[1])
        unit = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1) @ to_unit  # [h,w,2]
        mask = _mask(unit, feather)[..., None]
        grid = (2 * unit - 1).float()[None]
        # With align_corners=False, -1 and 1 are the outer edges of the crop: the quad's sides.
        warped = F.grid_sample(layer, grid, mode="bicubic", padding_mode="border", align_corners=False)
        warped = warped[0].permute(1, 2, 0)  # [h,w,3], or 7 with what takes over where edges moved
        part = torch.from_numpy(base[first:last, left:right])
        values = part.float()
        if mode == "replace":
            values = torch.lerp(values, warped, mask)
        else:
            change = warped[..., :3]
            if warped.shape[-1] > 3:
                change = torch.lerp(change, warped[..., 3:6] - values, warped[..., 6:].clamp(0, 1))
            values = values + mask * change
        part.copy_(values.round().clamp(0, 255))  # `part` shares the memory of `base`

    result = Image.fromarray(base)
    if upright.mode == "RGBA":
        result.putalpha(upright.getchannel("A"))
    result.info.update(upright.info)
    return result


def _crops(
    edited: Tensor | Image.Image, reference: Tensor | Image.Image | None, mode: str
) -> tuple[Tensor, Tensor | None]:
    """The crop and, in mode "difference", what it is compared with; [1, 3, H, W] in the photo's 256 levels."""
    edited_levels = _levels(edited, "edited")
    if mode == "replace":
        if reference is not None:
            raise ConfigError("A reference was given, and mode 'replace' has no use for it. Leave it out.")
        return edited_levels, None
    if reference is None:
        raise ConfigError(
            "Mode 'difference' adds the change from the unedited reconstruction, and no reference was given. "
            "Pass that crop as reference=..., or use mode='replace'."
        )
    unedited = _levels(reference, "reference")
    if unedited.shape != edited_levels.shape:
        raise ImageError(
            f"The edited crop is {_size(edited_levels)} and the reference {_size(unedited)}. "
            "Expected two crops of one size: the same generator's output with and without the edit."
        )
    return edited_levels, unedited


def _layer(
    photo: npt.NDArray[np.uint8],
    crop: Tensor,
    unedited: Tensor | None,
    corner: npt.NDArray[np.float64],
    axes: npt.NDArray[np.float64],
    feather: float,
    match_colors: bool,
    remove_ghosts: bool,
) -> Tensor:
    """What is laid over the photo, [1, C, H, W] in levels at the photo's scale: the crop, or the change of it.

    Where the change moved edges it has seven channels: the change, the crop in the photo's colors, and the weight of
    the latter.
    """
    if unedited is None:
        layer = _at_photo_scale(crop, axes)
        if match_colors:
            layer = layer + _enlarged(color_offset(photo, crop, corner, axes, feather), layer)
        return layer
    change = crop - unedited
    if not remove_ghosts:
        return _at_photo_scale(change, axes)
    weight, gap = moved_edges(photo, crop, unedited, corner, axes)
    if not weight.any():
        return _at_photo_scale(change, axes)
    layer = _at_photo_scale(torch.cat([change, crop], dim=1), axes)
    layer[:, 3:] += _enlarged(gap, layer)
    return torch.cat([layer, _enlarged(weight, layer)], dim=1)


def _enlarged(smooth: Tensor, layer: Tensor) -> Tensor:
    return F.interpolate(smooth, size=layer.shape[2:], mode="bicubic", align_corners=False)


def _levels(crop: Tensor | Image.Image, name: str) -> Tensor:
    """A crop as float32 [1, 3, H, W] in 0..255, not rounded."""
    values = to_tensor(crop) if isinstance(crop, Image.Image) else crop.detach()
    if values.ndim == 3:
        values = values[None]
    if values.ndim != 4 or values.shape[:2] != (1, 3) or 0 in values.shape or not values.is_floating_point():
        raise ImageError(
            f"The {name} crop is a tensor {values.dtype} {list(values.shape)}; expected one image, float "
            "[3, H, W] in [-1, 1]."
        )
    return to_levels(values)


def _frame(quad: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Top left corner and the two sides [[across], [down]], in coordinates where the first pixel is 0..1."""
    try:
        corners = np.array(quad, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise AlignmentError(
            f"The quad is not an array of numbers ({error}). Pass the corners [4, 2] of Crop.footprint."
        ) from error
    if corners.shape != (4, 2) or not np.isfinite(corners).all():
        raise AlignmentError(
            f"The quad is {corners.tolist()}; expected four finite corners [4, 2] as (x, y) in pixels: "
            "top left, bottom left, bottom right, top right. Pass Crop.footprint."
        )
    top_left, bottom_left, bottom_right, top_right = corners + 0.5
    axes = np.stack([top_right - top_left, bottom_left - top_left])
    sides = np.hypot(*axes.T)
    if sides.min() < 1 or abs(np.linalg.det(axes)) < 0.01 * sides[0] * sides[1]:
        raise AlignmentError(
            f"The quad {_listed(corners)} has sides of {sides[0]:.3g} and {sides[1]:.3g} px and an area of "
            f"{abs(np.linalg.det(axes)):.3g} px; expected one that covers pixels. Pass Crop.footprint."
        )
    gap = float(np.hypot(*(bottom_right - top_left - axes.sum(axis=0))))
    if gap > _SLACK * sides.max():
        raise AlignmentError(
            f"The quad {_listed(corners)} is not a parallelogram: its third corner is off by {gap:.3g} px. "
            "Expected the corners in the order top left, bottom left, bottom right, top right."
        )
    return top_left, axes


def _at_photo_scale(layer: Tensor, axes: npt.NDArray[np.float64]) -> Tensor:
    """Resize the layer so that its pixels are as large as the photo's.

    The sampling that follows only has to turn and shift it then. Reducing averages over every pixel covered,
    so a large crop does not alias in a small photo; enlarging is smooth.
    """
    width, height = (min(max(round(float(side)), 1), _LARGEST_SIDE) for side in np.hypot(*axes.T))
    if layer.shape[2:] == (height, width):
        return layer
    return F.interpolate(layer, size=(height, width), mode="bicubic", antialias=True, align_corners=False)


def _mask(unit: Tensor, feather: float) -> Tensor:
    """[..., 2] positions in the quad -> [...] float32 weights: 1 inside, 0 from the border on, smooth."""
    depth = torch.minimum(unit, 1 - unit)  # 0 at the border, 0.5 in the middle
    if feather == 0:
        return (depth > 0).all(dim=-1).float()
    return smoothstep(depth / feather).prod(dim=-1).float()  # the product rounds the corners


def _listed(quad: npt.ArrayLike) -> str:
    return ", ".join(f"({x:.1f}, {y:.1f})" for x, y in np.asarray(quad))


def _size(crop: Tensor) -> str:
    return f"{crop.shape[3]} x {crop.shape[2]} px"
