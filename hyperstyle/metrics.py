"""Distances between images, (a, b) -> [B]; images are [B,3,H,W] in [-1,1]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.align.decision import LandmarkDetector
from hyperstyle.align.mtcnn import identity_crop
from hyperstyle.errors import ImageError
from hyperstyle.images import to_pil
from hyperstyle.moved import renamed_argument
from hyperstyle.networks.perception.attributes import AttributeNetwork
from hyperstyle.networks.perception.similarity import Similarity

_LEVEL_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 4:
        raise ImageError(f"images of shapes {tuple(a.shape)} and {tuple(b.shape)}: expected the same [B, 3, H, W].")


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error [B] on the [-1,1] scale, as the paper reports it."""
    _check(a, b)
    return (a - b).square().mean((1, 2, 3))


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute error [B] on the [-1,1] scale."""
    _check(a, b)
    return (a - b).abs().mean((1, 2, 3))


def ms_ssim(a: Tensor, b: Tensor, *, size: int = 256) -> Tensor:
    """Multi-scale structural similarity [B] (Wang et al., 2003), at most 1.

    Gaussian window of 11 px and sigma 1.5 without padding, five scales, constants for a data range of 2. Images that
    are smaller than `size` are enlarged bilinearly first. Negative similarities count as zero.
    """
    _check(a, b)
    if min(a.shape[2:]) < size:
        a, b = (F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False) for x in (a, b))
    return _product(term.clamp(min=0) for term in _similarities(a, b, lambda x: x.new_full((len(x),), 2.0)))


def ms_ssim_reference(a: Tensor, b: Tensor) -> Tensor:
    """`ms_ssim` [B] as the official evaluation computes it, to be compared with published figures only.

    The data range is guessed at every scale from `a`: 2 where it has a value below -0.5, else 1. A negative similarity
    at any scale gives NaN; the official evaluation leaves such images out.

    Raises:
        ImageError: images of different shapes, or smaller than 176 px, in which the window exceeds the fifth scale.
    """
    _check(a, b)
    if min(a.shape[2:]) < 176:
        raise ImageError(f"images of {a.shape[2]}x{a.shape[3]} px: the reference form needs at least 176x176.")
    return _product(_similarities(a, b, lambda x: torch.where(x.amin((1, 2, 3)) < -0.5, 2.0, 1.0).to(x.dtype)))


def _product(terms: Iterable[Tensor]) -> Tensor:
    """The weighted product [B] over scales."""
    return torch.stack([term**weight for term, weight in zip(terms, _LEVEL_WEIGHTS, strict=True)]).prod(0)


def _similarities(a: Tensor, b: Tensor, data_range: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
    """Mean similarity [B] at every scale: contrast and structure; at the last scale times luminance.

    `data_range` gives the data ranges [B] of the first images of a scale.
    """
    ticks = torch.arange(11, dtype=a.dtype, device=a.device) - 5
    window = torch.exp(-ticks.square() / (2 * 1.5**2))
    window = window / window.sum()
    channels = a.shape[1]

    def blur(x: Tensor) -> Tensor:
        x = F.conv2d(x, window.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
        return F.conv2d(x, window.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)

    for level in range(len(_LEVEL_WEIGHTS)):
        c1, c2 = ((k * data_range(a)[:, None, None, None]) ** 2 for k in (0.01, 0.03))
        mean_a, mean_b = blur(a), blur(b)
        variance_a, variance_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
        covariance = blur(a * b) - mean_a * mean_b
        similarity = (2 * covariance + c2) / (variance_a + variance_b + c2)
        if level == len(_LEVEL_WEIGHTS) - 1:
            similarity = similarity * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        yield similarity.mean((1, 2, 3))
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)


@renamed_argument("judge", "evaluator")
def perceptual(a: Tensor, b: Tensor, evaluator: AttributeNetwork) -> Tensor:
    """Distance [B] between the features of an attribute network; 0 for equal images.

    At every stage the features are normalized over channels, as in LPIPS, and their squared differences are averaged
    over positions and stages. It is not LPIPS: the network and its scale are those of the bundled domain.
    """
    _check(a, b)
    total = torch.zeros(a.shape[0], dtype=a.dtype, device=a.device)
    stages = list(zip(evaluator.features(a), evaluator.features(b), strict=True))
    for x, y in stages:
        difference = F.normalize(x, dim=1) - F.normalize(y, dim=1)
        total = total + difference.square().sum(1).mean((1, 2))
    return total / len(stages)


@renamed_argument("judge", "evaluator")
def identity(a: Tensor, b: Tensor, evaluator: AttributeNetwork) -> Tensor:
    """Cosine similarity [B] of the identity embeddings."""
    _check(a, b)
    return cosine(evaluator.embedding(a), evaluator.embedding(b))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine [B] of vectors [B,E], such as those of a `Similarity` network; 1 - cosine is a loss."""
    return F.cosine_similarity(a, b)


@torch.no_grad()
def published_identity(a: Tensor, b: Tensor, network: Similarity, detector: LandmarkDetector) -> Tensor:
    """Identity similarity [B] as the official evaluation measures it: between faces detected anew in both images.

    The first face detected in each image is aligned for face recognition (`identity_crop`, 112 px); the result is the
    cosine similarity of the two embeddings. It is NaN where no face is detected in one of the images: the official
    evaluation leaves such pairs out, as `Tensor.nanmean` does.

    Args:
        a, b: the images, rounded to 256 levels as files would hold them.
        network: for published figures that of `networks.perception.similarity.load_curricular`, in evaluation mode,
            on the device of the images.
        detector: for published figures `MtcnnDetector(weights, confidence=0.35)`.

    Raises:
        ImageError: images of different shapes, or not finite. What the detector raises.
    """
    _check(a, b)
    similarities = torch.full((len(a),), torch.nan, device=a.device)
    for i, pair in enumerate(zip(a, b, strict=True)):
        pil_images = [to_pil(image) for image in pair]
        faces = [detector(image) for image in pil_images]  # landmarks of every face
        if all(faces):
            crops = [identity_crop(image, points[0]) for image, points in zip(pil_images, faces, strict=True)]
            embedding_a, embedding_b = network(torch.stack(crops).to(a.device))  # unit vectors
            similarities[i] = embedding_a @ embedding_b
    return similarities
