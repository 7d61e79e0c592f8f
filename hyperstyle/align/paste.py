"""Putting an edited crop back into the photo it was cut from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hyperstyle.align.crop import quad_text
from hyperstyle.align.seam import Frame, color_offset, edited_cells, smoothstep
from hyperstyle.errors import AlignmentError, ConfigError, ImageError
from hyperstyle.images import to_levels, to_tensor
from hyperstyle.images.bands import bands, cut, in_mode
from hyperstyle.images.color_modes import as_photo
from hyperstyle.images.formats import check_opened
from hyperstyle.moved import renamed_argument


class PastedFace(NamedTuple):
    """What `paste_all` puts back: see the arguments of `paste_back`."""

    edited: Tensor | Image.Image
    quad: npt.ArrayLike
    reference: Tensor | Image.Image | None = None
    mask: Tensor | None = None


_Change = Callable[[Tensor, Tensor], Tensor]
"""(pixels [h, w, 3] of the photo in levels, their places [1, h, w, 2] for `grid_sample`) -> what is added to them."""

_PIXELS_AT_ONCE = 1 << 18  # photo pixels that are blended at a time, to bound the memory
_LARGEST_SIDE = 2048  # to which a crop is enlarged; for a still larger quad, sampling does the rest


@renamed_argument("match_colours", "match_colors")
def paste_back(
    photo: Image.Image,
    edited: Tensor | Image.Image,
    quad: npt.ArrayLike,
    *,
    reference: Tensor | Image.Image | None = None,
    mask: Tensor | None = None,
    mode: Literal["difference", "replace"] = "difference",
    feather: float = 0.1,
    match_colors: bool = True,
    remove_ghosts: bool = True,
) -> Image.Image:
    """Put an edited crop back into its photo, at the photo's own resolution.

    Mode "difference" adds to the photo what the edit changed, `mask * (edited - reference)`, and lets this change
    follow the photo's own edges, so that outlines get no halo and a crop of low resolution does not blur a large photo.
    Where the edit moved edges, those of the photo would remain visible as ghosts; there, and only there, the edited
    crop, shifted to the photo's colors, replaces the photo (`seam.edited_cells`). Without an edit no pixel changes;
    with one, pixels within a few hundredths of the quad's side of a change may.
    Mode "replace" blends the photo with the crop: `photo * (1 - mask) + edited * mask`. In both modes the mask
    is 1 in the interior and falls smoothly to 0 at the border of the quad, and no pixel whose center lies
    outside the quad changes. Faces whose quads do not overlap can be put back one after the other, in any order.

    Args:
        photo: the image that the crop was cut from; it is turned upright by its EXIF orientation first.
        edited: the edited crop, of any size: a float tensor [3, H, W] or [1, 3, H, W], clipped to [-1, 1], or a
            PIL image.
        quad: [4, 2] corners (x, y) of the crop, top left, bottom left, bottom right, top right, in pixel indices
            of the upright photo (whole numbers are pixel centers): `Crop.footprint` (or `Crop.quad`). They form
            a parallelogram, which may lie partly outside the photo.
        reference: mode "difference" only, and needed there: the unedited reconstruction, as large as `edited`.
        mask: [1, H, W] in [0, 1], as large as `edited`: limits the change further. It is interpolated linearly to the
            photo's pixels, and those where it is 0 stay bit for bit. None is 1 everywhere.
        mode: see above.
        feather: width of the mask's ramp as a fraction of the quad's sides, 0 (a hard edge) to 0.5.
        match_colors: mode "replace" only: shift the crop's colors to match the photo's along the border of the
            quad; the shift falls smoothly to 0 in the middle (`seam.color_offset`).
        remove_ghosts: mode "difference" only: False adds the difference as it is, resized to the photo's scale, and
            replaces the photo nowhere.

    Returns:
        A new image of the upright photo's size, RGB, or RGBA with the photo's own alpha where it has one. Its
        ICC profile and its EXIF data, the orientation set to 1, are in `info`, from which `save_image` writes them.

    Raises:
        ConfigError: an unknown mode, a feather out of range, or a reference that mode "difference" lacks or that
            mode "replace" is given.
        AlignmentError: a quad of a wrong shape, not finite, without area, no parallelogram, or outside the
            photo.
        ImageError: crops of wrong or different shapes, or not finite; a mask of another shape or range; a photo that
            is no PIL image, or that is not decoded yet and of a format that is not in `images.FORMATS`.
    """
    return paste_all(
        photo,
        [PastedFace(edited, quad, reference, mask)],
        mode=mode,
        feather=feather,
        match_colors=match_colors,
        remove_ghosts=remove_ghosts,
    )


def paste_all(
    photo: Image.Image,
    faces: Sequence[PastedFace],
    *,
    mode: Literal["difference", "replace"] = "difference",
    feather: float = 0.1,
    match_colors: bool = True,
    remove_ghosts: bool = True,
) -> Image.Image:
    """`paste_back` of one face after the other, with the photo copied once.

    Args:
        photo, mode, feather, match_colors, remove_ghosts: see `paste_back`; so are the result and the errors.
        faces: what is put back.
    """
    if mode not in ("difference", "replace"):
        raise ConfigError(f"Unknown mode {mode!r}. Use 'difference' or 'replace'.")
    if isinstance(feather, bool) or not isinstance(feather, Real) or not 0 <= feather <= 0.5:
        raise ConfigError(f"feather is {feather!r}, a fraction of the quad's side; give a number from 0 to 0.5.")
    if not isinstance(photo, Image.Image):
        raise ImageError(f"The photo is of type {type(photo).__name__}; expected a PIL image, as Image.open gives it.")
    check_opened(photo, "The photo")
    checked = [_checked(face, mode) for face in faces]
    upright = as_photo(photo, copy=False)
    alpha = upright.getchannel("A") if upright.mode == "RGBA" else None
    result = in_mode(upright, "RGB", copy=upright.im is photo.im)  # RGBA keeps its colors
    del upright  # which of a turned RGBA photo is another copy
    for face, (levels, unedited, frame) in zip(faces, checked, strict=True):
        left, top, right, bottom = bounds = frame.bounds(*result.size)
        if left >= right or top >= bottom:
            raise AlignmentError(
                f"The quad {quad_text(face.quad)} lies outside the photo of {result.width} x {result.height} px. "
                "Give the photo that the crop was cut from, at its full size."
            )
        if unedited is None:
            change = _replacement(levels, frame, color_offset(result, levels, frame, feather) if match_colors else None)
        elif remove_ghosts:
            change = _edit(result, levels, unedited, frame)
        else:
            change = _difference(levels - unedited, frame)
        _blend(result, change, frame, bounds, feather, face.mask)
    if alpha is not None:
        result.putalpha(alpha)
    return result


def _checked(face: PastedFace, mode: str) -> tuple[Tensor, Tensor | None, Frame]:
    """A face that is put back: the edited crop and the unedited one in levels, and where they lie in the photo."""
    edited, quad, reference, mask = face
    if mode == "replace" and reference is not None:
        raise ConfigError("A reference was given, and mode 'replace' has no use for it. Leave it out.")
    if mode == "difference" and reference is None:
        raise ConfigError(
            "Mode 'difference' adds the change from the unedited reconstruction, and no reference was given. "
            "Pass that crop as reference=..., or use mode='replace'."
        )
    levels = _levels(edited, "edited")
    unedited = None if reference is None else _levels(reference, "reference")
    if unedited is not None and unedited.shape != levels.shape:
        raise ImageError(
            f"The edited crop is {_size(levels)} and the reference {_size(unedited)}. "
            "Expected two crops of one size: the same generator's output with and without the edit."
        )
    if mask is not None and not isinstance(mask, Tensor):
        raise ImageError(f"The mask is of type {type(mask).__name__}. Expected a tensor [1, H, W].")
    if mask is not None and mask.shape != (1, *levels.shape[2:]):
        raise ImageError(
            f"The mask has the shape {list(mask.shape)} and the edited crop is {_size(levels)}. Expected [1, H, W] of "
            "that size."
        )
    if mask is not None and not 0 <= float(mask.min()) <= float(mask.max()) <= 1:  # NaN is not
        raise ImageError(f"The mask has values from {mask.min():.4g} to {mask.max():.4g}. Expected 0 to 1.")
    return levels, unedited, Frame.of(quad)


def _difference(difference: Tensor, frame: Frame) -> _Change:
    """Adds the difference of two crops, in levels."""
    layer = _at_photo_scale(difference, frame)
    return lambda pixels, places: _sampled(layer, places)


def _replacement(crop: Tensor, frame: Frame, offset: Tensor | None) -> _Change:
    """Replaces the photo by the crop, to which a smooth offset [1, 3, n, n] is added."""
    layer = _at_photo_scale(crop, frame)

    def change(pixels: Tensor, places: Tensor) -> Tensor:
        colors = _sampled(layer, places)
        return (colors if offset is None else colors + _sampled(offset, places)) - pixels

    return change


def _edit(photo: Image.Image, edited: Tensor, reference: Tensor, frame: Frame) -> _Change:
    """Changes the photo as the edit has changed the crop, and replaces it where the edit has moved edges."""
    cells = edited_cells(photo, edited, reference, frame)
    replaced = _replacement(edited, frame, cells.color) if cells.moved.any() else None

    def change(pixels: Tensor, places: Tensor) -> Tensor:
        gain = _sampled(cells.gain, places).reshape(*pixels.shape, 3)  # [h, w, 3, 3]
        guided: Tensor = (gain @ pixels[..., None])[..., 0] + _sampled(cells.offset, places)
        if replaced is None:
            return guided
        return torch.lerp(guided, replaced(pixels, places), _sampled(cells.moved, places).clamp(0, 1))

    return change


def _sampled(layer: Tensor, places: Tensor) -> Tensor:
    """[h, w, C]: a map [1, C, n, n] of the quad at the places [1, h, w, 2] of pixels."""
    values: Tensor = F.grid_sample(layer, places, mode="bicubic", padding_mode="border", align_corners=False)
    return values[0].permute(1, 2, 0)


def _blend(
    photo: Image.Image,
    change: _Change,
    frame: Frame,
    bounds: tuple[int, int, int, int],
    feather: float,
    area: Tensor | None,
) -> None:
    """Changes an RGB photo in place, within the mask of the quad.

    `bounds` are the columns and rows of pixels that the quad may touch; a band of rows is done at a time. `area`, a
    mask [1, H, W] of the crop, limits what changes.
    """
    area = None if area is None else area.detach().cpu().float()[None]
    for box in bands(bounds, _PIXELS_AT_ONCE):
        unit = frame.pixel_centers(*box)  # [h, w, 2]
        mask = _mask(unit, feather)[..., None]  # [h, w, 1]
        # With align_corners=False, -1 and 1 are the outer edges of the crop: the quad's sides.
        places = (2 * unit - 1).float()[None]
        if area is not None:
            # Nothing smooths the mask, so that all photos keep their pixels where it is 0.
            inside = F.grid_sample(area, places, padding_mode="border", align_corners=False)  # [1, 1, h, w]
            mask = mask * inside[0].permute(1, 2, 0)
        pixels = torch.from_numpy(np.array(cut(photo, box))).float()  # [h, w, 3]
        pixels = pixels + mask * change(pixels, places)
        photo.paste(Image.fromarray(pixels.round().clamp(0, 255).to(torch.uint8).numpy()), box)


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


def _at_photo_scale(layer: Tensor, frame: Frame) -> Tensor:
    """Resize the layer so that its pixels are as large as the photo's.

    The sampling that follows then only has to rotate, shear and shift it. Downsampling is antialiased, so a large crop
    does not alias in a small photo.
    """
    size = _photo_scale(frame, layer)
    if layer.shape[2:] == size:
        return layer
    return F.interpolate(layer, size=size, mode="bicubic", antialias=True, align_corners=False)


def _photo_scale(frame: Frame, crop: Tensor) -> tuple[int, int]:
    """Height and width at which a crop [1, C, h, w] has pixels as large as the photo's, or as large as is useful."""
    height, width = (
        min(max(round(side), 1), max(present, _LARGEST_SIDE))
        for side, present in zip(reversed(frame.sides), crop.shape[2:], strict=True)
    )
    return height, width


def _mask(unit: Tensor, feather: float) -> Tensor:
    """Positions [..., 2], 0 to 1 in the quad -> weights [...] float32: 1 in the interior, 0 from the border on."""
    depth = torch.minimum(unit, 1 - unit)  # 0 at the border, 0.5 in the middle
    if feather == 0:
        return (depth > 0).all(dim=-1).float()
    return smoothstep(depth / feather).prod(dim=-1).float()  # the product rounds the corners


def _size(crop: Tensor) -> str:
    """Width and height of a crop [1, 3, H, W], for messages."""
    return f"{crop.shape[3]} x {crop.shape[2]} px"
