"""Five landmarks by MTCNN in plain PyTorch, and the crop that face recognition networks expect.

The cascade is that of HyperStyle's identity figure, whose low thresholds accept doubtful faces; a `MtcnnDetector` keeps
the more probable ones. Two peculiarities of the published detector are kept, since its thresholds and figures depend on
them: see `ProposalNetwork.forward` and `_windows`.
"""

from __future__ import annotations

import math
import os
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from hyperstyle.align.crop import ffhq_quad, five_points
from hyperstyle.align.turns import ScoredFaces, find_sideways
from hyperstyle.errors import ConfigError
from hyperstyle.images import ImageSource, reduce_to, to_tensor, view_image
from hyperstyle.images.bands import levels_of
from hyperstyle.networks.perception.mtcnn import Mtcnn, find_mtcnn, load_mtcnn
from hyperstyle.runtime.threads import once_property

Array = npt.NDArray[np.float64]

_WINDOW, _STRIDE = 12, 2  # of P-Net, in pixels of the reduced photo
_SMALLEST_FACE = 20  # pixels
_SCALE_STEP = 0.707  # from one reduced photo to the next
_PROPOSED, _REFINED, _ACCEPTED = 0.15, 0.25, 0.35  # probabilities to go on with
_OVERLAP_IN_SCALE, _OVERLAP = 0.5, 0.7
_MOST_DOUBLINGS = 2  # 16 times the pixels
_SURE = 0.999  # probability from which on a face is upright

# Where eyes, nose and corners of the mouth lie in the 112 px crop (the template of the ArcFace family).
_TEMPLATE = (
    (38.29459953, 51.69630051),
    (73.53179932, 51.50139999),
    (56.02519989, 71.73660278),
    (41.54930115, 92.36550140),
    (70.72990036, 92.20410156),
)
_CROP_SIDE = 112


@dataclass(eq=False)
class MtcnnDetector:
    """Finds faces with MTCNN; a `LandmarkDetector` of five points.

    The weights are read at the first call, not when it is constructed.

    Args:
        weights: a folder of them, see `load_mtcnn`: that of the published `pnet.npy`, `rnet.npy` and `onet.npy`, say;
            or the networks; None is the folder that `find_mtcnn` finds, by the environment variable HYPERSTYLE_MTCNN or
            in the installed package mtcnn.
        device: where networks from files run; those that are passed stay where they are.
        confidence: the lowest probability of a face (0..1). At 0.35 the faces, and their order, are those of
            HyperStyle's identity figure, which takes the first; many of them are no faces.
        longest: largest longer side, in pixels, at which a photo is searched; larger photos are reduced to it. The
            smallest faces found have about 15 px there.
        upsample: how often that copy is doubled first (0..2), in four times the time for each: once, the points of most
            faces of 15 px are near enough for a crop, which they are not otherwise.
        sideways: if no face is found, or none with a probability of 0.999, search the photo turned by 90, 180 and 270
            degrees as well, which takes four times as long, and take the turn with the most probable face. If the photo
            as it is shows a face, that one must have 0.999: MTCNN sees wrong faces in those that lie on their side, of
            a lower probability.

    Raises:
        ConfigError: `confidence`, `longest` or `upsample` out of range.
    """

    weights: str | os.PathLike[str] | Mtcnn | None = None
    _: KW_ONLY
    device: str | torch.device = "cpu"
    confidence: float = 0.95
    longest: int = 2048
    upsample: int = 0
    sideways: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1 or self.longest < 1 or not 0 <= self.upsample <= _MOST_DOUBLINGS:
            raise ConfigError(
                f"Faces cannot be detected with confidence={self.confidence}, longest={self.longest} and "
                f"upsample={self.upsample}: expected a probability from 0 to 1, such as 0.95, a side in pixels from 1 "
                f"on, such as 2048, and 0 to {_MOST_DOUBLINGS} doublings."
            )

    def __call__(self, photo: Image.Image) -> list[Array]:
        """Upright photo -> for each face [5, 2] float64 points (x, y) in its pixels, the most probable face first.

        Left and right eye, nose, left and right corner of the mouth. [] where no face is found.

        Raises:
            MissingFileError: there is no folder, or it lacks a file.
            CheckpointError, ConfigError: a file of the weights cannot be used.
            MissingDependencyError: see `load_mtcnn`.
            ImageError: an image that `load_image` refuses.
        """
        upright = view_image(photo)
        if self.sideways:
            return find_sideways(self._faces, upright, sure=_SURE)
        return self._faces(upright)[1]

    def _faces(self, photo: Image.Image) -> ScoredFaces:
        """The faces of a photo as it is."""
        searched = reduce_to(photo, self.longest)
        if self.upsample:
            width, height = (side * 2**self.upsample for side in searched.size)
            searched = searched.resize((width, height), Image.Resampling.BICUBIC)
        boxes, faces = find_faces(searched, self._networks, confidence=self.confidence)
        # Indices of pixel centers, scaled from the image's edge, half a pixel before the first.
        scale = np.divide(photo.size, searched.size)
        return max(boxes[:, 4], default=-np.inf), [(points + 0.5) * scale - 0.5 for points in faces]

    @once_property
    def _networks(self) -> Mtcnn:
        if isinstance(self.weights, Mtcnn):
            return self.weights
        folder = find_mtcnn() if self.weights is None else Path(os.path.expanduser(os.fspath(self.weights)))
        return load_mtcnn(folder).to(self.device)


@torch.no_grad()
def find_faces(photo: Image.Image, networks: Mtcnn, *, confidence: float = _ACCEPTED) -> tuple[Array, Array]:
    """The cascade: P-Net proposes boxes of faces, R-Net refines them, O-Net decides and finds the points.

    Args:
        photo: RGB, upright.
        networks: from `load_mtcnn`, on any device.
        confidence: probability above which a box is a face.

    Returns:
        Boxes [N,5]: left, top, right and bottom in pixels of the photo, and the probability of a face, in falling
        order; and points [N,5,2]: (x, y) of eyes, nose and corners of the mouth.
    """
    device = networks.pnet.conv4_1.weight.device
    boxes = _squared(_proposals(photo, networks))

    windows, boxes = _windows(photo, boxes, 24)
    probabilities, offsets = (_array(out) for out in networks.rnet(windows.to(device)))
    boxes, offsets = _above(boxes, probabilities, _REFINED, offsets)
    distinct = _distinct(boxes, _OVERLAP)
    boxes = _squared(_moved(boxes[distinct], offsets[distinct]))

    windows, boxes = _windows(photo, boxes, 48)
    probabilities, offsets, points = (_array(out) for out in networks.onet(windows.to(device)))
    boxes, offsets, points = _above(boxes, probabilities, confidence, offsets, points)
    points = boxes[:, None, :2] + _extent(boxes)[:, None] * points
    boxes = _moved(boxes, offsets)
    distinct = _distinct(boxes, _OVERLAP, of_smaller=True)
    return boxes[distinct], points[distinct]


def _proposals(photo: Image.Image, networks: Mtcnn) -> Array:
    """P-Net on smaller and smaller copies of the photo: boxes [N,5]."""
    all_boxes, all_offsets = [np.zeros((0, 5))], [np.zeros((0, 4))]
    scale = _WINDOW / _SMALLEST_FACE
    while min(photo.size) * scale > _WINDOW:
        size = math.ceil(photo.width * scale), math.ceil(photo.height * scale)
        pixels = _pixels(photo.resize(size, Image.Resampling.BILINEAR))[None]
        probabilities, offsets = networks.pnet(pixels.to(networks.pnet.conv4_1.weight.device))
        rows, columns = np.nonzero((probabilities[0] > _PROPOSED).cpu().numpy())
        start = np.stack([columns, rows], axis=1) * _STRIDE + 1.0
        corners = np.round(np.concatenate([start, start + _WINDOW], axis=1) / scale)
        boxes = np.column_stack([corners, _array(probabilities[0])[rows, columns]])
        distinct = _distinct(boxes, _OVERLAP_IN_SCALE)
        all_boxes.append(boxes[distinct])
        all_offsets.append(_array(offsets[0])[:, rows, columns].T[distinct])
        scale *= _SCALE_STEP
    boxes, offsets = np.concatenate(all_boxes), np.concatenate(all_offsets)
    distinct = _distinct(boxes, _OVERLAP)
    return _moved(boxes[distinct], offsets[distinct])


def _windows(photo: Image.Image, boxes: Array, side: int) -> tuple[Tensor, Array]:
    """The photo in each box, black outside of it: [N,3,side,side], and the boxes clipped to the photo.

    The network sees the whole box, but its output is applied to the clipped one, as in the published detector. Boxes
    outside the photo are left out.
    """
    inside = boxes.copy()
    inside[:, :2] = np.maximum(boxes[:, :2], 0)
    inside[:, 2:4] = np.minimum(boxes[:, 2:4], np.subtract(photo.size, 1))
    is_visible = (_extent(inside) >= 1).all(axis=1)
    windows = torch.empty(int(is_visible.sum()), 3, side, side)
    for window, box in zip(windows, boxes[is_visible], strict=True):
        left, top, right, bottom = (int(edge) for edge in box[:4])
        part = photo.crop((left, top, right + 1, bottom + 1))
        window.copy_(_pixels(part.resize((side, side), Image.Resampling.BILINEAR)))
    return windows, inside[is_visible]


def _pixels(image: Image.Image) -> Tensor:
    """The networks' input [3,H,W]: (level - 127.5) / 128."""
    levels = torch.from_numpy(np.array(image, dtype=np.float32))
    return levels.permute(2, 0, 1).sub(127.5).div(128)


def _array(tensor: Tensor) -> Array:
    return tensor.cpu().double().numpy()


def _extent(boxes: Array) -> Array:
    """Width and height [N,2] of boxes, whose right and bottom edges are the last pixel inside."""
    return boxes[:, 2:4] - boxes[:, :2] + 1


def _moved(boxes: Array, offsets: Array) -> Array:
    """Boxes with their edges moved by `offsets` [N,4], fractions of width and height."""
    corners = boxes[:, :4] + np.tile(_extent(boxes), 2) * offsets
    return np.column_stack([corners, boxes[:, 4]])


def _squared(boxes: Array) -> Array:
    """Squares with the centers and the longer sides of boxes, rounded to whole pixels."""
    extent = _extent(boxes)
    side = extent.max(axis=1, keepdims=True)
    start = boxes[:, :2] + extent * 0.5 - side * 0.5
    return np.column_stack([np.round(start), np.round(start + side - 1), boxes[:, 4]])


def _above(boxes: Array, probabilities: Array, threshold: float, *attached: Array) -> list[Array]:
    """The boxes whose new probabilities [N] are above the threshold, with these, and the same rows of other arrays."""
    is_sure = probabilities > threshold
    sure = np.column_stack([boxes[is_sure, :4], probabilities[is_sure]])
    return [sure, *(array[is_sure] for array in attached)]


def _distinct(boxes: Array, overlap: float, *, of_smaller: bool = False) -> list[int]:
    """Non-maximum suppression: the numbers of the boxes to keep, the most probable first.

    Each box removes the less probable ones that overlap it by more than `overlap`: the area of the intersection over
    that of the union, or over that of the smaller box.
    """
    order = np.argsort(boxes[:, 4], kind="stable")
    area = _extent(boxes).prod(axis=1)
    distinct: list[int] = []
    while len(order):
        best, order = int(order[-1]), order[:-1]
        distinct.append(best)
        start = np.maximum(boxes[best, :2], boxes[order, :2])
        end = np.minimum(boxes[best, 2:4], boxes[order, 2:4])
        common = np.maximum(end - start + 1, 0).prod(axis=1)
        reference_area = np.minimum(area[best], area[order]) if of_smaller else area[best] + area[order] - common
        order = order[common <= overlap * reference_area]
    return distinct


def identity_crop(photo: ImageSource, landmarks: npt.ArrayLike) -> Tensor:
    """The input of CurricularFace and other face recognition: [3,112,112] in [-1,1], black outside the photo.

    A similarity transform (turn, scale, shift) fits the template of the crop to the points by least squares in the
    photo's pixels, as in HyperStyle's identity figure. The photo is sampled bilinearly, without smoothing.

    Args:
        photo: anything `load_image` takes.
        landmarks: [5,2] or [68,2] points, see `ffhq_quad`, in pixel indices of the upright photo.

    Raises:
        LandmarkError: landmarks that `ffhq_quad` refuses.
        ImageError: an image that `load_image` refuses.
    """
    from scipy.ndimage import map_coordinates

    ffhq_quad(landmarks)  # raises where these are no points of a face
    points = five_points(np.asarray(landmarks, dtype=np.float64))

    # Least squares of point = turn * template + shift as complex numbers x + iy; `turn` holds the scale as well.
    template, target = (np.array(rows) @ [1, 1j] for rows in (_TEMPLATE, points))
    centered = template - template.mean()
    turn = np.vdot(centered, target) / np.vdot(centered, centered)
    shift = target.mean() - turn * template.mean()

    # Sampled with rounding, which `Image.transform` does not do: it cuts the fractions of levels off.
    pixels = levels_of(view_image(photo))  # [H,W,3]
    grid = np.arange(_CROP_SIDE) + 1j * np.arange(_CROP_SIDE)[:, None]  # x + iy of the crop's pixels, [112,112]
    places = turn * grid + shift  # in the photo
    values = [
        map_coordinates(pixels[..., channel], [places.imag, places.real], float, order=1, mode="grid-constant")
        for channel in range(3)
    ]
    return to_tensor(Image.fromarray(np.rint(np.stack(values, axis=-1)).astype(np.uint8)))
