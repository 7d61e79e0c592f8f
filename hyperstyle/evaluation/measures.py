"""Which figures are measured of a reconstruction, decided before the first image."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.align.mtcnn import MtcnnDetector
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.journal import Record
from hyperstyle.evaluation.tables import Column, Value
from hyperstyle.images import to_pil
from hyperstyle.model.parts import Model
from hyperstyle.networks.perception.lpips import load_lpips
from hyperstyle.networks.perception.similarity import load_curricular, load_moco

_SIZE = 256  # pixels; the size of the published figures

Compare = Callable[[Tensor, Tensor], Tensor]
"""(reconstruction, crop), [B,3,h,w] each in [-1,1] -> [B]."""


@dataclass(frozen=True, kw_only=True)
class Measure(Column):
    """A figure of a reconstruction, which is a column of a table.

    Attributes:
        about: how it is measured, a sentence.
        function: what computes it.
    """

    about: str
    function: Compare


@dataclass(frozen=True)
class Measures:
    """All figures that are measured.

    Attributes:
        chosen: the figures in the order of their columns.
        resize: (model, reconstruction [1,3,H,W]) -> [1,3,h,w], the size at which it is compared with the crop.
    """

    chosen: tuple[Measure, ...]
    resize: Callable[[Model, Tensor], Tensor] = lambda model, image: model.domain.resize_to_input(image)

    def __call__(self, model: Model, reconstruction: Tensor, crop: Tensor) -> dict[str, float | None]:
        """Figures of one reconstruction [1,3,H,W] against its crop [1,3,h,w]; None where there is no number."""
        with torch.no_grad():
            image = self.resize(model, reconstruction.float())
            values = {measure.key: float(measure.function(image, crop)) for measure in self.chosen}
        return {key: value if math.isfinite(value) else None for key, value in values.items()}

    def row(self, label: str, rows: Sequence[Record]) -> dict[str, Value]:
        """The row of a table: means over the images, the median of the seconds, the largest memory in MiB.

        Where images have no number of a figure, `FIGURE_left_out` says how many.

        Args:
            label: of the method.
            rows: the journal's rows of the method, one for each image, see `engine.measure_all`.
        """
        row: dict[str, Value] = {"method": label, "images": len(rows)}
        for measure in self.chosen:
            values = [value for record in rows if (value := record["figures"][measure.key]) is not None]
            row[measure.key] = statistics.fmean(values) if values else None
            if len(values) < len(rows):
                row[f"{measure.key}_left_out"] = len(rows) - len(values)
        row["seconds"] = statistics.median(record["seconds"] for record in rows)
        peaks = [record["memory"] for record in rows if record["memory"] is not None]
        row["memory"] = max(peaks) / 2**20 if peaks else None
        return row

    def columns(self, rows: Sequence[Mapping[str, Value]]) -> list[Column]:
        """A column for each figure, and one after it where images were left out of its means.

        Args:
            rows: of the table, one for each method, as `row` returns them.
        """
        columns: list[Column] = []
        for measure in self.chosen:
            columns.append(measure)
            if any(f"{measure.key}_left_out" in row for row in rows):
                columns.append(Column(f"{measure.key}_left_out", "left out"))
        return columns


def basic_measures(model: Model) -> Measures:
    """The figures that need no published network: L2, MS-SSIM and, where the model has an evaluator, its perceptual
    distance and its identity similarity."""
    return Measures((_L2, *_by_evaluator(model, "perceptual"), _MS_SSIM, *_by_evaluator(model, "identity")))


def choose_measures(
    model: Model, *, lpips: bool | None = None, identity: Path | None = None, mtcnn: Path | None = None
) -> Measures:
    """The figures for a report: L2, LPIPS, perceptual distance, MS-SSIM (as published, and as the official code has it)
    and identity.

    Perceptual distance, and identity unless `identity` names a network for it, are by the model's evaluator, and are
    left out where it has none.

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
    device, faces = model.device, model.domain.similarity == "arcface"
    if (mtcnn is not None and identity is None) or (identity is not None and faces and mtcnn is None):
        raise ConfigError("--identity and --mtcnn go together for faces: the network, and the detector it needs.")
    chosen = [_L2]
    if lpips or (lpips is None and model.evaluator is None):
        about = "AlexNet, at the size the encoder sees"
        chosen.append(Measure("lpips", "LPIPS", ".3f", "low", about=about, function=lpips_distance(device)))
    chosen += [*_by_evaluator(model, "perceptual"), _MS_SSIM, _MS_SSIM_REFERENCE]
    if identity is None:
        chosen += _by_evaluator(model, "identity")
    elif mtcnn is not None and faces:
        about = "CurricularFace on faces that MTCNN finds anew in both images; images without one are left out"
        function = face_identity(identity, mtcnn, device)
        chosen.append(Measure("identity", "identity", ".3f", "high", about=about, function=function))
    else:
        moco = load_moco(identity).to(device)

        def similarity(a: Tensor, b: Tensor) -> Tensor:
            return metrics.cosine(moco(a), moco(b))

        chosen.append(Measure("identity", "similarity", ".3f", "high", about="cosine of MoCo v2", function=similarity))
    return Measures(tuple(chosen))


def lpips_distance(device: torch.device, net: Literal["alex", "vgg"] = "alex") -> Compare:
    """A function that computes LPIPS with this trunk on this device. Raises as `load_lpips` does."""
    network = load_lpips(net, instead="Or leave LPIPS out: --lpips no.").to(device)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        values: Tensor = network(a, b)  # [B,1,1,1]
        return values.flatten()

    return distance


def face_identity(network: Path, mtcnn: Path, device: torch.device) -> Compare:
    """A function that computes `metrics.published_identity`: (reconstruction, crop) -> [B], NaN without a face.

    Args:
        network: file of CurricularFace.
        mtcnn: folder of the detector.
        device: of both.

    Raises:
        CheckpointError: a file cannot be used.
    """
    curricular = load_curricular(network).to(device)
    detector = MtcnnDetector(mtcnn, device=device, confidence=0.35)
    detector(to_pil(torch.zeros(3, 64, 64)))  # reads its files: better now than after the first inversion
    return lambda a, b: metrics.published_identity(a, b, curricular, detector)


def _by_evaluator(model: Model, key: Literal["perceptual", "identity"]) -> list[Measure]:
    """This figure by the model's evaluator; none without one."""
    evaluator = model.evaluator
    if evaluator is None:
        return []
    if key == "perceptual":
        about = "distance of the evaluator's features; not LPIPS, whose scale is another"
        return [Measure(key, key, ".4f", "low", about=about, function=lambda a, b: metrics.perceptual(a, b, evaluator))]
    about = "cosine of the evaluator's identity embeddings"
    return [Measure(key, key, ".4f", "high", about=about, function=lambda a, b: metrics.identity(a, b, evaluator))]


def _ms_ssim_reference(a: Tensor, b: Tensor) -> Tensor:
    if min(a.shape[2:]) < _SIZE:
        a, b = (F.interpolate(x, size=(_SIZE, _SIZE), mode="bilinear", align_corners=False) for x in (a, b))
    return metrics.ms_ssim_reference(a, b)


_L2 = Measure("l2", "L2", ".4f", "low", about="mean squared error, images in [-1, 1]", function=metrics.l2)
_MS_SSIM = Measure(
    "ms_ssim", "MS-SSIM", ".4f", "high", about="at 256 px, window and range as published", function=metrics.ms_ssim
)
_MS_SSIM_REFERENCE = Measure(
    "ms_ssim_reference",
    "MS-SSIM, official form",
    ".4f",
    "high",
    about="the official evaluation's form, whose data range is guessed from each image; negative ones are left out",
    function=_ms_ssim_reference,
)
