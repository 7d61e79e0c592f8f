"""What goes into a report, and which methods it measures on how many images: checked before the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.engine import Job, check_trials, is_feed_forward, weights_id
from hyperstyle.evaluation.trials import Trial, check_ablations
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.registry import by_networks


@dataclass(frozen=True)
class ReportOptions:
    """What goes into a report.

    Attributes:
        methods: None is all of the model's networks and, with `optimized`, W+ optimization and PTI.
        optimized: images, the first ones, for methods that optimize each on its own; None is 4 where the model has a
            perceptual network for them, else 0.
        edits: names; None is every edit whose trait the model's evaluator reads.
        points: strengths over the range of each edit.
        edited: images, the first ones, that are edited for Figure 6; 0 leaves it out.
        shown: images on each sheet.
        lpips, identity, mtcnn: see `choose_measures`.
        fid: whether FID and KID are measured; see `features_of`.
        inception: the file of its weights.
        title: of the page.
        command: what made it, for the page.
    """

    methods: tuple[Trial, ...] | None = None
    optimized: int | None = None
    edits: tuple[str, ...] | None = None
    points: int = 5
    edited: int = 16
    shown: int = 4
    lpips: bool | None = None
    identity: Path | None = None
    mtcnn: Path | None = None
    fid: bool = False
    inception: Path | None = None
    title: str = ""
    command: str = ""


def jobs_of(
    inverter: HyperStyleInverter,
    trials: Sequence[Trial] | None,
    ablations: Mapping[str, HyperStyleInverter],
    *,
    images: int,
    optimized: int,
    edited: int,
) -> list[Job]:
    """All jobs of a report, checked.

    Args:
        inverter: the model.
        trials: methods; None is every one of the model's networks and, with `optimized`, W+ optimization and PTI.
        ablations: other models by name, each by its own best method.
        images: how many there are.
        optimized: how many of them the methods that optimize take.
        edited: how many of them are edited.

    Raises:
        ConfigError: a method twice, one that optimizes with `optimized` 0, or an ablation whose name is no name of a
            folder, or that of another method's.
        MethodError: an unknown method, or one whose weights the model lacks.
    """
    model = inverter.model
    if trials is None:
        trials = [Trial(name) for name in by_networks(model)]
        if optimized:
            trials += [Trial("optimize-w+", 300), Trial("pti")]
    if not trials:
        raise ConfigError(
            "the model has no network that inverts: train one (hyperstyle train encoder), or say with --methods and "
            "--optimized which images to search for, as in --methods optimize-w+:300 --optimized 4."
        )
    check_trials(model, trials)
    check_ablations(list(ablations))
    jobs, identity = [], weights_id(model)
    for trial in trials:
        count = images if is_feed_forward(model, trial.method) else min(optimized, images)
        if not count:
            raise ConfigError(f"{trial} optimizes each image on its own: say with --optimized N how many it may take.")
        jobs.append(Job.of(trial, inverter, count, edited=min(edited, count), model=identity))
    folders = {job.folder.lower(): job.label for job in jobs}
    for name, ablation in ablations.items():
        other, methods = ablation.model, by_networks(ablation.model)
        if not methods:
            raise ConfigError(f"ablation {name!r} has no network that inverts. Name a model with an encoder.")
        if other.domain.input_size != model.domain.input_size:
            raise ConfigError(
                f"ablation {name!r} sees images of {other.domain.input_size} px, this model {model.domain.input_size}: "
                "expected the same."
            )
        job = Job(name, ablation, methods[0], None, images, model=weights_id(other))
        if (label := folders.setdefault(job.folder.lower(), name)) != name:
            raise ConfigError(
                f"ablation {name!r} would keep its reconstructions in the folder of {label!r}: choose another name."
            )
        jobs.append(job)
    return jobs
