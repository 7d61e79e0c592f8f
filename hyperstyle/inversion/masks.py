"""Masks of inversions: where their images may differ from the unedited reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperstyle.align.crop import Points
from hyperstyle.align.decision import LandmarkDetector, choose_face
from hyperstyle.align.paste import PastedFace
from hyperstyle.align.regions import region_mask
from hyperstyle.align.source import Provenance
from hyperstyle.errors import AlignmentError, EditWarning, LandmarkError, NoFaceError, warn
from hyperstyle.images import ImageSource, to_pil
from hyperstyle.images.masks import check_not_empty, is_region, read_mask, rounded_mask
from hyperstyle.inversion.pickling import Portable
from hyperstyle.inversion.state import InversionState
from hyperstyle.model.folder import aligner_of

_GIVE_AN_IMAGE = "Give the mask as an image of the reconstruction's size."


def make_mask(inversion: Portable, mask: ImageSource) -> Tensor:
    """The mask of a batch of images: 1 where they may change, 0 where they stay.

    Args:
        inversion: B images.
        mask: the name of a region of the face (`domain.REGIONS`), whose mask has a soft rim
            (`align.regions.region_mask`); or an image, array or tensor of the reconstruction's size, taken as it is
            (`images.masks.read_mask`).

    Returns:
        [B,1,H,W] float32 in [0,1] on the device of the inversion, H x W its reconstruction's size. The values are
        rounded to multiples of 1/255.

    Raises:
        ConfigError: text that names neither a region nor a file.
        ImageError: a mask that cannot be read, of another size, out of range, or empty.
        AlignmentError: a region, and there are no 68 landmarks: neither where the image was cut out of a photo by
            them, nor found by the model's aligner in the unedited reconstruction (NoFaceError: it finds no face).
        HyperStyleError: what the aligner raises.
    """
    size = inversion.model.domain.content_size
    advice = "Make a part of it white."
    if is_region(mask):
        advice = f"The region {str(mask)!r} lies outside of the reconstruction. Take another."
        masks = [region_mask(str(mask), points, size) for points in _landmarks(inversion, str(mask))]
        values = torch.stack([torch.from_numpy(each) for each in masks])[:, None]
    else:
        values = read_mask(mask, size, len(inversion))
    rounded = rounded_mask(values)
    check_not_empty(rounded, advice)
    return rounded.to(inversion.w.device)


def united_mask(inversion: Portable, mask: Tensor) -> Tensor | None:
    """The mask [B,1,H,W] of an inversion after one more edit that has `mask`: the maximum of both.

    None is the whole image: so it stays after an edit without a mask. Warns (EditWarning) of that.
    """
    if inversion.mask is not None:
        return torch.maximum(inversion.mask, mask)
    if getattr(inversion, "unedited", None) is None:
        return mask
    warn(
        "an earlier edit changed the whole image, so that this mask limits nothing: masks of several edits are united. "
        "Give the first one a mask, too.",
        EditWarning,
    )
    return None


def with_masks(parts: Sequence[Any], *, unedited: Tensor | None = None) -> list[InversionState]:
    """The states of inversions, those that are not edited with a mask too if any has one.

    Args:
        parts: inversions.
        unedited: the mask of those that are not edited, which leaves their image as it is; None is 0 everywhere.
    """
    masks = [part.mask for part in parts if part.mask is not None]
    if not masks:
        return [part.state for part in parts]
    states = []
    for part in parts:
        state = part.state
        if part.unedited is None:
            zeros = masks[0].new_zeros(len(part), *masks[0].shape[1:])
            state = replace(state, mask=zeros if unedited is None else unedited)
        states.append(state)
    return states


def pasted_faces(
    inversion: Any, quads: Sequence[npt.NDArray[np.float64]], before: Sequence[Tensor] | None, mask: ImageSource | None
) -> list[PastedFace]:
    """What `align.paste.paste_all` puts back into a photo, of each image. Their masks are the lesser of the two.

    Args:
        inversion: B images. The edited ones are taken without their mask, which is in the faces instead.
        quads: [4,2] of each, in its photo.
        before: [3,H,W] the unedited image of each, to add what was changed; None to replace.
        mask: of this paste; see `make_mask`.
    """
    area = inversion.mask
    if mask is not None:
        given = make_mask(inversion, mask)
        area = given if area is None else torch.minimum(area, given)
    images = inversion.tensor if inversion.mask is None else inversion.unmasked()
    return [
        PastedFace(edited, quad, None if before is None else before[i], None if area is None else area[i])
        for i, (edited, quad) in enumerate(zip(images, quads, strict=True))
    ]


def _landmarks(inversion: Any, region: str) -> list[Points]:
    """The landmarks [68,2] of each image, in pixel indices of its reconstruction; see `make_mask`."""
    size, aligner = inversion.model.domain.content_size, None
    landmarks = []
    for i, source in enumerate(inversion.sources or [Provenance("")] * len(inversion)):
        place = source.placement
        if place is not None and len(place.landmarks) == 68:
            landmarks.append(place.to_crop(place.landmarks, size))
            continue
        aligner = aligner or aligner_of(inversion.model)
        landmarks.append(_detected(aligner, (inversion.unedited or inversion).tensor[i], i, region))
    return landmarks


def _detected(aligner: LandmarkDetector | None, image: Tensor, i: int, region: str) -> Points:
    """The landmarks that the aligner finds in a reconstruction [3,H,W], image number `i` of the batch."""
    if aligner is None:
        raise AlignmentError(f"mask={region!r}: the model has no aligner, which finds the landmarks. {_GIVE_AN_IMAGE}")
    reconstruction = to_pil(image)
    faces = aligner(reconstruction)
    number = choose_face(faces, "largest", reconstruction.size)
    if number is None:
        raise NoFaceError(f"mask={region!r}: no face was found in the reconstruction of image {i}. {_GIVE_AN_IMAGE}")
    if len(points := faces[number]) != 68:
        raise LandmarkError(
            f"mask={region!r}: regions need 68 landmarks, and the model's aligner finds {len(points)}. Pass "
            f"landmarks=... of 68 points when you invert a photo. {_GIVE_AN_IMAGE}"
        )
    return points
