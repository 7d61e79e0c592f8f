"""Which figures a report can measure of a reconstruction, decided before the first image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.align.mtcnn import MtcnnDetector
from hyperstyle.errors import ConfigError
from hyperstyle.images import to_pil
from hyperstyle.model.parts import Model
from hyperstyle.networks.perception.lpips import load_lpips
from hyperstyle.networks.perception.similarity import load_curricular, load_moco

__all__ = ["Measure", "Measures", "choose_measures"]

_SIZE = 256  # pixels; the size of the published figures


@dataclass(frozen=True)
class Measure:
    """A figure of a reconstruction.

    Attributes:
        key, title: its names in files and for people.
        better: which is better.
        digits: after the point.
        about: how it is measured, a sentence.
        function: (reconstruction, crop), [B,3,h,w] each in [-1,1] -> [B].
    """

    key: str
    title: str
    better: str
    digits: int
    about: str
    function: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Measures:
    """All of a report."""

    chosen: tuple[Measure, ...]

    def __call__(self, model: Model, rendered: Tensor, crop: Tensor) -> dict[str, float | None]:
        """Figures of one reconstruction [1,3,H,W] against its crop [1,3,h,w]; None where there is no number."""
        with torch.no_grad():
            image = model.domain.resize_to_input(rendered.float())
            found = {one.key: float(one.function(image, crop)) for one in self.chosen}
        return {key: value if math.isfinite(value) else None for key, value in found.items()}


def choose_measures(
    model: Model, *, lpips: bool | None = None, identity: Path | None = None, mtcnn: Path | None = None
) -> Measures:
    """L2, LPIPS, perceptual distance and identity by the model's evaluator, both forms of MS-SSIM, published identity.

    Args:
        model: whose reconstructions are measured.
        lpips: whether LPIPS is; None is yes where the model has no evaluator.
        identity: file of the network that compares identities: CurricularFace for faces, MoCo v2 for other domains.
        mtcnn: folder of the published detector, for faces.

    Raises:
        ConfigError: an identity network for faces without its detector, or a detector without the network.
        MissingDependencyError, MethodError: LPIPS cannot be loaded.
        CheckpointError: a file cannot be used.
    """
    device, evaluator = model.device, model.evaluator
    faces = model.domain.similarity == "arcface"
    if (mtcnn is not None and identity is None) or (identity is not None and faces and mtcnn is None):
        raise ConfigError("--identity and --mtcnn go together for faces: the network, and the detector it needs.")
    chosen = [Measure("l2", "L2", "low", 4, "mean squared error, images in [-1, 1]", metrics.l2)]
    if evaluator is None if lpips is None else lpips:
        chosen.append(Measure("lpips", "LPIPS", "low", 3, "AlexNet, at the size the encoder sees", _lpips(device)))
    if evaluator is not None:
        about = "distance of the evaluator's features; not LPIPS, whose scale is another"
        chosen.append(
            Measure("perceptual", "perceptual", "low", 4, about, lambda a, b: metrics.perceptual(a, b, evaluator))
        )
    chosen.append(Measure("ms_ssim", "MS-SSIM", "high", 4, "at 256 px, window and range as published", _ms_ssim))
    about = "the official evaluation's form, whose data range is guessed from each image; negative ones are left out"
    chosen.append(Measure("ms_ssim_reference", "MS-SSIM, official form", "high", 4, about, _ms_ssim_reference))
    if identity is not None:
        chosen.append(_by_file(identity, mtcnn, faces, device))
    elif evaluator is not None:
        about = "cosine of the evaluator's identity embeddings"
        chosen.append(Measure("identity", "identity", "high", 4, about, lambda a, b: metrics.identity(a, b, evaluator)))
    return Measures(tuple(chosen))


def _by_file(path: Path, mtcnn: Path | None, faces: bool, device: torch.device) -> Measure:
    if not faces:
        moco = load_moco(path).to(device)
        return Measure(
            "identity", "similarity", "high", 3, "cosine of MoCo v2", lambda a, b: metrics.cosine(moco(a), moco(b))
        )
    network = load_curricular(path).to(device)
    detector = MtcnnDetector(mtcnn, device=device, confidence=0.35)
    detector(to_pil(torch.zeros(3, 64, 64)))  # that its weights are there
    about = "CurricularFace on faces that MTCNN finds anew in both images; images without one are left out"

    def compared(a: Tensor, b: Tensor) -> Tensor:
        return metrics.published_identity(a, b, network, detector)

    return Measure("identity", "identity", "high", 3, about, compared)


def _lpips(device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    network = load_lpips(instead="Or leave LPIPS out: --lpips no.").to(device)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = network(a, b)
        return found.flatten()

    return distance


def _ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    return metrics.ms_ssim(a, b, size=_SIZE)


def _ms_ssim_reference(a: Tensor, b: Tensor) -> Tensor:
    if min(a.shape[2:]) < _SIZE:
        a, b = (F.interpolate(x, size=(_SIZE, _SIZE), mode="bilinear", align_corners=False) for x in (a, b))
    return metrics.ms_ssim_reference(a, b)
