"""FID and KID of images and their reconstructions; the only file that needs torch-fidelity, an optional package."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MethodError, MissingDependencyError, WeightsError
from hyperstyle.evaluation.engine import Job, Study
from hyperstyle.images import load_image, to_levels, to_tensor
from hyperstyle.io.components import save_torch
from hyperstyle.io.torch_files import load_state
from hyperstyle.model.parts import Model

Features = Callable[[Tensor], Tensor]
"""Images [B,3,h,w] in [-1,1] on any device -> [B,E] float64 on the CPU."""

_SUBSETS, _SUBSET = 100, 1000  # as published; of fewer images all are one subset


@dataclass(frozen=True)
class Distance:
    """How far apart two sets of images are.

    Attributes:
        fid: Frechet distance; it falls as images are added, so that only sets of one size compare.
        kid: kernel distance, unbiased, so that it may be below 0.
    """

    fid: float
    kid: float


def features_of(model: Model, inception: Path | None) -> tuple[Features, str]:
    """What FID and KID compare, and its name: Inception's 2048 features, or the evaluator's identity embedding.

    Args:
        model: whose evaluator is used without a file.
        inception: the weights that torch-fidelity publishes; never fetched, and read without executing anything.

    Raises:
        MissingDependencyError: torch-fidelity is not installed.
        MethodError: no file, and no evaluator.
        CheckpointError: the file cannot be read. WeightsError: it holds another network.
    """
    try:
        importlib.import_module("torch_fidelity")
    except ImportError as error:
        raise MissingDependencyError(
            'FID and KID need torch-fidelity, which is not installed. Run: pip install "hyperstyle-inversion[fid]".'
        ) from error
    if inception is not None:
        extract, name = _inception(inception, model.device), "Inception"
    elif model.evaluator is not None:
        extract, name = model.evaluator.embedding, "the evaluator"
    else:
        raise MethodError(
            "FID and KID need a network that sees images: name the file of Inception's weights, --fid FILE.pth."
        )

    @torch.no_grad()
    def features(image: Tensor) -> Tensor:
        return extract(image.to(model.device)).double().cpu()

    return features, name


def distances(
    study: Study, jobs: Sequence[Job], features: Features, original: Callable[[int], Tensor]
) -> list[Distance]:
    """FID and KID of the reconstructions by each job, which the study has saved.

    Args:
        study: what was measured.
        jobs: methods that inverted all its images.
        features: what is compared.
        original: index -> the image [3,H,W] that the reconstruction is compared with.

    Raises:
        ConfigError: fewer than 2 images.
    """
    places = range(len(study.images))
    real = torch.cat([features(original(i)[None]) for i in places])
    return [
        distance(
            real, torch.cat([features(to_tensor(load_image(study.reconstruction_path(job, i)))[None]) for i in places])
        )
        for job in jobs
    ]


def distance(real: Tensor, rebuilt: Tensor) -> Distance:
    """FID and KID of two sets of features [N,E].

    Raises:
        ConfigError: fewer than 2 images in one of them.
    """
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    if min(len(real), len(rebuilt)) < 2:
        raise ConfigError(f"FID and KID of {len(real)} and {len(rebuilt)} images: expected 2 or more of each.")
    statistics = [fid_features_to_statistics(features) for features in (real, rebuilt)]
    fid: dict[str, float] = fid_statistics_to_metric(*statistics, False)
    size = min(_SUBSET, len(real), len(rebuilt))
    kid: dict[str, float] = kid_features_to_metric(
        real, rebuilt, kid_subsets=_SUBSETS, kid_subset_size=size, rng_seed=2020, verbose=False
    )
    return Distance(fid["frechet_inception_distance"], kid["kernel_inception_distance_mean"])


def _inception(path: Path, device: torch.device) -> Features:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    state = load_state(path)  # torch-fidelity would execute what is in the file: it is given a copy of the tensors
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "inception.pth"
        save_torch(copy, state)
        try:
            network: Any = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(copy))
        except (RuntimeError, AttributeError) as error:
            raise WeightsError(
                f"{path} does not hold the Inception network of torch-fidelity. Use the file that it publishes, "
                "weights-inception-2015-12-05-6726825d.pth."
            ) from error
    network = network.to(device)
    return lambda image: network(to_levels(image).round().to(torch.uint8))[0]
