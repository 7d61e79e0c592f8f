"""How near the reconstruction is to the image, for each way to invert (the form of the paper's Table 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.engine import Job, Study, measure_all
from hyperstyle.evaluation.figures import Point, Progress, Row, mean_point, mean_row
from hyperstyle.evaluation.images import given_crops
from hyperstyle.evaluation.journal import Record
from hyperstyle.evaluation.measures import basic_measures
from hyperstyle.evaluation.optimized import Optimization, Optimized, check_perceptual_network, evaluate_optimized
from hyperstyle.evaluation.trials import Trial
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.registry import resolve_method

_SHOWN = 8  # images kept for a contact sheet
_STEPS_SHOWN = (1, 3, 5)
_CURVE = "hyperstyle, step by step"


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What `evaluate_reconstruction` measured.

    Attributes:
        rows: on all images: `w-encoder`, and `hyperstyle` with the model's number of steps where it has a
            hypernetwork. Neither saw these images in training; nothing is optimized for them.
        curve: the figures of `hyperstyle` after 0, 1, ... steps; empty without a hypernetwork, or not asked for.
        optimized: the rows that optimize each image on its own, on the first few images; None if not asked for.
        shown: what a contact sheet shows of the first images: title -> [at most 8,3,h,w].
    """

    rows: tuple[Row, ...]
    curve: tuple[Point, ...]
    optimized: Optimized | None
    shown: Mapping[str, Tensor]


def evaluate_reconstruction(
    inverter: HyperStyleInverter,
    crops: Tensor,
    *,
    curve: int = 10,
    optimized: Optimization | None = None,
    on_progress: Progress | None = None,
) -> Reconstruction:
    """Inverts all crops with the W encoder and the hypernetwork, and the first ones by optimization too.

    Args:
        inverter: the model.
        crops: [N,3,h,w] in [-1,1] at the domain's input size.
        curve: steps of the hypernetwork to measure one by one; 0 leaves the curve out.
        optimized: numbers of the rows that optimize each image on its own; None leaves them out.
        on_progress: called while it goes on.

    Raises:
        ConfigError: no images, or of another size; a negative number of steps.
        MethodError: a model without an encoder; or `optimized` with a model without a perceptual network.
    """
    model = inverter.model
    if curve < 0:
        raise ConfigError(f"curve={curve}: expected 0 or more steps.")
    if optimized is not None:
        check_perceptual_network(model)  # better now than after the first rows
    resolve_method(model, "w-encoder")
    study = Study(given_crops(model, crops), basic_measures(model))
    count = len(study.images)
    names = ["w-encoder"] if model.hypernetwork is None else ["w-encoder", "hyperstyle"]
    jobs = [Job.of(Trial(name), inverter, count) for name in names]
    if model.hypernetwork is not None:
        steps = max(model.steps, curve)
        images = count if curve else min(_SHOWN, count)  # for the sheet alone
        jobs.append(Job(_CURVE, inverter, "hyperstyle", steps, images, steps_measured=tuple(range(steps + 1))))
    reconstructions: dict[str, list[Tensor]] = {}

    def keep(job: Job, i: int, inversion: Inversion, on_the_way: Mapping[int, Tensor]) -> Mapping[str, object]:
        images = {"W encoder": inversion.tensor} if job.label == "w-encoder" else {}
        images |= {f"T = {step}": on_the_way[step] for step in _STEPS_SHOWN if step in on_the_way}
        for title, image in images.items():
            if i < _SHOWN:
                reconstructions.setdefault(title, []).append(image.cpu())
        return {}

    measure_all(study, jobs, on_progress, extra=keep)
    shown = {"input": torch.stack([study.images.load(i) for i in range(min(_SHOWN, count))])}
    shown |= {title: torch.cat(images) for title, images in reconstructions.items()}
    result = None
    if optimized is not None:
        result = evaluate_optimized(inverter, study, optimized, on_progress)
        shown |= {title: image[:_SHOWN] for title, image in result.shown.items()}
    on_the_way = [row["on_the_way"] for row in study.rows(_CURVE, count)]
    return Reconstruction(
        tuple(mean_row(name, study.rows(name, count)) for name in names),
        tuple(_point(step, on_the_way) for step in range(curve + 1)) if curve and on_the_way else (),
        result,
        shown,
    )


def _point(step: int, on_the_way: list[list[Record]]) -> Point:
    """The means after this step of all images."""
    return mean_point(step, [steps[step]["figures"] for steps in on_the_way])
