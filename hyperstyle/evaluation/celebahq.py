"""The columns that the field compares inversion by, measured as in the benchmark of GANInverter (v1.0, May 2023).

The 2,824 test images of CelebA-HQ, aligned as they come, are inverted one at a time. MSE (of values in [-1, 1]) and
LPIPS with VGG compare the reconstruction, in 256 levels and brought to the size that the encoder sees (256 px for
faces), with the image at that size. ID and FID compare files: the image, and the reconstruction as a PNG at the
generator's size. ID is the cosine of CurricularFace on faces that MTCNN finds in both; FID that of the Inception
network. Seconds are the median of `invert`.

What may differ from that benchmark in the last digit: reconstructions are rounded to 256 levels, not cut off, and FID
is computed by torch-fidelity, whose resizing to 299 px is that of the original Inception and not PyTorch's.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.distribution import distances, features_of
from hyperstyle.evaluation.engine import Job, Study, check_trials, measure_all, weights_id
from hyperstyle.evaluation.figures import Progress
from hyperstyle.evaluation.images import EvaluationImages
from hyperstyle.evaluation.journal import Journal
from hyperstyle.evaluation.measures import Measure, Measures, face_identity, lpips_distance
from hyperstyle.evaluation.tables import Column, Table, missing_parts, published_table
from hyperstyle.evaluation.trials import Trial
from hyperstyle.images import load_image, to_levels, to_tensor
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import make_folder
from hyperstyle.methods.registry import by_networks
from hyperstyle.model.parts import Model

TEST_IMAGES = 2824
"""Images of the test split that published figures are of."""

_PUBLISHED: Mapping[str, tuple[float, float, float | None, float | None]] = {
    "optimize-w": (0.0670, 0.1967, 0.32, 25.7447),
    "optimize-w+": (0.0242, 0.1092, 0.77, 17.0812),
    "psp": (0.0345, 0.1591, 0.56, 25.2540),
    "e4e": (0.0472, 0.1974, 0.50, 28.4952),
    "restyle-e4e": (0.0428, 0.1904, 0.51, 25.5141),
    "hyperstyle": (0.0219, 0.0985, 0.74, 21.6660),
    "pti": (0.0082, 0.0820, None, None),
}
"""MSE, LPIPS, ID and FID in the README of github.com/caopulan/GANInverter."""


_COLUMNS = (
    Column("mse", "MSE", ".4f", "low"),
    Column("lpips", "LPIPS", ".4f", "low"),
    Column("identity", "ID", ".2f", "high"),
    Column("fid", "FID", ".4f", "low"),
)


@dataclass(frozen=True)
class CelebaHq:
    """What `evaluate_celebahq` measured.

    Attributes:
        table: a row for each method: "mse", "lpips", "identity", "fid" and "seconds", None where not measured.
        about: what its figures are of.
        published: the published rows of these methods, without seconds.
        missing: what was not measured.
    """

    table: Table
    about: str
    published: Table
    missing: Table


def evaluate_celebahq(
    inverter: HyperStyleInverter,
    images: EvaluationImages,
    out: Path,
    trials: Sequence[Trial] | None = None,
    *,
    lpips: bool = True,
    identity: Path | None = None,
    mtcnn: Path | None = None,
    inception: Path | None = None,
    on_progress: Progress | None = None,
) -> CelebaHq:
    """Inverts all images by every trial and compares; the same call goes on where one was interrupted.

    Args:
        inverter: the model.
        images: the test images.
        out: a folder, which is created, for `rows.jsonl` and the reconstructions.
        trials: methods; None is all that the model's networks can do.
        lpips: whether LPIPS with VGG is measured; torchvision fetches its weights.
        identity, mtcnn: file of CurricularFace, and folder of the detector that it needs; for ID.
        inception: file of the weights that torch-fidelity publishes; for FID.
        on_progress: called with the trial, images done, and images.

    Raises:
        ConfigError: no trial, or one twice; an identity network without its detector; rows of something else in `out`.
        MethodError: an unknown method, or one whose weights the model lacks; LPIPS cannot be loaded.
        MissingDependencyError: FID without torch-fidelity, LPIPS without lpips.
        CheckpointError: a file cannot be used.
    """
    model = inverter.model
    trials = [Trial(name) for name in by_networks(model)] if trials is None else list(trials)
    check_trials(model, trials)
    if (identity is None) != (mtcnn is None):
        raise ConfigError("--identity and --mtcnn go together: the network, and the detector it needs.")
    chosen = [Measure("mse", "MSE", about="of values in [-1, 1], at the encoder's size", function=metrics.l2)]
    if lpips:
        chosen.append(Measure("lpips", "LPIPS", about="with VGG", function=lpips_distance(model.device, "vgg")))
    same_person = None if identity is None or mtcnn is None else face_identity(identity, mtcnn, model.device)
    features = None if inception is None else features_of(model, inception)[0]
    make_folder(out)
    weights = weights_id(model)
    about = {
        "celebahq": 1,
        "model": weights,
        "pictures": images.source,
        "size": model.domain.input_size,
        "measures": [measure.key for measure in chosen],
        "identity": None if identity is None else identity.name,
    }
    measures, journal = Measures(tuple(chosen), _at_encoder_size), Journal(out / "rows.jsonl", about)
    study = Study(images, measures, journal, out, full_size=True)
    jobs = [Job.of(trial, inverter, len(images), model=weights) for trial in trials]

    def original(i: int) -> Tensor:  # the image as its file has it [3,H,W]
        return to_tensor(load_image(images.files[i])) if images.files else images.load(i)

    def compare_faces(job: Job, i: int, inversion: Inversion, steps: Mapping[int, Tensor]) -> Mapping[str, object]:
        if same_person is None:
            return {}
        rebuilt = _rounded(inversion.tensor)
        image = original(i)[None].to(rebuilt)
        if image.shape != rebuilt.shape:
            image = F.interpolate(image, rebuilt.shape[2:], mode="bilinear", antialias=True)
        value = float(same_person(rebuilt, image))
        return {"identity": None if math.isnan(value) else value}  # NaN: no face was found in one of them

    measure_all(study, jobs, on_progress, extra=compare_faces)
    rows = []
    for job in jobs:
        records = study.rows(job.label, job.count)
        same = [value for record in records if (value := record.get("identity")) is not None]
        mean = statistics.fmean(same) if same else None
        rows.append(measures.row(job.label, records) | {"identity": mean, "fid": None})
    if features is not None and len(images) > 1:
        for row, both in zip(rows, distances(study, jobs, features, original), strict=True):
            row["fid"] = both.fid
    about_images = f"{len(images)} images of {images.source}, one at a time."
    if len(images) != TEST_IMAGES:
        about_images += f" Published figures are of the {TEST_IMAGES:,} images of the test split."
    files = "--identity CURRICULAR_FACE_FILE --mtcnn FOLDER"
    missing = missing_parts(
        (
            (not lpips, "LPIPS", "--lpips no was given", "--lpips yes"),
            (identity is None, "ID", "its networks were not named", files),
            (inception is None, "FID", "its network was not named", "--fid INCEPTION_FILE.pth"),
        )
    )
    published = published_table(_COLUMNS, _PUBLISHED, [trial.method for trial in trials if trial.steps is None])
    table = Table((Column("method", "method"), *_COLUMNS, Column("seconds", "seconds", ".3f", "low")), rows)
    return CelebaHq(table, about_images, published, missing)


def _at_encoder_size(model: Model, image: Tensor) -> Tensor:
    """A reconstruction [1,3,H,W] in 256 levels, then resized as images of the benchmark are: [1,3,h,w]."""
    rounded = _rounded(image)
    if tuple(image.shape[2:]) == model.domain.input_size:
        return rounded
    return F.interpolate(rounded, model.domain.input_size, mode="bilinear", antialias=True, align_corners=False)


def _rounded(image: Tensor) -> Tensor:
    """As a file would hold it: [B,3,H,W] in [-1,1], of 256 levels."""
    return to_levels(image).round() / 127.5 - 1
